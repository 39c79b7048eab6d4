// This file resolves what the lab file names, and keeps it until something of it is no longer there.

package vsphere

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// place is everything that the lab file names, found.
type place struct {
	host, above ref // above is the cluster or compute resource of the host
	hostName    string
	datastore   ref
	storage     ref // the host's HostStorageSystem
	options     ref // the host's OptionManager
	disks       []string
	vms         map[string]ref
	names       map[ref]string // of the lab's machines
	missing     []error        // machines that were not found
}

// find returns the place, looked up when it is not known.
func (d *Driver) find(ctx context.Context) (*place, error) {
	return d.place.Get(ctx, func(ctx context.Context) (p *place, err error) {
		err = d.api.call(ctx, func(ctx context.Context, v *visit) error {
			p, err = d.lookUp(ctx, v)
			return err
		})
		return p, err
	})
}

func (d *Driver) lookUp(ctx context.Context, v *visit) (*place, error) {
	inv, err := takeInventory(ctx, v)
	if err != nil {
		return nil, err
	}
	within := ""
	if d.cfg.Datacenter != "" {
		dc, err := inv.find(query{kind: "Datacenter", name: d.cfg.Datacenter, key: "datacenter"})
		if err != nil {
			return nil, err
		}
		within = inv.path(dc)
	}
	p := &place{vms: map[string]ref{}, names: map[ref]string{}}
	if p.host, err = inv.find(query{kind: "HostSystem", name: d.cfg.Host, within: within, key: "host"}); err != nil {
		return nil, err
	}
	p.hostName = inv[p.host].name
	if up := inv[p.host].parent; up != nil {
		p.above = *up
	}
	found, err := retrieve(ctx, v, want{[]ref{p.host}, []string{"datastore", "configManager.storageSystem", "configManager.advancedOption"}})
	if err != nil {
		return nil, fmt.Errorf("reading the host: %w", err)
	}
	of := found[p.host]
	p.storage, p.options = get[ref](of, "configManager.storageSystem"), get[ref](of, "configManager.advancedOption")
	mounted := get[types.ArrayOfManagedObjectReference](of, "datastore").ManagedObjectReference
	p.datastore, err = inv.find(query{kind: "Datastore", name: d.cfg.Datastore, within: within, key: "datastore",
		among: func(r ref) bool { return slices.Contains(mounted, r) }})
	if err != nil {
		return nil, err
	}
	if p.disks, err = disksOf(ctx, v, p.datastore); err != nil {
		return nil, err
	}
	for _, name := range d.env.VMs {
		vm, err := inv.find(query{kind: "VirtualMachine", name: name, within: within, key: "the machine's name"})
		if err != nil {
			p.missing = append(p.missing, err)
			continue
		}
		p.vms[name], p.names[vm] = vm, name
	}
	return p, nil
}

// disksOf names the LUNs that a datastore lies on; one that is no VMFS has none.
func disksOf(ctx context.Context, v *visit, ds ref) ([]string, error) {
	found, err := retrieve(ctx, v, want{[]ref{ds}, []string{"info"}})
	if err != nil {
		return nil, fmt.Errorf("reading the datastore: %w", err)
	}
	var vmfs *types.HostVmfsVolume
	switch info := found[ds]["info"].(type) {
	case types.VmfsDatastoreInfo:
		vmfs = info.Vmfs
	case *types.VmfsDatastoreInfo:
		vmfs = info.Vmfs
	}
	var disks []string
	if vmfs != nil {
		for _, e := range vmfs.Extent {
			disks = append(disks, e.DiskName)
		}
	}
	return disks, nil
}

// vm finds one of the lab's machines; no other is touched.
func (d *Driver) vm(ctx context.Context, name string) (ref, error) {
	if !slices.Contains(d.env.VMs, name) {
		return ref{}, fmt.Errorf("%q is none of the lab's machines", name)
	}
	p, err := d.find(ctx)
	if err != nil {
		return ref{}, err
	}
	vm, ok := p.vms[name]
	if !ok {
		d.place.Lose()
		return ref{}, errors.Join(p.missing...)
	}
	return vm, nil
}

// oldest is the API version of ESXi 6.5, the oldest that is known to work.
const oldest = "6.5"

// Probe logs in and finds everything that the lab file names.
func (d *Driver) Probe(ctx context.Context) error {
	d.place.Lose()
	var about types.AboutInfo
	err := d.api.call(ctx, func(_ context.Context, v *visit) error {
		about = v.ServiceContent.About
		return nil
	})
	if err != nil {
		return d.operator(err)
	}
	if older(about.ApiVersion, oldest) {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: %s speaks version %s of the API", d.env.ID, about.FullName, about.ApiVersion), Impact: noHost,
			Do: "Use an ESXi or a vCenter of version " + oldest + " or later"}
	}
	p, err := d.find(ctx)
	if err != nil {
		return d.operator(err)
	}
	if len(p.missing) > 0 {
		return errors.Join(p.missing...)
	}
	var state string
	err = d.api.call(ctx, func(ctx context.Context, v *visit) error {
		found, err := retrieve(ctx, v, want{[]ref{p.host}, []string{"runtime.connectionState"}})
		state = found[p.host].text("runtime.connectionState")
		return err
	})
	if err != nil {
		return d.operator(err)
	}
	if state != "" && state != "connected" {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: the host %s is %s", d.env.ID, p.hostName, state), Impact: noHost, Do: "Reconnect it in the vCenter, and try again"}
	}
	d.env.Logf("%s: %s, API %s (%s), host %s", d.env.ID, about.FullName, about.ApiVersion, about.ApiType, p.hostName)
	return nil
}
