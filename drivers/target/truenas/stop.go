// This file stops the service and starts it again.

package truenas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The ops of this driver's undos, and the keys of their arguments.
const (
	opStart  = "start-service"
	opReboot = "await-reboot"

	argEnable = "enable" // whether the service started at boot
	argRan    = "ran"    // whether it ran
	argAPI    = "api"
	argAt     = "at" // when it was journalled, RFC 3339
	argBootID = "boot-id"
	argUp     = "uptime" // s
	argSince  = "since"
)

// before reads the service's state before it is broken. What does not serve cannot be broken, and what v1.0 could not put
// back is not touched.
func (d *Driver) before(ctx context.Context) (*system, service, error) {
	s, err := d.find(ctx)
	if err != nil {
		return nil, service{}, d.operator(err)
	}
	svc, err := within(ctx, d.t.quick, s.service)
	if err != nil {
		return nil, service{}, d.operator(err)
	}
	if w, err := d.wireFor(ctx, d.t.quick); w != serving {
		if ctx.Err() != nil {
			return nil, service{}, context.Cause(ctx)
		}
		return nil, service{}, d.notServed(svc, w, err)
	}
	if s.api == apiV1 && !svc.enable {
		return nil, service{}, &drivers.Operator{Cause: d.env.ID + ": the service runs and does not start at boot", Impact: "REST v1.0 cannot put that back: its start enables",
			Do: "Let the service start at boot, or write api: v2 where the version has it"}
	}
	return s, svc, nil
}

// StopService stops the iSCSI service, and returns when its state says so and the portal no longer answers. A stop that
// does not stop is an Operator error. All targets of the system go with it.
func (d *Driver) StopService(ctx context.Context, j drivers.Journal) error {
	s, svc, err := d.before(ctx)
	if err != nil {
		return err
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opStart, Args: map[string]string{argEnable: strconv.FormatBool(svc.enable),
		argRan: strconv.FormatBool(svc.state == running), argAPI: s.api, argAt: stamp(time.Now())}}
	if err := j(ctx, u); err != nil {
		return err
	}
	bound, cancel := context.WithTimeout(ctx, d.t.stop)
	defer cancel()
	_, askErr := within(bound, d.t.act, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.control(ctx, false) })
	if refused(askErr) {
		return d.operator(askErr)
	}
	return d.stopProof(ctx, bound, s, askErr)
}

// sight is one look at the service, by the API and on the wire.
type sight struct {
	svc       service
	w         wireState
	err, werr error
	gone      int // looks in a row at which the portal was gone
}

// away tells that the portal is gone: it refused or reset, or was silent at two looks in a row, since one alone may be a
// busy machine's.
func (l *sight) away() bool {
	return l.w == gone && (l.gone > 1 || !errors.Is(l.werr, context.DeadlineExceeded) && !errors.Is(l.werr, os.ErrDeadlineExceeded))
}

// renew looks again. A look that was cut short by the bound says nothing, so the one before it stays.
func (l *sight) renew(bound context.Context, d *Driver, s *system) {
	svc, err := within(bound, d.t.quick, s.service)
	w, werr := d.wire(bound)
	if bound.Err() != nil {
		return
	}
	l.w, l.werr, l.err = w, werr, err
	if l.gone++; w != gone {
		l.gone = 0
	}
	if err == nil {
		l.svc = svc
	}
}

// stopProof waits until the service is seen to be stopped.
func (d *Driver) stopProof(ctx, bound context.Context, s *system, askErr error) error {
	l := sight{svc: service{state: unknown}, err: askErr}
	for {
		l.renew(bound, d, s)
		svc, w, err, werr := l.svc, l.w, l.err, l.werr
		if bound.Err() == nil && err == nil && l.away() && svc.state != running {
			return nil
		}
		if drivers.Wait(bound, d.t.poll) {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("stopping the service: %w", context.Cause(ctx))
		}
		op := &drivers.Operator{Impact: "No outage was made; what was changed is put back", Do: "See on the system /var/log/middlewared.log, and stop the service by hand to see why it does not end",
			Err: errors.Join(askErr, err)}
		switch {
		case w == rejects:
			op.Cause = fmt.Sprintf("%s: the stopped service's portal still answers logins, and refuses them (%v)", d.env.ID, werr)
			op.Impact = "Hosts take that for a lost device and not for a lost path"
		case err != nil:
			op.Cause = fmt.Sprintf("%s: whether the service stopped is not known after %v: the API does not tell", d.env.ID, d.t.stop)
		case svc.state == running:
			op.Cause = fmt.Sprintf("%s: the service was told to stop and did not: it is %s after %v", d.env.ID, svc.state, d.t.stop)
		default:
			op.Cause = fmt.Sprintf("%s: the service was told to stop and did not: it says %s, and the portal still serves after %v", d.env.ID, svc.state, d.t.stop)
		}
		if op.Err != nil {
			op.Err = scrubbed{d.login.scrub(op.Err.Error()), op.Err}
		}
		return op
	}
}

// Undo starts the service again, or waits until the system is back and its service serves.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	switch u.Op {
	case opStart:
		return d.undoStop(ctx, u)
	case opReboot:
		return d.undoReboot(ctx, u)
	}
	return "", drivers.ErrUnknownUndo
}

// undoStop starts the service unless it serves. A stop whose harness died a moment ago may still take effect, so a service
// that serves is watched until that can no longer be.
func (d *Driver) undoStop(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	s, err := d.find(ctx)
	if err != nil {
		return "", d.operator(err)
	}
	enabled := u.Args[argEnable] == "true"
	for {
		svc, err := within(ctx, d.t.quick, s.service)
		if err != nil {
			return "", d.operator(err)
		}
		w, _ := d.wire(ctx)
		if !d.serves(svc, w) || s.api == apiV1 && enabled && !svc.enable {
			break
		}
		if age(u.Args[argAt]) > d.t.inFlight {
			return drivers.NothingLeft, nil
		}
		if !drivers.Wait(ctx, d.t.poll) {
			return "", fmt.Errorf("watching whether the service goes on serving: %w", context.Cause(ctx))
		}
	}
	return drivers.Undone, d.start(ctx, s)
}

// serves tells that the service is there, by its state and on the wire.
func (d *Driver) serves(svc service, w wireState) bool {
	return w == serving && (svc.state == running || svc.state == unknown)
}

// start starts the service and proves it: twice in a row, since a daemon that is still going away serves too.
func (d *Driver) start(ctx context.Context, s *system) error {
	bound, cancel := context.WithTimeout(ctx, d.t.start)
	defer cancel()
	_, askErr := within(bound, d.t.act, func(ctx context.Context) (struct{}, error) { return struct{}{}, s.control(ctx, true) })
	if refused(askErr) {
		return d.operator(askErr)
	}
	l := sight{svc: service{state: unknown}, err: askErr}
	for good := 0; ; {
		l.renew(bound, d, s)
		svc, w, err, werr := l.svc, l.w, l.err, l.werr
		if err == nil && s.api == apiV1 && !svc.enable && svc.state != running {
			return &drivers.Operator{Cause: d.env.ID + ": the service was told to start, the answer was good, and it failed: srv_enable is false again and the service is " + svc.state,
				Impact: "The target stays broken", Do: "See on the system /var/log/messages for ctld, start the service by hand, then run apd undo again"}
		}
		if err == nil && d.serves(svc, w) {
			if good++; good == 2 {
				return nil
			}
		} else {
			good = 0
		}
		if drivers.Wait(bound, d.t.poll) {
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("starting the service: %w", context.Cause(ctx))
		}
		return &drivers.Operator{Cause: fmt.Sprintf("%s: the service was told to start and does not serve after %v: it says %s", d.env.ID, d.t.start, svc.state),
			Impact: "The target stays broken", Do: "Start it by hand in the system's web interface, then run apd undo again",
			Err: scrubbed{d.login.scrub(fmt.Sprint(errors.Join(askErr, err, werr))), errors.Join(askErr, err, werr)}}
	}
}
