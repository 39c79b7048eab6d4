// These tests go through the ways in which a system misbehaves or refuses.

package truenas

import (
	"context"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

// one of each API.
var each = []string{"FreeNAS-11.0-RC (ad90a865b)", "TrueNAS-13.0-U6.1", "TrueNAS-25.04.0", "TrueNAS-26.0.0"}

// forEach runs a test on one version of each API, all at once.
func forEach(t *testing.T, wire bool, change func(*sim.Config), f func(t *testing.T, l *lab)) {
	t.Helper()
	for _, v := range each {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			var d *daemon
			if wire {
				d = newDaemon(t)
			}
			f(t, newLab(t, v, d, change))
		})
	}
}

func TestStopThatDoesNothing(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		l.lie(func(x *sim.Lies) { x.StopDoesNothing = true })
		var j journal
		d := l.open()
		d.t.stop = 2 * time.Second
		err := d.StopService(t.Context(), j.add)
		told(t, err, "told to stop and did not")
		if len(j.us) != 1 {
			t.Errorf("it journalled %v", j.us)
		}
		l.lie(func(x *sim.Lies) { x.StopDoesNothing = false })
		if _, err := l.open().Undo(t.Context(), j.us[0]); err != nil {
			t.Error(err)
		}
		if s := l.nas.State(); s != "RUNNING, at boot true, daemon true" {
			t.Errorf("after the undo it is %s", s)
		}
	})
}

func TestStopThatIsSlow(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		const slow = 1500 * time.Millisecond
		l.lie(func(x *sim.Lies) { x.SlowDeactivate = slow })
		var j journal
		began := time.Now()
		if err := l.open().StopService(t.Context(), j.add); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < slow {
			t.Errorf("it believed the service's word after %v, while the portal served", took)
		}
		if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.Undone {
			t.Errorf("the undo gave %v, %v", res, err)
		}
		// A harness that dies while the service goes away: its undo begins while the portal still serves.
		j = journal{}
		ctx, cancel := context.WithCancel(t.Context())
		if err := l.open().StopService(ctx, func(ctx context.Context, u drivers.Undo) error {
			time.AfterFunc(slow/4, cancel)
			return j.add(ctx, u)
		}); err == nil {
			t.Error("it says that it stopped while the portal served")
		}
		if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.Undone {
			t.Errorf("the undo of a stop that went on gave %v, %v", res, err)
		}
		time.Sleep(slow / 2)
		if s := l.nas.State(); s != "RUNNING, at boot true, daemon true" {
			t.Errorf("after the undo it is %s", s)
		}
	})
}

func TestStartThatFailsSilently(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		var j journal
		if err := l.open().StopService(t.Context(), j.add); err != nil {
			t.Fatal(err)
		}
		l.lie(func(x *sim.Lies) { x.StartFailsSilently = true })
		d := l.open()
		d.t.start = 2 * time.Second
		_, err := d.Undo(t.Context(), j.us[0])
		told(t, err, "told to start", "STOPPED", "apd undo")
		l.lie(func(x *sim.Lies) { x.StartFailsSilently = false })
		if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.Undone {
			t.Errorf("the undo gave %v, %v", res, err)
		}
	})
}

func TestRebootThatDoesNotHappen(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		l.lie(func(x *sim.Lies) { x.RebootDoesNothing = true })
		d := l.open()
		d.t.down = time.Second
		var j journal
		told(t, d.RebootTarget(t.Context(), j.add), "told to reboot and did not")
		if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.NothingLeft {
			t.Errorf("the undo gave %v, %v", res, err)
		}
	})
}

func TestNeverBackFromReboot(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		l.lie(func(x *sim.Lies) { x.NeverBackFromReboot = true })
		var j journal
		if err := l.open().RebootTarget(t.Context(), j.add); err != nil {
			t.Fatal(err)
		}
		d := l.open()
		d.t.back = time.Second
		_, err := d.Undo(t.Context(), j.us[0])
		told(t, err, "not back")
	})
}

// A system whose service does not start at boot, or fails to, has it started by the undo.
func TestRebootWithoutTheServiceAtBoot(t *testing.T) {
	for _, v := range each[1:] { // v1.0 cannot put that back, see TestNotAtBootByV1
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, v, newDaemon(t), func(c *sim.Config) { c.NotAtBoot = true })
			var j journal
			if err := l.open().RebootTarget(t.Context(), j.add); err != nil {
				t.Fatal(err)
			}
			if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.Undone {
				t.Errorf("the undo gave %v, %v", res, err)
			}
			if s := l.nas.State(); s != "RUNNING, at boot false, daemon true" {
				t.Errorf("after the undo it is %s", s)
			}
		})
	}
}

func TestNotAtBootByV1(t *testing.T) {
	l := newLab(t, each[0], newDaemon(t), func(c *sim.Config) { c.NotAtBoot = true })
	var j journal
	told(t, l.open().StopService(t.Context(), j.add), "does not start at boot")
	if s := l.nas.State(); len(j.us) != 0 || s != "RUNNING, at boot false, daemon true" {
		t.Errorf("it journalled %v, and the system is %s", j.us, s)
	}
}

// The harness dies right after the stop's request: v1.0 has srv_enable false then, also over a reboot.
func TestUndoAfterACrash(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		err := l.open().StopService(ctx, func(ctx context.Context, u drivers.Undo) error {
			time.AfterFunc(10*time.Millisecond, cancel)
			return j.add(ctx, u)
		})
		if err == nil {
			t.Log("the stop was quicker than the crash")
		}
		res, err := l.open().Undo(t.Context(), j.us[0])
		if err != nil || res == "" {
			t.Fatalf("the undo gave %v, %v", res, err)
		}
		if s := l.nas.State(); s != "RUNNING, at boot true, daemon true" {
			t.Errorf("after the undo it is %s", s)
		}
		if u := j.us[0]; u.Args[argEnable] != "true" || u.Args[argRan] != "true" {
			t.Errorf("the undo does not carry the old state: %v", u.Args)
		}
	})
}

func TestRefusedChanges(t *testing.T) {
	forEach(t, true, nil, func(t *testing.T, l *lab) {
		for word, lie := range map[string]func(*sim.Lies){
			"lacks the right": func(x *sim.Lies) { x.Forbidden = true },
			"not valid":       func(x *sim.Lies) { x.Invalid = true },
		} {
			l.lie(lie)
			var j journal
			told(t, l.open().StopService(t.Context(), j.add), word)
			l.lie(func(x *sim.Lies) { *x = sim.Lies{} })
			if res, err := l.open().Undo(t.Context(), j.us[0]); err != nil || res != drivers.NothingLeft {
				t.Errorf("the undo gave %v, %v", res, err)
			}
		}
	})
}

func TestOtherGeneration(t *testing.T) {
	for _, c := range []struct{ version, api string }{
		{each[0], apiRPC}, {"FreeNAS-9.10.2-U6", apiV2}, {"TrueNAS-13.0-U6.1", apiV1}, {"TrueNAS-SCALE-24.10.2", apiRPC}, {"TrueNAS-25.04.0", apiV1},
		{"TrueNAS-26.0.0", apiV2}, {"TrueNAS-26.0.0", apiV1},
	} {
		l := newLab(t, c.version, nil, nil)
		l.conf.API = c.api
		told(t, l.open().Probe(t.Context()), "another API", "api: ")
	}
}

func TestUnreachable(t *testing.T) {
	l := newLab(t, each[1], nil, nil)
	l.conf.URL = "https://127.0.0.1:1"
	told(t, l.open().Probe(t.Context()), "nobody takes connections")
	l.conf.URL = l.nas.URL
	d := l.open()
	d.t.quick = 200 * time.Millisecond
	l.lie(func(x *sim.Lies) { x.Hang = true })
	told(t, d.Probe(t.Context()), "does not answer")
}
