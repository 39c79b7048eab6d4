// This file turns what was seen into observations; a state is told once, until it changes.

package watch

import (
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Reporter emits observations of one guest.
type Reporter struct {
	Clock drivers.Clock
	Lane  drivers.Lane
	// Ordered makes a report that comes late (a backlog) one that was seen when the report before it of its topic was: a
	// record's reports of a topic are in the order of their Hi.
	Ordered bool

	emit  func(drivers.Observation)
	mu    sync.Mutex
	last  map[string]string
	newer map[string]time.Duration // by kind and topic: the last Hi
}

// NewReporter returns a Reporter that gives its observations to emit.
func NewReporter(clock drivers.Clock, lane drivers.Lane, emit func(drivers.Observation)) *Reporter {
	return &Reporter{Clock: clock, Lane: lane, emit: emit, last: map[string]string{}, newer: map[string]time.Duration{}}
}

// Span is an interval on the harness's clock.
type Span struct{ Lo, Hi time.Duration }

// At is a moment that was seen itself.
func At(t time.Duration) Span { return Span{t, t} }

// Between is the interval from lo to hi.
func Between(lo, hi time.Duration) Span { return Span{lo, hi} }

// State reports a state, unless it was the last of its topic already, text and all.
func (r *Reporter) State(topic, value, text string, s Span, attrs map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock() // held while emitting, so that the order of a topic's states is that of their reports
	if old, ok := r.last[topic]; ok && old == value+"\n"+text {
		return
	}
	r.last[topic] = value + "\n" + text
	r.put(drivers.Observation{
		Lo: min(s.Lo, s.Hi), Hi: s.Hi, Kind: drivers.State, Topic: topic, Value: value, Text: text, Attrs: attrs,
	})
}

// Event reports an event.
func (r *Reporter) Event(topic, value, text string, s Span, attrs map[string]string) {
	o := drivers.Observation{Lo: s.Lo, Hi: s.Hi, Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs}
	if r.Ordered {
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	r.put(o)
}

// Sample reports a number.
func (r *Reporter) Sample(topic string, num float64, s Span) {
	o := drivers.Observation{Lo: s.Lo, Hi: s.Hi, Kind: drivers.Sample, Topic: topic, Num: num}
	if r.Ordered {
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	r.put(o)
}

// put emits an observation. An Ordered reporter calls it with the lock held.
func (r *Reporter) put(o drivers.Observation) {
	o.Lane = r.Lane
	if r.Ordered {
		key := string(o.Kind) + " " + o.Topic
		o.Hi = max(o.Hi, r.newer[key])
		r.newer[key] = o.Hi
	}
	r.emit(o)
}
