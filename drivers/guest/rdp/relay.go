// This file stands between a client program and the guest: a port on the loopback that takes one connection. It sees every byte
// and which side ended the connection, exactly and without any right that others have not, and it goes the lab's own way to the
// guest (Dial), which the program does not know.

package rdp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// relayDial bounds the connection to the guest.
const relayDial = 10 * time.Second

// relay is one such port.
type relay struct {
	Address string // where the client is to connect to
	ln      net.Listener
	heard   func()
	cancel  context.CancelFunc
	all     sync.WaitGroup

	once  sync.Once
	ended chan struct{}
	end   End // after ended

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// startRelay opens the port. heard is called whenever bytes come from the guest; it may be nil.
func startRelay(t Target, heard func()) (*relay, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a port for the client: %w", err)
	}
	if heard == nil {
		heard = func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &relay{Address: ln.Addr().String(), ln: ln, heard: heard, cancel: cancel, ended: make(chan struct{})}
	r.all.Go(func() { r.serve(ctx, t) })
	return r, nil
}

// over notes how it ended; the first word counts.
func (r *relay) over(e End) {
	r.once.Do(func() {
		r.end = e
		close(r.ended)
	})
}

// keep notes a connection that Close is to close.
func (r *relay) keep(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		_ = c.Close()
		return false
	}
	r.conns = append(r.conns, c)
	return true
}

func (r *relay) serve(ctx context.Context, t Target) {
	near, err := r.ln.Accept()
	_ = r.ln.Close()
	if err != nil {
		r.over(End{Text: "the client never connected"})
		return
	}
	if !r.keep(near) {
		return
	}
	defer near.Close()
	dctx, cancel := context.WithTimeout(ctx, relayDial)
	far, err := t.Dial(dctx, "tcp", t.Address)
	cancel()
	if err != nil {
		r.over(End{ByGuest: true, Text: "connecting: " + err.Error()})
		return
	}
	if tcp, ok := far.(*net.TCPConn); ok {
		_ = tcp.SetKeepAlive(false) // a guest that says nothing for long has not dropped the session
	}
	if !r.keep(far) {
		return
	}
	r.all.Go(func() {
		copyAll(far, near, nil)
		r.over(End{Text: "closed by the client"})
		_ = far.Close()
	})
	err = copyAll(near, far, r.heard)
	switch {
	case err == nil:
		r.over(End{ByGuest: true, Text: "closed by the guest"})
	case errors.Is(err, syscall.ECONNRESET):
		r.over(End{ByGuest: true, Text: "reset by the guest"})
	case errors.Is(err, syscall.ETIMEDOUT):
		r.over(End{ByGuest: true, Text: "the guest acknowledges nothing"})
	default:
		r.over(End{ByGuest: !errors.Is(err, net.ErrClosed), Text: err.Error()})
	}
	_ = far.Close()
}

// copyAll copies until the source ends (nil), breaks (its error), or the destination does (net.ErrClosed).
func copyAll(to io.Writer, from io.Reader, arrived func()) error {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			if arrived != nil {
				arrived()
			}
			if _, werr := to.Write(b[:n]); werr != nil {
				return net.ErrClosed
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Close ends both connections at once and waits until nothing of it runs.
func (r *relay) Close() {
	r.mu.Lock()
	r.closed = true
	for _, c := range r.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // nobody is to wait for what is still on its way
		}
		_ = c.Close()
	}
	r.mu.Unlock()
	_ = r.ln.Close()
	r.cancel()
	r.all.Wait()
}
