// This file places the agent's clock on the harness's.

package watch

import (
	"sync"
	"time"
)

// drift is how far two clocks may run apart, as a share of the time since they were compared: 500 ppm.
const drift = 2000 // 1/drift

// clockMap turns the agent's monotonic time into an interval of the harness's. It keeps the narrowest interval that the
// pings so far allow, and widens it by drift.
type clockMap struct {
	mu     sync.Mutex
	known  bool
	lo, hi time.Duration // harness minus agent
	at     time.Duration // harness time for which lo and hi hold
}

// ping takes one comparison: the agent read t some time between sent and got.
func (m *clockMap) ping(sent, got time.Duration, t int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lo, hi := sent-time.Duration(t), got-time.Duration(t)
	if m.known {
		slack := max(0, got-m.at) / drift
		if a, b := max(lo, m.lo-slack), min(hi, m.hi+slack); a <= b {
			lo, hi = a, b
		} // else the guest's clock has jumped (it was frozen or suspended): only the new comparison counts
	}
	m.known, m.lo, m.hi, m.at = true, lo, hi, got
}

// place returns when the agent's clock showed t, for a message that arrived at a time. Nothing is seen after it arrived.
func (m *clockMap) place(t int64, arrived time.Duration) (lo, hi time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		return arrived, arrived
	}
	slack := max(0, arrived-m.at) / drift
	lo, hi = time.Duration(t)+m.lo-slack, min(time.Duration(t)+m.hi+slack, arrived)
	return min(lo, hi), hi
}
