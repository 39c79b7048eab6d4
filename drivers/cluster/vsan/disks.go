// This file looks at disks: whether vSAN uses them, and what they do themselves.

package vsan

import (
	"context"
	"slices"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// diskWatch looks at disks.
type diskWatch struct {
	d     *Driver
	known map[string]ref // disks that were seen, and their hosts
}

func (w *diskWatch) look(ctx context.Context, now func() lookout.Look) error {
	d := w.d
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	ds, answered, err := d.disks(ctx, p)
	if err != nil {
		return err
	}
	media, err := d.media(ctx, p, answered)
	if err != nil {
		return err
	}
	l := now()
	there := map[string]bool{}
	for _, one := range ds {
		there[one.name], w.known[one.name] = true, one.host
		value := "offline"
		if one.used {
			value = "online"
		}
		l.State(w.d.lane("disk/"+one.name), drivers.TopicDisk, value, one.health, nil)
	}
	for name, host := range w.known {
		if !there[name] {
			text := "its host does not list it"
			if !answered[host] {
				text = "its host does not answer"
			}
			l.State(w.d.lane("disk/"+name), drivers.TopicDisk, "absent", text, nil)
		}
		if !answered[host] || d.cfg.Stall != nil && name == d.diskUnderFault(p) && media[name] == "ok" {
			continue // the one that is made to hang looks well to its host: who makes it hang tells
		}
		value, text := medium(media[name])
		l.State(w.d.lane("disk/"+name), drivers.TopicMedium, value, text, nil)
	}
	return nil
}

// medium puts the state of a device into the contract's words.
func medium(operational string) (value, text string) {
	text = "the host says " + operational
	switch types.ScsiLunState(operational) {
	case "":
		return "gone", "the host has no such device"
	case types.ScsiLunStateOk, types.ScsiLunStateDegraded:
		return "serves", text
	case types.ScsiLunStateOff, types.ScsiLunStateLostCommunication:
		return "gone", text
	case types.ScsiLunStateError, types.ScsiLunStateTimeout:
		return "fails", text
	}
	return "", "" // an unknown word is no state
}

// media reads the operational states of all devices of the hosts that answer.
func (d *Driver) media(ctx context.Context, p *place, answered map[ref]bool) (map[string]string, error) {
	out := map[string]string{}
	var refs []ref
	of := map[ref]ref{}
	for _, h := range p.hosts {
		if answered[h] {
			refs, of[p.storage[h]] = append(refs, p.storage[h]), h
		}
	}
	err := d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		var all []mo.HostStorageSystem
		if err := property.DefaultCollector(c).Retrieve(ctx, refs, []string{"storageDeviceInfo.scsiLun"}, &all); err != nil {
			return err
		}
		for _, s := range all {
			if s.StorageDeviceInfo == nil {
				continue
			}
			for _, b := range s.StorageDeviceInfo.ScsiLun {
				lun := b.GetScsiLun()
				if len(lun.OperationalState) == 0 {
					continue
				}
				worst := lun.OperationalState[0]
				if i := slices.IndexFunc(lun.OperationalState, func(s string) bool { return s != "ok" }); i >= 0 {
					worst = lun.OperationalState[i]
				}
				out[p.diskName(of[s.Self], lun.CanonicalName)] = worst
			}
		}
		return nil
	})
	return out, err
}

func (d *Driver) lookUnder(ctx context.Context, now func() lookout.Look) error {
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	said, err := d.under(ctx)
	if err == nil {
		now().State(d.lane("disk/"+d.diskUnderFault(p)), drivers.TopicMedium, said, "who is under the disk says so: "+d.cfg.Stall.Way, nil)
	}
	return err
}
