// This file is what the driver can do: drop caches, load, verify writes, halt, and tell the settings.

package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// QuietPeriod is how long after DropCaches nothing is read from the guest's disk on this driver's behalf, so that the caches
// stay cold until the fault is in place: no external command is typed and nobody logs in.
const QuietPeriod = 3 * time.Second

// The limits of powers whose contexts have no nearer deadline.
const (
	dropLimit     = 60 * time.Second
	loadLimit     = 60 * time.Second
	verifyLimit   = 10 * time.Minute
	haltLimit     = 3 * time.Minute
	settingsLimit = time.Minute
)

// gate holds back what would warm the guest's caches.
type gate struct {
	mu      sync.Mutex
	inside  int
	closed  int           // how many hold it closed
	changed chan struct{} // closed and replaced at every change; nil before anybody waits
}

// change applies do and wakes everyone who waits.
func (g *gate) change(do func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	do()
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// until waits until good, called with the lock held, says so; then it applies do.
func (g *gate) until(ctx context.Context, good func() bool, do func()) error {
	for {
		g.mu.Lock()
		if good() {
			do()
			g.mu.Unlock()
			return nil
		}
		if g.changed == nil {
			g.changed = make(chan struct{})
		}
		c := g.changed
		g.mu.Unlock()
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// enter waits until the gate is open and goes in.
func (g *gate) enter(ctx context.Context) error {
	return g.until(ctx, func() bool { return g.closed == 0 }, func() { g.inside++ })
}

func (g *gate) leave() { g.change(func() { g.inside-- }) }

// shut closes the gate and waits until nobody is inside. When it fails the gate is as it was.
func (g *gate) shut(ctx context.Context) error {
	g.change(func() { g.closed++ })
	if err := g.until(ctx, func() bool { return g.inside == 0 }, func() {}); err != nil {
		g.open()
		return err
	}
	return nil
}

func (g *gate) open() { g.change(func() { g.closed-- }) }

// DropCaches makes the guest write back and forget its caches, and keeps this driver from warming them for QuietPeriod after
// it returned.
func (d *Driver) DropCaches(ctx context.Context) error {
	ctx, cancel := d.bound(ctx, dropLimit)
	defer cancel()
	if err := d.gate.shut(ctx); err != nil {
		return fmt.Errorf("%s: waiting for commands and logins in flight before dropping caches: %w", d.env.ID, err)
	}
	err := d.agents.With(ctx, func(a *watch.Agent) error {
		_, err := a.Call(ctx, agent.Command{Type: agent.CmdDropCaches})
		return err
	})
	if err != nil {
		d.gate.open()
		return fmt.Errorf("%s: dropping caches: %w", d.env.ID, err)
	}
	wake(d.quieted)
	time.AfterFunc(d.quiet, func() {
		d.gate.open()
		wake(d.login)
	})
	return nil
}

// wake leaves one token in a channel of one place.
func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Load gives the guest n extra writers, 0 to 64, in place of those it has. They end with the agent: with a reboot, a lost
// connection or the end of Observe.
func (d *Driver) Load(ctx context.Context, n int) error {
	ctx, cancel := d.bound(ctx, loadLimit)
	defer cancel()
	return d.agents.Load(ctx, n)
}

// VerifyWrites reads back, past the caches, every record whose acknowledgement arrived since the driver was opened, and the
// seed data. A file that cannot be read is an error, not damage: nothing is known about it.
func (d *Driver) VerifyWrites(ctx context.Context) ([]drivers.Observation, error) {
	ctx, cancel := d.bound(ctx, verifyLimit)
	defer cancel()
	return d.agents.VerifyWrites(ctx, d.env.Lane)
}

// Halt shuts the guest down in order. It returns when the guest has closed the connection, which is before it is off: the
// hypervisor knows when that is.
func (d *Driver) Halt(ctx context.Context) error {
	ctx, cancel := d.bound(ctx, haltLimit)
	defer cancel()
	c, err := d.dial(ctx)
	if err != nil {
		return fmt.Errorf("%s: logging in to halt it: %w", d.env.ID, err)
	}
	defer c.end()
	_, err = c.command(ctx, "if [ -x /sbin/apd-poweroff ]; then exec /sbin/apd-poweroff; else exec poweroff; fi", nil)
	var e *loginError
	if errors.As(err, &e) && e.stage == stageCommand && e.way == byClosing {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: halting it: %w", d.env.ID, err)
	}
	gone := make(chan struct{}) // the order is given; now the connection goes
	go func() { _ = c.Wait(); close(gone) }()
	<-gone // bounded: the connection still has ctx's deadline
	if ctx.Err() != nil {
		return fmt.Errorf("%s: waiting for it to halt: %w", d.env.ID, ctx.Err())
	}
	return nil
}

// Settings returns scsi_timeout (seconds, of the disk below the root file system; 0 when it has none), kernel, os, root_fs,
// root_device and write_cache ("write back", "write through" or "unknown"); and those of agent.Linux, as they were when the
// agent started.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	ctx, cancel := d.bound(ctx, settingsLimit)
	defer cancel()
	out := map[string]string{}
	err := d.agents.With(ctx, func(a *watch.Agent) error {
		h := a.Hello
		maps.Copy(out, h.Linux.Settings())
		out["scsi_timeout"] = strconv.FormatFloat(a.System().Timeout, 'g', -1, 64)
		out["kernel"], out["os"], out["root_fs"], out["root_device"] = h.Kernel, h.OS, h.RootFS, h.RootDevice
		out["write_cache"] = cmp.Or(h.WriteCache, "unknown")
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: reading its settings: %w", d.env.ID, err)
	}
	return out, nil
}
