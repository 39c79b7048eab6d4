package conformance

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// system is what the drivers of these tests drive: a service that is on or off.
type system struct {
	mu      sync.Mutex
	off     bool
	failing bool
	hung    chan struct{} // closed when it is released; nil: it answers
	looks   chan struct{} // closed and replaced at every change
}

func newSystem() *system { return &system{looks: make(chan struct{})} }

func (s *system) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	close(s.looks)
	s.looks = make(chan struct{})
}

func (s *system) state() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off {
		return "off"
	}
	return "on"
}

func (s *system) set(off bool) { s.change(func() { s.off = off }) }

func (s *system) hang() func() {
	ch := make(chan struct{})
	s.change(func() { s.hung = ch })
	return func() {
		s.change(func() { s.hung = nil })
		close(ch)
	}
}

func (s *system) fail() func() {
	s.change(func() { s.failing = true })
	return func() { s.change(func() { s.failing = false }) }
}

// ask is a call of the system.
func (s *system) ask(ctx context.Context) error {
	s.mu.Lock()
	hung, failing := s.hung, s.failing
	s.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
		}
	}
	if failing {
		return errors.New("it fails")
	}
	return ctx.Err()
}

// sin is what a bad driver does wrong; the zero sin is a good one.
type sin string

type driver struct {
	sys   *system
	clock drivers.Clock
	sin   sin
	noted bool // what only this instance knows
	shut  bool
}

func (d *driver) Probe(ctx context.Context) error {
	switch d.sin {
	case "probe fails":
		return errors.New("no")
	case "probe deaf":
		ctx = context.WithoutCancel(ctx)
	case "probe lies":
		return nil
	}
	err := d.sys.ask(ctx)
	switch {
	case err == nil:
		return nil
	case d.sin == "bare error":
		return err
	case d.sin == "no remedy":
		return &drivers.Operator{Cause: "it does not answer", Impact: "nothing works", Err: err}
	}
	return &drivers.Operator{Cause: "it does not answer", Impact: "nothing works", Do: "start it", Err: err}
}

var fakeLane = drivers.Lane{Role: drivers.Target, Name: "fake", Provenance: drivers.Modelled}

func (d *driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	var before time.Duration
	say := func(change func(o *drivers.Observation)) {
		now := d.clock.Now()
		o := drivers.Observation{Lo: before, Hi: now, Lane: fakeLane, Kind: drivers.State, Topic: "service", Value: d.sys.state()}
		if change != nil {
			change(&o)
		}
		before = now
		emit(o)
	}
	if d.sin == "late emit" {
		defer func() { time.AfterFunc(10*time.Millisecond, func() { say(nil) }) }()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		switch d.sin {
		case "observe ends":
			return nil
		case "blind":
		case "deaf to hangs":
			if d.sys.ask(ctx) == nil {
				say(nil)
			}
		case "interval":
			say(func(o *drivers.Observation) { o.Lo = o.Hi + time.Millisecond })
		case "future":
			say(func(o *drivers.Observation) { o.Hi += time.Hour })
		case "backwards":
			say(func(o *drivers.Observation) { o.Lo, o.Hi = 2*time.Minute-o.Hi, 2*time.Minute-o.Hi })
		case "no lane":
			say(func(o *drivers.Observation) { o.Lane = drivers.Lane{} })
		case "no kind":
			say(func(o *drivers.Observation) { o.Kind = "rumour" })
		case "no value":
			say(func(o *drivers.Observation) { o.Value = "" })
		default:
			say(nil)
		}
		if d.sin == "observe hangs" {
			_ = d.sys.ask(context.WithoutCancel(ctx))
		}
		select {
		case <-ctx.Done():
			switch d.sin {
			case "observe error":
				return ctx.Err()
			case "observe deaf":
				time.Sleep(time.Hour)
			}
			return nil
		case <-tick.C:
		}
	}
}

func (d *driver) StopService(ctx context.Context, j drivers.Journal) error {
	u := drivers.Undo{Driver: "target", Op: "start", Args: map[string]string{"was": "on"}}
	switch d.sin {
	case "changes first":
		d.sys.set(true)
	case "no journal":
		d.sys.set(true)
		return nil
	case "no op":
		u.Op = ""
	case "deaf to the end":
		ctx = context.WithoutCancel(ctx)
		_ = j(ctx, u)
		d.sys.set(true)
		return nil
	}
	d.noted = true
	err := j(ctx, u)
	switch {
	case err != nil && d.sin == "hides the journal":
		return nil
	case err != nil && d.sin == "ignores the journal":
		d.sys.set(true)
		return err
	case err != nil:
		return err
	case d.sin == "does nothing":
		return nil
	}
	d.sys.set(true)
	return nil
}

func (d *driver) Undo(_ context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != "start" && u.Op != "" || u.Op == "" && d.sin != "no op" {
		if d.sin == "any op" {
			return drivers.Undone, nil
		}
		return "", drivers.ErrUnknownUndo
	}
	switch {
	case d.sin == "needs its memory" && !d.noted:
		return "", errors.New("I do not remember")
	case d.sin == "undo does nothing":
		return drivers.Undone, nil
	case d.sys.state() == "on":
		switch d.sin {
		case "not idempotent":
			return "", errors.New("it is on")
		case "always undone":
			return drivers.Undone, nil
		}
		return drivers.NothingLeft, nil
	}
	d.sys.set(false)
	return drivers.Undone, nil
}

func (d *driver) Close() error {
	defer func() { d.shut = true }()
	switch {
	case d.sin == "close twice" && d.shut:
		return errors.New("it is closed")
	case d.sin == "close changes" && d.shut:
		d.sys.set(true)
	}
	return nil
}

// Settings is a power that journals nothing.
func (d *driver) Settings(ctx context.Context) (map[string]string, error) {
	if d.sin == "settings deaf" {
		return nil, nil
	}
	return nil, d.sys.ask(ctx)
}

// broken runs one rule on a driver with that sin and returns what it found.
func broken(t *testing.T, s sin, name string) error {
	t.Helper()
	sys := newSystem()
	clock := drivers.Clock{Zero: time.Now().Add(-time.Minute - time.Millisecond)}
	o := Options{State: sys.state, Hang: sys.hang, Fail: sys.fail, Grace: 150 * time.Millisecond, Settle: 300 * time.Millisecond}
	for _, r := range rules(&driver{}, o) {
		if r.name == name && r.lacks == "" {
			return r.check(newKit(func() (drivers.Driver, drivers.Clock) { return &driver{sys: sys, clock: clock, sin: s}, clock }, o))
		}
	}
	t.Fatalf("there is no rule %q, or it cannot be checked", name)
	return nil
}

func TestEveryRuleCatchesItsBadDriver(t *testing.T) {
	for s, want := range map[sin]struct{ rule, says string }{
		"probe fails":         {"probe", "Probe of a healthy system: no"},
		"probe deaf":          {"probe of a hanging system", "did not return"},
		"probe lies":          {"probe of a failing system", "finds nothing wrong"},
		"bare error":          {"probe of a failing system", "gives no *drivers.Operator"},
		"no remedy":           {"probe of a failing system", "lacks one of cause"},
		"observe ends":        {"observe", "ended before its context"},
		"observe error":       {"observe", "returned an error: context canceled"},
		"observe deaf":        {"observe ends with its context", "did not return"},
		"observe hangs":       {"observe ends while the system hangs", "goes on"},
		"blind":               {"observe", "saw nothing"},
		"deaf to hangs":       {"observe tells of a hang", "as silent as the system"},
		"late emit":           {"observe", "after Observe had returned"},
		"interval":            {"observe", "its interval is"},
		"future":              {"observe", "in the future"},
		"backwards":           {"observe", "older than the one before"},
		"no lane":             {"observe", "lane lacks"},
		"no kind":             {"observe", `kind is "rumour"`},
		"no value":            {"observe", "no value"},
		"changes first":       {"StopService journals first", "before it journalled"},
		"no journal":          {"StopService journals first", "journalled nothing"},
		"no op":               {"StopService journals first", "without its driver or op"},
		"does nothing":        {"StopService journals first", "changed nothing that can be seen"},
		"hides the journal":   {"StopService heeds the journal", "not the error of its journal"},
		"ignores the journal": {"StopService heeds the journal", "changed the system from"},
		"needs its memory":    {"StopService is undone from data", "I do not remember"},
		"undo does nothing":   {"StopService is undone from data", `the system is "off" and was "on"`},
		"not idempotent":      {"StopService is undone from data", "it is on"},
		"always undone":       {"StopService is undone from data", `gave "undone", want "nothing left"`},
		"any op":              {"undo of an unknown op", "not ErrUnknownUndo"},
		"close twice":         {"close", "the second Close: it is closed"},
		"close changes":       {"close", "Close changed the system"},
		"deaf to the end":     {"StopService ends with its context", "returned <nil>"},
		"settings deaf":       {"Settings ends with its context", "returned <nil>"},
	} {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			g.Expect(broken(t, s, want.rule)).To(MatchError(ContainSubstring(want.says)))
		})
	}
}

func TestGoodDriverPasses(t *testing.T) {
	sys := newSystem()
	Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) {
		c := drivers.Clock{Zero: time.Now()}
		return &driver{sys: sys, clock: c}, c
	}, Options{State: sys.state, Hang: sys.hang, Fail: sys.fail, Settle: 5 * time.Second})
}

// TestRunFails runs a bad driver through Run itself, in a process of its own, and checks that its test fails.
func TestRunFails(t *testing.T) {
	const env = "CONFORMANCE_BAD"
	if os.Getenv(env) != "" {
		sys := newSystem()
		Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) {
			c := drivers.Clock{Zero: time.Now()}
			return &driver{sys: sys, clock: c, sin: "any op"}, c
		}, Options{State: sys.state})
		return
	}
	g := NewWithT(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunFails$", "-test.v")
	cmd.Env = append(os.Environ(), env+"=1")
	out, err := cmd.CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(string(out)).To(ContainSubstring("--- FAIL: TestRunFails/undo_of_an_unknown_op"))
	g.Expect(string(out)).To(ContainSubstring("--- SKIP: TestRunFails/probe_of_a_hanging_system"))
	g.Expect(strings.Count(string(out), "--- FAIL: TestRunFails/")).To(Equal(1))
}

func TestUndoHasToSurviveJSON(t *testing.T) {
	g := NewWithT(t)
	_, err := roundTrip(drivers.Undo{Driver: "d", Op: "o", Args: map[string]string{"bytes": "\xff"}})
	g.Expect(err).To(MatchError(ContainSubstring("does not survive JSON")))
	_, err = roundTrip(drivers.Undo{Driver: "d", Op: "o", Until: time.Now()})
	g.Expect(err).NotTo(HaveOccurred())
}
