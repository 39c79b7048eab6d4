package iscsiproxy_test

// This file has a rig that looks at the wire on both sides of the proxy as the strictest endpoint would: every StatSN
// that an initiator sees and every CmdSN that the target sees follows the one before, and every digest is right.

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// strict is a rig with a watcher before and one behind the proxy.
type strict struct {
	*rig
	front, back *watcher
	digests     bool
}

// eachStrict runs a test without digests and with both.
func eachStrict(t *testing.T, f func(t *testing.T, r *strict)) {
	for name, opts := range map[string][][2]string{"plain": nil, "digests": {{"HeaderDigest", "CRC32C"}, {"DataDigest", "CRC32C"}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the two mostly wait
			r := &strict{rig: &rig{t: t, tgt: iscsitest.StartWith(t, opts, 16<<20, 16<<20)}, digests: opts != nil}
			r.back = watch(t, r.tgt.Portal)
			p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: r.back.addr, Also: []string{r.tgt.Portal}, OnEvent: func(e iscsiproxy.Event) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.evs = append(r.evs, e)
			}})
			must(t, err)
			r.Proxy = p
			t.Cleanup(p.Close)
			r.front = watch(t, p.Addr())
			f(t, r)
		})
	}
}

// session logs in through both watchers.
func (r *strict) session(edit func(*iscsi.Config)) *iscsi.Session {
	r.t.Helper()
	return r.rig.session(func(c *iscsi.Config) {
		c.Portal = r.front.addr
		c.HeaderDigest, c.DataDigest = r.digests, r.digests
		if edit != nil {
			edit(c)
		}
	})
}

func (r *strict) inject(kind iscsiproxy.Kind, rule iscsiproxy.Rule) iscsiproxy.Fault {
	r.t.Helper()
	f, err := r.Inject(kind, &rule)
	must(r.t, err)
	return f
}

// well checks that a session is as good as new.
func (r *strict) well(s *iscsi.Session) {
	r.t.Helper()
	for i := range 20 {
		for _, l := range []int{1, 2} {
			must(r.t, do(r.t, s, l, iscsi.Write16, 8000, 20<<10, byte(i)))
			must(r.t, do(r.t, s, l, iscsi.Read16, 8000, 20<<10, 0))
		}
	}
	must(r.t, s.Ping(r.t.Context()))
}

// watcher passes connections on and reads what they carry.
type watcher struct {
	t     *testing.T
	addr  string
	loose atomic.Bool // digests are not checked
	wg    sync.WaitGroup
}

func watch(t *testing.T, to string) *watcher {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	w := &watcher{t: t, addr: l.Addr().String()}
	var mu sync.Mutex
	var conns []net.Conn
	w.wg.Go(func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				_ = a.(*net.TCPConn).SetLinger(0)
				_ = a.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, a, b)
			mu.Unlock()
			c := &watched{w: w}
			w.wg.Go(func() { c.run(a, b, c.request) })
			w.wg.Go(func() { c.run(b, a, c.answer) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		w.wg.Wait()
	})
	return w
}

// watched is one connection.
type watched struct {
	w       *watcher
	full    atomic.Bool
	digests iscsi.Digests // written before full
	offered iscsi.Digests

	stat, cmd         uint32
	statSeen, cmdSeen bool
}

func (c *watched) run(from, to net.Conn, look func(*iscsi.PDU)) {
	pr, pw := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _, _ = io.Copy(io.Discard, pr) }()
		var rd *iscsi.Reader
		rd = iscsi.NewReader(readFunc(func(b []byte) (int, error) {
			n, err := pr.Read(b)
			if c.full.Load() { // looked at when the first bytes behind the login are there
				rd.Digests = c.digests
			}
			return n, err
		}), 1<<24)
		for {
			p := new(iscsi.PDU)
			err := rd.ReadPDU(p)
			if errors.Is(err, iscsi.ErrDigest) && c.w.loose.Load() {
				return
			}
			if errors.Is(err, iscsi.ErrDigest) || errors.Is(err, iscsi.ErrFormat) {
				c.w.t.Errorf("on the wire: %v", err)
			}
			if err != nil {
				return
			}
			look(p)
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		_, _ = pw.Write(buf[:n])
		_, _ = pw.Write(nil) // until it has been read: the digests are known before the other side can use them
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			break
		}
	}
	_ = pw.Close()
	<-done
	_ = to.Close()
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(b []byte) (int, error) { return f(b) }

func (c *watched) request(p *iscsi.PDU) {
	switch p.Opcode() {
	case iscsi.OpLoginReq, iscsi.OpDataOut:
		return
	}
	if c.cmdSeen && p.CmdSN() != c.cmd {
		c.w.t.Errorf("opcode 0x%02x of the initiator has CmdSN %d, and %d was next", p.Opcode(), p.CmdSN(), c.cmd)
	}
	c.cmd, c.cmdSeen = p.CmdSN(), true
	if !p.Immediate() {
		c.cmd++
	}
}

func (c *watched) answer(p *iscsi.PDU) {
	uses := true
	switch p.Opcode() {
	case iscsi.OpLoginResp:
		if k, err := iscsi.ParseKeys(p.Data); err == nil {
			c.offered.Header = c.offered.Header || k.Get("HeaderDigest") == "CRC32C"
			c.offered.Data = c.offered.Data || k.Get("DataDigest") == "CRC32C"
		}
		if p.Flags()&iscsi.LoginTransit != 0 && p.Flags()&3 == iscsi.StageFull && p.Header[36] == 0 {
			c.digests = c.offered
			c.full.Store(true)
		}
	case iscsi.OpDataIn:
		if p.Flags()&iscsi.DataInStatus == 0 {
			return
		}
	case iscsi.OpR2T:
		uses = false
	case iscsi.OpNopIn:
		uses = p.ITT() != iscsi.NoTag
	}
	if c.statSeen && p.StatSN() != c.stat {
		c.w.t.Errorf("opcode 0x%02x of the target has StatSN %d, and %d was next", p.Opcode(), p.StatSN(), c.stat)
	}
	c.stat, c.statSeen = p.StatSN(), true
	if uses {
		c.stat++
	}
}

// eventually waits for something that happens soon.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}
