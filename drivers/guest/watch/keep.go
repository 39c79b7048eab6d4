// Package watch is what the drivers of guests have in common: a connection to an agent in the guest's memory, kept or made
// anew for as long as the guest is observed; the agent's clock placed on the harness's; and its messages as observations.
package watch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// How the agent is kept: each second it is pinged or, when it is lost, dialled; when it is silent for silentLimit another one
// is tried beside it.
const (
	PingEvery   = time.Second
	SilentAfter = 3 * time.Second
	silentLimit = 6 * time.Second
)

// Boot tells of a boot of the guest that was not known.
type Boot struct {
	ID      string
	First   bool          // it is the first one that is known
	Since   time.Duration // the last sign of life of the boot before
	Started time.Duration // not later than this it began
}

// Guest is what a driver knows of the agents in its guest.
type Guest struct {
	ID    string // the driver's name in the lab
	Clock drivers.Clock
	Logf  func(format string, a ...any)
	// Open connects to the guest's agent, starting it first where it has to. A quiet one need only take commands. It has its
	// own deadline.
	Open func(ctx context.Context, quiet bool) (*Agent, error)
	Why  func(error) string // says in a few words why Open failed
	// Resident says that an agent outlives its connection, that it takes one client at a time, and that it keeps what it
	// could not send.
	Resident bool

	mu        sync.Mutex
	observing bool
	current   *Agent                   // the agent that is observed
	changed   chan struct{}            // closed and replaced when current changes
	acked     map[string]agent.LogFile // by path: the highest record whose acknowledgement arrived
}

// Observer is one run of a driver's Observe.
type Observer struct {
	*Reporter
	g    *Guest
	boot func(Boot)
	seen string   // the boot that was told last
	kept *handler // of the agent that is connected, or was

	mu       sync.Mutex
	lastBeat time.Duration // arrival; 0 before the first
	beatAt   Span          // when it was sent
	gapTold  time.Duration
}

// Begin begins the one Observe that there can be at a time; End ends it. boot is told of each boot, by one goroutine.
func (g *Guest) Begin(r *Reporter, boot func(Boot)) (*Observer, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.observing {
		return nil, fmt.Errorf("%s: it is being observed already", g.ID)
	}
	g.observing = true
	return &Observer{Reporter: r, g: g, boot: boot}, nil
}

// End ends the observation, when Keep and WatchSilence have returned.
func (o *Observer) End() {
	o.g.mu.Lock()
	defer o.g.mu.Unlock()
	o.g.observing = false
}

// Observing tells whether the guest is being observed.
func (g *Guest) Observing() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.observing
}

// Keep keeps an agent running in the guest, or a connection to it, until ctx ends.
func (o *Observer) Keep(ctx context.Context) {
	var cur *Agent
	served := make(chan struct{}) // closed when cur's reader ended
	defer func() {
		o.g.setCurrent(nil)
		if cur != nil {
			cur.End()
			<-served
		}
	}()
	var last time.Duration // when the agent before was heard last
	unknown := []string{"disk", "write"}
	if o.g.Resident {
		unknown = append(unknown, "folder", "busy")
	}
	lost := func(text string, since time.Duration) {
		s := Span{since, o.Clock.Now()}
		o.State("agent", "lost", text, s, nil)
		for _, topic := range unknown { // what a new agent says is news, also when it is the same
			o.State(topic, "unknown", "the agent is lost", s, nil)
		}
	}
	silent := func() bool { return o.Clock.Now()-time.Duration(cur.heard.Load()) > silentLimit }
	for tries := 0; ctx.Err() == nil; {
		if cur != nil && cur.ended() {
			o.g.setCurrent(nil)
			last = time.Duration(cur.heard.Load())
			lost(fmt.Sprintf("the connection ended: %v", cur.err), last)
			cur = nil
		}
		if cur == nil || silent() {
			begun := o.Clock.Now()
			next, err := o.g.Open(ctx, false)
			switch {
			case ctx.Err() != nil:
				if next != nil {
					next.End()
				}
				return
			case err != nil:
				if cur == nil {
					lost(o.g.Why(err), begun)
				}
				if tries++; tries == 1 || tries%60 == 0 {
					o.g.Logf("%s: the agent cannot be started (attempt %d): %v", o.g.ID, tries, err)
				}
			case cur != nil && !cur.ended() && !silent() && !o.g.Resident:
				next.End() // the old one was only slow
			default:
				tries = 0
				if cur != nil {
					cur.End()
					<-served
					last = time.Duration(cur.heard.Load())
					lost("it fell silent", last)
				}
				cur, served = next, make(chan struct{})
				o.greet(cur, last)
				go func(a *Agent, h *handler, done chan struct{}) {
					defer close(done)
					a.serve(o.Clock.Now, h.handle)
				}(cur, o.kept, served)
			}
		}
		if cur != nil {
			cur.ping(o.Clock.Now())
		}
		t := time.NewTimer(PingEvery)
		select {
		case <-t.C:
		case <-servedOrNever(cur, served):
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// servedOrNever is the channel to wait on while there is an agent.
func servedOrNever(a *Agent, served chan struct{}) chan struct{} {
	if a == nil {
		return nil
	}
	return served
}

// greet tells of an agent that was found. last is when the one before was heard last: until then it was the former boot.
func (o *Observer) greet(a *Agent, last time.Duration) {
	now := time.Duration(a.heard.Load())
	h := a.Hello
	before := o.kept
	again := o.g.Resident && before != nil && before.a.Hello.Instance == h.Instance && before.a.Hello.BootID == h.BootID
	if again { // its clock is known, and what is still outstanding too
		a.clock = before.a.clock
		before.a = a
	} else {
		o.kept = newHandler(o, a)
	}
	if h.Locked != "" && !again {
		o.g.Logf("%s: the agent's memory can be paged out, to a disk that may be lost: %s", o.g.ID, h.Locked)
	}
	o.State("agent", "up", h.Instance, Span{a.begun, now}, nil)
	if !again {
		o.State("load", "none", "", Span{a.begun, now}, nil)
	}
	since := cmp.Or(last, a.begun)
	if o.g.Resident {
		if before != nil && before.a.Hello.Instance != h.Instance {
			o.State("memory", "lost", before.a.Hello.Instance, Span{since, now}, map[string]string{"instance": before.a.Hello.Instance, "next": h.Instance})
		}
		o.State("memory", "kept", h.Instance, Span{a.begun, now}, map[string]string{"instance": h.Instance})
	}
	o.State("boot", h.BootID, "", Span{since, now}, map[string]string{
		"instance": h.Instance, "uptime": fmt.Sprintf("%.3f", h.Uptime), "kernel": h.Kernel, "os": h.OS,
	})
	if o.boot != nil {
		o.boot(Boot{ID: h.BootID, First: o.seen == "", Since: since, Started: now - time.Duration(h.Uptime*float64(time.Second))})
	}
	o.seen = h.BootID
	o.g.setCurrent(a)
}

// setCurrent makes an agent the one that powers use.
func (g *Guest) setCurrent(a *Agent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.current = a
	close(g.signal())
	g.changed = nil
}

// signal is the channel of the next change. It is called with the lock held.
func (g *Guest) signal() chan struct{} {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	return g.changed
}

// ErrNotObserved is why a power that needs the observed agent cannot work.
var ErrNotObserved = errors.New("the guest is not being observed")

// With runs use with the observed agent, waiting for it when it is lost; when nobody observes, with one of its own.
func (g *Guest) With(ctx context.Context, use func(a *Agent) error) error {
	for {
		g.mu.Lock()
		cur, changed, observing := g.current, g.signal(), g.observing
		g.mu.Unlock()
		switch {
		case cur != nil:
			err := use(cur)
			if !errors.Is(err, ErrGone) {
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
			a, err := g.Open(ctx, true)
			if err != nil {
				return err
			}
			served := make(chan struct{})
			go func() {
				defer close(served)
				a.serve(g.Clock.Now, func(agent.Message, time.Duration) {})
			}()
			err = use(a)
			a.End()
			<-served
			return err
		}
	}
}

// Load gives the guest n extra writers in place of those it has.
func (g *Guest) Load(ctx context.Context, n int) error {
	if !g.Observing() {
		return fmt.Errorf("%s: giving it load: %w", g.ID, ErrNotObserved)
	}
	err := g.With(ctx, func(a *Agent) error {
		_, err := a.Call(ctx, agent.Command{Type: agent.CmdLoad, N: n})
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: giving it %d writers: %w", g.ID, n, err)
	}
	return nil
}

// VerifyWrites reads back, past the caches, every record whose acknowledgement arrived since the driver was opened, and the
// seed data. A file that cannot be read is an error, not damage: nothing is known about it.
func (g *Guest) VerifyWrites(ctx context.Context, lane drivers.Lane) ([]drivers.Observation, error) {
	begun := g.Clock.Now()
	g.mu.Lock()
	files := make([]agent.LogFile, 0, len(g.acked))
	for _, f := range g.acked {
		files = append(files, f)
	}
	g.mu.Unlock()
	slices.SortFunc(files, func(a, b agent.LogFile) int { return cmp.Compare(a.Path, b.Path) })
	var logs, seed agent.Reply
	err := g.With(ctx, func(a *Agent) (err error) {
		if logs, err = a.Call(ctx, agent.Command{Type: agent.CmdVerify, Files: files}); err != nil {
			return err
		}
		seed, err = a.Call(ctx, agent.Command{Type: agent.CmdSeed})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: reading back what was written: %w", g.ID, err)
	}
	acklog, err := sumUp(files, logs.Files)
	if err != nil {
		return nil, fmt.Errorf("%s: reading back what was written: %w", g.ID, err)
	}
	now := g.Clock.Now()
	acklog.Lo, acklog.Hi, acklog.Lane, acklog.Kind = begun, now, lane, drivers.Event
	return []drivers.Observation{acklog, {
		Lo: begun, Hi: now, Lane: lane, Kind: drivers.Event, Topic: "seed", Value: seed.Seed, Text: seed.Text,
	}}, nil
}

// beat takes note of a beat.
func (o *Observer) beat(s Span, arrived time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.lastBeat != 0 {
		o.Sample("heartbeat", (arrived - o.lastBeat).Seconds(), At(arrived))
	}
	o.lastBeat, o.beatAt, o.gapTold = arrived, s, arrived
	o.State("alive", "beating", "", s, nil)
}

// WatchSilence tells of beats that do not come.
func (o *Observer) WatchSilence(ctx context.Context) {
	t := time.NewTicker(SilentAfter / 12)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		o.mu.Lock()
		now := o.Clock.Now()
		if o.lastBeat != 0 && now-o.gapTold >= time.Second {
			o.gapTold = now
			o.Sample("heartbeat", (now - o.lastBeat).Seconds(), At(now))
		}
		if o.lastBeat != 0 && now-o.lastBeat >= SilentAfter {
			o.State("alive", "silent", "", Span{o.beatAt.Lo, now}, nil)
		}
		o.mu.Unlock()
	}
}
