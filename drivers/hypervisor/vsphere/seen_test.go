package vsphere

import (
	"context"
	"errors"
	"sync"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// seen collects observations.
type seen struct {
	mu   sync.Mutex
	all  []drivers.Observation
	stop func()
}

func observe(t testing.TB, d *Driver) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Observe(ctx, func(o drivers.Observation) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, o)
		})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("observing: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// find returns the observations of a kind and topic, on that lane.
func (s *seen) find(lane drivers.Lane, kind drivers.Kind, topic string) []drivers.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []drivers.Observation
	for _, o := range s.all {
		if o.Lane == lane && o.Kind == kind && o.Topic == topic {
			out = append(out, o)
		}
	}
	return out
}

// events returns the values of the events of a topic.
func (s *seen) events(lane drivers.Lane, topic string) []string {
	var out []string
	for _, o := range s.find(lane, drivers.Event, topic) {
		out = append(out, o.Value)
	}
	return out
}

// event returns the first event of that value.
func (s *seen) event(lane drivers.Lane, topic, value string) (drivers.Observation, error) {
	for _, o := range s.find(lane, drivers.Event, topic) {
		if o.Value == value {
			return o, nil
		}
	}
	return drivers.Observation{}, errors.New("no such event")
}

// values is the states of a topic, each only when it differs from the one before.
func (s *seen) values(lane drivers.Lane, topic string) []string {
	var out []string
	for _, o := range s.find(lane, drivers.State, topic) {
		if len(out) == 0 || out[len(out)-1] != o.Value {
			out = append(out, o.Value)
		}
	}
	return out
}

// becomes waits until the states of a topic are these.
func (s *seen) becomes(t testing.TB, lane drivers.Lane, topic string, values ...string) {
	t.Helper()
	NewWithT(t).Eventually(func() []string { return s.values(lane, topic) }, "60s", "20ms").Should(Equal(values), topic)
}

// happens waits for an event.
func (s *seen) happens(t testing.TB, lane drivers.Lane, topic, value string) drivers.Observation {
	t.Helper()
	var o drivers.Observation
	NewWithT(t).Eventually(func() (err error) { o, err = s.event(lane, topic, value); return err }, "60s", "20ms").Should(Succeed(), value)
	return o
}
