// This file looks at how the host is set up, for what would make a run's claims mean less.

package vsphere

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sort"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// exam is what the findings are made of, read in one call.
type exam struct {
	d       *Driver
	p       *place
	found   map[ref]props
	network netState
	rights  []string // that are missing
	asked   bool     // whether the server told about rights
}

// Examine looks at the host before anything is broken. What cannot be looked at is a finding of its own.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	if ctx.Err() != nil {
		return nil // nobody waits for it
	}
	blind := func(err error) []drivers.Finding {
		return []drivers.Finding{{What: "the host's setup", Say: "It cannot be looked at: " + d.api.scrub(d.operator(err).Error())}}
	}
	p, err := d.find(ctx)
	if err != nil {
		return blind(err)
	}
	x := exam{d: d, p: p}
	err = d.api.callFor(ctx, 3*quick, func(ctx context.Context, v *visit) (err error) {
		x.found, err = retrieve(ctx, v, want{[]ref{p.storage}, []string{hbasAt, pathsAt, lunsAt}}, want{[]ref{p.above}, aboveAt(p.above)},
			want{refsOf(p), []string{"guest.toolsRunningStatus", "datastore"}})
		if err != nil {
			return err
		}
		if x.network, err = readNetwork(ctx, v, p.host); err != nil {
			return err
		}
		x.rights, x.asked = missingRights(ctx, v, p)
		return nil
	})
	if err != nil {
		return blind(err)
	}
	handling, err := d.knob(ctx, "Misc.APDHandlingEnable")
	if err != nil && !unsupported(err) {
		return blind(err)
	}
	out := []drivers.Finding{x.machines(), x.paths(), x.adapter(), x.protection(), x.tools(), x.networks(), x.disks()}
	if err == nil {
		out = append(out, handlingOf(fmt.Sprint(handling.value)))
	}
	if x.asked {
		out = append(out, x.privileges())
	}
	return out
}

func (x exam) machines() drivers.Finding {
	f := drivers.Finding{What: "the machines of the lab file are there", OK: len(x.p.missing) == 0}
	var say []string
	for _, err := range x.p.missing {
		say = append(say, err.Error())
	}
	f.Say = strings.Join(say, " ")
	return f
}

func (x exam) paths() drivers.Finding {
	f := drivers.Finding{What: "one path to the datastore"}
	n := len(lunStateOf(x.found[x.p.storage], x.p.disks).paths)
	switch {
	case len(x.p.disks) == 0:
		f.Say = "The datastore is no VMFS on a LUN. Its paths cannot be watched, and no claim about them can be judged. Name a VMFS datastore on iSCSI as datastore."
	case n == 1:
		f.OK = true
	case n == 0:
		f.Say = "The host has no path to the datastore's LUN. Nothing can be broken that is not there. Bring the target up and rescan."
	default:
		f.Say = fmt.Sprintf("There are %d paths. Cutting one leaves the others, so that is a path failover and no APD. Leave one portal and one bound vmknic.", n)
	}
	return f
}

func (x exam) adapter() drivers.Finding {
	f := drivers.Finding{What: "software iSCSI"}
	hba, ok := adapterOf(x.found[x.p.storage], x.p.disks)
	switch {
	case !ok:
		f.Say = "The datastore is not reached by an iSCSI adapter that the host tells of. RecoveryTimeout and the like cannot be read. Use the host's iSCSI Software Adapter."
	case hba.IsSoftwareBased:
		f.OK = true
	default:
		f.Say = hba.Device + " is a hardware adapter. Its firmware has timers of its own, so the documents' seconds need not hold. Use the host's iSCSI Software Adapter."
	}
	return f
}

// protection looks whether vSphere HA would end machines by itself.
func (x exam) protection() drivers.Finding {
	f := drivers.Finding{What: "HA leaves machines alone in an APD", OK: true}
	s := map[string]string{}
	clusterSettings(s, x.found[x.p.above])
	apd := s["das.vmStorageProtectionForAPD"]
	if s["das.enabled"] == "yes" && s["das.vmComponentProtecting"] == "enabled" && (strings.HasPrefix(apd, "restart") || apd == "") {
		f.OK = false
		f.Say = fmt.Sprintf("VM Component Protection is on (response to APD: %q). It ends and restarts machines after the APD timeout, so that machines which only wait are not to be expected. Set the response to APD to disabled.", apd)
	}
	return f
}

func (x exam) tools() drivers.Finding {
	f := drivers.Finding{What: "guest tools run", OK: true}
	var without []string
	for name, vm := range x.p.vms {
		if x.found[vm].text("guest.toolsRunningStatus") != string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
			without = append(without, name)
		}
	}
	sort.Strings(without)
	if len(without) > 0 {
		f.OK = false
		f.Say = "They do not run in: " + listed(without) + ". There the guest's heartbeat cannot be seen. Switch the machine on, or install open-vm-tools."
	}
	return f
}

func (x exam) networks() drivers.Finding {
	f := drivers.Finding{What: "management is apart from storage"}
	storage := x.storageNICs()
	var shared []string
	for _, device := range x.network.management(x.d.api.url.Hostname()) {
		for _, nic := range x.network.nicsUnder(device) {
			if slices.Contains(storage, nic) && !slices.Contains(shared, nic) {
				shared = append(shared, nic)
			}
		}
	}
	switch {
	case len(storage) == 0:
		f.Say = "It is not known which NIC carries iSCSI. A broken path may cut the host off too. Name it as storage_nic in the lab file."
	case len(shared) > 0:
		f.Say = strings.Join(shared, ", ") + " carries both iSCSI and management. Breaking the path would cut the host off too, and nothing would be seen. Give iSCSI a NIC and a virtual switch of its own."
	default:
		f.OK = true
	}
	return f
}

// storageNICs lists the NICs that carry iSCSI: the lab file's, and those under the vmknics in a subnet with a portal.
func (x exam) storageNICs() []string {
	var out []string
	if nic := x.d.cfg.StorageNIC; nic != "" {
		out = append(out, nic)
	}
	var portals []string
	if host, _, err := net.SplitHostPort(x.d.env.Portal); err == nil {
		portals = append(portals, host)
	}
	if hba, ok := adapterOf(x.found[x.p.storage], x.p.disks); ok {
		for _, t := range hba.ConfiguredStaticTarget {
			portals = append(portals, t.Address)
		}
	}
	for _, device := range x.network.facing(portals) {
		out = append(out, x.network.nicsUnder(device)...)
	}
	return out
}

func (x exam) disks() drivers.Finding {
	f := drivers.Finding{What: "the machines lie on that datastore alone", OK: true}
	var astray []string
	for name, vm := range x.p.vms {
		on := get[types.ArrayOfManagedObjectReference](x.found[vm], "datastore").ManagedObjectReference
		if len(on) != 1 || on[0] != x.p.datastore {
			astray = append(astray, name)
		}
	}
	sort.Strings(astray)
	if len(astray) > 0 {
		f.OK = false
		f.Say = "Files of these lie elsewhere: " + listed(astray) + ". They may not notice the outage, or not with all of their disks. Move all of their files to " + x.d.cfg.Datastore + "."
	}
	return f
}

func handlingOf(value string) drivers.Finding {
	f := drivers.Finding{What: "Misc.APDHandlingEnable is 1", OK: value == "1"}
	if !f.OK {
		f.Say = "It is " + value + ". The host retries for ever, without an APD timeout, so claims about the timeout cannot hold. Set it to 1."
	}
	return f
}

func (x exam) privileges() drivers.Finding {
	f := drivers.Finding{What: "the account's rights", OK: len(x.rights) == 0}
	if !f.OK {
		f.Say = "The account " + x.d.api.user + " lacks: " + listed(x.rights) + ". What needs them will fail in the run. Add them to its role on host and machines."
	}
	return f
}
