// This file is a portal that behaves as the one of a kernel's target.

package oversshtest

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
)

// Mode is how a Front behaves.
type Mode struct {
	Listen bool // accept connections; without it new ones are refused, and the old ones go on
	Cut    bool // end the connections that there are
	Reject bool // answer logins with 3/1, service unavailable
	Freeze bool // hold back SCSI commands, and nothing else
	Silent bool // take everything, answer nothing
}

// Front hands connections on to a real target, as far as its Mode lets it. It is modelled: it stands for LIO's and SCST's kernel
// parts, which the machine of a test does not have.
type Front struct {
	Addr    string
	backend string
	t       testing.TB

	mu    sync.Mutex
	wake  *sync.Cond
	mode  Mode
	l     net.Listener
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

// NewFront starts one that serves.
func NewFront(t testing.TB, backend string) *Front {
	t.Helper()
	f := &Front{Addr: iscsitest.FreeAddr(t), backend: backend, t: t, conns: map[net.Conn]bool{}}
	f.wake = sync.NewCond(&f.mu)
	t.Cleanup(func() {
		f.Set(Mode{Cut: true})
		f.wg.Wait()
	})
	f.Set(Mode{Listen: true})
	return f
}

// Set changes the Mode.
func (f *Front) Set(m Mode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.mode
	f.mode = m
	f.wake.Broadcast()
	if m.Cut && m != before {
		for c := range f.conns {
			_ = c.Close()
		}
	}
	switch {
	case m.Listen && f.l == nil:
		l, err := net.Listen("tcp", f.Addr)
		if err != nil {
			f.t.Error(err)
			return
		}
		f.l = l
		f.wg.Go(func() { f.accept(l) })
	case !m.Listen && f.l != nil:
		_ = f.l.Close()
		f.l = nil
	}
}

func (f *Front) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.mu.Lock()
		f.conns[c] = true
		m := f.mode
		f.mu.Unlock()
		f.wg.Go(func() {
			defer f.drop(c)
			f.serve(c, m)
		})
	}
}

func (f *Front) drop(c net.Conn) {
	_ = c.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.conns, c)
	f.wake.Broadcast()
}

// pdu reads one PDU without digests (RFC 7143 section 11.2).
func pdu(r io.Reader) ([]byte, error) {
	b := make([]byte, 48)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	n := int(b[4])*4 + (int(binary.BigEndian.Uint32(b[4:8])&0xffffff)+3)&^3
	b = append(b, make([]byte, n)...)
	_, err := io.ReadFull(r, b[48:])
	return b, err
}

func (f *Front) serve(c net.Conn, m Mode) {
	if m.Reject {
		q, err := pdu(c)
		if err != nil {
			return
		}
		r := make([]byte, 48)
		r[0] = 0x23 // Login Response
		copy(r[8:14], q[8:14])
		copy(r[16:20], q[16:20])
		r[36], r[37] = 3, 1
		_, _ = c.Write(r)
		return
	}
	back, err := net.Dial("tcp", f.backend)
	if err != nil {
		return
	}
	defer back.Close()
	f.wg.Go(func() {
		_, _ = io.Copy(c, back)
		_ = c.Close()
	})
	for {
		p, err := pdu(c)
		if err != nil || !f.pass(c, p[0]&0x3f == 0x01) {
			return
		}
		if _, err := back.Write(p); err != nil {
			return
		}
	}
}

// pass waits until a PDU may go on; it is false when its connection is over.
func (f *Front) pass(c net.Conn, command bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.conns[c] && (f.mode.Silent || f.mode.Freeze && command) && !f.mode.Cut {
		f.wake.Wait()
	}
	return f.conns[c]
}

// Poll calls f every few milliseconds until the test ends, as a kernel or an init system that minds files would.
func Poll(t testing.TB, f func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				f()
			}
		}
	})
	t.Cleanup(func() { close(stop); wg.Wait() })
}

// Answers tells how the portal is, for a test's State: whether it takes connections.
func Answers(addr string) string {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return "refuses"
	}
	_ = c.Close()
	return "listens"
}
