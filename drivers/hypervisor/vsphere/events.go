// This file follows the event log with a collector, the one way that a standalone ESXi has too. Its events are in memory
// only, about a quarter of an hour of them (docs.vmware.com, vSphere Web Services SDK Programming Guide,
// GUID-3C512D5E), so the collector is there before anything is broken.

package vsphere

import (
	"github.com/allpathsdown/allpathsdown/drivers/lookout"

	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// feedBound is of one look; each of its calls has the bound of a quick one.
const feedBound = 2 * time.Minute

// feed turns events into observations.
type feed struct {
	d       *Driver
	r       *lookout.Report
	began   time.Duration
	drained bool // everything from before Observe is read
}

// prepare makes the collector and reads what happened before.
func (f *feed) prepare(ctx context.Context) {
	if _, err := f.d.compareClocks(ctx); err != nil {
		return // the observers tell of it
	}
	_ = f.look(ctx, func() lookout.Look { return f.r.Between(f.began, f.d.env.Clock.Now()) })
}

// look reads what is new.
func (f *feed) look(ctx context.Context, now func() lookout.Look) error {
	p, err := f.d.find(ctx)
	if err != nil {
		return err
	}
	if _, known := f.d.clock.margin(); !known {
		if _, err := f.d.compareClocks(ctx); err != nil {
			return err
		}
	}
	t := f.tail()
	var fresh []types.BaseEvent
	err = f.d.api.callFor(ctx, feedBound, func(ctx context.Context, v *visit) error {
		more, err := t.read(ctx, v, p.above)
		fresh = append(fresh, more...) // an attempt that failed half-way has read some too
		return err
	})
	l := now()
	if t.missed != "" {
		l.Event(f.d.env.Lane, "api", t.lost, t.missed, nil)
		t.missed = ""
	}
	for _, e := range fresh {
		if f.drained || f.after(e) {
			f.tell(l, p, e)
		}
	}
	if err != nil {
		if _, absent := gone(err); absent {
			f.forget()
		}
		return fmt.Errorf("reading events: %w", err)
	}
	f.drained = true
	return nil
}

// after tells whether an event surely happened after Observe had begun.
func (f *feed) after(e types.BaseEvent) bool {
	lo, _, ok := f.d.clock.place(e.GetEvent().CreatedTime, f.d.env.Clock.Now())
	return ok && lo >= f.began
}

// tail is where the driver's collector stands.
func (f *feed) tail() *tail {
	if f.d.tail == nil {
		f.d.tail = newTail(f.d.env.Clock.Now)
	}
	return f.d.tail
}

func (f *feed) forget() {
	if t := f.d.tail; t != nil {
		t.visit = nil
	}
}

// tell reports an event on the lane that it is about.
func (f *feed) tell(l lookout.Look, p *place, e types.BaseEvent) {
	if !p.concerns(e) {
		return
	}
	lane := f.d.env.Lane
	if vm, ok := p.machineOf(e); ok {
		lane = f.d.VMLane(vm)
	}
	at := l
	if lo, hi, ok := f.d.clock.place(e.GetEvent().CreatedTime, l.At); ok {
		at = l.Between(lo, hi)
	}
	id, text, attrs := describe(e)
	at.Event(lane, "event", id, f.d.api.scrub(text), attrs)
}
