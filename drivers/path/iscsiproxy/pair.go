package iscsiproxy

// This file is the life of one connection: from accept to the end of both directions.

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

var past = time.Unix(1, 0) // a deadline that wakes whoever waits

// pair is one connection of an initiator and its twin to the target. Each direction has one goroutine; they
// share the little that is under mu.
type pair struct {
	p        *Proxy
	id       int
	up, down half          // up: initiator to target
	ready    chan struct{} // closed when the target is connected
	gone     chan struct{} // closed by shut
	once     sync.Once
	ended    atomic.Int32 // directions that have seen FIN

	hdgst, ddgst atomic.Bool  // digests of the full feature phase
	delta        atomic.Int32 // StatSNs taken from the initiator, less those added
	tracking     atomic.Bool  // something is remembered, or delta is not 0
	full         atomic.Bool  // the login phase is over
	lingers      atomic.Bool  // a fault makes the login slow
	initiator    atomic.Pointer[string]

	mu     sync.Mutex
	tasks  map[uint32]*task
	held   map[*held]struct{}
	inject []made // for the initiator, at the next PDU border
}

func newPair(p *Proxy, id int, c net.Conn) *pair {
	if c != nil {
		c = newSock(c)
	}
	pr := &pair{p: p, id: id, ready: make(chan struct{}), gone: make(chan struct{}), tasks: make(map[uint32]*task)}
	pr.up = half{pr: pr, toTarget: true, src: c, buf: *buffers.Get().(*[]byte)}
	pr.down = half{pr: pr, dst: c, buf: *buffers.Get().(*[]byte)}
	return pr
}

// buffers are used again: to clear 256 KiB for each of many short connections would cost more than they do.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufSize); return &b }}

// watch resets a connection whose login does not end. In a silence, or when it is slow by a fault, that is no wonder.
func (pr *pair) watch(limit time.Duration) (stop func()) {
	var t *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(limit, func() {
		select {
		case <-pr.gone:
			return
		default:
		}
		if pr.full.Load() {
			return
		}
		if pr.p.silent.Load() || pr.lingers.Load() {
			mu.Lock()
			t.Reset(limit)
			mu.Unlock()
			return
		}
		pr.limit("not logged in within %v", limit)
	})
	return func() { t.Stop() }
}

// run lives as long as the connection.
func (pr *pair) run() {
	p := pr.p
	var wg sync.WaitGroup
	p.emit(Event{What: "connect", Conn: pr.id, Detail: pr.up.src.RemoteAddr().String()})
	unwatch := pr.watch(p.cfg.LoginLimit)
	wg.Go(pr.up.run)
	if p.untilOpen(pr.gone) {
		d := net.Dialer{Timeout: 30 * time.Second}
		t, err := d.DialContext(p.ctx, "tcp", p.cfg.Target)
		p.mu.Lock()
		select {
		case <-pr.gone:
			if err == nil {
				reset(t)
			}
		default:
			if err == nil {
				s := newSock(t)
				pr.up.dst, pr.down.src = s, s
				close(pr.ready)
				wg.Go(pr.down.run)
				pr.kickDown() // for what is to be sent already
				select {
				case <-pr.gone: // shut came in between and may not have seen ready
					reset(t)
				default:
				}
			}
		}
		p.mu.Unlock()
		if err != nil {
			p.cfg.Log("connecting to the target: %v", err)
			pr.shut(true)
		}
		_ = pr.up.src.SetReadDeadline(past)
	} else {
		pr.shut(true)
	}
	wg.Wait()
	pr.shut(false)
	unwatch()
	p.mu.Lock()
	delete(p.pairs, pr)
	p.mu.Unlock()
	pr.mu.Lock()
	pr.dropHeld(func(*held) bool { return true }) // and their timers
	pr.mu.Unlock()
	for _, h := range []*half{&pr.up, &pr.down} {
		b := h.buf
		h.buf = nil
		buffers.Put(&b)
	}
	p.emit(Event{What: "disconnect", Conn: pr.id, Initiator: pr.name()})
}

func (pr *pair) name() string {
	if n := pr.initiator.Load(); n != nil {
		return *n
	}
	return ""
}

func (pr *pair) isReady() bool {
	select {
	case <-pr.ready:
		return true
	default:
		return false
	}
}

// shut closes both connections, once.
func (pr *pair) shut(rst bool) {
	pr.once.Do(func() {
		close(pr.gone)
		end := func(c net.Conn) { _ = c.Close() }
		if rst {
			end = reset
		}
		end(pr.up.src)
		if pr.isReady() {
			end(pr.up.dst)
		}
	})
}

// kickWrites ends writes that wait for a slow reader; kickReads makes the forwarders look at the state again.
func (pr *pair) kickWrites() {
	_ = pr.up.src.SetWriteDeadline(past)
	if pr.isReady() {
		_ = pr.up.dst.SetWriteDeadline(past)
	}
}

func (pr *pair) kickReads() {
	_ = pr.up.src.SetReadDeadline(past)
	if pr.isReady() {
		_ = pr.up.dst.SetReadDeadline(past)
	}
}
