// This file starts the observers, and has the first of them: does the API answer, and what does its clock show?

package vsphere

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// everyMargin is how often the error of the clocks' comparison is told.
const everyMargin = time.Minute

// Observe looks at host, storage, machines, events and logs, each on its own, so that none keeps the others waiting.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	r := d.report(emit)
	defer r.End()
	began := d.env.Clock.Now()
	f := &feed{d: d, r: r, began: began}
	f.prepare(ctx) // before anything is reported: what happens from then on is not missed
	d.api.listen(func(value, text string) {
		now := d.env.Clock.Now()
		r.Between(now, now).Event(d.env.Lane, "api", value, text, nil)
	})
	defer d.api.listen(func(string, string) {})
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.watchAPI(ctx, r) })
	wg.Go(func() { r.Watch(ctx, "host", everyLook, (&hostWatch{d: d}).look) })
	wg.Go(func() { r.Watch(ctx, "machines", everyLook, newVMWatch(d, began).look) })
	wg.Go(func() { r.Watch(ctx, "events", everyEvent, f.look) })
	wg.Go(func() { d.watchLogs(ctx, r) })
	return nil
}

// watchAPI asks for the server's time: the smallest call there is.
func (d *Driver) watchAPI(ctx context.Context, r *lookout.Report) {
	last, told := d.env.Clock.Now(), time.Duration(-everyMargin)
	r.Watch(ctx, "time", everyLook, func(ctx context.Context, _ func() lookout.Look) error {
		start := d.env.Clock.Now()
		took, err := d.compareClocks(ctx)
		if ctx.Err() != nil {
			return err
		}
		l := r.Between(last, d.env.Clock.Now()) // an API that was asked and did not answer was not answering when it was asked
		last = start
		if err != nil {
			l.State(d.env.Lane, "manageable", "no", d.api.scrub(cause(err)), nil)
			return err
		}
		l.State(d.env.Lane, "manageable", "yes", "", nil)
		l.Sample(d.env.Lane, "api", took.Seconds())
		if margin, ok := d.clock.margin(); ok && l.At-told >= everyMargin {
			told = l.At
			l.Sample(d.env.Lane, "clock-error", margin.Seconds())
		}
		return nil
	})
}

// compareClocks asks for the server's time, and tells how long that took.
func (d *Driver) compareClocks(ctx context.Context) (took time.Duration, err error) {
	err = d.api.call(ctx, func(ctx context.Context, v *visit) error {
		sent := d.env.Clock.Now()
		t, err := serverTime(ctx, v)
		if err != nil {
			return err
		}
		got := d.env.Clock.Now()
		took = got - sent
		d.clock.compare(sent, got, t)
		return nil
	})
	return took, err
}

// report takes what is seen for emit.
func (d *Driver) report(emit func(drivers.Observation)) *lookout.Report {
	return &lookout.Report{Clock: d.env.Clock, Emit: emit, Lane: d.env.Lane, Topic: "api", Logf: d.env.Logf,
		Cause: func(err error) string { return d.api.scrub(cause(err)) }}
}
