// This file runs the observation: the agent's loop here, the held session and the new logins beside it.

package linux

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// How the agent is kept: each second it is pinged or, when it is lost, dialled; when it is silent for silentLimit another one
// is tried beside it.
const (
	pingEvery   = time.Second
	silentAfter = 3 * time.Second
	silentLimit = 6 * time.Second
)

// observer is one run of Observe.
type observer struct {
	*reporter
	d     *Driver
	boots chan string // the boot id, when it changed; holds the newest

	mu       sync.Mutex
	lastBeat time.Duration // arrival; 0 before the first
	beatAt   span          // when it was sent
	gapTold  time.Duration
}

// Observe reports until ctx ends. Only one Observe of a driver runs at a time.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	d.mu.Lock()
	if d.observing {
		d.mu.Unlock()
		return fmt.Errorf("%s: it is being observed already", d.env.ID)
	}
	d.observing = true
	d.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.closed, cancel)()
	o := &observer{
		reporter: &reporter{clock: d.env.Clock, lane: d.env.Lane, emit: emit, last: map[string]string{}},
		d:        d, boots: make(chan string, 1),
	}
	var wg sync.WaitGroup
	wg.Go(func() { o.keepAgent(ctx) })
	wg.Go(func() { o.watchSilence(ctx) })
	wg.Go(func() { o.keepHeld(ctx) })
	wg.Go(func() { o.tryLogins(ctx) })
	wg.Wait()
	d.mu.Lock()
	d.observing = false
	d.mu.Unlock()
	return nil
}

// keepAgent keeps an agent running in the guest, for ever.
func (o *observer) keepAgent(ctx context.Context) {
	var cur *agentConn
	served := make(chan struct{}) // closed when cur's reader ended
	defer func() {
		o.d.setCurrent(nil)
		if cur != nil {
			cur.c.end()
			<-served
		}
	}()
	var last time.Duration // when the agent before was heard last
	lost := func(text string, since time.Duration) {
		s := span{since, o.clock.Now()}
		o.state("agent", "lost", text, s, nil)
		for _, topic := range []string{"disk", "write"} { // what a new agent says is news, also when it is the same
			o.state(topic, "unknown", "the agent is lost", s, nil)
		}
	}
	silent := func() bool { return o.clock.Now()-time.Duration(cur.heard.Load()) > silentLimit }
	for tries := 0; ctx.Err() == nil; {
		if cur != nil && cur.ended() {
			o.d.setCurrent(nil)
			last = time.Duration(cur.heard.Load())
			lost(fmt.Sprintf("the connection ended: %v", cur.err), last)
			cur = nil
		}
		if cur == nil || silent() {
			begun := o.clock.Now()
			next, err := o.d.openAgent(ctx, false)
			switch {
			case ctx.Err() != nil:
				if next != nil {
					next.c.end()
				}
				return
			case err != nil:
				if cur == nil {
					lost(why(err), begun)
				}
				if tries++; tries == 1 || tries%60 == 0 {
					o.d.env.Logf("%s: the agent cannot be started (attempt %d): %v", o.d.env.ID, tries, err)
				}
			case cur != nil && !cur.ended() && !silent():
				next.c.end() // the old one was only slow
			default:
				tries = 0
				if cur != nil {
					cur.c.end()
					<-served
					last = time.Duration(cur.heard.Load())
					lost("it fell silent", last)
				}
				cur, served = next, make(chan struct{})
				o.greet(cur, last)
				go func(a *agentConn, done chan struct{}) {
					defer close(done)
					h := newHandler(o, a)
					a.serve(o.clock.Now, h.handle)
				}(cur, served)
			}
		}
		if cur != nil {
			cur.ping(o.clock.Now())
		}
		t := time.NewTimer(pingEvery)
		select {
		case <-t.C:
		case <-servedOrNever(cur, served):
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// servedOrNever is the channel to wait on while there is an agent.
func servedOrNever(a *agentConn, served chan struct{}) chan struct{} {
	if a == nil {
		return nil
	}
	return served
}

// greet tells of a new agent. last is when the one before was heard last: until then it was the former boot.
func (o *observer) greet(a *agentConn, last time.Duration) {
	now := time.Duration(a.heard.Load())
	h := a.hello
	if h.Locked != "" {
		o.d.env.Logf("%s: the agent's memory can be paged out, to a disk that may be lost: %s", o.d.env.ID, h.Locked)
	}
	o.state("agent", "up", h.Instance, span{a.begun, now}, nil)
	o.state("load", "none", "", span{a.begun, now}, nil)
	o.state("boot", h.BootID, "", span{cmp.Or(last, a.begun), now}, map[string]string{
		"instance": h.Instance, "uptime": fmt.Sprintf("%.3f", h.Uptime), "kernel": h.Kernel, "os": h.OS,
	})
	select { // the newest only
	case <-o.boots:
	default:
	}
	o.boots <- h.BootID
	o.d.setCurrent(a)
}

// setCurrent makes an agent the one that powers use.
func (d *Driver) setCurrent(a *agentConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.current = a
	close(d.changed)
	d.changed = make(chan struct{})
}

// errNotObserved is why a power that needs the observed agent cannot work.
var errNotObserved = errors.New("the guest is not being observed")

// withAgent runs use with the observed agent, waiting for it when it is lost; when nobody observes, with one of its own.
func (d *Driver) withAgent(ctx context.Context, use func(a *agentConn) error) error {
	for {
		d.mu.Lock()
		cur, changed, observing := d.current, d.changed, d.observing
		d.mu.Unlock()
		switch {
		case cur != nil:
			err := use(cur)
			if !errors.Is(err, errGone) {
				return err
			}
			select { // it is lost; the loop that keeps it will say so
			case <-changed:
			case <-ctx.Done():
				return err
			}
		case observing:
			select {
			case <-changed:
			case <-ctx.Done():
				return fmt.Errorf("waiting for the agent: %w", ctx.Err())
			}
		default:
			a, err := d.openAgent(ctx, true)
			if err != nil {
				return err
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				a.serve(d.env.Clock.Now, func(agent.Message, time.Duration) {})
			}()
			err = use(a)
			a.c.end()
			<-served
			return err
		}
	}
}

// beat takes note of a beat.
func (o *observer) beat(s span, arrived time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lastBeat != 0 {
		o.sample("heartbeat", (arrived - o.lastBeat).Seconds(), at(arrived))
	}
	o.lastBeat, o.beatAt, o.gapTold = arrived, s, arrived
	o.state("alive", "beating", "", s, nil)
}

// watchSilence tells of beats that do not come.
func (o *observer) watchSilence(ctx context.Context) {
	t := time.NewTicker(silentAfter / 12)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		o.mu.Lock()
		now := o.clock.Now()
		if o.lastBeat != 0 && now-o.gapTold >= time.Second {
			o.gapTold = now
			o.sample("heartbeat", (now - o.lastBeat).Seconds(), at(now))
		}
		if o.lastBeat != 0 && now-o.lastBeat >= silentAfter {
			o.state("alive", "silent", "", span{o.beatAt.lo, now}, nil)
		}
		o.mu.Unlock()
	}
}
