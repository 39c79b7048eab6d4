// This file hands observations on: states only when they change, with the last time at which they were still the old ones.

package vsan

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The topics that are this product's own.
const (
	topicMember     = "member"
	topicObjects    = "objects"
	topicCompliance = "compliance"
	topicPower      = "power"
	topicLost       = "events-lost"
	topicLog        = "kernel-log"
	topicWatch      = "watch"
)

type topic struct{ lane, name string }

// report takes observations from several goroutines, and none after Observe has returned.
type report struct {
	d *Driver

	mu   sync.Mutex
	emit func(drivers.Observation) // nil once it is over
	last map[topic]string
}

func (r *report) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.emit = nil
}

func (r *report) put(o drivers.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.emit == nil {
		return
	}
	key := topic{o.Lane.Name, o.Topic}
	if o.Kind == drivers.State {
		if r.last[key] == o.Value {
			return
		}
		r.last[key] = o.Value
	}
	o.Hi = min(max(o.Hi, 0), r.d.env.Clock.Now())
	o.Lo = min(max(o.Lo, 0), o.Hi)
	r.emit(o)
}

// look is one look: since is the last moment for which things were known before, at the moment of this one.
type look struct {
	r         *report
	since, at time.Duration
}

func (l look) state(lane, topic, value, text string) {
	if value != "" {
		l.r.put(drivers.Observation{Lo: l.since, Hi: l.at, Lane: l.r.d.lane(lane), Kind: drivers.State, Topic: topic, Value: value, Text: text})
	}
}

func (l look) sample(lane, topic string, n float64) {
	l.r.put(drivers.Observation{Lo: l.at, Hi: l.at, Lane: l.r.d.lane(lane), Kind: drivers.Sample, Topic: topic, Num: n})
}

func (l look) event(lane, topic, value, text string, attrs map[string]string) {
	l.r.put(drivers.Observation{Lo: l.since, Hi: l.at, Lane: l.r.d.lane(lane), Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs})
}

// watch calls ask once per period until ctx ends. ask reports what it sees with the look that now makes, once its calls are back.
func (r *report) watch(ctx context.Context, what string, period time.Duration, ask func(ctx context.Context, now func() look) error) {
	clock := r.d.env.Clock
	tick := time.NewTicker(period)
	defer tick.Stop()
	since, trouble := clock.Now(), ""
	for ctx.Err() == nil {
		start := clock.Now()
		err := ask(ctx, func() look { return look{r, since, clock.Now()} })
		if ctx.Err() != nil {
			return
		}
		l := look{r, since, clock.Now()}
		attrs := map[string]string{"what": what}
		if err == nil {
			if trouble != "" {
				l.event(whole, topicWatch, "answers", "", attrs)
			}
			since, trouble = start, ""
		} else if why := r.d.conn.Cause(err); why != trouble {
			trouble = why
			l.event(whole, topicWatch, "not-answering", why, attrs)
			r.d.env.Logf("%s: asking for %s: %s", r.d.env.ID, what, why)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
