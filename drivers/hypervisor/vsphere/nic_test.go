package vsphere

import (
	"context"
	"fmt"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/cli/esx"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// twoNets is a host with management on vSwitch0 with vmnic0, and iSCSI on vSwitch1 with vmnic1.
func twoNets() netState {
	vnic := func(device, group, ip string) types.HostVirtualNic {
		return types.HostVirtualNic{Device: device, Key: "key-" + device, Portgroup: group, Spec: types.HostVirtualNicSpec{Ip: &types.HostIpConfig{IpAddress: ip, SubnetMask: "255.255.255.0"}}}
	}
	return netState{selected: map[string][]string{"management": {"vmk0"}}, HostNetworkInfo: types.HostNetworkInfo{
		Pnic:      []types.PhysicalNic{{Key: "key-0", Device: "vmnic0"}, {Key: "key-1", Device: "vmnic1"}},
		Vswitch:   []types.HostVirtualSwitch{{Name: "vSwitch0", Key: "s0", Pnic: []string{"key-0"}}, {Name: "vSwitch1", Key: "s1", Pnic: []string{"key-1"}}},
		Portgroup: []types.HostPortGroup{{Spec: types.HostPortGroupSpec{Name: "Management Network", VswitchName: "vSwitch0"}}, {Spec: types.HostPortGroupSpec{Name: "iSCSI", VswitchName: "vSwitch1"}}},
		Vnic:      []types.HostVirtualNic{vnic("vmk0", "Management Network", "192.0.2.10"), vnic("vmk1", "iSCSI", "198.51.100.10")},
	}}
}

func TestSpareNIC(t *testing.T) {
	g := NewWithT(t)
	n := twoNets()
	g.Expect(n.spare("vmnic1", "192.0.2.10")).To(Succeed())
	operatorSays(g, n.spare("vmnic0", "192.0.2.10"), "vmnic0 is under vmk0")
	operatorSays(g, n.spare("vmnic9", "192.0.2.10"), "no NIC vmnic9")
	operatorSays(g, n.spare("vmnic1", "198.51.100.10"), "vmnic1 is under vmk1")
	g.Expect(n.facing([]string{"198.51.100.1"})).To(Equal([]string{"vmk1"}))
	n.selected = nil
	operatorSays(g, n.spare("vmnic1", "esx1.example.com"), "not known which NIC")
	n = twoNets()
	n.Portgroup = nil
	operatorSays(g, n.spare("vmnic1", "192.0.2.10"), "not known which NIC is under vmk0")
}

func TestLinkDown(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver(func(c *Config, _ *drivers.Env) { c.StorageNIC = "vmnic0" })
	g.Expect(d.BreakKinds()).To(Equal([]drivers.FaultKind{drivers.LinkDown}))
	g.Expect(s.driver().BreakKinds()).To(BeEmpty())
	never := func(context.Context, drivers.Undo) error { t.Error("journalled"); return nil }
	operatorSays(g, d.BreakPath(t.Context(), drivers.LinkDown, never), "which the host is managed by")
	g.Expect(d.BreakPath(t.Context(), drivers.Blackhole, never)).NotTo(Succeed())

	ctx := *s.model.Service.Context
	host := s.model.Map().Get(s.hostArg("").Host).(*simulator.HostSystem)
	n := twoNets()
	(&ctx).WithLock(host, func() {
		config := *host.Config
		config.Network = &n.HostNetworkInfo
		config.VirtualNicManagerInfo = &types.HostVirtualNicManagerInfo{NetConfig: []types.VirtualNicManagerNetConfig{{NicType: "management", CandidateVnic: n.Vnic, SelectedVnic: []string{"key-vmk0"}}}}
		host.Config = &config
	})
	up, did := true, []string{}
	cli := func(_ context.Context, args ...string) ([]esx.Values, error) {
		switch line := strings.Join(args, " "); line {
		case "network nic down -n vmnic1":
			up = false
			did = append(did, line)
		case "network nic up -n vmnic1":
			up = true
			did = append(did, line)
		case "network nic list":
			return []esx.Values{{"Name": {"vmnic0"}, "AdminStatus": {"Up"}}, {"Name": {"vmnic1"}, "AdminStatus": {map[bool]string{true: "Up", false: "Down"}[up]}}}, nil
		default:
			return nil, fmt.Errorf("no such command: %s", line)
		}
		return nil, nil
	}
	d = s.driver(func(c *Config, _ *drivers.Env) { c.StorageNIC = "vmnic1" })
	d.cli = cli
	var u drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, func(_ context.Context, x drivers.Undo) error {
		g.Expect(did).To(BeEmpty())
		u = x
		return nil
	})).To(Succeed())
	g.Expect(up).To(BeFalse())
	fresh := s.driver()
	fresh.cli = cli
	g.Expect(fresh.Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(up).To(BeTrue())
	g.Expect(fresh.Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))

	real := s.driver()
	_, err := real.esxcli(t.Context(), "network", "vm", "list")
	g.Expect(err).NotTo(HaveOccurred(), "the simulator has this command")
	_, err = real.esxcli(t.Context(), "network", "nic", "list")
	g.Expect(err).To(MatchError(ContainSubstring("esxcli network nic list")))
}
