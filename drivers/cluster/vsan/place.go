// This file finds what the lab file names: the cluster, its hosts and machines; and checks that all of it can be used.

package vsan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
)

type ref = types.ManagedObjectReference

// place is the cluster, found.
type place struct {
	cluster  ref
	name     string
	hosts    []ref
	hostName map[ref]string
	options  map[ref]ref // the hosts' option managers
	storage  map[ref]ref // and their storage systems
	vsan     map[ref]ref // and their parts of vSAN
	within   map[ref]ref // and what tells of objects on disks
	target   ref         // the host under fault; its Value is "" when the lab file names none
	vcenter  types.AboutInfo
	builds   map[ref]types.AboutInfo
}

// find returns the place, looked up when it is not known.
func (d *Driver) find(ctx context.Context) (*place, error) {
	return d.place.Get(ctx, func(ctx context.Context) (p *place, err error) {
		err = d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) error {
			p, err = d.lookUp(ctx, c)
			return err
		})
		return p, err
	})
}

const unusable = "The cluster can neither be watched nor driven, so nothing can be said about it"

func (d *Driver) say(cause, do string) error {
	return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: unusable, Do: do}
}

func (d *Driver) lookUp(ctx context.Context, c *vim25.Client) (*place, error) {
	if !c.IsVC() {
		return nil, d.say(d.conn.Host()+" is a host and no vCenter", "Give the vCenter's url: a host knows only its own part of a vSAN cluster")
	}
	cv, err := view.NewManager(c).CreateContainerView(ctx, c.ServiceContent.RootFolder, []string{"ClusterComputeResource"}, true)
	if err != nil {
		return nil, fmt.Errorf("listing the clusters: %w", err)
	}
	defer func() { _ = cv.Destroy(ctx) }() // it goes with the session at the latest
	var all []mo.ClusterComputeResource
	if err := cv.Retrieve(ctx, []string{"ClusterComputeResource"}, []string{"name", "host"}, &all); err != nil {
		return nil, fmt.Errorf("listing the clusters: %w", err)
	}
	var names []string
	var hits []mo.ClusterComputeResource
	for _, one := range all {
		names = append(names, one.Name)
		if d.cfg.Cluster == "" || one.Name == d.cfg.Cluster {
			hits = append(hits, one)
		}
	}
	slices.Sort(names)
	if len(hits) != 1 {
		return nil, d.say(fmt.Sprintf("%d clusters are called %q", len(hits), d.cfg.Cluster), "Write cluster: and one of "+strings.Join(names, ", "))
	}
	p := &place{cluster: hits[0].Self, name: hits[0].Name, hosts: hits[0].Host, hostName: map[ref]string{}, options: map[ref]ref{}, storage: map[ref]ref{}, vsan: map[ref]ref{}, within: map[ref]ref{},
		builds: map[ref]types.AboutInfo{}, vcenter: c.ServiceContent.About}
	var hosts []mo.HostSystem
	if err := property.DefaultCollector(c).Retrieve(ctx, p.hosts, []string{"name", "configManager", "config.product"}, &hosts); err != nil {
		return nil, fmt.Errorf("reading the hosts: %w", err)
	}
	names = nil
	for _, h := range hosts {
		names = append(names, h.Name)
		p.hostName[h.Self] = h.Name
		if m := h.ConfigManager; m.AdvancedOption != nil && m.StorageSystem != nil && m.VsanSystem != nil && m.VsanInternalSystem != nil {
			p.options[h.Self], p.storage[h.Self], p.vsan[h.Self], p.within[h.Self] = *m.AdvancedOption, *m.StorageSystem, *m.VsanSystem, *m.VsanInternalSystem
		} else {
			return nil, fmt.Errorf("the host %s does not say what manages its options, its storage and its part of vSAN", h.Name)
		}
		if h.Config != nil {
			p.builds[h.Self] = h.Config.Product
		}
		if h.Name == d.cfg.Host {
			p.target = h.Self
		}
	}
	if d.cfg.Host != "" && p.target.Value == "" {
		slices.Sort(names)
		return nil, d.say(fmt.Sprintf("the cluster %s has no host %q", p.name, d.cfg.Host), "Correct host in the lab file. There is: "+strings.Join(names, ", "))
	}
	return p, nil
}

// oldest is the API version of vSphere 6.5, the oldest that is known to work.
const oldest = "6.5"

// Probe logs in, finds everything that the lab file names, and has vSAN itself answer.
func (d *Driver) Probe(ctx context.Context) error {
	d.place.Lose()
	p, err := d.find(ctx)
	if err != nil {
		return d.conn.Operator(err)
	}
	if vsphere.Older(p.vcenter.ApiVersion, oldest) {
		return d.say(fmt.Sprintf("%s speaks version %s of the API", p.vcenter.FullName, p.vcenter.ApiVersion), "Use a vCenter of version "+oldest+" or later")
	}
	on, err := d.config(ctx, p)
	if err != nil {
		return d.conn.Operator(fmt.Errorf("asking vSAN for its configuration: %w", err))
	}
	if on.Enabled == nil || !*on.Enabled {
		return d.say("vSAN is not enabled on the cluster "+p.name, "Name another cluster, or enable vSAN on it")
	}
	if on.VsanEsaEnabled != nil && *on.VsanEsaEnabled {
		return d.say("the cluster "+p.name+" has the express storage architecture", "Use a cluster with disk groups: what is claimed is claimed of those")
	}
	if d.cfg.Disk != "" {
		ds, _, err := d.disks(ctx, p)
		if err != nil {
			return d.conn.Operator(fmt.Errorf("asking vSAN for its disks: %w", err))
		}
		var has []string
		for _, one := range ds {
			if one.host == p.target {
				has = append(has, one.name)
			}
		}
		if !slices.Contains(has, d.diskUnderFault(p)) {
			return d.say(fmt.Sprintf("the host %s has no vSAN disk %q", d.cfg.Host, d.cfg.Disk), "Correct disk in the lab file. There is: "+strings.Join(has, ", "))
		}
	}
	if _, err := d.under(ctx); d.cfg.Stall != nil && err != nil {
		return &drivers.Operator{Cause: d.env.ID + ": who is to make the disk hang does not say how it is", Impact: "It would not be known whether the disk hangs",
			Do: "Check stall in the lab file: state has to print serves or hangs", Err: err}
	}
	d.env.Logf("%s: %s, cluster %s, contract %s", d.env.ID, p.vcenter.FullName, p.name, contractOf(p.versions()))
	return nil
}

// versions are the hosts' own, one for each.
func (p *place) versions() []string {
	var vs []string
	for _, h := range p.hosts {
		vs = append(vs, p.builds[h].Version)
	}
	return vs
}

var errNoHost = errors.New("the lab file names no host")
