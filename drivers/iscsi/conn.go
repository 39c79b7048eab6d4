package iscsi

import (
	"net"
	"sync"
)

// Sent is told that a queued PDU has left the queue: it was written, or the connection has failed.
// After that the connection no longer refers to the PDU's data. It is called without locks held.
type Sent interface{ PDUSent() }

// Conn is one iSCSI connection with a send queue: Send never blocks, a goroutine of the Conn writes
// everything queued in one writev. So a peer that does not read can never hold up the sender, which has to
// bound what it queues (both sides of iSCSI do, by the command window). One goroutine may use Reader.
type Conn struct {
	*Reader
	nc net.Conn

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []outPDU
	spare  []outPDU
	dig    Digests
	closed bool
	werr   error
	done   chan struct{}
}

type outPDU struct {
	h    Header
	data []byte
	sent Sent
}

// NewConn takes over nc and starts its writer. Close ends both.
func NewConn(nc net.Conn) *Conn {
	return newConn(nc, NewReader(nc, MaxDataSegment))
}

func newConn(nc net.Conn, rd *Reader) *Conn {
	c := &Conn{Reader: rd, nc: nc, done: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	go c.writer()
	return c
}

// NetConn is the connection below, for addresses and deadlines.
func (c *Conn) NetConn() net.Conn { return c.nc }

// SetDigests switches digests in both directions. Only the reading goroutine may call it, after it has
// read the last PDU without and before it sends the first PDU with digests.
func (c *Conn) SetDigests(d Digests) {
	c.Reader.Digests = d
	c.mu.Lock()
	c.dig = d
	c.mu.Unlock()
}

// Send queues one PDU; DataSegmentLength is set from data. data must stay untouched until sent is told
// (sent may be nil). On a closed connection the PDU is dropped and sent is told at once.
func (c *Conn) Send(h *Header, data []byte, sent Sent) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		if sent != nil {
			sent.PDUSent()
		}
		return
	}
	c.queue = append(c.queue, outPDU{*h, data, sent})
	if len(c.queue) == 1 {
		c.wake.Signal()
	}
	c.mu.Unlock()
}

// Close closes the connection in the ordinary way (FIN), dropping what is still queued.
func (c *Conn) Close() { c.shut(false) }

// Reset closes the connection with RST (SO_LINGER 0): bytes that the kernel has not delivered are
// dropped, so that nothing of them is executed late.
func (c *Conn) Reset() { c.shut(true) }

// WriteErr is the error that ended the writer, nil if none did.
func (c *Conn) WriteErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.werr
}

// Done is closed when the writer has ended, after Close, Reset or a write error.
func (c *Conn) Done() <-chan struct{} { return c.done }

func (c *Conn) shut(rst bool) {
	c.mu.Lock()
	c.closed = true
	c.wake.Signal()
	c.mu.Unlock()
	if t, ok := c.nc.(*net.TCPConn); ok && rst {
		_ = t.SetLinger(0)
	}
	_ = c.nc.Close()
}

func (c *Conn) writer() {
	defer close(c.done)
	b := batch{head: make([]byte, 0, 64<<10)}
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		if c.closed {
			rest := c.queue
			c.queue = nil
			c.mu.Unlock()
			told(rest)
			return
		}
		work, dig := c.queue, c.dig
		c.queue = c.spare[:0]
		c.mu.Unlock()

		err := c.write(&b, work, dig)
		told(work)
		clear(work)
		c.spare = work
		if err != nil {
			c.mu.Lock()
			c.werr = err
			c.mu.Unlock()
			c.Close() // the reader sees the closed connection and reports
		}
	}
}

func (c *Conn) write(b *batch, work []outPDU, dig Digests) error {
	b.reset()
	for i := range work {
		if !b.room(len(work[i].data)) {
			if err := b.writeTo(c.nc); err != nil {
				return err
			}
			b.reset()
		}
		b.add(&work[i].h, work[i].data, dig)
	}
	return b.writeTo(c.nc)
}

func told(work []outPDU) {
	for i := range work {
		if work[i].sent != nil {
			work[i].sent.PDUSent()
		}
	}
}
