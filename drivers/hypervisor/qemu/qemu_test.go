package qemu

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
)

var hostLane = drivers.Lane{Role: drivers.Hypervisor, Name: "esxi", Provenance: drivers.Modelled}

func vmLane(vm string) drivers.Lane { return (&Driver{lanes: "vm"}).VMLane(vm) }

func open(t testing.TB, l *fakeLauncher) (*Driver, drivers.Clock) {
	t.Helper()
	clock := drivers.Clock{Zero: time.Now()}
	env := drivers.Env{ID: "hypervisor", Lane: hostLane, Clock: clock, ScratchDir: t.TempDir(), Decode: func(v any) error {
		*v.(*Config) = Config{Launcher: l.socket}
		return nil
	}}
	reg, _ := drivers.Lookup("hypervisor/qemu")
	d, err := reg.Open(t.Context(), env)
	if err != nil {
		t.Fatal(err)
	}
	return d.(*Driver), clock
}

// seen collects observations.
type seen struct {
	mu   sync.Mutex
	all  []drivers.Observation
	stop func()
}

func observe(t *testing.T, d *Driver) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Observe(ctx, func(o drivers.Observation) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, o)
		})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		NewWithT(t).Eventually(done, "10s").Should(Receive(BeNil()))
	})
	t.Cleanup(s.stop)
	return s
}

// find returns the observations of a kind and topic, on that lane.
func (s *seen) find(lane drivers.Lane, kind drivers.Kind, topic string) []drivers.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []drivers.Observation
	for _, o := range s.all {
		if o.Lane == lane && o.Kind == kind && o.Topic == topic {
			out = append(out, o)
		}
	}
	return out
}

// values is the states of a topic, each only when it differs from the one before.
func (s *seen) values(lane drivers.Lane, topic string) []string {
	var out []string
	for _, o := range s.find(lane, drivers.State, topic) {
		if len(out) == 0 || out[len(out)-1] != o.Value {
			out = append(out, o.Value)
		}
	}
	return out
}

func TestConformance(t *testing.T) {
	q := startQMP(t, runs)
	l := startLauncher(t, HostState{Host: "esxi", VMs: []VMState{{Name: "a", On: true, QMP: q.socket}, {Name: "b", QMP: q.socket + "-none"}}})
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return open(t, l) }, conformance.Options{
		State: l.look, Hang: l.hang, Fail: l.fail, VM: "a",
	})
}

func TestPowersOfTheRegisteredType(t *testing.T) {
	g := NewWithT(t)
	reg, ok := drivers.Lookup("hypervisor/qemu")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(reg.Type, drivers.CanSwitchVMs)).To(BeTrue())
	g.Expect(drivers.Has(reg.Type, drivers.CanScreenshot)).To(BeTrue())
	g.Expect(drivers.Has(reg.Type, drivers.CanStopService)).To(BeFalse())
}

func TestPowers(t *testing.T) {
	g := NewWithT(t)
	l := startLauncher(t, HostState{Settings: map[string]string{"Misc.APDTimeout": "140"}, VMs: []VMState{{Name: "a", On: true}}})
	l.picture = []byte("\x89PNG")
	d, _ := open(t, l)
	ctx := t.Context()
	g.Expect(d.Settings(ctx)).To(HaveKeyWithValue("Misc.APDTimeout", "140"))
	g.Expect(d.Reset(ctx, "a")).To(Succeed())
	g.Expect(d.PowerOff(ctx, "a")).To(Succeed())
	g.Expect(d.Reset(ctx, "a")).To(Succeed(), "a machine that is off is switched on")
	g.Expect(l.did()).To(Equal([]string{"a reset", "a off", "a on"}))
	g.Expect(d.PowerOn(ctx, "x")).To(MatchError(ContainSubstring("no such machine")))
	g.Expect(d.Reset(ctx, "x")).To(MatchError(ContainSubstring(`no machine "x"`)))
	g.Expect(d.Screenshot(ctx, "a")).To(Equal(l.picture))
	l.picture = nil
	_, err := d.Screenshot(ctx, "a")
	g.Expect(err).To(MatchError("QEMU wrote an empty picture"))
}

func TestObserve(t *testing.T) {
	g := NewWithT(t)
	q := startQMP(t, runs)
	l := startLauncher(t, HostState{VMs: []VMState{{Name: "a", On: true, QMP: q.socket}}})
	d, clock := open(t, l)
	s := observe(t, d)
	g.Eventually(func() []string { return s.values(vmLane("a"), "run") }, "5s").Should(Equal([]string{"running"}))
	g.Expect(s.values(vmLane("a"), "monitor")).To(Equal([]string{"answers"}))
	g.Expect(s.values(vmLane("a"), "power")).To(Equal([]string{"on"}))
	g.Expect(s.values(hostLane, "manageable")).To(Equal([]string{"yes"}))

	var ts unix.Timespec
	g.Expect(unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)).To(Succeed())
	before := clock.Now()
	l.happen(HostEvent{Mono: ts.Nano(), Kind: drivers.State, Topic: "apd", Value: "apd", Text: "words", Attrs: map[string]string{"x": "y"}})
	l.happen(HostEvent{Mono: ts.Nano() + 1, VM: "a", Kind: drivers.Event, Topic: "qemu", Value: "exited"})
	g.Eventually(func() int { return len(s.find(vmLane("a"), drivers.Event, "qemu")) }, "5s").Should(Equal(1))
	o := s.find(hostLane, drivers.State, "apd")[0]
	g.Expect(o.Hi).To(BeNumerically("~", before, 50*time.Millisecond))
	g.Expect(o.Text).To(Equal("words"))
	g.Expect(o.Attrs).To(HaveKeyWithValue("x", "y"))

	g.Expect(d.PowerOff(t.Context(), "a")).To(Succeed())
	g.Eventually(func() []string { return s.values(vmLane("a"), "power") }, "5s").Should(Equal([]string{"on", "off"}))
}

// TestObserveOldStates has a state from long before the run: it holds from the run's beginning.
func TestObserveOldStates(t *testing.T) {
	g := NewWithT(t)
	l := startLauncher(t, HostState{})
	l.happen(HostEvent{Mono: 1, Kind: drivers.State, Topic: "path", Value: "online"})
	d, _ := open(t, l)
	s := observe(t, d)
	g.Eventually(func() []string { return s.values(hostLane, "path") }, "5s").Should(Equal([]string{"online"}))
	g.Expect(s.find(hostLane, drivers.State, "path")[0].Hi).To(BeZero())
}

// TestObserveStall freezes a machine's monitor and lets it go again.
func TestObserveStall(t *testing.T) {
	g := NewWithT(t)
	q, other := startQMP(t, runs), startQMP(t, func(w io.Writer, r request) { ok(w, r, `{"status": "paused"}`) })
	l := startLauncher(t, HostState{VMs: []VMState{{Name: "a", On: true, QMP: q.socket}, {Name: "b", On: true, QMP: other.socket}}})
	d, clock := open(t, l)
	s := observe(t, d)
	a := vmLane("a")
	g.Eventually(func() []string { return s.values(a, "monitor") }, "5s").Should(Equal([]string{"answers"}))
	q.hang()
	frozen := clock.Now()
	g.Eventually(func() []string { return s.values(a, "monitor") }, "10s", "20ms").Should(Equal([]string{"answers", "stalled"}))
	n := len(s.find(vmLane("b"), drivers.Sample, "monitor"))
	silences := func() []float64 {
		var out []float64
		for _, o := range s.find(a, drivers.Sample, "monitor") {
			if o.Num >= stalledAt.Seconds() {
				out = append(out, o.Num)
			}
		}
		return out
	}
	g.Eventually(func() int { return len(silences()) }, "10s", "20ms").Should(BeNumerically(">=", 3))
	q.release()
	thawed := clock.Now()
	g.Eventually(func() []string { return s.values(a, "monitor") }, "5s", "20ms").Should(Equal([]string{"answers", "stalled", "answers"}))
	s.stop()

	lens := silences()
	for i := 1; i < len(lens); i++ {
		g.Expect(lens[i]).To(BeNumerically(">", lens[i-1]))
	}
	g.Expect(lens[0]).To(BeNumerically("<", stalledAt.Seconds()+1))
	states := s.find(a, drivers.State, "monitor")
	for i, o := range states {
		switch {
		case o.Value == "stalled":
			g.Expect(o.Lo).To(BeNumerically(">=", frozen-pollEvery-50*time.Millisecond))
			g.Expect(o.Lo).To(BeNumerically("<=", frozen+pollEvery+500*time.Millisecond))
		case i > 0 && states[i-1].Value == "stalled":
			g.Expect(o.Hi).To(BeNumerically(">=", thawed))
		}
	}
	g.Expect(len(s.find(vmLane("b"), drivers.Sample, "monitor"))).To(BeNumerically(">", n), "the other machine is watched all the while")
	g.Expect(s.values(vmLane("b"), "run")).To(Equal([]string{"paused"}))
}

// TestObserveStalledFromTheStart has a machine that is frozen before the driver ever reaches its monitor.
func TestObserveStalledFromTheStart(t *testing.T) {
	g := NewWithT(t)
	q := startQMP(t, runs)
	q.hang()
	l := startLauncher(t, HostState{VMs: []VMState{{Name: "a", On: true, QMP: q.socket}}})
	d, _ := open(t, l)
	s := observe(t, d)
	g.Eventually(func() []string { return s.values(vmLane("a"), "monitor") }, "8s", "50ms").Should(ContainElement("stalled"))
}

// TestObserveReconnects gives a machine a new QEMU.
func TestObserveReconnects(t *testing.T) {
	g := NewWithT(t)
	var mu sync.Mutex
	status := "running"
	q := startQMP(t, func(w io.Writer, r request) {
		mu.Lock()
		defer mu.Unlock()
		ok(w, r, `{"status": "`+status+`"}`)
	})
	l := startLauncher(t, HostState{VMs: []VMState{{Name: "a", On: true, QMP: q.socket}}})
	d, _ := open(t, l)
	s := observe(t, d)
	g.Eventually(func() []string { return s.values(vmLane("a"), "run") }, "5s").Should(Equal([]string{"running"}))
	mu.Lock()
	status = "inmigrate"
	mu.Unlock()
	q.drop()
	g.Eventually(func() []string { return s.values(vmLane("a"), "run") }, "5s").Should(Equal([]string{"running", "inmigrate"}))
}

// TestObserveManageable makes the launcher fail, hang and answer again.
func TestObserveManageable(t *testing.T) {
	g := NewWithT(t)
	l := startLauncher(t, HostState{})
	d, _ := open(t, l)
	s := observe(t, d)
	say := func() string { return strings.Join(s.values(hostLane, "manageable"), " ") }
	g.Eventually(say, "5s").Should(Equal("yes"))
	mend := l.fail()
	g.Eventually(say, "5s").Should(Equal("yes no"))
	mend()
	g.Eventually(say, "5s").Should(Equal("yes no yes"))
	release := l.hang()
	g.Eventually(say, "10s").Should(Equal("yes no yes no"))
	release()
	g.Eventually(say, "5s").Should(Equal("yes no yes no yes"))
}
