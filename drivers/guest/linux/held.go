// This file holds an SSH session open from before the fault, as somebody does who left a window open: one connection with
// keepalives and two login shells.

package linux

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// The pace and the limits of the held session.
const (
	heldLimit       = 30 * time.Second // to open it
	keepaliveEvery  = time.Second
	unresponsive    = 5 * time.Second
	builtinEvery    = 2 * time.Second
	builtinSilent   = 5 * time.Second
	externalEvery   = 3 * time.Second
	externalSilent  = 2 * time.Second
	externalCommand = "ls -al"
)

// held is an open session.
type held struct {
	o        *observer
	c        *client
	opened   time.Duration
	reply    atomic.Int64 // the last sign of life, ns on the harness's clock
	builtin  *shell
	external *shell
	manager  string // the package manager's absolute name, empty when there is none
}

// keepHeld opens the session once a boot and holds it. A session that dropped stays dropped until the guest booted anew.
func (o *observer) keepHeld(ctx context.Context) {
	boot, next := "", ""
	for ctx.Err() == nil {
		for next == boot {
			select {
			case next = <-o.boots:
			case <-ctx.Done():
				return
			}
		}
		h, err := o.openHeld(ctx)
		if err != nil {
			if ctx.Err() == nil {
				o.d.env.Logf("%s: the session to hold cannot be opened yet: %v", o.d.env.ID, err)
			}
			drivers.Wait(ctx, watch.PingEvery)
			continue
		}
		boot = next
		next = h.hold(ctx, boot)
	}
}

// openHeld logs in and starts both shells.
func (o *observer) openHeld(ctx context.Context) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, heldLimit)
	defer cancel()
	if err := o.d.gate.enter(ctx); err != nil {
		return nil, err
	}
	defer o.d.gate.leave()
	h := &held{o: o, opened: o.Clock.Now()}
	c, err := o.d.dial(ctx)
	if err != nil {
		return nil, err
	}
	h.c = c
	if h.builtin, err = openShell(ctx, o.Reporter, c, "builtin"); err == nil {
		h.external, err = openShell(ctx, o.Reporter, c, "external")
	}
	if err == nil {
		h.manager, err = h.external.findManager(ctx)
	}
	if err != nil {
		c.end()
		for _, sh := range []*shell{h.builtin, h.external} {
			if sh != nil {
				sh.drain()
			}
		}
		return nil, err
	}
	c.free()
	return h, nil
}

// hold watches the session until the guest's boot id is another one, which it returns, or ctx ends.
func (h *held) hold(observed context.Context, boot string) (next string) {
	ctx, cancel := context.WithCancel(observed)
	var wg sync.WaitGroup
	dropped := make(chan struct{})
	wg.Go(func() { h.keepalive(ctx, dropped) })
	wg.Go(func() {
		h.typeBuiltins(ctx)
		h.builtin.over(observed, "shell.builtin")
	})
	wg.Go(func() {
		h.typeCommands(ctx)
		h.external.over(observed, "shell.external", "shell.package-manager")
	})
	defer wg.Wait()
	defer h.c.end()
	defer cancel()
	for next = boot; next == boot; {
		select {
		case next = <-h.o.boots:
		case <-ctx.Done():
			return boot
		}
	}
	select {
	case <-dropped:
	default: // the guest forgot it, but no packet has told so yet
		h.o.State("ssh.held", "dropped", "the guest booted anew", h.since(h.o.Clock.Now()), nil)
	}
	return next
}

// keepalive asks for a sign of life each second, never twice at a time, and notes the end of the connection.
func (h *held) keepalive(ctx context.Context, dropped chan<- struct{}) {
	gone := make(chan error, 1)
	go func() { gone <- h.c.Wait() }() // ends with the connection
	replies := make(chan error, 1)
	t := time.NewTicker(keepaliveEvery)
	defer t.Stop()
	waiting := false
	var sent time.Duration
	h.reply.Store(int64(h.o.Clock.Now()))
	h.o.State("ssh.held", "connected", "", between(h.opened, h.o.Clock.Now()), nil)
	for {
		now := h.o.Clock.Now()
		switch {
		case waiting && now-sent >= unresponsive:
			h.o.State("ssh.held", "unresponsive", "", h.since(now), nil)
		case !waiting:
			waiting, sent = true, now
			go func() { // ends with the reply or the connection
				_, _, err := h.c.SendRequest("keepalive@openssh.com", true, nil)
				replies <- err
			}()
		}
		select {
		case <-t.C:
		case err := <-replies:
			if err != nil {
				continue // the connection's end tells why
			}
			now := h.o.Clock.Now()
			s := between(sent, now)
			if now-sent >= unresponsive {
				s.Lo = now
			}
			waiting = false
			h.reply.Store(int64(now))
			h.o.Sample("ssh.held", (now - sent).Seconds(), between(sent, now))
			h.o.State("ssh.held", "connected", "", s, nil)
			select {
			case <-t.C:
			case err := <-gone:
				h.drop(ctx, err, dropped)
				return
			case <-ctx.Done():
				return
			}
		case err := <-gone:
			h.drop(ctx, err, dropped)
			return
		case <-ctx.Done():
			return
		}
	}
}

// since is the span from the last sign of life to now.
func (h *held) since(now time.Duration) span { return between(time.Duration(h.reply.Load()), now) }

// drop tells that the connection is gone.
func (h *held) drop(ctx context.Context, err error, dropped chan<- struct{}) {
	if ctx.Err() != nil {
		return // it was closed here
	}
	text := "closed by the guest"
	if err != nil {
		text = err.Error()
	}
	h.o.State("ssh.held", "dropped", text, h.since(h.o.Clock.Now()), nil)
	close(dropped)
}

// typeBuiltins types a builtin of the shell every two seconds, when the one before was answered.
func (h *held) typeBuiltins(ctx context.Context) {
	sh := h.builtin
	t := time.NewTicker(builtinEvery)
	defer t.Stop()
	for {
		r, ok := sh.ask(ctx, "", builtinSilent, "shell.builtin")
		if !ok {
			return
		}
		h.o.State("shell.builtin", "answers", "", r.span, nil)
		select {
		case <-t.C:
		case <-sh.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// typeCommands types an external command every three seconds, when the one before was answered; and, after an error and
// until it works again, the package manager.
func (h *held) typeCommands(ctx context.Context) {
	t := time.NewTicker(externalEvery)
	defer t.Stop()
	managed := false // the package manager answered
	for {
		ok, good := h.command(ctx, externalCommand, "shell.external")
		if good && h.manager != "" && (!ok || !managed) {
			managed, good = h.command(ctx, h.manager+" --version", "shell.package-manager")
		}
		if !good {
			return
		}
		select {
		case <-t.C:
		case <-h.external.ended:
			return
		case <-ctx.Done():
			return
		}
	}
}

// command types one external command and tells its state: whether it worked, and whether the shell is still there.
func (h *held) command(ctx context.Context, line, topic string) (ok, there bool) {
	if h.o.d.gate.enter(ctx) != nil {
		return false, false
	}
	defer h.o.d.gate.leave()
	r, there := h.external.ask(ctx, line, externalSilent, topic)
	if !there {
		return false, false
	}
	if r.status == 0 {
		h.o.State(topic, "answers", "", r.span, nil)
		return true, true
	}
	h.o.State(topic, "error", r.errorText(), r.span, nil)
	return false, true
}
