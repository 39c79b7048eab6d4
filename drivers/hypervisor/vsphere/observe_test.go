package vsphere

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

func TestObserve(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := s.driver()
			o := observe(t, d)
			a, b := vmLane(s.vms[0]), vmLane(s.vms[1])
			o.becomes(t, hostLane, "manageable", "yes")
			o.becomes(t, hostLane, "connection", "connected")
			o.becomes(t, hostLane, "apd", "none")
			o.becomes(t, hostLane, "datastore", "accessible")
			o.becomes(t, a, "power", "on")
			o.becomes(t, a, "connection", "connected")
			o.becomes(t, a, "fields", "shown")
			o.becomes(t, a, "question", "none")
			o.becomes(t, a, "tools", "guestToolsNotRunning")
			g.Expect(o.values(a, "host")).To(HaveLen(1))
			g.Expect(o.values(hostLane, "boot")).To(HaveLen(1))
			_, err := time.Parse(time.RFC3339Nano, o.values(hostLane, "boot")[0])
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(o.find(hostLane, drivers.State, "path")).To(BeEmpty(), "a local datastore has no LUN that could be watched")
			g.Expect(o.find(hostLane, drivers.State, "lun")).To(BeEmpty())
			g.Expect(o.find(hostLane, drivers.Sample, "api")).NotTo(BeEmpty())
			g.Expect(o.find(hostLane, drivers.Sample, "clock-error")).To(HaveLen(1))

			g.Expect(d.PowerOff(t.Context(), s.vms[0])).To(Succeed())
			o.becomes(t, a, "power", "on", "off")
			g.Expect(o.values(b, "power")).To(Equal([]string{"on"}))
			over := o.happens(t, a, "vsphere.task", "VirtualMachine.powerOff.success")
			g.Expect(over.Attrs).To(And(HaveKey("key"), HaveKey("seconds")))
			o.happens(t, a, "vsphere.task", "VirtualMachine.powerOff.running")
			off := o.happens(t, a, "event", "VmPoweredOffEvent")
			g.Expect(off.Attrs).To(HaveKeyWithValue("vm", s.vms[0]))
			g.Expect(off.Text).NotTo(BeEmpty())
			g.Expect(o.events(b, "vsphere.task")).To(BeEmpty())
			o.stop()
			for _, x := range o.all {
				g.Expect(x.Text).NotTo(ContainSubstring(secret))
			}
		})
	}
}

func TestVMFields(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	o := observe(t, s.driver())
	a := vmLane(s.vms[0])
	o.becomes(t, a, "fields", "shown")
	ctx := *s.model.Service.Context
	c := &ctx
	vm := s.model.Map().Get(s.vmArg(s.vms[0]).Vm).(*simulator.VirtualMachine)
	c.WithLock(vm, func() {
		vm.Config, vm.Summary.Config = nil, types.VirtualMachineConfigSummary{}
		vm.Runtime.ConnectionState = types.VirtualMachineConnectionStateInaccessible
		vm.Runtime.Question = &types.VirtualMachineQuestionInfo{Id: "1", Text: "The datastore is away. Retry?"}
	})
	o.becomes(t, a, "fields", "shown", "blank")
	o.becomes(t, a, "connection", "connected", "inaccessible")
	o.becomes(t, a, "question", "none", "The datastore is away. Retry?")
	g.Expect(o.values(vmLane(s.vms[1]), "fields")).To(Equal([]string{"shown"}))
}

func TestVMGone(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, vmLane(s.vms[0]), "connection", "connected")
	g.Expect(d.PowerOff(t.Context(), s.vms[0])).To(Succeed())
	g.Expect(object.NewVirtualMachine(s.inside(), s.vmArg(s.vms[0]).Vm).Unregister(t.Context())).To(Succeed())
	o.becomes(t, vmLane(s.vms[0]), "connection", "connected", "gone")
	before := len(o.find(vmLane(s.vms[1]), drivers.State, "power"))
	g.Eventually(func() int { return len(o.find(vmLane(s.vms[1]), drivers.State, "power")) }, "10s").Should(BeNumerically(">", before+1), "the others go on")
}

func TestSessionExpires(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, vmLane(s.vms[0]), "power", "on")
	v, err := d.api.visit(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	me, err := v.sessions.UserSession(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(session.NewManager(s.inside()).TerminateSession(t.Context(), []string{me.Key})).To(Succeed())
	gone := o.happens(t, hostLane, "api", "session-expired")
	again := o.happens(t, hostLane, "api", "re-login")
	g.Expect(again.Hi).To(BeNumerically(">=", gone.Hi))
	s.post(&types.GeneralUserEvent{GeneralEvent: types.GeneralEvent{Message: "afterwards"}})
	o.happens(t, hostLane, "event", "GeneralUserEvent")
	g.Expect(d.PowerOff(t.Context(), s.vms[0])).To(Succeed())
	o.becomes(t, vmLane(s.vms[0]), "power", "on", "off")
	g.Expect(o.values(hostLane, "manageable")).To(Equal([]string{"yes"}))
	o.stop()
	expired, keys := 0, map[string]int{}
	for _, x := range o.all {
		if x.Value == "session-expired" {
			expired++
		}
		if x.Topic == "event" {
			keys[x.Attrs["key"]]++
		}
	}
	g.Expect(expired).To(Equal(1))
	for key, n := range keys {
		g.Expect(n).To(Equal(1), "event %s", key)
	}
}

func TestHang(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, vmLane(s.vms[0]), "power", "on")
	o.becomes(t, hostLane, "manageable", "yes")
	release := s.wire.hang()
	defer release()
	began := d.env.Clock.Now()
	s.post(&types.EventEx{EventTypeId: "swallowed"}) // the server has given it, and the answer is lost
	o.becomes(t, hostLane, "manageable", "yes", "no")
	for _, x := range o.find(hostLane, drivers.State, "manageable") {
		if x.Value == "no" {
			g.Expect(x.Text).To(Equal("did not answer within 5s"))
			g.Expect(x.Hi).To(BeNumerically(">", began))
		}
	}
	whats := func(value string) func() []string {
		return func() (out []string) {
			for _, x := range o.find(hostLane, drivers.Event, "api") {
				if x.Value == value {
					out = append(out, x.Attrs["what"])
				}
			}
			return out
		}
	}
	g.Eventually(whats("not-answering"), "30s").Should(ContainElements("time", "host", "machines", "events"))
	for _, x := range o.find(hostLane, drivers.Event, "api") {
		g.Expect(x.Text).To(Equal("did not answer within 5s"))
	}
	release()
	o.becomes(t, hostLane, "manageable", "yes", "no", "yes")
	e := o.happens(t, hostLane, "event", "swallowed")
	g.Expect(e.Hi).To(BeNumerically(">=", began))
	g.Eventually(whats("answers"), "30s").Should(ContainElements("time", "host", "machines", "events"))
	s.post(&types.GeneralUserEvent{GeneralEvent: types.GeneralEvent{Message: "afterwards"}})
	o.happens(t, hostLane, "event", "GeneralUserEvent")
}

func TestRefused(t *testing.T) {
	s := esxi(t)
	o := observe(t, s.driver())
	o.becomes(t, hostLane, "manageable", "yes")
	mend := s.wire.cut()
	o.becomes(t, hostLane, "manageable", "yes", "no")
	mend()
	o.becomes(t, hostLane, "manageable", "yes", "no", "yes")
}

func TestMount(t *testing.T) {
	g := NewWithT(t)
	host, other := ref{Type: "HostSystem", Value: "a"}, ref{Type: "HostSystem", Value: "b"}
	ds := func(accessible *bool, reason string) props {
		return props{"summary.accessible": true, "host": types.ArrayOfDatastoreHostMount{DatastoreHostMount: []types.DatastoreHostMount{
			{Key: other, MountInfo: types.HostMountInfo{Accessible: types.NewBool(false), InaccessibleReason: "PermanentDeviceLoss"}},
			{Key: host, MountInfo: types.HostMountInfo{Accessible: accessible, InaccessibleReason: reason}}}}}
	}
	for reason, want := range map[string]string{"AllPathsDown_Start": "apd", "AllPathsDown_Timeout": "apd-timeout", "PermanentDeviceLoss": "pdl", "": "none"} {
		accessible, apd := mountState(ds(types.NewBool(false), reason), host)
		g.Expect([]string{accessible, apd}).To(Equal([]string{"inaccessible", want}))
	}
	accessible, apd := mountState(ds(nil, ""), host)
	g.Expect([]string{accessible, apd}).To(Equal([]string{"accessible", "none"}))
	accessible, _ = mountState(props{}, host)
	g.Expect(accessible).To(Equal("inaccessible"))
}

// storageOf is what a host with one iSCSI LUN says, with paths in these states.
func storageOf(states ...string) props {
	lun := types.HostMultipathInfoLogicalUnit{Lun: "key-lun"}
	for i, s := range states {
		lun.Path = append(lun.Path, types.HostMultipathInfoPath{Name: fmt.Sprintf("vmhba64:C0:T%d:L0", i), State: s, Adapter: "key-hba"})
	}
	return props{
		lunsAt: types.ArrayOfScsiLun{ScsiLun: []types.BaseScsiLun{
			&types.HostScsiDisk{ScsiLun: types.ScsiLun{HostDevice: types.HostDevice{}, Key: "key-lun", CanonicalName: "naa.1", OperationalState: []string{"ok"}}},
			&types.ScsiLun{Key: "key-cd", CanonicalName: "mpx.vmhba1", OperationalState: []string{"off"}}}},
		pathsAt: types.HostMultipathInfo{Lun: []types.HostMultipathInfoLogicalUnit{{Lun: "key-cd", Path: []types.HostMultipathInfoPath{{State: "active"}}}, lun}},
		hbasAt: types.ArrayOfHostHostBusAdapter{HostHostBusAdapter: []types.BaseHostHostBusAdapter{
			&types.HostBlockHba{HostHostBusAdapter: types.HostHostBusAdapter{Key: "key-block", Device: "vmhba0"}},
			&types.HostInternetScsiHba{HostHostBusAdapter: types.HostHostBusAdapter{Key: "key-hba", Device: "vmhba64"}, IsSoftwareBased: true,
				AdvancedOptions: []types.HostInternetScsiHbaParamValue{{OptionValue: types.OptionValue{Key: "RecoveryTimeout", Value: int32(10)}}}}}},
	}
}

func TestPaths(t *testing.T) {
	g := NewWithT(t)
	s := lunStateOf(storageOf("active", "dead"), []string{"naa.1"})
	g.Expect([]any{s.path(), s.lun(), s.live}).To(Equal([]any{"online", "ok", 1}))
	g.Expect(strings.Join(s.paths, " ")).To(Equal("vmhba64:C0:T0:L0=active vmhba64:C0:T1:L0=dead"))
	g.Expect(lunStateOf(storageOf("standby"), []string{"naa.1"}).path()).To(Equal("online"))
	g.Expect(lunStateOf(storageOf("dead"), []string{"naa.1"}).path()).To(Equal("offline"))
	s = lunStateOf(storageOf("active"), []string{"naa.2"})
	g.Expect([]any{s.path(), s.lun(), s.live}).To(Equal([]any{"offline", "absent", 0}))
	hba, ok := adapterOf(storageOf("active"), []string{"naa.1"})
	g.Expect(ok).To(BeTrue())
	g.Expect(hba.Device).To(Equal("vmhba64"))
	out := map[string]string{}
	storageSettings(out, storageOf("active"), []string{"naa.1"})
	g.Expect(out).To(Equal(map[string]string{"paths": "1", "adapter": "vmhba64", "iscsi.software": "yes", "RecoveryTimeout": "10"}))
}

// BenchmarkRound1000 is one look at 1,000 machines.
func BenchmarkRound1000(b *testing.B) {
	m := simulator.ESX()
	m.Machine, m.Autostart = 0, false
	s := start(b, m, Config{Datastore: "LocalDS_0"})
	s.fill(1000)
	d := s.driver()
	r := d.report(func(drivers.Observation) {})
	w := newVMWatch(d, 0)
	ask := func() {
		if err := w.look(context.Background(), func() lookout.Look { return r.Between(0, d.env.Clock.Now()) }); err != nil {
			b.Fatal(err)
		}
	}
	ask()
	for b.Loop() {
		ask()
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/round")
}
