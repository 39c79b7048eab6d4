// Package lookout is how a driver watches a system that has to be asked again and again: each question in a goroutine of its own,
// what is seen with the last time at which it was not seen yet, in order, with sane times, and nothing after Observe has returned.
package lookout

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Report takes what is seen from several goroutines. Its exported fields are set before it is used.
type Report struct {
	Clock drivers.Clock
	Emit  func(drivers.Observation)

	Changes bool // states are passed on when they are others than before, not at each look

	// A question that gets no answer is an event of this lane and topic, not-answering, and answers when it does again: Attrs what.
	Lane  drivers.Lane
	Topic string
	Cause func(error) string // why, in words that hold nothing secret and stay the same for the same cause
	Logf  func(format string, args ...any)

	mu   sync.Mutex
	over bool
	last map[topic]last
}

// last is what was passed on last of a topic.
type last struct {
	at    time.Duration
	value string
}

type topic struct {
	lane  drivers.Lane
	kind  drivers.Kind
	topic string
}

// End ends it: what comes later is dropped.
func (r *Report) End() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// Put passes an observation on. Looks that overlap, and times estimated from another clock, may be out of order: Hi never goes back
// within a topic, nor lies in the future.
func (r *Report) Put(o drivers.Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	if r.last == nil {
		r.last = map[topic]last{}
	}
	key := topic{o.Lane, o.Kind, o.Topic}
	before, known := r.last[key]
	if r.Changes && o.Kind == drivers.State && known && before.value == o.Value {
		return
	}
	o.Hi = min(max(o.Hi, before.at, 0), r.Clock.Now())
	o.Lo = min(max(o.Lo, 0), o.Hi)
	r.last[key] = last{o.Hi, o.Value}
	r.Emit(o)
}

// Between is a look at what happened between two times.
func (r *Report) Between(since, at time.Duration) Look { return Look{r, since, at} }

// Look is one look at something: Since is the last moment for which it was known before, At the moment of this one.
type Look struct {
	r         *Report
	Since, At time.Duration
}

// Between is the same look with other times.
func (l Look) Between(since, at time.Duration) Look { return Look{l.r, since, at} }

// State tells a state; an empty value is none.
func (l Look) State(lane drivers.Lane, topic, value, text string, attrs map[string]string) {
	if value != "" {
		l.r.Put(drivers.Observation{Lo: l.Since, Hi: l.At, Lane: lane, Kind: drivers.State, Topic: topic, Value: value, Text: text, Attrs: attrs})
	}
}

// Sample tells a number, of the moment of the look.
func (l Look) Sample(lane drivers.Lane, topic string, n float64) {
	l.r.Put(drivers.Observation{Lo: l.At, Hi: l.At, Lane: lane, Kind: drivers.Sample, Topic: topic, Num: n})
}

// Event tells an event.
func (l Look) Event(lane drivers.Lane, topic, value, text string, attrs map[string]string) {
	l.r.Put(drivers.Observation{Lo: l.Since, Hi: l.At, Lane: lane, Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs})
}

// Ask is a question: it tells what it sees with the look that now makes, once its calls are back.
type Ask func(ctx context.Context, now func() Look) error

// Watch asks once per period until ctx ends. What is the question's name, in words.
func (r *Report) Watch(ctx context.Context, what string, period time.Duration, ask Ask) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	since, trouble := r.Clock.Now(), ""
	for ctx.Err() == nil {
		start := r.Clock.Now()
		now := func() Look { return r.Between(since, r.Clock.Now()) }
		err := ask(ctx, now)
		if ctx.Err() != nil {
			return
		}
		attrs := map[string]string{"what": what}
		if err == nil {
			if trouble != "" {
				now().Event(r.Lane, r.Topic, "answers", "", attrs)
			}
			since, trouble = start, ""
		} else if why := r.Cause(err); why != trouble {
			trouble = why
			now().Event(r.Lane, r.Topic, "not-answering", why, attrs)
			r.Logf("%s: asking for %s: %s", r.Lane.Name, what, why)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
