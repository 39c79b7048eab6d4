// This file cuts the power, starts the target anew, and switches it on again.

package power

import (
	"context"
	"fmt"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const opOn = "power-on"

// CutPower cuts the target's power: for a moment or until the undo, as the configuration says.
func (d *Driver) CutPower(ctx context.Context, j drivers.Journal) error {
	return d.cutBy(ctx, d.cut, j)
}

// RebootTarget starts the target anew by its operating system's own restart. Where the controller has no such thing (IPMI has none, and
// not every Redfish) the operating system is asked to end, and the target stays off until the undo.
func (d *Driver) RebootTarget(ctx context.Context, j drivers.Journal) error {
	var restarts bool
	err := d.call(ctx, func(ctx context.Context) (err error) {
		restarts, err = d.bmc.can(ctx, actRestart)
		return err
	})
	if err != nil {
		return d.blame(err)
	}
	if restarts {
		return d.cutBy(ctx, actRestart, j)
	}
	return d.cutBy(ctx, actShutdown, j)
}

// cutBy does something to a target that is on, and waits for it to be off where it is to stay off.
func (d *Driver) cutBy(ctx context.Context, a action, j drivers.Journal) error {
	s, err := d.status(ctx)
	if err == nil {
		err = d.mustBeOn(s)
	}
	if err != nil {
		return d.blame(err)
	}
	window := time.Duration(0) // in which a target that is on may still go off because of this
	switch a {
	case actOff:
		window = d.pace.settle
	case actShutdown:
		window = d.pace.shutdown
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opOn, Takes: window + 3*d.pace.settle, Args: map[string]string{"power": "on", "by": string(a), "goes_off_until": time.Now().Add(window).UTC().Format(time.RFC3339Nano)}}
	if err := j(ctx, u); err != nil {
		return err
	}
	if err := d.do(ctx, a); err != nil {
		return d.blame(err)
	}
	if window == 0 {
		return nil // it comes back by itself
	}
	if s, err := d.await(ctx, window, func(s status) bool { return !s.on && s.sure }); err != nil {
		return fmt.Errorf("the target was told %q, and the controller says %q: %w", a, s.word, err)
	}
	return nil
}

// await looks until the power is as wanted. A controller that is silent for a while is asked again.
func (d *Driver) await(ctx context.Context, limit time.Duration, wanted func(status) bool) (status, error) {
	in, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("nothing else was seen for %v", limit))
	defer cancel()
	var last status
	for {
		s, err := d.status(in)
		if err == nil {
			if last = s; wanted(s) {
				return s, nil
			}
		}
		select {
		case <-in.Done():
			return last, context.Cause(in)
		case <-time.After(d.pace.every / 3):
		}
	}
}

// Undo switches the target on if it is off. One that is on is left alone, but not before the time in which it may still go off because
// of the fault: an orderly shutdown takes a while.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opOn {
		return "", drivers.ErrUnknownUndo
	}
	until, err := time.Parse(time.RFC3339Nano, u.Args["goes_off_until"])
	if err != nil || u.Args["power"] != "on" {
		return "", fmt.Errorf("the undo's power %q or time %q cannot be", u.Args["power"], u.Args["goes_off_until"])
	}
	until = earlier(until, time.Now().Add(d.pace.shutdown)) // whatever clock wrote it
	s, err := d.status(ctx)
	if err != nil {
		return "", d.blame(err)
	}
	if s.on && s.sure && !time.Now().Before(until) {
		return drivers.NothingLeft, nil
	}
	if s.on { // it may be on its way
		left := max(time.Until(until), 0)
		if !s.sure {
			left = max(left, d.pace.settle)
		}
		if s, err = d.await(ctx, left, func(s status) bool { return !s.on && s.sure }); err != nil {
			if ctx.Err() == nil && s.on && s.sure {
				return drivers.NothingLeft, nil
			}
			return "", fmt.Errorf("waiting whether the target goes off: %w", err)
		}
	}
	if !s.sure { // it comes on by itself
		if _, err = d.await(ctx, d.pace.settle, func(s status) bool { return s.on && s.sure }); err == nil {
			return drivers.NothingLeft, nil
		}
	}
	told := d.do(ctx, actOn) // one that came on meanwhile may refuse it
	if s, err = d.await(ctx, d.pace.settle, func(s status) bool { return s.on && s.sure }); err != nil {
		if told != nil {
			return "", d.blame(told)
		}
		return "", fmt.Errorf("the target was switched on, and the controller says %q: %w", s.word, err)
	}
	return drivers.Undone, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
