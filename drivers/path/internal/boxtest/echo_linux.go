// This file has a service in a box, and how the wire to it is looked at.

package boxtest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Echo serves a TCP port on every address of the box: it sends back what it gets.
func (b *Box) Echo(t testing.TB, port string) {
	t.Helper()
	var l net.Listener
	err := b.In(func() error {
		var err error
		l, err = net.Listen("tcp", ":"+port)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			wg.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
}

// Look asks the service at an address for an echo, over a new connection.
func (b *Box) Look(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := b.Dial(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer c.Close()
		return Exchange(ctx, c)
	}
}

// Exchange sends a few bytes and waits for them to come back.
func Exchange(ctx context.Context, c net.Conn) error {
	if d, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(d)
	}
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	var b [4]byte
	_, err := io.ReadFull(c, b[:])
	return err
}
