// This file hands observations on: in order, with sane times, and none after Observe has returned.

package vsphere

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

type topic struct {
	lane  drivers.Lane
	kind  drivers.Kind
	topic string
}

// report takes observations from several goroutines.
type report struct {
	d *Driver

	mu   sync.Mutex
	emit func(drivers.Observation) // nil once it is over
	last map[topic]time.Duration
}

func (r *report) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emit = nil
}

// put passes an observation on. Times estimated from another clock may overlap: Hi never goes back within a topic.
func (r *report) put(o drivers.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.emit == nil {
		return
	}
	key := topic{o.Lane, o.Kind, o.Topic}
	o.Hi = min(max(o.Hi, r.last[key], 0), r.d.env.Clock.Now())
	o.Lo = min(max(o.Lo, 0), o.Hi)
	r.last[key] = o.Hi
	r.emit(o)
}

// look is one look at something: since is the last moment for which it was known before, at the moment of this one.
type look struct {
	r         *report
	since, at time.Duration
}

func (l look) state(lane drivers.Lane, topic, value, text string, attrs map[string]string) {
	if value != "" {
		l.r.put(drivers.Observation{Lo: l.since, Hi: l.at, Lane: lane, Kind: drivers.State, Topic: topic, Value: value, Text: text, Attrs: attrs})
	}
}

func (l look) sample(lane drivers.Lane, topic string, n float64) {
	l.r.put(drivers.Observation{Lo: l.at, Hi: l.at, Lane: lane, Kind: drivers.Sample, Topic: topic, Num: n})
}

func (l look) event(lane drivers.Lane, topic, value, text string, attrs map[string]string) {
	l.r.put(drivers.Observation{Lo: l.since, Hi: l.at, Lane: lane, Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs})
}

// watch calls ask once per period until ctx ends. ask reports what it sees with the look that it makes by now, once its calls
// are back. Whether they come back is an event of its own.
func (r *report) watch(ctx context.Context, what string, period time.Duration, ask func(ctx context.Context, now func() look) error) {
	d := r.d
	tick := time.NewTicker(period)
	defer tick.Stop()
	since, trouble := d.env.Clock.Now(), ""
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		now := func() look { return look{r, since, d.env.Clock.Now()} }
		err := ask(ctx, now)
		if ctx.Err() != nil {
			return
		}
		attrs := map[string]string{"what": what}
		switch {
		case err == nil:
			if trouble != "" {
				now().event(d.env.Lane, "api", "answers", "", attrs)
			}
			since, trouble = start, ""
		case cause(err) != trouble:
			trouble = cause(err)
			now().event(d.env.Lane, "api", "not-answering", d.api.scrub(trouble), attrs)
			d.env.Logf("%s: asking for %s: %s", d.env.ID, what, d.api.scrub(err.Error()))
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
