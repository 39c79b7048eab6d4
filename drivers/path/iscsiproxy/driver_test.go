package iscsiproxy_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

var pathLane = drivers.Lane{Role: drivers.Path, Name: "path", Provenance: drivers.Embedded}

// relay stands before a Unix socket and can stop to pass anything on, or refuse.
type relay struct {
	socket, to string
	mu         sync.Mutex
	open       chan struct{} // closed while bytes pass
	refuse     bool
	conns      []net.Conn
	wg         sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	r := &relay{socket: filepath.Join(shortDir(t), "r"), to: to, open: make(chan struct{})}
	close(r.open)
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.drop()
		r.wg.Wait()
	})
	return r
}

func (r *relay) serve(a net.Conn) {
	defer func() { _ = a.Close() }()
	r.mu.Lock()
	refuse := r.refuse
	r.mu.Unlock()
	if refuse {
		return
	}
	b, err := net.Dial("unix", r.to)
	if err != nil {
		return
	}
	defer func() { _ = b.Close() }()
	r.mu.Lock()
	r.conns = append(r.conns, a, b)
	r.mu.Unlock()
	r.wg.Go(func() { r.copy(a, b) })
	r.copy(b, a)
}

func (r *relay) copy(to, from net.Conn) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		r.mu.Lock()
		open := r.open
		r.mu.Unlock()
		<-open
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func (r *relay) hang() func() {
	ch := make(chan struct{})
	r.mu.Lock()
	r.open = ch
	r.mu.Unlock()
	return func() { close(ch) }
}

func (r *relay) fail() func() {
	r.mu.Lock()
	r.refuse = true
	r.mu.Unlock()
	r.drop()
	return func() {
		r.mu.Lock()
		r.refuse = false
		r.mu.Unlock()
	}
}

// shortDir is a folder whose name fits into a socket's.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "path")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve gives the proxy a control socket.
func (r *rig) serve() (socket string) {
	r.t.Helper()
	dir, err := os.MkdirTemp("", "path")
	if err != nil {
		r.t.Fatal(err)
	}
	socket = filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, socket) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	NewWithT(r.t).Eventually(func() error {
		c, err := net.Dial("unix", socket)
		if err == nil {
			err = c.Close()
		}
		return err
	}, "5s", "5ms").Should(Succeed())
	return socket
}

func openDriver(t *testing.T, socket string) (drivers.Driver, drivers.Clock) {
	t.Helper()
	reg, ok := drivers.Lookup("path/iscsiproxy")
	if !ok {
		t.Fatal("not registered")
	}
	clock := drivers.Clock{Zero: time.Now()}
	d, err := reg.Open(t.Context(), drivers.Env{ID: "path", Lane: pathLane, Clock: clock, Decode: func(v any) error {
		*v.(*iscsiproxy.DriverConfig) = iscsiproxy.DriverConfig{Control: socket}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d, clock
}

// look says how the path is, without the driver and its control socket.
func (r *rig) look() string {
	s := r.State()
	var kinds []string
	for _, f := range s.Faults {
		kinds = append(kinds, string(f.Kind))
	}
	slices.Sort(kinds)
	return fmt.Sprintf("refusing %t, silent %t, faults %s", s.Refusing, s.Silent, strings.Join(kinds, " "))
}

func TestDriverConformance(t *testing.T) {
	r := up(t, nil, 1<<20, 1<<20)
	way := newRelay(t, r.serve())
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return openDriver(t, way.socket) }, conformance.Options{
		State: r.look, LUN: 1, Hang: way.hang, Fail: way.fail,
		HangElsewhere: "whoever owns the control socket owns the machines too, and the hypervisor's lane tells of it",
		Wire:          func(ctx context.Context) error { return readOver(ctx, r.Addr()) },
		Control:       func(ctx context.Context) error { return readOver(ctx, r.tgt.Portal) }, // the same LUN beside the path
	})
}

// readOver logs in, asks whether LUN 1 is ready, and reads its first block.
func readOver(ctx context.Context, portal string) error {
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: portal, InitiatorName: "iqn.2026-11.x:w", TargetName: iscsitest.TargetName, NoopInterval: -1})
	if err != nil {
		return err
	}
	defer s.Reset()
	if err := s.TestReady(ctx, iscsi.NewLUN(1)); err != nil {
		return err
	}
	r, err := s.Do(ctx, iscsi.Command{LUN: iscsi.NewLUN(1), CDB: iscsi.CDBReadWrite(iscsi.Read16, 0, 1), InLen: 512})
	if err != nil {
		return err
	}
	return r.Err(iscsi.Read16)
}

// journal keeps undos in memory.
type journal struct{ us []drivers.Undo }

func (j *journal) note(_ context.Context, u drivers.Undo) error {
	j.us = append(j.us, u)
	return nil
}

func TestDriverUndoesOnlyItsOwn(t *testing.T) {
	g := NewWithT(t)
	r := up(t, nil, 1<<20, 1<<20)
	d, _ := openDriver(t, r.serve())
	defer d.Close()
	_, err := r.Blackhole() // somebody else's
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("it still has the fault blackhole")))
	var j journal
	g.Expect(d.(drivers.PathBreaker).BreakPath(t.Context(), drivers.Reset, j.note)).To(Succeed())
	g.Expect(j.us).To(HaveLen(1))
	g.Expect(j.us[0].Driver).To(Equal("path"))
	g.Expect(r.look()).To(Equal("refusing true, silent true, faults blackhole reset"))
	g.Expect(d.Undo(t.Context(), j.us[0])).To(Equal(drivers.Undone))
	g.Expect(r.look()).To(Equal("refusing false, silent true, faults blackhole"))
	g.Expect(r.RestoreAll()).To(Succeed())
	g.Expect(d.Probe(t.Context())).To(Succeed())
}

func TestDriverUndoWithoutProxy(t *testing.T) {
	g := NewWithT(t)
	dir := shortDir(t)
	u := drivers.Undo{Op: "restore", Args: map[string]string{"keep": ""}}
	d, _ := openDriver(t, filepath.Join(dir, "none"))
	defer d.Close()
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))
	dead := filepath.Join(dir, "dead") // a socket whose process was killed
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: dead, Net: "unix"})
	g.Expect(err).NotTo(HaveOccurred())
	l.SetUnlinkOnClose(false)
	g.Expect(l.Close()).To(Succeed())
	d2, _ := openDriver(t, dead)
	defer d2.Close()
	g.Expect(d2.Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))
}

func TestDriverRefusesUnknownKinds(t *testing.T) {
	g := NewWithT(t)
	r := up(t, nil, 1<<20, 1<<20)
	d, _ := openDriver(t, r.serve())
	defer d.Close()
	var j journal
	g.Expect(d.(drivers.PathBreaker).BreakPath(t.Context(), drivers.Stall, j.note)).To(MatchError(ContainSubstring("cannot do stall")))
	g.Expect(j.us).To(BeEmpty())
	for _, k := range d.(drivers.PathBreaker).BreakKinds() {
		g.Expect(drivers.Has(d, drivers.PowerFor(k))).To(BeTrue(), string(k))
	}
}

// TestDriverTellsOfLostCommands follows one command that is lost, through the driver's eyes.
func TestDriverTellsOfLostCommands(t *testing.T) {
	g := NewWithT(t)
	r := up(t, nil, 1<<20, 1<<20)
	d, _ := openDriver(t, r.serve())
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan drivers.Observation, 100)
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, func(o drivers.Observation) { seen <- o }) }()
	next := func(topic, value string) drivers.Observation {
		t.Helper()
		var got drivers.Observation
		g.Eventually(func() bool {
			select {
			case got = <-seen:
				return got.Topic == topic && got.Value == value
			default:
				return false
			}
		}, "5s", "1ms").Should(BeTrue(), "%s %s", topic, value)
		return got
	}
	s := r.session(nil)
	var j journal
	stall := func() (told bool) {
		j = journal{}
		g.Expect(d.(drivers.IOStaller).StallIO(ctx, drivers.StallRule{LUN: 1, Op: "read", Count: 1}, j.note)).To(Succeed())
		select {
		case o := <-seen:
			g.Expect(o.Topic + " " + o.Value).To(Equal("path fault"))
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	}
	for !stall() { // Observe was not connected yet
		g.Expect(d.Undo(ctx, j.us[0])).To(Equal(drivers.Undone))
	}
	_, ch := submit(t, s, 1, iscsi.Read16, 0, 512, 0)
	lost := next("pdu", "lost")
	g.Expect(lost.Kind).To(Equal(drivers.Event))
	g.Expect(lost.Lane).To(Equal(pathLane))
	g.Expect(lost.Attrs).To(And(HaveKeyWithValue("lun", "1"), HaveKeyWithValue("op", "0x88"), HaveKeyWithValue("initiator", "iqn.2026-11.x:i")))
	g.Expect(next("hit", "yes").Kind).To(Equal(drivers.State))
	g.Expect(ended(ch, 50*time.Millisecond)).To(BeFalse())
	g.Expect(s.TestReady(ctx, iscsi.NewLUN(1))).To(Succeed(), "all else goes on")
	g.Expect(d.Undo(ctx, j.us[0])).To(Equal(drivers.Undone))
	next("path", "restore")
	next("hit", "no")
	cancel()
	g.Eventually(done, "2s").Should(Receive(BeNil()))
}

// TestDriverInjectsEverything follows a fault that the contract has no power for: journalled, told of, and undone from data.
func TestDriverInjectsEverything(t *testing.T) {
	g := NewWithT(t)
	r := up(t, nil, 1<<20, 1<<20)
	socket := r.serve()
	d, _ := openDriver(t, socket)
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan drivers.Observation, 100)
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, func(o drivers.Observation) { seen <- o }) }()
	s := r.session(nil)
	var j journal
	busy := &iscsiproxy.Rule{LUN: lun(1), Action: iscsiproxy.Action{Status: iscsi.StatusBusy}}
	g.Eventually(func() bool { // Observe may not be connected yet
		j = journal{}
		g.Expect(d.(*iscsiproxy.Driver).Inject(ctx, iscsiproxy.Status, busy, j.note)).To(Succeed())
		g.Expect(do(t, s, 1, iscsi.Read16, 0, 512, 0)).To(MatchError(ContainSubstring("status 0x08")))
		for wait := time.After(50 * time.Millisecond); ; {
			select {
			case o := <-seen:
				if o.Topic == "pdu" && o.Value == "status" && o.Attrs["lun"] == "1" {
					return true
				}
			case <-wait:
				g.Expect(d.Undo(ctx, j.us[0])).To(Equal(drivers.Undone))
				return false
			}
		}
	}, "5s", "1ms").Should(BeTrue())
	g.Expect(j.us).To(HaveLen(1))
	other, _ := openDriver(t, socket)
	defer other.Close()
	g.Expect(other.Undo(ctx, j.us[0])).To(Equal(drivers.Undone))
	g.Expect(other.Undo(ctx, j.us[0])).To(Equal(drivers.NothingLeft))
	g.Expect(do(t, s, 1, iscsi.Read16, 0, 512, 0)).To(Succeed())
	j = journal{}
	g.Expect(d.(*iscsiproxy.Driver).Inject(ctx, iscsiproxy.Status, nil, j.note)).NotTo(Succeed(), "a status needs a status")
	cancel()
	g.Eventually(done, "2s").Should(Receive(BeNil()))
}
