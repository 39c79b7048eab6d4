package vsphere

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/vim25/types"
)

func TestEvents(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			host := s.hostArg(s.cfg.Host)
			s.post(&types.EventEx{EventTypeId: "before", Event: types.Event{Host: host}})
			d := s.driver()
			o := observe(t, d)
			o.becomes(t, hostLane, "manageable", "yes")

			lo := d.env.Clock.Now()
			s.post(&types.EventEx{EventTypeId: "esx.problem.storage.apd.start", Severity: "warning", Event: types.Event{Host: host, FullFormattedMessage: "Device naa.1 has entered the All Paths Down state.",
				Ds: &types.DatastoreEventArgument{EntityEventArgument: types.EntityEventArgument{Name: "LocalDS_0"}}},
				Arguments: []types.KeyAnyValue{{Key: "1", Value: "naa.1"}, {Key: "n", Value: int32(1)}, {Key: "key", Value: "not this one"}}})
			hi := d.env.Clock.Now()
			e := o.happens(t, hostLane, "event", "esx.problem.storage.apd.start")
			g.Expect(e.Lo).To(BeNumerically("<=", hi))
			g.Expect(e.Hi).To(BeNumerically(">=", lo))
			g.Expect(e.Hi).To(BeNumerically(">", e.Lo))
			g.Expect(e.Text).To(Equal("Device naa.1 has entered the All Paths Down state."))
			g.Expect(e.Attrs).To(And(HaveKeyWithValue("severity", "warning"), HaveKeyWithValue("datastore", "LocalDS_0"), HaveKeyWithValue("1", "naa.1"),
				HaveKeyWithValue("host", host.Name), Not(HaveKey("n"))))
			g.Expect(e.Attrs["key"]).To(MatchRegexp(`^\d+$`))
			_, err := time.Parse(time.RFC3339Nano, e.Attrs["created"])
			g.Expect(err).NotTo(HaveOccurred())

			vm := s.vmArg(s.vms[0])
			s.post(&types.ExtendedEvent{EventTypeId: "com.vmware.vc.ha.VmRestartedByHAEvent", GeneralEvent: types.GeneralEvent{Event: types.Event{Vm: vm, Host: host}, Message: "restarted"},
				ManagedObject: vm.Vm, Data: []types.ExtendedEventPair{{Key: "cluster", Value: "c"}}})
			e = o.happens(t, vmLane(s.vms[0]), "event", "com.vmware.vc.ha.VmRestartedByHAEvent")
			g.Expect(e.Attrs).To(HaveKeyWithValue("cluster", "c"))
			s.post(&types.VmPoweredOffEvent{VmEvent: types.VmEvent{Event: types.Event{Vm: vm, Host: host}}})
			o.happens(t, vmLane(s.vms[0]), "event", "VmPoweredOffEvent")
			_, err = o.event(hostLane, "event", "before")
			g.Expect(err).To(HaveOccurred(), "what happened before the run is not its own")
		})
	}
}

// TestEventsOfOthers has another host and another machine of the same cluster.
func TestEventsOfOthers(t *testing.T) {
	g := NewWithT(t)
	s := vcenter(t)
	s.vms = s.vms[:1]
	o := observe(t, s.driver())
	o.becomes(t, hostLane, "manageable", "yes")
	s.post(&types.EventEx{EventTypeId: "theirs", Event: types.Event{Host: s.hostArg("DC0_C0_H1")}})
	s.post(&types.VmPoweredOffEvent{VmEvent: types.VmEvent{Event: types.Event{Vm: s.vmArg("DC0_C0_RP0_VM1"), Host: s.hostArg("DC0_C0_H1")}}})
	s.post(&types.VmPoweredOnEvent{VmEvent: types.VmEvent{Event: types.Event{Vm: s.vmArg("DC0_C0_RP0_VM0"), Host: s.hostArg("DC0_C0_H1")}}})
	s.post(&types.EventEx{EventTypeId: "ours", Event: types.Event{Host: s.hostArg("DC0_C0_H0")}})
	o.happens(t, hostLane, "event", "ours")
	o.happens(t, vmLane("DC0_C0_RP0_VM0"), "event", "VmPoweredOnEvent")
	g.Expect(o.events(hostLane, "event")).NotTo(ContainElements("theirs", "VmPoweredOffEvent"))
}

// TestRingOverrun has more events between two looks than the server keeps: the simulator keeps 1,000, and a collector whose
// place is gone reads nothing from then on, as the real one does.
func TestRingOverrun(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, hostLane, "manageable", "yes")
	s.post(&types.EventEx{EventTypeId: "first"})
	o.happens(t, hostLane, "event", "first")
	release := s.wire.hang()
	m := event.NewManager(s.inside())
	for i := range 1500 {
		g.Expect(m.PostEvent(t.Context(), &types.EventEx{EventTypeId: fmt.Sprintf("flood-%d", i)})).To(Succeed())
	}
	release()
	e := o.happens(t, hostLane, "api", "event-ring-overrun")
	g.Expect(e.Text).To(ContainSubstring("no longer kept"))
	o.happens(t, hostLane, "event", "flood-1499")
	s.post(&types.EventEx{EventTypeId: "last"})
	o.happens(t, hostLane, "event", "last")
	o.stop()
	n := map[string]int{}
	for _, v := range o.events(hostLane, "event") {
		n[v]++
	}
	for v, times := range n {
		g.Expect(times == 1 || v == "UserLoginSessionEvent").To(BeTrue(), v)
	}
}

// TestObserveAgain uses the collector of the first Observe for the second.
func TestObserveAgain(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, hostLane, "manageable", "yes")
	o.stop()
	s.post(&types.EventEx{EventTypeId: "between"})
	o = observe(t, d)
	o.becomes(t, hostLane, "manageable", "yes")
	s.post(&types.EventEx{EventTypeId: "second"})
	o.happens(t, hostLane, "event", "second")
	g.Expect(o.events(hostLane, "event")).NotTo(ContainElement("between"))
	g.Expect(o.values(vmLane(s.vms[0]), "power")).To(Equal([]string{"on"}))
}

func TestClock(t *testing.T) {
	g := NewWithT(t)
	var m clockMap
	epoch := time.Date(2020, 8, 1, 0, 0, 0, 0, time.UTC)
	_, _, ok := m.place(epoch, time.Minute)
	g.Expect(ok).To(BeFalse())

	m.compare(10*time.Second, 10*time.Second+200*time.Millisecond, epoch.Add(10*time.Second)) // a slow answer
	m.compare(12*time.Second, 12*time.Second+10*time.Millisecond, epoch.Add(12*time.Second+5*time.Millisecond))
	lo, hi, ok := m.place(epoch.Add(11*time.Second), time.Minute)
	g.Expect(ok).To(BeTrue())
	g.Expect(lo).To(Equal(11*time.Second - 6*time.Millisecond))
	g.Expect(hi).To(Equal(11*time.Second + 6*time.Millisecond))
	margin, _ := m.margin()
	g.Expect(margin).To(Equal(6 * time.Millisecond))

	_, hi, _ = m.place(epoch.Add(20*time.Second), 15*time.Second)
	g.Expect(hi).To(Equal(15*time.Second), "nothing is seen before it happens")
	lo, hi, _ = m.place(epoch.Add(-time.Hour), 15*time.Second)
	g.Expect([]time.Duration{lo, hi}).To(Equal([]time.Duration{0, 0}))

	// The server's clock is set an hour forward: what was known no longer holds.
	m.compare(14*time.Second, 14*time.Second+50*time.Millisecond, epoch.Add(time.Hour+14*time.Second))
	lo, hi, _ = m.place(epoch.Add(time.Hour+14*time.Second), time.Minute)
	g.Expect(lo).To(Equal(14*time.Second - time.Millisecond))
	g.Expect(hi).To(Equal(14*time.Second + 51*time.Millisecond))

	// A comparison that is too old no longer counts.
	m.compare(60*time.Second, 61*time.Second, epoch.Add(time.Hour+60*time.Second))
	margin, _ = m.margin()
	g.Expect(margin).To(Equal(501 * time.Millisecond))
}
