// Package conformance has the checks that every driver passes, whoever wrote it: a driver's own test opens it on a system
// of the test's own, tells how that system can be looked at without the driver, and calls Run.
package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Options says what a driver's test can do with the system behind the driver.
type Options struct {
	// State says how the system is, seen without the driver: equal texts for equal states, another one as soon as a power
	// has changed something. A driver with powers that journal needs it.
	State func() string
	// Hang makes the system accept everything and answer nothing until release is called. Without it nothing is known of
	// the driver's deadlines.
	Hang func() (release func())
	// HangElsewhere says why Observe need not tell of a hang: where else it shows.
	HangElsewhere string
	// Fail makes the system fail so that Probe must say so, until mend is called.
	Fail func() (mend func())

	VM  string // a machine that powers may be asked to switch, with a context that has ended already
	LUN int    // the same of a LUN

	// Wire looks at the storage as an initiator does, and Control at storage that no power of this driver may touch: an error
	// means that there is none. With them, every power that journals has to break the first beside the second.
	Wire, Control func(ctx context.Context) error

	Look time.Duration // how long Wire may take when all is well; 0: 1 s

	// Setting is one that a Tuner may change on the test's system, and another value for it.
	Setting struct{ Key, Value string }

	CrashHost bool // the host may be crashed

	Grace  time.Duration // how much later than its context a call may end; 0: 2 s
	Heal   time.Duration // how long a cluster must have had all its redundancy before something is done to it; 0: at the moment
	Settle time.Duration // how long State and Observe may take to show a change; 0: 15 s
}

// Run checks the driver that open opens, each rule in a subtest. open is called several times, and each time gives a new
// instance on the same system, as another process would have one. Run closes them.
func Run(t *testing.T, open func(t *testing.T) (drivers.Driver, drivers.Clock), o Options) {
	t.Helper()
	d, _ := open(t)
	rs := rules(d, o)
	if err := d.Close(); err != nil {
		t.Fatalf("closing: %v", err)
	}
	for _, r := range rs {
		t.Run(r.name, func(t *testing.T) {
			if r.lacks != "" {
				t.Skip(r.lacks)
			}
			k := newKit(func() (drivers.Driver, drivers.Clock) { return open(t) }, o)
			d, _ := open(t)
			if err := errors.Join(k.whole(d), d.Close()); err != nil {
				t.Fatal(err)
			}
			if err := r.check(k); err != nil {
				t.Error(err)
			}
		})
	}
}

// rule is one thing that a driver has to keep to.
type rule struct {
	name  string
	lacks string // why it cannot be checked here
	check func(*kit) error
}

// Power is one change that a driver can make and undo.
type Power struct {
	Name string
	Do   func(context.Context, drivers.Driver, drivers.Journal) error
}

// rules lists what can be asked of d.
func rules(d drivers.Driver, o Options) []rule {
	hang, fail, state := "", "", ""
	if o.Hang == nil {
		hang = "the test cannot make the system hang"
	}
	if o.Fail == nil {
		fail = "the test cannot make the system fail"
	}
	if o.State == nil {
		state = "the test cannot look at the system without the driver"
	}
	seen := hang
	if o.HangElsewhere != "" {
		seen = o.HangElsewhere
	}
	rs := []rule{
		{"probe", "", (*kit).probe},
		{"probe ends with its context", "", (*kit).probeEnded},
		{"probe of a hanging system", hang, (*kit).probeHang},
		{"probe of a failing system", fail, (*kit).probeFail},
		{"observe", "", (*kit).observe},
		{"observe ends with its context", "", (*kit).observeEnded},
		{"observe ends while the system hangs", hang, (*kit).observeHang},
		{"observe tells of a hang", seen, (*kit).observeTells},
		{"undo of an unknown op", "", (*kit).undoUnknown},
		{"close", "", (*kit).close},
	}
	for _, p := range Powers(d, o) {
		rs = append(rs,
			rule{p.Name + " journals first", state, func(k *kit) error { return k.journalsFirst(p) }},
			rule{p.Name + " heeds the journal", state, func(k *kit) error { return k.heedsJournal(p) }},
			rule{p.Name + " is undone from data", state, func(k *kit) error { return k.undone(p) }},
			rule{p.Name + " ends with its context", "", func(k *kit) error { return k.ended(p) }})
	}
	for _, p := range others(d, o) {
		rs = append(rs, rule{p.Name + " ends with its context", "", func(k *kit) error { return k.ended(p) }})
	}
	return rs
}

// Powers lists what d can change and undo.
func Powers(d drivers.Driver, o Options) []Power {
	var ps []Power
	if _, ok := d.(drivers.ServiceStopper); ok {
		ps = append(ps, Power{"StopService", func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.ServiceStopper).StopService(ctx, j)
		}})
	}
	if _, ok := d.(drivers.TargetRebooter); ok {
		ps = append(ps, Power{"RebootTarget", func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.TargetRebooter).RebootTarget(ctx, j)
		}})
	}
	if _, ok := d.(drivers.PowerCutter); ok {
		ps = append(ps, Power{"CutPower", func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.PowerCutter).CutPower(ctx, j)
		}})
	}
	if _, ok := d.(drivers.Tuner); ok && o.Setting.Key != "" {
		ps = append(ps, Power{tune, func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.Tuner).Tune(ctx, o.Setting.Key, o.Setting.Value, j)
		}})
	}
	if b, ok := d.(drivers.PathBreaker); ok {
		for _, kind := range b.BreakKinds() {
			ps = append(ps, Power{"BreakPath " + string(kind), func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
				return d.(drivers.PathBreaker).BreakPath(ctx, kind, j)
			}})
		}
	}
	if _, ok := d.(drivers.HostCrasher); ok && o.CrashHost {
		ps = append(ps, Power{"CrashHost", func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.HostCrasher).CrashHost(ctx, j)
		}})
	}
	if _, ok := d.(drivers.DiskStaller); ok {
		ps = append(ps, Power{"StallDisk", func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
			return d.(drivers.DiskStaller).StallDisk(ctx, j)
		}})
	}
	if f, ok := d.(drivers.DiskFailer); ok {
		for _, kind := range f.DiskFaults() {
			ps = append(ps, Power{"FailDisk " + string(kind), func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
				return d.(drivers.DiskFailer).FailDisk(ctx, kind, j)
			}})
		}
	}
	if c, ok := d.(drivers.ControllerStopper); ok {
		for _, kind := range c.ControllerStops() {
			ps = append(ps, Power{"StopController " + string(kind), func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
				return d.(drivers.ControllerStopper).StopController(ctx, kind, j)
			}})
		}
	}
	if _, ok := d.(drivers.IOStaller); ok {
		for _, s := range []drivers.StallRule{{LUN: o.LUN, Op: "read", Count: 1}, {Op: "any", AnswerAbort: true}} {
			ps = append(ps, Power{"StallIO " + s.Op, func(ctx context.Context, d drivers.Driver, j drivers.Journal) error {
				return d.(drivers.IOStaller).StallIO(ctx, s, j)
			}})
		}
	}
	return ps
}

// others lists d's powers that do not journal. They are only called with contexts that have ended.
func others(d drivers.Driver, o Options) []Power {
	var ps []Power
	add := func(name string, has bool, do func(ctx context.Context, d drivers.Driver) error) {
		if has {
			ps = append(ps, Power{name, func(ctx context.Context, d drivers.Driver, _ drivers.Journal) error { return do(ctx, d) }})
		}
	}
	_, vms := d.(drivers.VMPower)
	vms = vms && o.VM != ""
	add("PowerOff", vms, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.VMPower).PowerOff(ctx, o.VM) })
	add("PowerOn", vms, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.VMPower).PowerOn(ctx, o.VM) })
	add("Reset", vms, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.VMPower).Reset(ctx, o.VM) })
	_, ok := d.(drivers.Console)
	add("Screenshot", ok && o.VM != "", func(ctx context.Context, d drivers.Driver) error {
		_, err := d.(drivers.Console).Screenshot(ctx, o.VM)
		return err
	})
	_, ok = d.(drivers.Settings)
	add("Settings", ok, func(ctx context.Context, d drivers.Driver) error {
		_, err := d.(drivers.Settings).Settings(ctx)
		return err
	})
	_, ok = d.(drivers.Examiner)
	add("Examine", ok, func(ctx context.Context, d drivers.Driver) error {
		for _, f := range d.(drivers.Examiner).Examine(ctx) {
			if f.OK { // it could not know
				return nil
			}
		}
		return ctx.Err()
	})
	_, ok = d.(drivers.Resilient)
	add("Resilient", ok, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.Resilient).Resilient(ctx) })
	_, ok = d.(drivers.CacheDropper)
	add("DropCaches", ok, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.CacheDropper).DropCaches(ctx) })
	_, ok = d.(drivers.WriteVerifier)
	add("VerifyWrites", ok, func(ctx context.Context, d drivers.Driver) error {
		_, err := d.(drivers.WriteVerifier).VerifyWrites(ctx)
		return err
	})
	_, ok = d.(drivers.Halter)
	add("Halt", ok, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.Halter).Halt(ctx) })
	_, ok = d.(drivers.Loader)
	add("Load", ok, func(ctx context.Context, d drivers.Driver) error { return d.(drivers.Loader).Load(ctx, 1) })
	_, ok = d.(drivers.ImageChecker)
	add("CheckImage", ok, func(ctx context.Context, d drivers.Driver) error {
		_, err := d.(drivers.ImageChecker).CheckImage(ctx, o.LUN)
		return err
	})
	return ps
}

// kit is what one rule works with.
type kit struct {
	o    Options
	open func() (drivers.Driver, drivers.Clock)
}

// patience bounds what a healthy system needs for one call.
const patience = 90 * time.Second

func newKit(open func() (drivers.Driver, drivers.Clock), o Options) *kit {
	if o.Grace == 0 {
		o.Grace = 2 * time.Second
	}
	if o.Look == 0 {
		o.Look = time.Second
	}
	if o.Settle == 0 {
		o.Settle = 15 * time.Second
	}
	if o.State == nil {
		o.State = func() string { return "" }
	}
	return &kit{o: o, open: open}
}

// errNoReturn is what bounded says of a call that is still running.
var errNoReturn = errors.New("the call did not return")

// bounded runs f and waits for it no longer than limit; a call that stays is left behind.
func bounded(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-t.C:
		return errNoReturn
	}
}

// timed runs f with a context that ends after limit and gives it the grace on top.
func (k *kit) timed(limit time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return bounded(limit+k.o.Grace, func() error { return f(ctx) })
}

// canceled runs f with a context that is canceled once f runs, and after that gives it only the grace.
func (k *kit) canceled(after time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer time.AfterFunc(after, cancel).Stop()
	return bounded(after+k.o.Grace, func() error { return f(ctx) })
}

func violated(what string, err error) error {
	if err == nil {
		return errors.New(what)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (k *kit) probe() error {
	d, _ := k.open()
	defer d.Close()
	if err := k.timed(patience, d.Probe); err != nil {
		return violated("Probe of a healthy system", err)
	}
	return nil
}

func (k *kit) probeEnded() error {
	d, _ := k.open()
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	switch err := bounded(k.o.Grace, func() error { return d.Probe(ctx) }); {
	case errors.Is(err, errNoReturn):
		return violated("Probe with a context that has ended", err)
	case err == nil:
		return violated("Probe says that all is well although its context had ended before it could know", nil)
	default:
		return operator("Probe with a context that has ended", err)
	}
}

// short is a deadline that a hanging system must not outlast.
const short = 300 * time.Millisecond

func (k *kit) probeHang() error {
	d, _ := k.open()
	defer d.Close()
	release := k.o.Hang()
	defer release()
	err := k.timed(short, d.Probe)
	if err == nil || errors.Is(err, errNoReturn) {
		return violated("Probe with a deadline, of a system that hangs, returned "+fmt.Sprint(err), nil)
	}
	if err := operator("Probe of a system that hangs", err); err != nil {
		return err
	}
	err = k.canceled(short, d.Probe)
	if err == nil || errors.Is(err, errNoReturn) {
		return violated("Probe that was canceled, of a system that hangs, returned "+fmt.Sprint(err), nil)
	}
	return nil
}

func (k *kit) probeFail() error {
	d, _ := k.open()
	defer d.Close()
	mend := k.o.Fail()
	defer mend()
	return operator("Probe of a system that fails", k.timed(patience, d.Probe))
}

// operator tells an error for the person who runs the lab from one that is not.
func operator(what string, err error) error {
	var op *drivers.Operator
	switch {
	case err == nil:
		return violated(what+" finds nothing wrong", nil)
	case !errors.As(err, &op):
		return violated(what+" gives no *drivers.Operator", err)
	case op.Cause == "" || op.Impact == "" || op.Do == "":
		return fmt.Errorf("%s: the error lacks one of cause (%q), impact (%q) and what to do (%q)", what, op.Cause, op.Impact, op.Do)
	}
	return nil
}

func (k *kit) undoUnknown() error {
	d, _ := k.open()
	defer d.Close()
	before := k.o.State()
	for _, op := range []string{"", "no-such-op"} {
		err := k.timed(patience, func(ctx context.Context) error {
			_, err := d.Undo(ctx, drivers.Undo{Driver: "x", Op: op, Args: map[string]string{}})
			return err
		})
		if !errors.Is(err, drivers.ErrUnknownUndo) {
			return fmt.Errorf("the undo of the op %q returned %v, not ErrUnknownUndo", op, err)
		}
	}
	return k.same(before, "Undo of an unknown op")
}

func (k *kit) close() error {
	d, _ := k.open()
	before := k.o.State()
	if err := k.timed(patience, d.Probe); err != nil { // so that there may be something to close
		d.Close()
		return violated("Probe of a healthy system", err)
	}
	for _, which := range []string{"first", "second"} {
		if err := bounded(k.o.Grace, d.Close); err != nil {
			return violated("the "+which+" Close", err)
		}
	}
	return k.same(before, "Close")
}

// quiet is how long the system is looked at for a change that must not be.
const quiet = 100 * time.Millisecond

// same checks that State is what it was.
func (k *kit) same(before, after string) error {
	end := time.Now().Add(quiet)
	for {
		if now := k.o.State(); now != before {
			return fmt.Errorf("%s changed the system from %q to %q", after, before, now)
		}
		if time.Now().After(end) {
			return nil
		}
		time.Sleep(quiet / 10)
	}
}

// settled waits until State is, or is no longer, what it was.
func (k *kit) settled(before string, same bool) (string, bool) {
	for end := time.Now().Add(k.o.Settle); ; time.Sleep(10 * time.Millisecond) {
		now := k.o.State()
		if (now == before) == same || time.Now().After(end) {
			return now, (now == before) == same
		}
	}
}

// whole waits until a cluster has all its redundancy, for as long as it shall last: it refuses what is done to it before.
func (k *kit) whole(d drivers.Driver) error {
	r, ok := d.(drivers.Resilient)
	if !ok {
		return nil
	}
	var since time.Time
	for end := time.Now().Add(k.o.Settle + k.o.Heal); ; time.Sleep(50 * time.Millisecond) {
		err := k.timed(patience, r.Resilient)
		switch {
		case err != nil && time.Now().After(end):
			return violated("a cluster to which nothing is done any more", err)
		case err != nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		if err == nil && time.Since(since) >= k.o.Heal {
			return nil
		}
	}
}

// undoAll puts back what was journalled, the newest first, with a driver of its own, and waits for the state before.
func (k *kit) undoAll(before string, us []drivers.Undo) error {
	d, _ := k.open()
	defer d.Close()
	var errs []error
	for i := len(us) - 1; i >= 0; i-- {
		errs = append(errs, k.timed(us[i].Limit(), func(ctx context.Context) error {
			_, err := d.Undo(ctx, us[i])
			return err
		}))
	}
	if now, ok := k.settled(before, true); !ok {
		errs = append(errs, fmt.Errorf("after the undo the system is %q and was %q", now, before))
	}
	return errors.Join(errs...)
}

// journalsFirst checks that an undo is written before anything changes, and that the change is then made.
func (k *kit) journalsFirst(p Power) (err error) {
	d, _ := k.open()
	defer d.Close()
	before := k.o.State()
	var us []drivers.Undo
	early := ""
	defer func() { err = errors.Join(err, k.undoAll(before, us)) }()
	err = k.timed(patience, func(ctx context.Context) error {
		return p.Do(ctx, d, func(_ context.Context, u drivers.Undo) error {
			if now := k.o.State(); now != before && len(us) == 0 {
				early = now
			}
			us = append(us, u)
			return nil
		})
	})
	switch {
	case err != nil:
		return violated(p.Name, err)
	case len(us) == 0:
		return violated(p.Name+" journalled nothing", nil)
	case early != "":
		return fmt.Errorf("%s changed the system from %q to %q before it journalled", p.Name, before, early)
	}
	for _, u := range us {
		if u.Driver == "" || u.Op == "" {
			return fmt.Errorf("%s journalled an undo without its driver or op: %+v", p.Name, u)
		}
	}
	if _, ok := k.settled(before, false); !ok {
		return fmt.Errorf("%s changed nothing that can be seen: the system is still %q", p.Name, before)
	}
	return nil
}

var errJournal = errors.New("the disk of the journal is full")

// heedsJournal checks that nothing changes when the journal cannot be written.
func (k *kit) heedsJournal(p Power) (err error) {
	d, _ := k.open()
	defer d.Close()
	before := k.o.State()
	var us []drivers.Undo
	err = k.timed(patience, func(ctx context.Context) error {
		return p.Do(ctx, d, func(_ context.Context, u drivers.Undo) error { us = append(us, u); return errJournal })
	})
	defer func() {
		if err != nil && len(us) > 0 {
			_ = k.undoAll(before, us) // for the rules that follow
		}
	}()
	if !errors.Is(err, errJournal) {
		return fmt.Errorf("%s returned %v, and not the error of its journal", p.Name, err)
	}
	return k.same(before, p.Name+", whose journal could not be written,")
}

// undone checks that an undo needs nothing but its data, and can be repeated.
func (k *kit) undone(p Power) (err error) {
	before := k.o.State()
	var us []drivers.Undo
	d, _ := k.open()
	err = k.timed(patience, func(ctx context.Context) error {
		return p.Do(ctx, d, func(_ context.Context, u drivers.Undo) error { us = append(us, u); return nil })
	})
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, k.undoAll(before, us))
		}
	}()
	if err != nil {
		return violated(p.Name, err)
	}
	if _, ok := k.settled(before, false); !ok {
		return fmt.Errorf("%s changed nothing that can be seen: the system is still %q", p.Name, before)
	}
	if err := k.onTheWire(p, true); err != nil {
		return err
	}
	for round, want := range []drivers.UndoResult{drivers.Undone, drivers.NothingLeft, drivers.NothingLeft} {
		for i := len(us) - 1; i >= 0; i-- {
			u, err := roundTrip(us[i])
			if err != nil {
				return err
			}
			if err := k.undoOnce(p, u, want); err != nil {
				return fmt.Errorf("undo number %d by a new driver: %w", round+1, err)
			}
		}
		if now, ok := k.settled(before, true); !ok {
			return fmt.Errorf("after undo number %d of %s the system is %q and was %q", round+1, p.Name, now, before)
		}
		if err := k.onTheWire(p, false); err != nil {
			return fmt.Errorf("after undo number %d: %w", round+1, err)
		}
	}
	return nil
}

// controlLook bounds a look at the control, which is well: longer than a busy machine may take.
const controlLook = 5 * time.Second

// onTheWire waits until an initiator sees the storage broken, or whole again, beside a control that is never touched. Settings
// are nothing that it could see.
func (k *kit) onTheWire(p Power, broken bool) error {
	if k.o.Wire == nil || p.Name == tune {
		return nil
	}
	var err error
	for end := time.Now().Add(k.o.Settle); ; time.Sleep(20 * time.Millisecond) {
		err = k.timed(k.o.Look, k.o.Wire)
		if (err != nil) == broken {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s is not seen on the wire, where a look says %v", p.Name, err)
		}
	}
	if k.o.Control == nil {
		return nil
	}
	if err := k.timed(controlLook, k.o.Control); err != nil {
		return violated("the control, which "+p.Name+" must not touch, is broken too", err)
	}
	return nil
}

// tune is the name of the power that no initiator sees.
const tune = "Tune"

func (k *kit) undoOnce(p Power, u drivers.Undo, want drivers.UndoResult) error {
	d, _ := k.open()
	defer d.Close()
	var got drivers.UndoResult
	err := k.timed(u.Limit(), func(ctx context.Context) (err error) {
		got, err = d.Undo(ctx, u)
		return err
	})
	if err != nil {
		return violated("undoing "+p.Name, err)
	}
	if got != want {
		return fmt.Errorf("undoing %s gave %q, want %q", p.Name, got, want)
	}
	return nil
}

// roundTrip is what a journal does to an undo.
func roundTrip(u drivers.Undo) (drivers.Undo, error) {
	var back drivers.Undo
	b, err := json.Marshal(u)
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil {
		return back, violated("an undo does not survive JSON", err)
	}
	if u.Driver != back.Driver || u.Op != back.Op || len(u.Args)+len(back.Args) > 0 && !reflect.DeepEqual(u.Args, back.Args) || !u.Until.Equal(back.Until) || u.Takes != back.Takes {
		return back, fmt.Errorf("an undo does not survive JSON: %+v became %+v", u, back)
	}
	return back, nil
}

// ended checks that a power whose context has ended returns an error at once and changes nothing.
func (k *kit) ended(p Power) error {
	d, _ := k.open()
	defer d.Close()
	before := k.o.State()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var us []drivers.Undo
	err := bounded(k.o.Grace, func() error {
		return p.Do(ctx, d, func(ctx context.Context, u drivers.Undo) error { us = append(us, u); return ctx.Err() })
	})
	if err == nil || errors.Is(err, errNoReturn) {
		if len(us) > 0 {
			_ = k.undoAll(before, us) // for the rules that follow
		}
		return fmt.Errorf("%s with a context that has ended returned %v", p.Name, err)
	}
	return k.same(before, p.Name+" with a context that has ended")
}
