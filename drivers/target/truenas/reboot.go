// This file reboots the system and waits until it is back.

package truenas

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// RebootTarget reboots the system, and returns when its portal is gone and its API is silent, or another boot answers.
// The system comes back by itself; the undo waits for that. A reboot that does not happen is an Operator error.
func (d *Driver) RebootTarget(ctx context.Context, j drivers.Journal) error {
	s, svc, err := d.before(ctx)
	if err != nil {
		return err
	}
	old, err := within(ctx, d.t.quick, s.boot)
	if err != nil && !errors.Is(err, errNotTold) {
		return d.operator(err)
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opReboot, Takes: d.t.back + d.t.act, Args: map[string]string{argEnable: strconv.FormatBool(svc.enable), argAPI: s.api,
		argRan: strconv.FormatBool(svc.state == running), argAt: stamp(time.Now())}}
	old.write(u.Args)
	if err := j(ctx, u); err != nil {
		return err
	}
	_, askErr := within(ctx, d.t.act, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.reboot(ctx) })
	if refused(askErr) {
		return d.operator(askErr)
	}
	bound, cancel := context.WithTimeout(ctx, d.t.down)
	defer cancel()
	var last struct { // the last look that the bound did not cut short
		w         wireState
		err, werr error
	}
	for {
		w, werr := d.wire(bound)
		now, err := d.lookBoot(bound, s)
		if bound.Err() == nil {
			last.w, last.err, last.werr = w, err, werr
		}
		if bound.Err() == nil && w == gone && (!answers(err) || err == nil && now.after(old)) {
			return nil
		}
		if drivers.Wait(bound, d.t.poll) {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("rebooting the target: %w", context.Cause(ctx))
		}
		cause := fmt.Sprintf("%s: the system was told to reboot and did not: after %v its portal is seen as %q", d.env.ID, d.t.down, last.w)
		if answers(last.err) {
			cause += " and its API still answers"
		}
		return &drivers.Operator{Cause: cause, Impact: "No outage was made", Do: "See on the system /var/log/middlewared.log, and what keeps it from shutting down",
			Err: scrubbed{d.login.scrub(fmt.Sprint(errors.Join(askErr, last.err, last.werr))), errors.Join(askErr, last.err, last.werr)}}
	}
}

// lookBoot asks for the boot, and where the version does not tell it for anything at all, so that silence is noticed.
func (d *Driver) lookBoot(ctx context.Context, s *system) (boot, error) {
	b, err := within(ctx, d.t.quick, s.boot)
	if errors.Is(err, errNotTold) {
		_, err = within(ctx, d.t.quick, s.service)
	}
	return b, err
}

// write puts a boot into the arguments of an undo.
func (b boot) write(args map[string]string) {
	args[argBootID], args[argSince] = b.id, b.since
	args[argUp] = ""
	if b.up > 0 {
		args[argUp] = strconv.FormatFloat(b.up.Seconds(), 'f', 3, 64)
	}
}

// readBoot is the reverse.
func readBoot(args map[string]string) boot {
	b := boot{id: args[argBootID], since: args[argSince]}
	if s, err := strconv.ParseFloat(args[argUp], 64); err == nil && s > 0 && s < 1e9 {
		b.up = time.Duration(s * float64(time.Second))
	}
	return b
}

// undoReboot waits until another boot of the system serves, and starts a service that was running and does not come up by
// itself. A system that is still the old one and serves was never rebooted, once a reboot can no longer be under way.
// Where the version tells nothing about its boots, having been away counts.
func (d *Driver) undoReboot(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	old := readBoot(u.Args)
	bound, cancel := context.WithTimeout(ctx, d.t.back)
	defer cancel()
	res := drivers.NothingLeft
	var up time.Time // since when the new boot answers
	var last error
	asked := false
	for {
		l := d.backLook(bound)
		if bound.Err() == nil {
			last = l.err
		}
		since := age(u.Args[argAt])
		if old.up > 0 && l.boot.up > 0 && since < 1<<62 && l.boot.up < since {
			l.later = true // it booted after the undo was written
		} else {
			l.later = l.boot.after(old)
		}
		ok := l.err == nil && d.serves(l.svc, l.w)
		switch {
		case ok && (l.later || since > d.t.inFlight+d.t.bootDelay()):
			return res, nil
		case ok: // the reboot may still be coming
		default:
			res = drivers.Undone
		}
		if !answers(l.err) || l.err != nil {
			up = time.Time{}
		} else if up.IsZero() {
			up = time.Now()
		}
		if !ok && l.err == nil && l.svc.state != running && !asked && (l.later || !old.told()) && u.Args[argRan] == "true" &&
			(u.Args[argEnable] != "true" || time.Since(up) > d.t.bootGrace) {
			asked = true
			if err := d.start(bound, l.sys); err != nil && bound.Err() == nil {
				return "", err
			}
			continue
		}
		if drivers.Wait(bound, d.t.poll) {
			continue
		}
		say := "the portal does not serve"
		if last != nil {
			say = d.cause(last)
		}
		return "", &drivers.Operator{Cause: fmt.Sprintf("%s: the target was rebooted and is not back: %s", d.env.ID, say), Impact: "The target stays broken",
			Do:  "See the system's console; when it is up and its iSCSI service runs, run apd undo again",
			Err: scrubbed{d.login.scrub(fmt.Sprint(errors.Join(context.Cause(bound), last))), errors.Join(context.Cause(bound), last)}}
	}
}

// bootDelay is how long a reboot that was asked for may take to begin: REST v1.0 waits 3 s.
func (t timing) bootDelay() time.Duration { return t.inFlight }

// backLook is one look at a system that may be coming back.
type backLook struct {
	sys   *system
	svc   service
	boot  boot
	later bool
	w     wireState
	err   error // of the API
}

func (d *Driver) backLook(ctx context.Context) backLook {
	var l backLook
	l.w, _ = d.wire(ctx)
	if l.sys, l.err = d.find(ctx); l.err != nil {
		return l
	}
	if l.svc, l.err = within(ctx, d.t.quick, l.sys.service); l.err != nil {
		return l
	}
	b, err := within(ctx, d.t.quick, l.sys.boot)
	if err != nil && !errors.Is(err, errNotTold) {
		l.err = err
	}
	l.boot = b
	return l
}
