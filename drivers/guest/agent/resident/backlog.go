// This file keeps what an agent that listens has to say, while nobody hears it and until it is said.

package resident

import (
	"sync"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// How much is kept, in bytes of lines. What comes again by itself has its own share, so that it never pushes out the steps of
// the disk: at four beats a second a disk that hangs for an hour leaves one start of a read and 14,400 beats. In 1 MiB go the
// beats of an hour, in 2 MiB the steps of 20 minutes of a healthy disk, and far more of a sick one.
const (
	keepSteps = 2 << 20
	keepTicks = 1 << 20
)

// backlog is a bounded queue of lines. When it is full the oldest line of the same kind is lost.
type backlog struct {
	mu     sync.Mutex
	steps  queue
	ticks  queue
	number uint64
	more   chan struct{} // says that there is something
}

// queue holds lines in the order of their numbers.
type queue struct {
	lines []numbered
	bytes int
	limit int
}

type numbered struct {
	n uint64
	b []byte
}

func newBacklog() *backlog {
	return &backlog{steps: queue{limit: keepSteps}, ticks: queue{limit: keepTicks}, more: make(chan struct{}, 1)}
}

// put adds a line, and returns how many were lost for it.
func (k *backlog) put(kind string, b []byte) (lost uint64) {
	k.mu.Lock()
	k.number++
	q := &k.steps
	switch kind {
	case agent.TypeBeat, agent.TypeSystem, agent.TypeBusy, agent.TypeLoad:
		q = &k.ticks
	}
	q.lines = append(q.lines, numbered{k.number, b})
	q.bytes += len(b)
	for q.bytes > q.limit && len(q.lines) > 1 {
		q.drop()
		lost++
	}
	k.mu.Unlock()
	select {
	case k.more <- struct{}{}:
	default:
	}
	return lost
}

func (q *queue) drop() {
	q.bytes -= len(q.lines[0].b)
	q.lines[0] = numbered{}
	if q.lines = q.lines[1:]; len(q.lines) == 0 {
		q.lines = nil
	}
}

// peek adds the oldest lines to buf, up to its capacity but at least one, in the order in which they were put. They stay until
// said is called with the number that it returns; 0 means that there is none.
func (k *backlog) peek(buf []byte) ([]byte, uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, t := k.steps.lines, k.ticks.lines
	var upTo uint64
	for len(s) > 0 || len(t) > 0 {
		from := &s
		if len(s) == 0 || len(t) > 0 && t[0].n < s[0].n {
			from = &t
		}
		next := (*from)[0]
		if upTo > 0 && len(buf)+len(next.b) > cap(buf) {
			break
		}
		buf, upTo, *from = append(buf, next.b...), next.n, (*from)[1:]
	}
	return buf, upTo
}

// said forgets the lines up to a number.
func (k *backlog) said(upTo uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, q := range []*queue{&k.steps, &k.ticks} {
		for len(q.lines) > 0 && q.lines[0].n <= upTo {
			q.drop()
		}
	}
}
