package vsphere

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/cli/esx"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const (
	on  = types.VirtualMachinePowerStatePoweredOn
	off = types.VirtualMachinePowerStatePoweredOff
)

func TestPower(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d, vm, ctx := s.driver(), s.vms[0], t.Context()
			g.Expect(d.VMLane(vm)).To(Equal(vmLane(vm)))
			g.Expect(d.PowerOn(ctx, vm)).To(Succeed(), "it is on already")
			g.Expect(d.Reset(ctx, vm)).To(Succeed())
			g.Expect(s.power(vm)).To(Equal(on))
			g.Expect(d.PowerOff(ctx, vm)).To(Succeed())
			g.Expect(s.power(vm)).To(Equal(off))
			g.Expect(d.PowerOff(ctx, vm)).To(Succeed(), "it is off already")
			g.Expect(d.Reset(ctx, vm)).To(Succeed(), "a machine that is off is switched on")
			g.Expect(s.power(vm)).To(Equal(on))
			g.Expect(s.power(s.vms[1])).To(Equal(on))
			g.Expect(d.PowerOff(ctx, "someone else's")).To(MatchError(ContainSubstring("none of the lab's machines")))
			_, err := d.Screenshot(ctx, vm)
			g.Expect(err).To(MatchError(ContainSubstring("404 Not Found")))
		})
	}
}

// TestTaskGoesOn has a task that does not end in the caller's time.
func TestTaskGoesOn(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	g.Expect(d.Probe(t.Context())).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	task := simulator.CreateTask(s.model.Map().Get(s.vmArg(s.vms[0]).Vm), "powerOff", nil)
	sc := *s.model.Service.Context
	ref := s.model.Map().Put(task).Reference()
	task.Info.Key, task.Info.Task, task.Info.State = ref.Value, ref, types.TaskInfoStateRunning
	done := make(chan error, 1)
	go func() {
		done <- d.do(ctx, func(context.Context, *visit) (types.ManagedObjectReference, error) { return ref, nil })
	}()
	g.Consistently(done, "600ms").ShouldNot(Receive())
	cancel()
	g.Eventually(done, "10s").Should(Receive(MatchError(drivers.ErrStillRunning)))

	s.model.Map().AtomicUpdate(&sc, task, []types.PropertyChange{{Name: "info.state", Val: types.TaskInfoStateError},
		{Name: "info.error", Val: &types.LocalizedMethodFault{LocalizedMessage: "the datastore is away", Fault: &types.InaccessibleDatastore{}}}})
	err := d.do(t.Context(), func(context.Context, *visit) (types.ManagedObjectReference, error) { return ref, nil })
	g.Expect(err).To(MatchError(ContainSubstring("the task failed: the datastore is away")))
}

func TestScreenshot(t *testing.T) {
	g := NewWithT(t)
	picture := pngMagic
	m := simulator.ESX()
	g.Expect(m.Create()).To(Succeed())
	m.Service.HandleFunc("/screen", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("vmware_soap_session"); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(picture)
	})
	t.Cleanup(m.Remove)
	s := serve(t, m, Config{Datastore: "LocalDS_0"}, "ha-host_VM0")
	d := s.driver()
	g.Expect(d.Screenshot(t.Context(), "ha-host_VM0")).To(Equal(pngMagic))
	picture = []byte("<html>")
	_, err := d.Screenshot(t.Context(), "ha-host_VM0")
	g.Expect(err).To(MatchError(ContainSubstring("no PNG")))
}

func TestTune(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d, ctx := s.driver(), t.Context()
			before := s.look()
			var us []drivers.Undo
			j := func(_ context.Context, u drivers.Undo) error {
				g.Expect(s.look()).To(Equal(before), "the old value is noted first")
				us = append(us, u)
				return nil
			}
			g.Expect(d.Tune(ctx, logLevel, "trivia", j)).To(Succeed())
			g.Expect(us).To(Equal([]drivers.Undo{{Driver: "hypervisor", Op: "set", Args: map[string]string{"key": logLevel, "value": "info"}}}))
			g.Expect(s.look()).To(ContainSubstring(logLevel + "=trivia"))
			g.Expect(d.Close()).To(Succeed())
			g.Expect(s.driver().Undo(ctx, us[0])).To(Equal(drivers.Undone))
			g.Expect(s.driver().Undo(ctx, us[0])).To(Equal(drivers.NothingLeft))
			g.Expect(s.look()).To(Equal(before))
			d = s.driver()
			g.Expect(d.Tune(ctx, "Misc.NoSuch", "1", j)).To(MatchError(ContainSubstring("there is no option Misc.NoSuch")))
			g.Expect(d.Tune(ctx, "RecoveryTimeout", "1", j)).To(MatchError(ContainSubstring("iSCSI adapter is not known")))
			g.Expect(us).To(HaveLen(1))
		})
	}
}

// addOption gives the simulated host an option.
func (s *sim) addOption(key string, value any) {
	ctx := *s.model.Service.Context
	for _, h := range s.model.Map().All("HostSystem") {
		m := s.model.Map().Get(*h.(*simulator.HostSystem).ConfigManager.AdvancedOption).(*simulator.OptionManager)
		(&ctx).WithLock(m, func() { m.Setting = append(m.Setting, &types.OptionValue{Key: key, Value: value}) })
	}
}

func TestTuneNumber(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	s.addOption("Misc.APDTimeout", int64(140))
	d, ctx := s.driver(), t.Context()
	var u drivers.Undo
	j := func(_ context.Context, x drivers.Undo) error { u = x; return nil }
	g.Expect(d.Tune(ctx, "Misc.APDTimeout", "many", j)).To(MatchError(ContainSubstring(`"many" is no value of type int64`)))
	g.Expect(u).To(Equal(drivers.Undo{}))
	g.Expect(d.Tune(ctx, "Misc.APDTimeout", "20", j)).To(Succeed())
	g.Expect(d.Settings(ctx)).To(HaveKeyWithValue("Misc.APDTimeout", "20"))
	k, err := d.knob(ctx, "Misc.APDTimeout")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(k.value).To(Equal(int64(20)), "the type stays as it is")
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.Undone))
	g.Expect(d.Settings(ctx)).To(HaveKeyWithValue("Misc.APDTimeout", "140"))
}

func TestLike(t *testing.T) {
	g := NewWithT(t)
	for _, old := range []any{int64(1), int32(1), int16(1), true, float32(1), float64(1), "x"} {
		v, err := like(old, "1")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(fmt.Sprintf("%T", v)).To(Equal(fmt.Sprintf("%T", old)))
	}
	_, err := like(struct{}{}, "1")
	g.Expect(err).To(HaveOccurred())
}

func TestSettings(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	got, err := s.driver().Settings(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(And(HaveKeyWithValue("standalone", "yes"), HaveKeyWithValue("version", "6.5.0"), HaveKeyWithValue("build", "5969303"),
		HaveKeyWithValue("product", ContainSubstring("ESXi")), HaveKeyWithValue("guest.tools", ContainSubstring("of 2")), Not(HaveKey("Misc.APDTimeout"))))
	got, err = vcenter(t).driver().Settings(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(And(HaveKeyWithValue("standalone", "no"), HaveKey("das.enabled")))
}

func TestExamine(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	s.addOption("Misc.APDHandlingEnable", int64(0))
	byName := func(fs []drivers.Finding) map[string]drivers.Finding {
		out := map[string]drivers.Finding{}
		for _, f := range fs {
			g.Expect(f.OK || f.Say != "").To(BeTrue(), f.What)
			out[f.What] = f
		}
		return out
	}
	fs := byName(s.driver().Examine(t.Context()))
	g.Expect(fs["one path to the datastore"].Say).To(ContainSubstring("no VMFS on a LUN"))
	g.Expect(fs["Misc.APDHandlingEnable is 1"].OK).To(BeFalse())
	g.Expect(fs["the machines lie on that datastore alone"].OK).To(BeTrue())
	g.Expect(fs["the account's rights"].OK).To(BeTrue())
	g.Expect(fs["HA leaves machines alone in an APD"].OK).To(BeTrue())
	g.Expect(fs["guest tools run"].OK).To(BeFalse())

	x := exam{d: s.driver(), p: &place{disks: []string{"naa.1"}}, found: map[ref]props{{}: storageOf("active", "active")}}
	g.Expect(x.paths().Say).To(ContainSubstring("There are 2 paths"))
	g.Expect(x.adapter().OK).To(BeTrue())
	x.found[ref{}] = storageOf("active")
	g.Expect(x.paths().OK).To(BeTrue())
	x.found[ref{}]["configurationEx"] = types.ClusterConfigInfoEx{DasConfig: types.ClusterDasConfigInfo{Enabled: types.NewBool(true), VmComponentProtecting: "enabled",
		DefaultVmSettings: &types.ClusterDasVmSettings{VmComponentProtectionSettings: &types.ClusterVmComponentProtectionSettings{VmStorageProtectionForAPD: "restartConservative"}}}}
	g.Expect(x.protection().Say).To(ContainSubstring("restartConservative"))

	defer s.wire.cut()()
	fs = byName(s.driver().Examine(t.Context()))
	g.Expect(fs).To(HaveLen(1))
	g.Expect(fs["the host's setup"].Say).To(ContainSubstring("cannot be looked at"))
}

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
