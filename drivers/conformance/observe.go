// This file checks what a driver observes.

package conformance

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// watch is a running Observe and what is wrong with what it emitted.
type watch struct {
	k      *kit
	clock  drivers.Clock
	cancel context.CancelFunc
	done   chan error

	mu    sync.Mutex
	n     int
	bad   []error
	last  map[topic]time.Duration
	over  bool
	newer chan struct{} // closed and replaced at every observation
}

type topic struct {
	lane  drivers.Lane
	kind  drivers.Kind
	topic string
}

// maxBad bounds the list of what is wrong.
const maxBad = 5

func (k *kit) watch(d drivers.Driver, clock drivers.Clock) *watch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{k: k, clock: clock, cancel: cancel, done: make(chan error, 1), last: map[topic]time.Duration{}, newer: make(chan struct{})}
	go func() { w.done <- d.Observe(ctx, w.emit) }()
	return w
}

func (w *watch) emit(o drivers.Observation) {
	now := w.clock.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.n++
	close(w.newer)
	w.newer = make(chan struct{})
	key := topic{o.Lane, o.Kind, o.Topic}
	err := sane(o, now)
	switch {
	case err != nil:
	case w.over:
		err = errors.New("it was emitted after Observe had returned")
	case o.Hi < w.last[key]:
		err = fmt.Errorf("it is older than the one before it, of %v", w.last[key])
	}
	w.last[key] = max(w.last[key], o.Hi)
	if err != nil && len(w.bad) < maxBad {
		w.bad = append(w.bad, fmt.Errorf("the observation %+v: %w", o, err))
	}
}

// sane checks one observation that arrived at now.
func sane(o drivers.Observation, now time.Duration) error {
	switch {
	case o.Lo < 0 || o.Lo > o.Hi:
		return fmt.Errorf("its interval is [%v, %v]", o.Lo, o.Hi)
	case o.Hi > now:
		return fmt.Errorf("it lies %v in the future", o.Hi-now)
	case o.Lane.Role == "" || o.Lane.Name == "" || o.Lane.Provenance == "":
		return errors.New("its lane lacks role, name or provenance")
	case o.Topic == "":
		return errors.New("it has no topic")
	case math.IsNaN(o.Num) || math.IsInf(o.Num, 0):
		return errors.New("its number is none")
	}
	switch o.Kind {
	case drivers.Sample:
	case drivers.State, drivers.Event:
		if o.Value == "" {
			return errors.New("it has no value")
		}
	default:
		return fmt.Errorf("its kind is %q", o.Kind)
	}
	return nil
}

// count returns how many observations there are, and a channel that is closed by the next.
func (w *watch) count() (int, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.n, w.newer
}

// await waits until there are more than n observations. It is false when Observe ended or limit passed first.
func (w *watch) await(n int, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		now, newer := w.count()
		if now > n {
			return true
		}
		select {
		case <-newer:
		case err := <-w.done:
			w.done <- err
			return false
		case <-t.C:
			return false
		}
	}
}

// end cancels the Observe and says what was wrong with it.
func (w *watch) end() error {
	early := false
	select {
	case err := <-w.done:
		w.done, early = make(chan error, 1), true
		w.done <- err
	default:
	}
	w.cancel()
	t := time.NewTimer(w.k.o.Grace)
	defer t.Stop()
	var errs []error
	select {
	case err := <-w.done:
		w.mu.Lock()
		w.over = true
		w.mu.Unlock()
		switch {
		case early:
			errs = append(errs, violated("Observe ended before its context", err))
		case err != nil:
			errs = append(errs, violated("Observe whose context ended returned an error", err))
		}
	case <-t.C:
		errs = append(errs, fmt.Errorf("observing goes on %v after its context has ended", w.k.o.Grace))
	}
	return errors.Join(errs...)
}

// wrong returns what was wrong with the observations, those too that came late.
func (w *watch) wrong() error {
	t := time.NewTimer(quiet)
	defer t.Stop()
	<-t.C
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.bad...)
}

// observe watches the healthy system while each power is used and undone.
func (k *kit) observe() error {
	d, clock := k.open()
	defer d.Close()
	w := k.watch(d, clock)
	var errs []error
	powers := Powers(d, k.o)
	first := k.o.Settle
	if len(powers) > 0 {
		first = min(first, time.Second) // there may be nothing to see before something happens
	}
	if !w.await(0, first) && len(powers) == 0 {
		errs = append(errs, fmt.Errorf("observing saw nothing within %v", first))
	}
	for _, p := range powers {
		n, _ := w.count()
		var us []drivers.Undo
		err := k.timed(patience, func(ctx context.Context) error {
			return p.Do(ctx, d, func(_ context.Context, u drivers.Undo) error { us = append(us, u); return nil })
		})
		if err == nil && !w.await(n, k.o.Settle) {
			err = fmt.Errorf("observing saw nothing of it within %v", k.o.Settle)
		}
		for i := len(us) - 1; i >= 0; i-- {
			err = errors.Join(err, k.timed(patience, func(ctx context.Context) error {
				_, err := d.Undo(ctx, us[i])
				return err
			}))
		}
		err = errors.Join(err, k.whole(d))
		if err != nil {
			errs = append(errs, violated(p.Name+" while observed", err))
		}
	}
	return errors.Join(errors.Join(errs...), w.end(), w.wrong())
}

func (k *kit) observeEnded() error {
	d, clock := k.open()
	defer d.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := &watch{k: k, clock: clock, last: map[topic]time.Duration{}, newer: make(chan struct{})}
	if err := bounded(k.o.Grace, func() error { return d.Observe(ctx, w.emit) }); err != nil {
		return violated("Observe with a context that has ended", err)
	}
	return w.wrong()
}

// observeHang begins while the system hangs, and ends while it does.
func (k *kit) observeHang() error {
	d, clock := k.open()
	defer d.Close()
	release := k.o.Hang()
	defer release()
	w := k.watch(d, clock)
	w.await(0, short)
	return errors.Join(w.end(), w.wrong())
}

// observeTells checks that a hang that begins while observing is seen.
func (k *kit) observeTells() error {
	d, clock := k.open()
	defer d.Close()
	w := k.watch(d, clock)
	w.await(0, k.o.Settle)
	release := k.o.Hang()
	defer release()
	n, _ := w.count()
	seen := w.await(n+1, k.o.Settle) // one may have been under way
	err := w.end()
	if !seen {
		err = errors.Join(fmt.Errorf("observing is as silent as the system that hangs: nothing for %v", k.o.Settle), err)
	}
	return errors.Join(err, w.wrong())
}
