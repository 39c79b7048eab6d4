// This file places the server's clock on the harness's. The server is the host itself, or its vCenter.

package vsphere

import (
	"sync"
	"time"
)

const (
	resolution = time.Millisecond // the finest that an event's time is taken for
	recent     = 30 * time.Second // how long a comparison of the clocks counts; drift within it is below the resolution
)

// reading is one comparison of the clocks: harness time minus server time lies between lo and hi.
type reading struct{ lo, hi, at time.Duration }

func (r reading) width() time.Duration { return r.hi - r.lo }

// clockMap turns the server's time into an interval of the harness's, by the narrowest comparison of late.
type clockMap struct {
	mu   sync.Mutex
	late []reading
}

// compare takes one comparison: the server's clock showed t some time between sent and got.
func (m *clockMap) compare(sent, got time.Duration, t time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	server := time.Duration(t.UnixNano())
	next := reading{sent - server, got - server, got}
	if b, ok := m.best(); ok && (next.lo > b.hi+resolution || next.hi < b.lo-resolution) {
		m.late = nil // the server's clock was set: what was known of it no longer holds
	}
	keep := m.late[:0]
	for _, r := range m.late {
		if got-r.at <= recent {
			keep = append(keep, r)
		}
	}
	m.late = append(keep, next)
}

func (m *clockMap) best() (reading, bool) {
	if len(m.late) == 0 {
		return reading{}, false
	}
	b := m.late[0]
	for _, r := range m.late[1:] {
		if r.width() < b.width() {
			b = r
		}
	}
	return b, true
}

// place returns when the server's clock showed t. Nothing lies after now, nor before zero.
func (m *clockMap) place(t time.Time, now time.Duration) (lo, hi time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.best()
	if !ok {
		return 0, 0, false
	}
	server := time.Duration(t.UnixNano())
	hi = max(0, min(now, server+b.hi+resolution))
	return max(0, min(hi, server+b.lo-resolution)), hi, true
}

// margin is by how much a placed time can be wrong.
func (m *clockMap) margin() (time.Duration, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, ok := m.best()
	return b.width()/2 + resolution, ok
}
