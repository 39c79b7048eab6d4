// This file breaks the target: journal first, then the exact command, then the proof by state and on the wire.

package overssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// The undos.
const (
	opTurnOn = "turn-on"
	opBoot   = "await-boot"
)

// The arguments of the undos.
const (
	argKind = "kind" // what was turned off
	argWas  = "was"  // the Detail of its State before
	argBoot = "boot" // the boot that was ended
)

// Probe checks that the system is the one of the lab file, that the user may break it, and that it serves. Of a target that is well it
// remembers what its LUNs are made of, for CheckImage.
func (d *Driver) Probe(ctx context.Context) error {
	s, err := d.survey(ctx)
	if err == nil {
		err = d.right(s)
	}
	if err != nil {
		return err
	}
	if err := d.mustBeOn(s.state, d.sys.Service); err != nil {
		return err
	}
	if err := d.mustServe(ctx); err != nil {
		return err
	}
	d.remember(ctx)
	return nil
}

func (d *Driver) mustBeOn(st State, sw Switch) error {
	if st.Word == On {
		return nil
	}
	return &drivers.Operator{Cause: fmt.Sprintf("what is to be broken on %s was not running: it is %q", d.c.SSH.Address, st.Word),
		Impact: "there is nothing to break", Do: strings.TrimSpace("start it, or undo what an earlier run has left (apd undo). " + sw.Hint)}
}

func (d *Driver) mustServe(ctx context.Context) error {
	w, err := d.see(ctx)
	if w == Serving {
		return nil
	}
	op := &drivers.Operator{Cause: fmt.Sprintf("the target %s at %s does not serve LUN %d: %s", d.c.Target, d.c.Portal, d.c.LUN, w),
		Impact: "there is nothing to break, and no fault could be proved", Err: err, Do: "check portal, target and lun, and that the target serves this machine"}
	if w == Rejected {
		op.Do = fmt.Sprintf("let the initiator %s in without CHAP, or name another as initiator", d.c.Initiator)
	}
	return op
}

// StopService stops the target's iSCSI service.
func (d *Driver) StopService(ctx context.Context, j drivers.Journal) error {
	return d.turnOff(ctx, drivers.ServiceStop, j)
}

// Break turns one of the System's Breaks off. A driver's BreakPath calls it.
func (d *Driver) Break(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	if _, ok := d.sys.Breaks[kind]; !ok {
		return fmt.Errorf("%s knows no way to break it as %q", d.sys.Product, kind)
	}
	return d.turnOff(ctx, kind, j)
}

func (d *Driver) switchOf(kind drivers.FaultKind) (Switch, bool) {
	if kind == drivers.ServiceStop {
		return d.sys.Service, true
	}
	sw, ok := d.sys.Breaks[kind]
	return sw, ok
}

func (d *Driver) turnOff(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	sw, _ := d.switchOf(kind)
	was, err := d.read(ctx, sw)
	if err == nil {
		err = d.mustBeOn(was, sw)
	}
	if err == nil {
		err = d.mustServe(ctx)
	}
	if err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opTurnOn, Args: map[string]string{argKind: string(kind), argWas: was.Detail}}); err != nil {
		return err
	}
	d.broken(true)
	out, err := d.run(ctx, d.t.act, sw.Off(was.Detail))
	return d.isOff(ctx, sw, out, err)
}

// isOff waits until a switch is seen to be off: by the system's own words and on the wire. What the command returned is told
// only when it is not.
func (d *Driver) isOff(ctx context.Context, sw Switch, out string, cmd error) error {
	end := time.Now().Add(d.t.settle)
	closed := 0 // a login that is cut can be one that was under way; what the target does with the next counts
	for {
		st, err := d.read(ctx, sw)
		over := time.Now().After(end)
		var w Wire
		if err == nil && (st.Word == Off || over) {
			w, err = d.see(ctx)
			if w == Closed {
				closed++
			}
			if st.Word == Off && slices.Contains(sw.Seen, w) && (w != Closed || closed > 1) {
				return nil
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("waiting for the fault to show: %w", context.Cause(ctx))
		}
		if over {
			return &drivers.Operator{Cause: fmt.Sprintf("%s did not break: it says %q, and the wire shows %s. The command said %q", d.sys.Product, st.Word, w, clip(out)),
				Impact: "nothing can be said about this fault", Do: strings.TrimSpace("look at the system. " + sw.Hint), Err: errors.Join(d.operator(cmd), err)}
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

// RebootTarget reboots the system. It returns when the system is seen to be down, on the wire and over SSH, or up again with
// another boot id.
func (d *Driver) RebootTarget(ctx context.Context, j drivers.Journal) error {
	s, err := d.survey(ctx)
	if err == nil {
		err = d.right(s)
	}
	if err == nil {
		err = d.mustBeOn(s.state, d.sys.Service)
	}
	if err == nil {
		err = d.mustServe(ctx)
	}
	if err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opBoot, Takes: d.c.BackWithin + d.t.act, Args: map[string]string{argBoot: s.boot, argWas: s.state.Detail}}); err != nil {
		return err
	}
	d.broken(true)
	out, cmd := d.run(ctx, d.t.act, d.sys.Reboot)
	limit := d.t.down
	var exit *sshell.ExitError
	if errors.As(cmd, &exit) {
		limit = min(limit, d.t.settle)
	}
	return d.isDown(ctx, s.boot, limit, out, cmd)
}

func (d *Driver) isDown(ctx context.Context, boot string, limit time.Duration, out string, cmd error) error {
	end := time.Now().Add(limit)
	for {
		w, _ := d.see(ctx)
		now, err := d.bootNow(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("waiting for the reboot to show: %w", context.Cause(ctx))
		case err == nil && !sameBoot(now, boot), err != nil && isGone(w):
			return nil
		case time.Now().After(end):
			return &drivers.Operator{Cause: fmt.Sprintf("the system at %s did not reboot: the wire shows %s. The command said %q", d.c.SSH.Address, w, clip(out)),
				Impact: "nothing can be said about this fault", Do: "look at the system's console", Err: d.operator(cmd)}
		}
		if err := pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// bootNow returns the boot that runs; an error is a system that does not answer.
func (d *Driver) bootNow(ctx context.Context) (string, error) {
	out, err := d.run(ctx, d.t.answer, showBoot)
	if err != nil {
		return "", err
	}
	return ReadBoot(out)
}

// broken notes that this driver does something to the target itself, so that Observe does not take it for an accident.
func (d *Driver) broken(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
	d.acts++
}

// quiet tells how many acts there were, and whether nothing is broken now.
func (d *Driver) quiet() (acts int, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.acts, !d.down
}

func pause(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
