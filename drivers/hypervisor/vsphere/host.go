// This file looks at the host and at its way to the datastore.

package vsphere

import (
	"github.com/allpathsdown/allpathsdown/drivers/lookout"

	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

const (
	pathsAt = "storageDeviceInfo.multipathInfo"
	lunsAt  = "storageDeviceInfo.scsiLun"
	hbasAt  = "storageDeviceInfo.hostBusAdapter"
)

// bootJitter is by how much a host's own account of when it booted may vary without a boot: it may be reckoned from its
// uptime and a clock that is being set. No host is back sooner.
const bootJitter = time.Second

// hostWatch looks at the host.
type hostWatch struct {
	d    *Driver
	boot time.Time // as last told
}

func (h *hostWatch) look(ctx context.Context, now func() lookout.Look) error {
	d := h.d
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	wants := []want{
		{[]ref{p.host}, []string{"runtime.connectionState", "runtime.bootTime"}},
		{[]ref{p.datastore}, []string{"host", "summary.accessible"}},
	}
	if len(p.disks) > 0 {
		wants = append(wants, want{[]ref{p.storage}, []string{pathsAt, lunsAt}})
	}
	var found map[ref]props
	err = d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		found, err = retrieve(ctx, v, wants...)
		return err
	})
	if err != nil {
		if _, absent := gone(err); absent {
			d.place.Lose()
		}
		return fmt.Errorf("reading host and datastore: %w", err)
	}
	l, lane := now(), d.env.Lane
	l.State(lane, "connection", found[p.host].text("runtime.connectionState"), "", nil)
	if t, ok := found[p.host]["runtime.bootTime"].(time.Time); ok {
		if t.Sub(h.boot).Abs() > bootJitter {
			h.boot = t
		}
		l.State(lane, "boot", h.boot.UTC().Format(time.RFC3339Nano), "", nil)
	}
	accessible, apd := mountState(found[p.datastore], p.host)
	l.State(lane, "datastore", accessible, "", nil)
	l.State(lane, "apd", apd, "", nil)
	if len(p.disks) > 0 {
		s := lunStateOf(found[p.storage], p.disks)
		l.State(lane, "path", s.path(), "", map[string]string{"states": strings.Join(s.paths, " ")})
		l.State(lane, "lun", s.lun(), "", nil)
		l.Sample(lane, "paths", float64(s.live))
	}
	return nil
}

// mountState tells how a host sees a datastore. Under a vCenter the datastore's summary is about all hosts together, and
// does not count when this host's mount says something.
func mountState(ds props, host ref) (accessible, apd string) {
	apd = "none"
	ok := get[bool](ds, "summary.accessible")
	for _, m := range get[types.ArrayOfDatastoreHostMount](ds, "host").DatastoreHostMount {
		if m.Key != host {
			continue
		}
		if m.MountInfo.Accessible != nil {
			ok = *m.MountInfo.Accessible
		}
		switch types.HostMountInfoInaccessibleReason(m.MountInfo.InaccessibleReason) {
		case types.HostMountInfoInaccessibleReasonAllPathsDown_Start:
			apd = "apd"
		case types.HostMountInfoInaccessibleReasonAllPathsDown_Timeout:
			apd = "apd-timeout"
		case types.HostMountInfoInaccessibleReasonPermanentDeviceLoss:
			apd = "pdl"
		}
	}
	if ok {
		return "accessible", apd
	}
	return "inaccessible", apd
}

// lunState is how a host sees the LUNs under a datastore.
type lunState struct {
	paths    []string // name=state
	live     int      // active or standby
	states   []string // the LUNs' operational states
	adapters []string // keys
}

func (s lunState) path() string {
	if s.live > 0 {
		return "online"
	}
	return "offline"
}

func (s lunState) lun() string {
	if len(s.states) == 0 {
		return "absent"
	}
	return strings.Join(s.states, ",")
}

// lunStateOf picks the disks' LUNs and paths out of all that a host's storage system has.
func lunStateOf(storage props, disks []string) lunState {
	var s lunState
	keys := map[string]bool{}
	for _, base := range get[types.ArrayOfScsiLun](storage, lunsAt).ScsiLun {
		lun := base.GetScsiLun()
		if !slices.Contains(disks, lun.CanonicalName) {
			continue
		}
		keys[lun.Key] = true
		for _, state := range lun.OperationalState {
			if !slices.Contains(s.states, state) {
				s.states = append(s.states, state)
			}
		}
	}
	for _, lun := range get[types.HostMultipathInfo](storage, pathsAt).Lun {
		if !keys[lun.Lun] {
			continue
		}
		for _, path := range lun.Path {
			state := path.State
			if state == "" {
				state = path.PathState
			}
			s.paths = append(s.paths, path.Name+"="+state)
			if state == string(types.MultipathStateActive) || state == string(types.MultipathStateStandby) {
				s.live++
			}
			if !slices.Contains(s.adapters, path.Adapter) {
				s.adapters = append(s.adapters, path.Adapter)
			}
		}
	}
	sort.Strings(s.paths)
	return s
}

// adapterOf returns the iSCSI adapter that the disks are reached by; without disks, the only one there is.
func adapterOf(storage props, disks []string) (types.HostInternetScsiHba, bool) {
	of := lunStateOf(storage, disks)
	var all []types.HostInternetScsiHba
	for _, base := range get[types.ArrayOfHostHostBusAdapter](storage, hbasAt).HostHostBusAdapter {
		hba, ok := base.(*types.HostInternetScsiHba)
		if ok && (len(of.adapters) == 0 || slices.Contains(of.adapters, hba.Key)) {
			all = append(all, *hba)
		}
	}
	if len(all) == 0 || len(of.adapters) == 0 && len(all) > 1 {
		return types.HostInternetScsiHba{}, false
	}
	return all[0], true
}
