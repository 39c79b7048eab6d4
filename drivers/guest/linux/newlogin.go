// This file logs in anew, again and again: a login needs the guest's disk.

package linux

import (
	"context"
	"errors"
	"time"
)

// loginEvery is the pace of new logins (each costs an emulated guest half a second of a core), againAfter the pause after
// one that failed, and loginLimit what one of them may take altogether.
const (
	loginEvery = 10 * time.Second
	againAfter = 2 * time.Second
	loginLimit = 10 * time.Second
)

func (o *observer) tryLogins(ctx context.Context) {
	t := time.NewTimer(loginEvery)
	defer t.Stop()
	var known time.Duration // the last moment for which the attempt before speaks
	for {
		if o.d.gate.enter(ctx) != nil {
			return
		}
		begun := o.Clock.Now()
		err := o.login(ctx)
		now := o.Clock.Now()
		o.d.gate.leave()
		if ctx.Err() != nil {
			return
		}
		s := between(begun, now)
		if known != 0 {
			s.Lo = known
		}
		known = begun // a failure says that this login, begun then, did not work
		if err == nil {
			known = now
		}
		var e *loginError
		switch {
		case err == nil:
			o.Sample("ssh.new", (now - begun).Seconds(), between(begun, now))
			o.State("ssh.new", "ok", "", s, nil)
		case errors.As(err, &e):
			o.State("ssh.new", "failed", e.words(), s, map[string]string{"error": e.err.Error()})
		default:
			o.State("ssh.new", "failed", stageCommand+" "+byFailure, s, map[string]string{"error": err.Error()})
		}
		t.Reset(againAfter)
		if err == nil {
			t.Reset(loginEvery)
		}
		for waiting := true; waiting; {
			select {
			case <-o.d.quieted:
				now := o.Clock.Now()
				o.State("ssh.new", "unknown", "nobody logs in for a moment", between(now, now), nil)
				continue
			case <-o.d.login:
			case <-t.C:
			case <-ctx.Done():
				return
			}
			waiting = false
		}
	}
}

// login logs in, runs a builtin of the login shell and leaves.
func (o *observer) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loginLimit)
	defer cancel()
	c, err := o.d.dial(ctx)
	if err != nil {
		return err
	}
	defer c.end()
	out, err := c.command(ctx, "echo ok", nil)
	if err == nil && out != "ok" {
		return &loginError{stageCommand, byFailure, errors.New("the answer was not the one asked for: " + out)}
	}
	return err
}
