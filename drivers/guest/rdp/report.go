// This file turns what was seen into observations; a state is told once, until it changes.

package rdp

import (
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// reporter emits observations of one guest.
type reporter struct {
	clock drivers.Clock
	lane  drivers.Lane
	emit  func(drivers.Observation)

	mu   sync.Mutex
	last map[string]string
}

// span is an interval on the harness's clock.
type span struct{ lo, hi time.Duration }

func (r *reporter) state(topic, value, text string, s span, attrs map[string]string) {
	r.mu.Lock()
	defer r.mu.Unlock() // held while emitting, so that the order of a topic's states is that of their reports
	if old, ok := r.last[topic]; ok && old == value+"\n"+text {
		return
	}
	r.last[topic] = value + "\n" + text
	r.emit(drivers.Observation{
		Lo: min(s.lo, s.hi), Hi: s.hi, Lane: r.lane, Kind: drivers.State, Topic: topic, Value: value, Text: text, Attrs: attrs,
	})
}

func (r *reporter) event(topic, value, text string, s span, attrs map[string]string) {
	r.emit(drivers.Observation{Lo: s.lo, Hi: s.hi, Lane: r.lane, Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs})
}

func (r *reporter) sample(topic string, num float64, s span) {
	r.emit(drivers.Observation{Lo: s.lo, Hi: s.hi, Lane: r.lane, Kind: drivers.Sample, Topic: topic, Num: num})
}

// wait waits for t and tells whether ctx is still good.
func wait(done <-chan struct{}, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}
