// Package iscsiproxy is a path between iSCSI initiators and a target that can be broken and mended.
//
// Idle it is transparent: bytes go on as soon as they are scanned, one write a read, and nothing is
// tracked. It knows PDUs (RFC 7143), so it can break what a TCP proxy cannot: one command of one LUN, while
// everything else on the same connection goes on. Every fault has an identity and can be undone at any time,
// alone or with all others.
//
// What goes on is at most changed in place. Whatever the target shall not see is replaced by a TEST UNIT READY, and
// StatSN is moved by what was taken out or put in, so that no sequence number is ever missing on either side.
//
// The proxy never makes data late: what an endpoint had sent when it closed its connection during a silence is
// thrown away, because a write that arrives after its sender gave it up and repeated it elsewhere is
// corruption that no real network of this kind causes.
package iscsiproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Config describes a path.
type Config struct {
	Listen  string // host:port for initiators; port 0 picks one
	Target  string // host:port of the target portal
	Log     func(format string, args ...any)
	OnEvent func(Event) // called where the event happens; must not block

	// Advertise is the host:port that stands for the target's own address in answers to SendTargets and in
	// redirections; empty is the address that the initiator has connected to.
	Advertise string
	// Also lists more host:port of the same target that are replaced by it; "*" is all of them.
	Also []string
	// LoginLimit is how long a connection may take to log in before it is reset, silences apart; 0 is 5 minutes.
	LoginLimit time.Duration
}

// Proxy is a running path. All methods may be called from many goroutines.
type Proxy struct {
	cfg  Config
	addr string
	wg   sync.WaitGroup
	ctx  context.Context
	end  context.CancelFunc

	rules    atomic.Pointer[[]*fault] // active faults that match commands
	tasks    atomic.Pointer[[]*fault] // those that match task management; nil is none, as for the next two
	nops     atomic.Pointer[[]*fault]
	logins   atomic.Pointer[[]*fault]
	silent   atomic.Bool   // no byte goes on
	silences atomic.Uint32 // silences that are over, counted before silent is
	gate     sync.RWMutex  // held for reading over every write of a forwarder

	mu      sync.Mutex
	ln      net.Listener  // nil while connections are refused
	opened  chan struct{} // closed when silent ends; replaced when it begins
	pairs   map[*pair]struct{}
	nextID  int
	faults  map[string]*fault
	nFault  int
	closed  bool
	subs    map[chan Event]struct{}
	skipped int
}

// Listen starts a path.
func Listen(cfg Config) (*Proxy, error) {
	ln, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("iscsiproxy: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = func(string, ...any) {}
	}
	if cfg.LoginLimit == 0 {
		cfg.LoginLimit = 5 * time.Minute
	}
	p := &Proxy{cfg: cfg, addr: ln.Addr().String(), ln: ln, opened: make(chan struct{}),
		pairs: make(map[*pair]struct{}), faults: make(map[string]*fault), subs: make(map[chan Event]struct{})}
	close(p.opened)
	p.rules.Store(new([]*fault))
	p.ctx, p.end = context.WithCancel(context.Background())
	p.wg.Go(func() { p.accept(ln) })
	return p, nil
}

// Addr is where initiators connect, host:port. It stays the same when a refusal ends.
func (p *Proxy) Addr() string { return p.addr }

// Close resets every connection and waits for all goroutines.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	if p.ln != nil {
		_ = p.ln.Close()
	}
	for pr := range p.pairs {
		pr.shut(true)
	}
	p.mu.Unlock()
	p.end()
	p.wg.Wait()
}

func (p *Proxy) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			p.cfg.Log("accepting: %v", err)
			select {
			case <-time.After(10 * time.Millisecond): // out of file descriptors: there is nothing to wait for
			case <-p.ctx.Done():
			}
			continue
		}
		p.mu.Lock()
		if p.closed || p.ln != ln {
			p.mu.Unlock()
			reset(c)
			continue
		}
		p.nextID++
		pr := newPair(p, p.nextID, c)
		p.pairs[pr] = struct{}{}
		p.wg.Go(pr.run)
		p.mu.Unlock()
	}
}

// untilOpen waits while the path is silent; false means that the pair or proxy ended first.
func (p *Proxy) untilOpen(gone <-chan struct{}) bool {
	p.mu.Lock()
	ch := p.opened
	p.mu.Unlock()
	select {
	case <-ch:
		return true
	case <-gone:
	case <-p.ctx.Done():
	}
	return false
}

// Event is something that happened on the path. Fields that do not apply are zero. What is one of
//
//	connect, disconnect                a connection of an initiator has come or gone
//	fault, restore                     a fault is in force, or no longer
//	link.down, link.up                 the same of LinkDown
//	lost, status, ack-lost             a command was hit by a fault of that sort
//	hold, release                      an answer or R2T is held, or goes on
//	corrupt, drop, tmf, nop, login     a PDU, connection or login was hit by a fault of that sort
//	async                              an Asynchronous Message was sent
//	abort                              ABORT TASK of a command that never reached the target
//	discard                            bytes were thrown away because their sender had closed
//	malformed                          what came is not iSCSI: it goes on unread from here
//	limit                              a connection was reset because it would have cost too much
//	leak                               an address of the target that leads past the proxy went to an initiator
type Event struct {
	At        time.Time `json:"at"`
	What      string    `json:"what"` // see below
	Fault     string    `json:"fault,omitempty"`
	Kind      Kind      `json:"kind,omitempty"`
	Conn      int       `json:"conn,omitempty"` // number of the connection, from 1
	Initiator string    `json:"initiator,omitempty"`
	Op        byte      `json:"op,omitempty"` // SCSI operation code
	LUN       int       `json:"lun,omitempty"`
	LBA       uint64    `json:"lba,omitempty"`
	Blocks    uint32    `json:"blocks,omitempty"`
	ITT       uint32    `json:"itt,omitempty"`
	Bytes     int       `json:"bytes,omitempty"` // discard: how many
	Detail    string    `json:"detail,omitempty"`
}

func (p *Proxy) emit(e Event) {
	e.At = time.Now()
	p.cfg.Log("%s %s%s conn=%d %s op=%02x lun=%d lba=%d bytes=%d %s", e.What, e.Kind, e.Fault, e.Conn, e.Initiator, e.Op, e.LUN, e.LBA, e.Bytes, e.Detail)
	if p.cfg.OnEvent != nil {
		p.cfg.OnEvent(e)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ch := range p.subs {
		select {
		case ch <- e:
		default:
			p.skipped++ // State tells; a slow reader must not slow the path
		}
	}
}

// note tells of something on a connection that is no fault's doing.
func (p *Proxy) note(pr *pair, what, format string, a ...any) {
	p.emit(Event{What: what, Conn: pr.id, Initiator: pr.name(), Detail: fmt.Sprintf(format, a...)})
}

// Subscribe gives events from now on, through a channel of 1024 places that loses events when it is full.
// The function ends it.
func (p *Proxy) Subscribe() (<-chan Event, func()) {
	ch := make(chan Event, 1024)
	p.mu.Lock()
	p.subs[ch] = struct{}{}
	p.mu.Unlock()
	return ch, func() {
		p.mu.Lock()
		delete(p.subs, ch)
		p.mu.Unlock()
	}
}

// reset closes with RST: the kernel drops what it has not delivered.
func reset(c net.Conn) {
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}
