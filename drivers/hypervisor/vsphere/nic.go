// This file takes the storage NIC's link down, and up again.

package vsphere

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vmware/govmomi/cli/esx"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// BreakKinds lists the ways in which the path can be broken from the host.
func (d *Driver) BreakKinds() []drivers.FaultKind {
	if d != nil && d.cfg.StorageNIC == "" {
		return nil
	}
	return []drivers.FaultKind{drivers.LinkDown}
}

// BreakPath takes the storage NIC down. It refuses to take down the one that the host is managed by.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	nic := d.cfg.StorageNIC
	if kind != drivers.LinkDown || nic == "" {
		return fmt.Errorf("this host cannot break the path by %s", kind)
	}
	p, err := d.find(ctx)
	if err != nil {
		return fmt.Errorf("taking %s down: %w", nic, err)
	}
	var network netState
	err = d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		network, err = readNetwork(ctx, v, p.host)
		return err
	})
	if err != nil {
		return fmt.Errorf("looking what %s carries: %w", nic, err)
	}
	if err := network.spare(nic, d.api.url.Hostname()); err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opNicUp, Args: map[string]string{"nic": nic}}); err != nil {
		return fmt.Errorf("noting that %s has to come up again: %w", nic, err)
	}
	if _, err := d.cli(ctx, "network", "nic", "down", "-n", nic); err != nil {
		return fmt.Errorf("taking %s down: %w", nic, err)
	}
	return nil
}

// nicUp is the undo of BreakPath.
func (d *Driver) nicUp(ctx context.Context, nic string) (drivers.UndoResult, error) {
	list, err := d.cli(ctx, "network", "nic", "list")
	if err != nil {
		return "", fmt.Errorf("looking whether %s is up: %w", nic, err)
	}
	for _, n := range list {
		if slices.Contains(n["Name"], nic) && slices.Contains(n["AdminStatus"], "Up") {
			return drivers.NothingLeft, nil
		}
	}
	if _, err := d.cli(ctx, "network", "nic", "up", "-n", nic); err != nil {
		return "", fmt.Errorf("taking %s up: %w", nic, err)
	}
	return drivers.Undone, nil
}

// esxcli runs a command of the host's own tool through the API.
func (d *Driver) esxcli(ctx context.Context, args ...string) ([]esx.Values, error) {
	p, err := d.find(ctx)
	if err != nil {
		return nil, err
	}
	var out []esx.Values
	err = d.api.callFor(ctx, taskBound, func(ctx context.Context, v *visit) error {
		x, err := esx.NewExecutor(ctx, v.Client, object.NewHostSystem(v.Client, p.host))
		if err != nil {
			return err
		}
		res, err := x.Run(ctx, args)
		if err != nil {
			return err
		}
		out = res.Values
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("esxcli %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// netState is a host's network, as far as it tells which NIC carries what.
type netState struct {
	types.HostNetworkInfo
	selected map[string][]string // by service ("management", "vmotion"): the vmknics that have it
}

func readNetwork(ctx context.Context, v *visit, host ref) (netState, error) {
	found, err := retrieve(ctx, v, want{[]ref{host}, []string{"config.network", "config.virtualNicManagerInfo"}})
	if err != nil {
		return netState{}, fmt.Errorf("reading the host's network: %w", err)
	}
	n := netState{selected: map[string][]string{}}
	n.HostNetworkInfo = get[types.HostNetworkInfo](found[host], "config.network")
	for _, c := range get[types.HostVirtualNicManagerInfo](found[host], "config.virtualNicManagerInfo").NetConfig {
		for _, vnic := range c.CandidateVnic {
			if slices.Contains(c.SelectedVnic, vnic.Key) || slices.Contains(c.SelectedVnic, vnic.Device) {
				n.selected[c.NicType] = append(n.selected[c.NicType], vnic.Device)
			}
		}
	}
	return n, nil
}

// management lists the vmknics that the host is managed by: those with the service, and the one with that address.
func (n netState) management(address string) []string {
	out := slices.Clone(n.selected[string(types.HostVirtualNicManagerNicTypeManagement)])
	ip := net.ParseIP(address)
	for _, vnic := range n.Vnic {
		own := vnic.Spec.Ip != nil && ip != nil && ip.Equal(net.ParseIP(vnic.Spec.Ip.IpAddress))
		if own && !slices.Contains(out, vnic.Device) {
			out = append(out, vnic.Device)
		}
	}
	return out
}

// facing lists the vmknics that have one of these addresses in their own subnet.
func (n netState) facing(addresses []string) []string {
	var out []string
	for _, vnic := range n.Vnic {
		if vnic.Spec.Ip == nil {
			continue
		}
		ip, mask := net.ParseIP(vnic.Spec.Ip.IpAddress).To4(), net.ParseIP(vnic.Spec.Ip.SubnetMask).To4()
		if ip == nil || mask == nil {
			continue
		}
		subnet := net.IPNet{IP: ip.Mask(net.IPMask(mask)), Mask: net.IPMask(mask)}
		if slices.ContainsFunc(addresses, func(a string) bool { return subnet.Contains(net.ParseIP(a)) }) {
			out = append(out, vnic.Device)
		}
	}
	return out
}

// nicsUnder lists the physical NICs under the switch of a vmknic.
func (n netState) nicsUnder(device string) []string {
	var keys []string
	for _, vnic := range n.Vnic {
		if vnic.Device != device {
			continue
		}
		for _, pg := range n.Portgroup {
			for _, sw := range n.Vswitch {
				if vnic.Portgroup != "" && pg.Spec.Name == vnic.Portgroup && (sw.Name == pg.Spec.VswitchName || sw.Key == pg.Vswitch) {
					keys = append(keys, sw.Pnic...)
				}
			}
		}
		for _, sw := range n.ProxySwitch {
			if port := vnic.Spec.DistributedVirtualPort; port != nil && sw.DvsUuid == port.SwitchUuid {
				keys = append(keys, sw.Pnic...)
			}
		}
	}
	var out []string
	for _, nic := range n.Pnic {
		if slices.Contains(keys, nic.Key) {
			out = append(out, nic.Device)
		}
	}
	return out
}

// spare refuses a NIC that is not there, or under the management network. What is not known is refused too.
func (n netState) spare(nic, address string) error {
	refuse := func(cause, do string) error {
		return &drivers.Operator{Cause: cause, Impact: "Taking it down could cut the host off with nobody to take it up again, so it stays up", Do: do}
	}
	if !slices.ContainsFunc(n.Pnic, func(p types.PhysicalNic) bool { return p.Device == nic }) {
		return refuse("the host has no NIC "+nic, "Correct storage_nic in the lab file")
	}
	managed := n.management(address)
	if len(managed) == 0 {
		return refuse("it is not known which NIC the host is managed by", "Enable the management service on the vmknic that the API is reached by")
	}
	for _, device := range managed {
		under := n.nicsUnder(device)
		if len(under) == 0 {
			return refuse("it is not known which NIC is under "+device+", which the host is managed by", "Put it on a virtual switch that has a NIC")
		}
		if slices.Contains(under, nic) {
			return refuse(nic+" is under "+device+", which the host is managed by", "Name a NIC that carries iSCSI alone as storage_nic")
		}
	}
	return nil
}
