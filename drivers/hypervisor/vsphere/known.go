// This file keeps what was found of a server, so that it is not looked up for every call.

package vsphere

import (
	"context"
	"sync"
)

// Known is something of a server that is looked up when it is asked for and not known, by one caller at a time.
type Known[T any] struct {
	turn chan struct{} // has one while somebody looks it up
	mu   sync.Mutex
	v    *T
}

// NewKnown is something that is not known yet.
func NewKnown[T any]() *Known[T] { return &Known[T]{turn: make(chan struct{}, 1)} }

// Get returns it, and looks it up when it is not known. Whoever waits for another's look waits 5 s at most.
func (k *Known[T]) Get(ctx context.Context, look func(context.Context) (*T, error)) (*T, error) {
	err := within(ctx, quick, func(ctx context.Context) error { // somebody else may be at it, and get no answer
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case k.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { <-k.turn }()
	k.mu.Lock()
	v := k.v
	k.mu.Unlock()
	if v != nil {
		return v, nil
	}
	if v, err = look(ctx); err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.v = v
	k.mu.Unlock()
	return v, nil
}

// Lose makes the next Get look it up again.
func (k *Known[T]) Lose() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.v = nil
}
