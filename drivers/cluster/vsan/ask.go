// This file asks: the vSAN services beside the vCenter, the policies' manager, and who is under the disk. What is missing in an
// answer is an error and never a zero.

package vsan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/pbm"
	pbmtypes "github.com/vmware/govmomi/pbm/types"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
	vsanapi "github.com/vmware/govmomi/vsan"
	vsanmethods "github.com/vmware/govmomi/vsan/methods"
	vsantypes "github.com/vmware/govmomi/vsan/types"

	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
)

// healthSystem is the one managed object of the health service that tells of disks.
var healthSystem = ref{Type: "VsanVcClusterHealthSystem", Value: "vsan-cluster-health-system"}

func (d *Driver) config(ctx context.Context, p *place) (*vsantypes.VsanConfigInfoEx, error) {
	var info *vsantypes.VsanConfigInfoEx
	err := d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) error {
		vc, err := vsanapi.NewClient(ctx, c)
		if err == nil {
			info, err = vc.VsanClusterGetConfig(ctx, p.cluster)
		}
		return err
	})
	return info, err
}

// objects is how vSAN says that its objects are.
type objects struct {
	health map[string]int // how many there are of each health
	left   int64          // bytes to be copied
	copies int64          // objects that are being copied
}

func (o objects) whole() bool { return len(o.lacks()) == 0 }

// lacks lists what is not as it should be.
func (o objects) lacks() []string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(o.health)) {
		if h != "healthy" && o.health[h] > 0 {
			out = append(out, fmt.Sprintf("%d objects are %s", o.health[h], h))
		}
	}
	if o.left > 0 || o.copies > 0 {
		out = append(out, fmt.Sprintf("%d bytes of %d objects are still to be copied", o.left, o.copies))
	}
	return out
}

func (o objects) String() string {
	var out []string
	for _, h := range slices.Sorted(maps.Keys(o.health)) {
		if o.health[h] > 0 {
			out = append(out, fmt.Sprintf("%s %d", h, o.health[h]))
		}
	}
	return strings.Join(out, ", ")
}

func (d *Driver) objects(ctx context.Context, p *place) (objects, error) {
	o := objects{health: map[string]int{}}
	err := d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		vc, err := vsanapi.NewClient(ctx, c)
		if err != nil {
			return err
		}
		yes, no := true, false
		got, err := vsanmethods.VsanQueryObjectIdentities(ctx, vc, &vsantypes.VsanQueryObjectIdentities{This: vsanapi.VsanQueryObjectIdentitiesInstance, Cluster: &p.cluster,
			IncludeHealth: &yes, IncludeObjIdentity: &no})
		if err != nil {
			return fmt.Errorf("asking for the objects' health: %w", err)
		}
		if got.Returnval == nil || got.Returnval.Health == nil || len(got.Returnval.Health.ObjectHealthDetail) == 0 {
			return errors.New("vSAN says nothing of its objects' health")
		}
		for _, h := range got.Returnval.Health.ObjectHealthDetail {
			o.health[h.Health] += int(h.NumObjects)
		}
		sync, err := vsanmethods.QuerySyncingVsanObjectsSummary(ctx, vc, &vsantypes.QuerySyncingVsanObjectsSummary{This: vsanapi.VsanQueryObjectIdentitiesInstance, Cluster: p.cluster})
		if err != nil {
			return fmt.Errorf("asking what is to be copied: %w", err)
		}
		o.left, o.copies = sync.Returnval.TotalBytesToSync, sync.Returnval.TotalObjectsToSync
		return nil
	})
	return o, err
}

// disk is a disk of a disk group.
type disk struct {
	host   ref
	name   string
	uuid   string // vSAN's
	used   bool
	health string // what vSAN says of it
}

// disks lists the disks of all hosts that answer, and those hosts. A host that does not is no error; that none does is.
func (d *Driver) disks(ctx context.Context, p *place) (out []disk, answered map[ref]bool, err error) {
	err = d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		vc, err := vsanapi.NewClient(ctx, c)
		if err != nil {
			return err
		}
		no := false
		got, err := vsanmethods.VsanQueryVcClusterHealthSummary(ctx, vc, &vsantypes.VsanQueryVcClusterHealthSummary{This: healthSystem, Cluster: &p.cluster,
			Fields: []string{"physicalDisksHealth"}, FetchFromCache: &no})
		if err != nil {
			return err
		}
		out, answered = nil, map[ref]bool{}
		for _, of := range got.Returnval.PhysicalDisksHealth {
			if of.Error != nil {
				continue
			}
			host, ok := p.hostNamed(of.Hostname)
			if !ok {
				return fmt.Errorf("vSAN tells of disks of %q, which is no host of the cluster", of.Hostname)
			}
			answered[host] = true
			for _, one := range of.Disks {
				if one.Name == "" {
					return fmt.Errorf("vSAN tells of a disk of %s without its name", of.Hostname)
				}
				x := disk{host: host, name: one.Name, uuid: one.Uuid, used: one.InCmmds && one.InVsi, health: one.OperationalHealthDescription}
				if s := one.ScsiDisk; s != nil && s.CanonicalName != "" {
					x.name = s.CanonicalName
				}
				x.name = p.diskName(host, x.name)
				out = append(out, x)
			}
		}
		if len(answered) == 0 {
			return errors.New("vSAN tells of no disk at all")
		}
		return nil
	})
	return out, answered, err
}

// diskName is the name of a disk in the cluster. That of a local disk without an identity of its own is one of its path: each host has it.
func (p *place) diskName(host ref, canonical string) string {
	if strings.HasPrefix(canonical, "mpx.") {
		return canonical + "@" + p.hostName[host]
	}
	return canonical
}

// diskUnderFault is the name of the one that the lab file names, or "".
func (d *Driver) diskUnderFault(p *place) string {
	if d.cfg.Disk == "" {
		return ""
	}
	return p.diskName(p.target, d.cfg.Disk)
}

func (p *place) hostNamed(name string) (ref, bool) {
	for r, n := range p.hostName {
		if n == name {
			return r, true
		}
	}
	return ref{}, false
}

// compliance asks whether machines' objects are as their storage policies want them. One that is not decides.
func (d *Driver) compliance(ctx context.Context, vms []ref) (string, error) {
	status := ""
	err := d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		pc, err := pbm.NewClient(ctx, c)
		if err != nil {
			return err
		}
		var of []pbmtypes.PbmServerObjectRef
		for _, vm := range vms {
			of = append(of, pbmtypes.PbmServerObjectRef{ObjectType: string(pbmtypes.PbmObjectTypeVirtualMachineAndDisks), Key: vm.Value})
		}
		got, err := pc.FetchComplianceResult(ctx, of)
		if err != nil {
			return err
		}
		if len(got) == 0 {
			return errors.New("no storage policy says anything of the machines")
		}
		status = string(pbmtypes.PbmComplianceStatusNotApplicable)
		for _, one := range got {
			if one.ComplianceStatus == string(pbmtypes.PbmComplianceStatusNotApplicable) { // no policy wants anything of it
				continue
			}
			if status == string(pbmtypes.PbmComplianceStatusNotApplicable) {
				status = one.ComplianceStatus
			}
			if s := one.ComplianceStatus; s != status && (status == string(pbmtypes.PbmComplianceStatusCompliant) || s == string(pbmtypes.PbmComplianceStatusNonCompliant)) {
				status = s
			}
		}
		return nil
	})
	return status, err
}

// member asks a host whether it is a part of the cluster.
func (d *Driver) member(ctx context.Context, p *place, host ref) (bool, string, error) {
	var got types.VsanHostClusterStatus
	err := d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) error {
		res, err := methods.QueryHostStatus(ctx, c, &types.QueryHostStatus{This: p.vsan[host]})
		if err == nil {
			got = res.Returnval
		}
		return err
	})
	if err == nil && got.NodeState.State == "" {
		err = errors.New("the host does not say what it is in the vSAN cluster")
	}
	in := []string{string(types.VsanHostNodeStateAgent), string(types.VsanHostNodeStateMaster), string(types.VsanHostNodeStateBackup)}
	return slices.Contains(in, got.NodeState.State), got.NodeState.State, err
}

var errNoStall = errors.New("the lab file does not say how a disk is made to hang: stall")

// under asks who is under the disk what it does.
func (d *Driver) under(ctx context.Context) (string, error) {
	if d.cfg.Stall == nil || d.Under == nil {
		return "", errNoStall
	}
	said := ""
	err := vsphere.Within(ctx, quick, func(ctx context.Context) (err error) {
		said, err = d.Under.Run(ctx, d.cfg.Stall.State, nil)
		return err
	})
	if said = strings.TrimSpace(said); err == nil && said != "serves" && said != "hangs" {
		err = fmt.Errorf("its state is %q, and neither serves nor hangs", said)
	}
	return said, err
}
