package truenas

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

// TestMain lets tests wait side by side, however few processors there are.
func TestMain(m *testing.M) {
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f != nil {
		_ = f.Value.Set("8")
	}
	os.Exit(m.Run())
}

// watch observes until it is told to end.
type watch struct {
	mu   sync.Mutex
	all  []drivers.Observation
	stop context.CancelFunc
	done chan struct{}
}

func (l *lab) watch() *watch {
	ctx, cancel := context.WithCancel(l.t.Context())
	w := &watch{stop: cancel, done: make(chan struct{})}
	d := l.open()
	go func() {
		defer close(w.done)
		if err := d.Observe(ctx, func(o drivers.Observation) {
			clean(l.t, fmt.Sprint(o))
			w.mu.Lock()
			defer w.mu.Unlock()
			w.all = append(w.all, o)
		}); err != nil {
			l.t.Error(err)
		}
	}()
	l.t.Cleanup(func() { cancel(); <-w.done })
	return w
}

// last returns the newest observation of a topic.
func (w *watch) last(kind drivers.Kind, topic string) (drivers.Observation, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out drivers.Observation
	n := 0
	for _, o := range w.all {
		if o.Kind == kind && o.Topic == topic {
			out, n = o, n+1
		}
	}
	return out, n
}

// await waits for a topic's value to become one that is good.
func (w *watch) await(t *testing.T, kind drivers.Kind, topic string, good func(drivers.Observation) bool) drivers.Observation {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		o, n := w.last(kind, topic)
		if n > 0 && good(o) {
			return o
		}
		if time.Now().After(end) {
			t.Fatalf("%s %s does not come; the last of %d is %+v", kind, topic, n, o)
		}
	}
}

func is(value string) func(drivers.Observation) bool {
	return func(o drivers.Observation) bool { return o.Value == value }
}

func TestObservations(t *testing.T) {
	forEach(t, true, func(c *sim.Config) { c.BootTime = 1500 * time.Millisecond }, func(t *testing.T, l *lab) {
		tells := !strings.HasPrefix(t.Name(), "TestObservations/FreeNAS") // of sessions
		host := sim.Session{Initiator: "iqn.1998-01.com.vmware:esxi", Address: "10.0.0.9", Target: iqn}
		l.nas.SetSessions(host, sim.Session{Initiator: initiator, Address: "10.0.0.2", Target: iqn})
		w := l.watch()
		w.await(t, drivers.State, "service", is("serving"))
		w.await(t, drivers.State, "api", is("answers"))
		w.await(t, drivers.State, "service.reported", is("RUNNING"))
		if tells {
			w.await(t, drivers.Sample, "sessions", func(o drivers.Observation) bool { return o.Num == 1 })
		}
		boot := w.await(t, drivers.State, "boot", func(o drivers.Observation) bool { return o.Value != "" })

		var j journal
		if err := l.open().StopService(t.Context(), j.add); err != nil {
			t.Fatal(err)
		}
		l.nas.SetSessions()
		w.await(t, drivers.State, "service", is("stopped"))
		w.await(t, drivers.State, "service.reported", is("STOPPED"))
		if tells {
			o := w.await(t, drivers.Event, "sessions", is("vanished"))
			if o.Attrs["initiator"] != host.Initiator || o.Attrs["after"] != "0" {
				t.Errorf("what vanished is %v", o.Attrs)
			}
		}
		if _, err := l.open().Undo(t.Context(), j.us[0]); err != nil {
			t.Fatal(err)
		}
		w.await(t, drivers.State, "service", is("serving"))

		if again, _ := w.last(drivers.State, "boot"); again.Value != boot.Value {
			t.Errorf("without a reboot the boot went from %q to %q", boot.Value, again.Value)
		}
		if err := l.open().RebootTarget(t.Context(), j.add); err != nil {
			t.Fatal(err)
		}
		if _, err := l.open().Undo(t.Context(), j.us[1]); err != nil {
			t.Fatal(err)
		}
		w.await(t, drivers.State, "boot", func(o drivers.Observation) bool { return o.Value != boot.Value })
		silent := false
		w.mu.Lock()
		for _, o := range w.all {
			silent = silent || o.Topic == "api" && o.Value == "silent" && o.Text != ""
		}
		w.mu.Unlock()
		if !silent {
			t.Error("the API's silence while it booted was not seen")
		}
	})
}

// An API that hangs says nothing about the wire, and does not keep anybody from looking at it.
func TestHangingAPI(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		l.time.quick = 2 * time.Second
		w := l.watch()
		w.await(t, drivers.State, "api", is("answers"))
		l.lie(func(x *sim.Lies) { x.Hang = true })
		_, before := w.last(drivers.State, "service")
		o := w.await(t, drivers.State, "api", is("silent"))
		if !strings.Contains(o.Text, "did not answer") && !strings.Contains(o.Text, "connection") {
			t.Errorf("the cause is %q", o.Text)
		}
		if _, n := w.last(drivers.State, "service"); n < before+3 {
			t.Errorf("while the API hung the wire was looked at %d times", n-before)
		}
		l.lie(func(x *sim.Lies) { x.Hang = false })
		w.await(t, drivers.State, "api", is("answers"))
	})
}

// Nothing that is said has a secret in it, even where the system repeats what it was sent.
func TestNoSecrets(t *testing.T) {
	for _, key := range []bool{false, true} {
		forEach(t, false, func(c *sim.Config) { c.Lies = sim.Lies{EchoSecrets: true, Unauthorized: true} }, func(t *testing.T, l *lab) {
			if key {
				l.withKey()
			}
			w := l.watch()
			w.await(t, drivers.State, "api", func(o drivers.Observation) bool { return o.Text != "" })
			d := l.open()
			for _, err := range []error{d.Probe(t.Context()), d.StopService(t.Context(), (&journal{}).add), d.RebootTarget(t.Context(), (&journal{}).add)} {
				told(t, err)
			}
			_, err := d.Undo(t.Context(), drivers.Undo{Op: opStart})
			told(t, err)
			_, err = d.Settings(t.Context())
			told(t, err)
			for _, f := range d.Examine(t.Context()) {
				clean(t, f.Say)
			}
		})
	}
}

func TestExamine(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		found := map[string]drivers.Finding{}
		for _, f := range l.open().Examine(t.Context()) {
			found[f.What] = f
			clean(t, f.Say)
		}
		for what, ok := range map[string]bool{"management is apart from storage": false, "the API is reached over TLS": true, "the service starts at boot": true,
			"the target and LUN of the lab file are there": true, "one target with one LUN": true} {
			if f, there := found[what]; !there || f.OK != ok || !ok && f.Say == "" {
				t.Errorf("%s: %+v, %v", what, f, there)
			}
		}
		l.conf.Target, l.conf.LUN = iqn+"x", 7
		for _, f := range l.open().Examine(t.Context()) {
			if f.What == "the target and LUN of the lab file are there" && (f.OK || !strings.Contains(f.Say, iqn)) {
				t.Errorf("of a target that is not there it says %+v", f)
			}
		}
		told(t, l.open().Probe(t.Context()), "knows no target")
		l.conf.Target = iqn
		told(t, l.open().Probe(t.Context()), "does not serve LUN 7")
	})
}
