// This file watches the NAS: the wire, the service's own word, sessions and boots, each in a goroutine with deadlines of
// its own, so that a hanging API does not keep the look at the wire waiting.

package truenas

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Observe reports what it sees until ctx ends, and then returns nil.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.watch(ctx, emit, d.t.look, d.lookWire) })
	wg.Go(func() { d.watch(ctx, emit, d.t.look, d.lookService) })
	wg.Go(func() { d.watch(ctx, emit, d.t.lookBoot, (&bootWatch{d: d}).look) })
	wg.Go(func() { d.watch(ctx, emit, d.t.lookBoot, (&sessionWatch{d: d}).look) })
	return nil
}

// fact is what one look found.
type fact struct {
	kind        drivers.Kind
	topic, text string
	value       string
	num         float64
	attrs       map[string]string
}

// watch looks again and again. What a look finds holds from when the look before began to when this one ended.
func (d *Driver) watch(ctx context.Context, emit func(drivers.Observation), every time.Duration, look func(context.Context) []fact) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	before := d.env.Clock.Now()
	for {
		start := d.env.Clock.Now()
		facts := look(ctx)
		if ctx.Err() != nil {
			return
		}
		now := d.env.Clock.Now()
		for _, f := range facts {
			emit(drivers.Observation{Lo: before, Hi: now, Lane: d.env.Lane, Kind: f.kind, Topic: f.topic, Value: f.value, Num: f.num,
				Text: d.login.quote(f.text), Attrs: f.attrs})
		}
		before = start
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// lookWire logs in at the portal.
func (d *Driver) lookWire(ctx context.Context) []fact {
	f := fact{kind: drivers.State, topic: "service", value: "serving"}
	if w, err := d.wireFor(ctx, watchLimit); w != serving {
		f.value, f.text = "stopped", err.Error()
	}
	return []fact{f}
}

// lookService asks for the service's state, and tells whether the API answers.
func (d *Driver) lookService(ctx context.Context) []fact {
	s, err := d.find(ctx)
	var svc service
	if err == nil {
		svc, err = within(ctx, d.t.quick, s.service)
	}
	api := fact{kind: drivers.State, topic: "api", value: "answers"}
	if err != nil {
		api.text = d.cause(err)
		if !answers(err) {
			api.value = "silent"
		}
		return []fact{api}
	}
	return []fact{api, {kind: drivers.State, topic: "service.reported", value: svc.state, attrs: map[string]string{argEnable: strconv.FormatBool(svc.enable)}}}
}

// bootWatch tells one boot from the next.
type bootWatch struct {
	d    *Driver
	last boot
	name string
}

func (w *bootWatch) look(ctx context.Context) []fact {
	s, err := w.d.find(ctx)
	if err != nil {
		return nil
	}
	b, err := within(ctx, w.d.t.quick, s.boot)
	if err != nil {
		return nil // lookService tells of silence
	}
	if w.name == "" || b.after(w.last) {
		w.name = b.id
		if w.name == "" {
			w.name = b.since // newer versions work it out each time, and it wavers: only an uptime that went down changes it
		}
		if w.name == "" {
			w.name = "up for " + b.up.Round(time.Second).String()
		}
	}
	w.last = b
	return []fact{{kind: drivers.State, topic: "boot", value: w.name}}
}

// sessionWatch counts sessions and tells which are gone.
type sessionWatch struct {
	d    *Driver
	last map[session]bool
}

func (w *sessionWatch) look(ctx context.Context) []fact {
	s, err := w.d.find(ctx)
	if err != nil {
		return nil
	}
	list, err := within(ctx, w.d.t.quick, s.sessions)
	if err != nil {
		return nil
	}
	now := map[session]bool{}
	for _, one := range list {
		now[one] = true
	}
	out := []fact{{kind: drivers.Sample, topic: "sessions", num: float64(len(list))}}
	for one := range w.last {
		if !now[one] {
			out = append(out, fact{kind: drivers.Event, topic: "sessions", value: "vanished", text: one.initiator + " at " + one.address, attrs: map[string]string{
				"initiator": w.d.login.quote(one.initiator), "address": w.d.login.quote(one.address),
				"before": strconv.Itoa(len(w.last)), "after": strconv.Itoa(len(now))}})
		}
	}
	w.last = now
	return out
}

// Settings tells product, version, api (the generation in use), service.enable, and sessions where the version tells of
// them. Its errors are Operator errors.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	s, err := d.find(ctx)
	if err != nil {
		return nil, d.operator(err)
	}
	svc, err := within(ctx, d.t.quick, s.service)
	if err != nil {
		return nil, d.operator(err)
	}
	out := map[string]string{"product": s.version.product, "version": s.version.text, "api": s.api, "service.enable": strconv.FormatBool(svc.enable)}
	list, err := within(ctx, d.t.quick, s.sessions)
	switch {
	case err == nil:
		out["sessions"] = strconv.Itoa(len(list))
	case !errors.Is(err, errNotTold):
		return nil, d.operator(err)
	}
	return out, nil
}
