package vsphere

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
)

// wire is the way to the server: it can swallow all answers, or refuse connections.
type wire struct {
	mu     sync.Mutex
	gate   chan struct{} // closed: answers pass
	hung   bool
	broken bool
	conns  map[net.Conn]bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = map[net.Conn]bool{}
	}
	w.conns[c] = true
	return &wireConn{Conn: c, w: w, closed: make(chan struct{})}, nil
}

// hang swallows what the server says from now on, until release is called.
func (w *wire) hang() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung, w.gate = true, make(chan struct{})
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hung = false
		close(w.gate)
	})
}

// cut closes all connections and refuses new ones, until mend is called.
func (w *wire) cut() (mend func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for c := range w.conns {
		c.Close()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.broken = false
	}
}

type wireConn struct {
	net.Conn
	w      *wire
	once   sync.Once
	closed chan struct{}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.mu.Lock()
	gate, hung := c.w.gate, c.w.hung
	c.w.mu.Unlock()
	if hung {
		select {
		case <-gate:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (c *wireConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.w.mu.Lock()
		delete(c.w.conns, c.Conn)
		c.w.mu.Unlock()
	})
	return c.Conn.Close()
}
