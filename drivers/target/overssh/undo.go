// This file puts back what was broken, from data alone.

package overssh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Undo puts one fault back. It returns when the target serves again.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	var did drivers.UndoResult
	var err error
	switch u.Op {
	case opTurnOn:
		sw, ok := d.switchOf(drivers.FaultKind(u.Args[argKind]))
		if !ok {
			return "", drivers.ErrUnknownUndo
		}
		did, err = d.turnOn(ctx, sw, u.Args[argWas], false)
	case opBoot:
		did, err = d.awaitBoot(ctx, u.Args[argBoot], u.Args[argWas])
	default:
		return "", drivers.ErrUnknownUndo
	}
	if err == nil {
		d.broken(false)
	}
	return did, err
}

// turnOn turns a switch on until the system says so and the wire shows it. A start that says it worked and did not is tried
// again: another process may have been stopping at the same time.
func (d *Driver) turnOn(ctx context.Context, sw Switch, was string, changed bool) (drivers.UndoResult, error) {
	var tried time.Time
	var said string
	var cmd error
	end := time.Now().Add(d.t.act)
	for {
		st, err := d.read(ctx, sw)
		back := err == nil && st.back(was)
		w := Wire("nothing that was looked at")
		if back {
			w, err = d.see(ctx)
		}
		switch {
		case w == Serving && !changed:
			return drivers.NothingLeft, nil
		case w == Serving:
			return drivers.Undone, nil
		case ctx.Err() != nil:
			return "", d.operator(fmt.Errorf("waiting for the target to come back: %w", context.Cause(ctx)))
		case hopeless(err):
			return "", d.operator(err)
		case time.Now().After(end):
			return "", &drivers.Operator{Cause: fmt.Sprintf("the target does not come back: it says %q, and the wire at %s shows %s. The command said %q", st.Word, d.c.Portal, w, clip(said)),
				Impact: "the lab stays broken", Do: "start it by hand on " + d.c.SSH.Address + ", then run apd undo", Err: errors.Join(d.operator(cmd), err)}
		}
		if !back && time.Since(tried) > d.t.again {
			said, cmd = d.run(ctx, d.t.act, sw.On(was))
			tried, changed = time.Now(), true
			continue
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return "", d.operator(err)
		}
	}
}

// hopeless tells errors that waiting does not mend.
func hopeless(err error) bool { return errors.Is(err, sshell.ErrHostKey) }

// awaitBoot waits until the system is up again and serves, and starts the service when it does not start by itself.
func (d *Driver) awaitBoot(ctx context.Context, boot, was string) (drivers.UndoResult, error) {
	ctx, cancel := context.WithTimeout(ctx, d.c.BackWithin)
	defer cancel()
	var old, up time.Time // since when it answers, with the old boot and with another
	for first := true; ; first = false {
		s, err := d.survey(ctx)
		switch {
		case hopeless(err):
			return "", err
		case ctx.Err() != nil:
			return "", &drivers.Operator{Cause: fmt.Sprintf("the system at %s did not come back from its reboot", d.c.SSH.Address), Impact: "the lab stays broken",
				Do: "look at its console; a longer back_within gives it more time. Then run apd undo", Err: errors.Join(context.Cause(ctx), err)}
		case err != nil:
			old, up = time.Time{}, time.Time{}
		case sameBoot(s.boot, boot): // it may still be on its way down
			if old.IsZero() {
				old = time.Now()
			}
			if time.Since(old) > d.t.doubt {
				return d.turnOn(ctx, d.sys.Service, was, false)
			}
		default:
			if up.IsZero() {
				up = time.Now()
			}
			if w, _ := d.see(ctx); w == Serving && s.stateErr == nil && s.state.back(was) {
				if first {
					return drivers.NothingLeft, nil
				}
				return drivers.Undone, nil
			}
			if time.Since(up) > d.t.start { // a boot starts its services one after the other
				return d.turnOn(ctx, d.sys.Service, was, true)
			}
		}
		_ = pause(ctx, 100*time.Millisecond) // the end of ctx is told above
	}
}
