// This file runs the observation: the agent's loop, the held session and the new logins, each beside the other.

package linux

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// observer is one run of Observe.
type observer struct {
	*watch.Reporter
	d     *Driver
	boots chan string // the boot id, when it changed; holds the newest
}

// span is an interval on the harness's clock.
type span = watch.Span

// between is the interval from lo to hi.
func between(lo, hi time.Duration) span { return watch.Between(lo, hi) }

// at is a moment that was seen itself.
func at(t time.Duration) span { return watch.At(t) }

// Observe reports until ctx ends. Only one Observe of a driver runs at a time.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	o := &observer{Reporter: watch.NewReporter(d.env.Clock, d.env.Lane, emit), d: d, boots: make(chan string, 1)}
	agents, err := d.agents.Begin(o.Reporter, func(b watch.Boot) {
		select { // the newest only
		case <-o.boots:
		default:
		}
		o.boots <- b.ID
	})
	if err != nil {
		return err
	}
	defer agents.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.closed, cancel)()
	var wg sync.WaitGroup
	wg.Go(func() { agents.Keep(ctx) })
	wg.Go(func() { agents.WatchSilence(ctx) })
	wg.Go(func() { o.keepHeld(ctx) })
	wg.Go(func() { o.tryLogins(ctx) })
	wg.Wait()
	return nil
}
