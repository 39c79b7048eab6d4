// This file is what all watching has in common: each source in a goroutine of its own with a deadline for each look, so that a
// Prism or a CVM that hangs keeps nobody else waiting, and a state that is only told when it is another than before.

package nutanix

import (
	"context"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// watcher tells what it is told of, once.
type watcher struct {
	d    *Driver
	out  func(drivers.Observation)
	mu   sync.Mutex
	last map[stateKey]string

	names map[string]string // VMs' names by uuid
	nodes map[*node]*nodeState
}

type stateKey struct{ lane, topic string }

// Observe reports what it sees until ctx ends, and then returns nil. A cluster that cannot even be asked what it is made of is
// told to be silent, and is asked again.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	w := &watcher{d: d, out: emit, last: map[stateKey]string{}, names: map[string]string{}, nodes: map[*node]*nodeState{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { w.repeat(ctx, d.t.every, w.lookAPI) })
	var l *layout
	for {
		var err error
		if l, err = d.find(ctx); err == nil {
			break
		}
		if !drivers.Wait(ctx, d.t.every) {
			return nil
		}
	}
	for _, n := range l.nodes {
		w.nodes[n] = &nodeState{}
	}
	for _, look := range []func(context.Context, time.Duration){w.lookTolerance, w.lookDisks(), w.lookHosts, w.lookVMs, w.lookTasks(), w.lookReads()} {
		wg.Go(func() { w.repeat(ctx, d.t.every, look) })
	}
	for _, n := range l.nodes {
		wg.Go(func() { w.repeat(ctx, d.t.look, w.lookHost(n)) })
		wg.Go(func() { w.repeat(ctx, d.t.look, w.lookCVM(l, n)) })
	}
	return nil
}

// repeat looks again and again. What a look finds may be so since the look before began, which it is told.
func (w *watcher) repeat(ctx context.Context, every time.Duration, look func(ctx context.Context, since time.Duration)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	since := w.now()
	for {
		start := w.now()
		look(ctx, since)
		since = start
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (w *watcher) now() time.Duration { return w.d.env.Clock.Now() }

// The lanes' names.
const (
	whole    = "cluster"
	ofDisk   = "disk/"
	ofCVM    = "controller/"
	ofHost   = "host/"
	ofVM     = "vm/"
	auditing = "audit" // topic of the cluster: followed, or silent: whether the audit tells who called
	localIO  = "local-bytes"
	remoteIO = "remote-bytes"
)

func (w *watcher) lane(name string) drivers.Lane {
	return drivers.Lane{Role: drivers.Cluster, Name: name, Provenance: w.d.env.Lane.Provenance}
}

// state tells a state that is another than before; that of the API at each look, so that it can be seen that somebody looks.
func (w *watcher) state(ctx context.Context, since time.Duration, lane, topic, value, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := stateKey{lane, topic}
	if ctx.Err() != nil || w.last[k] == value && topic != drivers.TopicAPI {
		return
	}
	w.last[k] = value
	w.out(drivers.Observation{Lo: since, Hi: w.now(), Lane: w.lane(lane), Kind: drivers.State, Topic: topic, Value: value, Text: w.d.prism.quote(text)})
}

// was returns the state that was told last.
func (w *watcher) was(lane, topic string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last[stateKey{lane, topic}]
}

func (w *watcher) event(ctx context.Context, since time.Duration, lane, topic, value, text string, attrs map[string]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() == nil {
		w.out(drivers.Observation{Lo: since, Hi: w.now(), Lane: w.lane(lane), Kind: drivers.Event, Topic: topic, Value: value, Text: w.d.prism.quote(text), Attrs: attrs})
	}
}

func (w *watcher) sample(ctx context.Context, lane, topic string, num float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ctx.Err() == nil {
		now := w.now()
		w.out(drivers.Observation{Lo: now, Hi: now, Lane: w.lane(lane), Kind: drivers.Sample, Topic: topic, Num: num})
	}
}

// name returns what a VM is called.
func (w *watcher) name(uuid string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n, ok := w.names[uuid]; ok {
		return n
	}
	return uuid
}

// fresh tells which lines were not there before; what the first look finds is from before.
type fresh struct {
	primed bool
	seen   map[string]bool
}

// maxSeen bounds one look's lines.
const maxSeen = 10000

func (f *fresh) new(lines []string) []string {
	var out []string
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	for _, l := range lines[:min(len(lines), maxSeen)] {
		if !f.seen[l] {
			f.seen[l] = true
			out = append(out, l)
		}
	}
	if !f.primed {
		f.primed = true
		return nil
	}
	return out
}
