package iscsiproxy_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

type rig struct {
	t   testing.TB
	tgt *iscsitest.Tgt
	*iscsiproxy.Proxy
	mu  sync.Mutex
	evs []iscsiproxy.Event
}

func up(t testing.TB, opts [][2]string, sizes ...int64) *rig {
	t.Helper()
	r := &rig{t: t, tgt: iscsitest.StartWith(t, opts, sizes...)}
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: r.tgt.Portal, OnEvent: func(e iscsiproxy.Event) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.evs = append(r.evs, e)
	}})
	if err != nil {
		t.Fatal(err)
	}
	r.Proxy = p
	t.Cleanup(p.Close)
	return r
}

func (r *rig) count(what string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.evs {
		if e.What == what {
			n++
		}
	}
	return n
}

func (r *rig) session(edit func(*iscsi.Config)) *iscsi.Session {
	r.t.Helper()
	s, err := r.dial(edit)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, l := range []int{1, 2} {
		if err := s.TestReady(r.t.Context(), iscsi.NewLUN(l)); err != nil {
			r.t.Fatal(err)
		}
	}
	return s
}

func (r *rig) dial(edit func(*iscsi.Config)) (*iscsi.Session, error) {
	cfg := iscsi.Config{Portal: r.Addr(), InitiatorName: "iqn.2026-11.x:i", TargetName: iscsitest.TargetName, LoginTimeout: time.Second}
	if edit != nil {
		edit(&cfg)
	}
	s, err := iscsi.Dial(r.t.Context(), cfg)
	if err == nil {
		r.t.Cleanup(s.Reset)
	}
	return s, err
}

func submit(t testing.TB, s *iscsi.Session, lun int, op byte, lba uint64, n int, v byte) (*iscsi.Task, chan struct{}) {
	t.Helper()
	ch := make(chan struct{})
	task := &iscsi.Task{Command: iscsi.Command{LUN: iscsi.NewLUN(lun), CDB: iscsi.CDBReadWrite(op, lba, uint32(n/512))}, Done: func(*iscsi.Task) { close(ch) }}
	if op == iscsi.Write16 {
		task.Out = bytes.Repeat([]byte{v}, n)
	} else {
		task.InLen = n
	}
	if err := s.Submit(task); err != nil {
		t.Fatal(err)
	}
	return task, ch
}

func do(t testing.TB, s *iscsi.Session, lun int, op byte, lba uint64, n int, v byte) error {
	t.Helper()
	task, ch := submit(t, s, lun, op, lba, n, v)
	select {
	case <-ch:
	case <-time.After(3 * time.Second):
		return context.DeadlineExceeded
	}
	if task.Err != nil {
		return task.Err
	}
	return task.Result.Err(op)
}

func ended(ch chan struct{}, within time.Duration) bool {
	select {
	case <-ch:
		return true
	case <-time.After(within):
		return false
	}
}

func disk(t testing.TB, g *iscsitest.Tgt, lun int, lba int64) byte {
	t.Helper()
	f, err := os.Open(g.File(lun))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], lba*512); err != nil {
		t.Fatal(err)
	}
	return b[0]
}

func lun(n int) *int { return &n }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The conformance suite of libiscsi says the same directly and through the path.
func TestTransparent(t *testing.T) {
	if _, err := exec.LookPath("iscsi-test-cu"); err != nil {
		t.Skip("iscsi-test-cu is not installed (Debian package libiscsi-bin)")
	}
	// The number of asserts varies with the random addresses of some tests.
	line := regexp.MustCompile(`Test: \S+|^\s*(tests|suites)\s.*`)
	for name, opts := range map[string][][2]string{"plain": nil, "header digest": {{"HeaderDigest", "CRC32C"}}} {
		r := up(t, opts, 64<<20)
		run := func(portal string) (out []string) {
			for _, family := range []string{"ALL.Read10", "ALL.Write10", "ALL.Write16", "ALL.CompareAndWrite", "ALL.Unmap", "ALL.Inquiry", "ALL.iSCSITMF.AbortTaskSimpleAsync", "ALL.iSCSIcmdsn", "ALL.iSCSIResiduals", "ALL.ModeSense6"} {
				url := "iscsi://" + portal + "/" + iscsitest.TargetName + "/1"
				if name != "plain" {
					url += "?header_digest=crc32c"
				}
				b, _ := exec.CommandContext(t.Context(), "timeout", "-s", "KILL", "30", "iscsi-test-cu", "-d", "-V", "-t", family, url).CombinedOutput()
				for _, l := range strings.Split(string(b), "\n") {
					if m := line.FindString(l); m != "" {
						out = append(out, m)
					}
				}
			}
			return out
		}
		direct, through := run(r.tgt.Portal), run(r.Addr())
		if len(direct) < 20 || !slices.Equal(direct, through) {
			for i := range min(len(direct), len(through)) {
				if direct[i] != through[i] {
					t.Errorf("%s: direct %q, through the path %q", name, direct[i], through[i])
				}
			}
			t.Errorf("%s: %d lines direct, %d through the path", name, len(direct), len(through))
		}
		t.Logf("%s: %d lines are the same", name, len(direct))
	}
}

// A lost command: everything else on the same connection goes on, for both digest settings.
func TestLostCommand(t *testing.T) {
	for name, opts := range map[string][][2]string{
		"plain":   {{"InitialR2T", "No"}, {"FirstBurstLength", "65536"}}, // so unsolicited Data-Out has to be dropped
		"digests": {{"HeaderDigest", "CRC32C"}, {"DataDigest", "CRC32C"}},
	} {
		for _, kind := range []iscsiproxy.Kind{iscsiproxy.Stall, iscsiproxy.Swallow} {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				r := up(t, opts, 16<<20, 16<<20)
				s := r.session(func(c *iscsi.Config) { c.HeaderDigest, c.DataDigest = true, true })
				f, err := r.Inject(kind, &iscsiproxy.Rule{LUN: lun(1), Class: "write", FirstLBA: 1000, LastLBA: 1999, Nth: 2, Count: 1})
				must(t, err)
				must(t, do(t, s, 1, iscsi.Write16, 1500, 32<<10, 1)) // the first is not hit
				task, ch := submit(t, s, 1, iscsi.Write16, 1500, 100<<10, 2)
				for i := range 200 { // controls: other LUN, other range, other class, the third
					must(t, do(t, s, 2, iscsi.Write16, 1500, 4096, byte(i)))
					must(t, do(t, s, 1, iscsi.Write16, 4000, 20<<10, byte(i)))
					must(t, do(t, s, 1, iscsi.Read16, 1500, 40<<10, 0))
				}
				must(t, do(t, s, 1, iscsi.Write16, 1600, 4096, 3))
				must(t, s.Ping(t.Context()))
				if ended(ch, 50*time.Millisecond) {
					t.Fatalf("the lost command was answered: %+v %v", task.Result, task.Err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				code, err := s.AbortTask(ctx, task)
				if kind == iscsiproxy.Swallow {
					if err != nil || code != iscsi.TMFComplete || !errors.Is(task.Err, iscsi.ErrTaskAborted) {
						t.Errorf("abort: %d %v, task %v", code, err, task.Err)
					}
				} else if !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("abort of a stalled command: %d %v", code, err)
				}
				for i := range 50 { // the sequence numbers are still right
					must(t, do(t, s, 1, iscsi.Write16, 1500, 4096, byte(i)))
				}
				if code, err := s.LUNReset(t.Context(), iscsi.NewLUN(2)); err != nil || code != 0 {
					t.Errorf("LUN reset: %d %v", code, err)
				}
				if got := disk(t, r.tgt, 1, 1520); got != 1 {
					t.Errorf("disk has %d", got)
				}
				st := r.State().Faults
				if len(st) != 1 || st[0].PDUs < 2 || r.count("lost") != 1 || r.count("abort") != 1 {
					t.Errorf("%+v, %d lost", st, r.count("lost"))
				}
				must(t, r.Restore(f.ID))
				must(t, r.Restore(f.ID))
				must(t, s.Logout(t.Context()))
			})
		}
	}
}

func TestCutAndReset(t *testing.T) {
	r := up(t, nil, 1<<20, 1<<20)
	for _, kind := range []iscsiproxy.Kind{iscsiproxy.Cut, iscsiproxy.Reset} {
		s := r.session(nil)
		control, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: r.tgt.Portal, InitiatorName: "iqn.2026-11.x:c", TargetName: iscsitest.TargetName})
		must(t, err)
		start := time.Now()
		f, err := r.Inject(kind, nil)
		must(t, err)
		<-s.Done()
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("%s took %v", kind, d)
		}
		t.Logf("%s: %v", kind, s.Err())
		if _, err := net.Dial("tcp", r.Addr()); err == nil {
			t.Errorf("%s: new connection is not refused", kind)
		}
		must(t, control.TestReady(t.Context(), iscsi.NewLUN(1)))
		control.Close()
		if st := r.State(); !st.Refusing || len(st.Faults) != 1 || st.Faults[0].Connections != 1 {
			t.Errorf("%+v", st)
		}
		start = time.Now()
		must(t, r.Restore(f.ID))
		must(t, r.RestoreAll())
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("restoring took %v", d)
		}
		s = r.session(nil)
		must(t, do(t, s, 1, iscsi.Write16, 0, 4096, 1))
		s.Close()
		for r.State().Connections > 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// Silence delays bytes of those who stay, and throws away those of who goes.
func TestSilence(t *testing.T) {
	r := up(t, nil, 16<<20, 16<<20)
	for i, kind := range []iscsiproxy.Kind{iscsiproxy.Blackhole, iscsiproxy.LinkDown} {
		v := byte(i + 1)
		stays, goes, closes := r.session(nil), r.session(nil), r.session(nil)
		f, err := r.Inject(kind, nil)
		must(t, err)
		_, staysDone := submit(t, stays, 1, iscsi.Write16, 100, 4096, v)
		var goesDone []chan struct{}
		for j := range 100 { // much more than socket buffers hold with the window open
			_, ch := submit(t, goes, 1, iscsi.Write16, uint64(200+j*128), 64<<10, v)
			goesDone = append(goesDone, ch)
		}
		_, closesDone := submit(t, closes, 1, iscsi.Write16, 20000, 4096, v)
		if ended(staysDone, 200*time.Millisecond) {
			t.Error("answered in the silence")
		}
		if _, err := r.dial(func(c *iscsi.Config) { c.LoginTimeout = 100 * time.Millisecond }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("new connection in the silence: %v", err)
		}
		var late *iscsi.Session
		lateErr := make(chan error, 1)
		go func() {
			var err error
			late, err = r.dial(func(c *iscsi.Config) { c.LoginTimeout = 5 * time.Second })
			lateErr <- err
		}()
		goes.Reset()
		closes.Close() // FIN
		<-goesDone[0]
		<-closesDone
		time.Sleep(50 * time.Millisecond)
		start := time.Now()
		must(t, r.Restore(f.ID))
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("restoring took %v", d)
		}
		if !ended(staysDone, time.Second) {
			t.Fatal("not answered after the silence")
		}
		must(t, <-lateErr)
		late.Reset()
		must(t, do(t, stays, 1, iscsi.Write16, 104, 4096, v))
		time.Sleep(50 * time.Millisecond)
		if got := disk(t, r.tgt, 1, 100); got != v {
			t.Errorf("delayed write: disk has %d", got)
		}
		for _, lba := range []int64{200, 200 + 50*128, 20000} {
			if got := disk(t, r.tgt, 1, lba); got != 0 {
				t.Errorf("%s: write of an initiator that had closed is on disk at %d: %d", kind, lba, got)
			}
		}
	}
	if r.count("discard") < 4 || r.count("link.down") != 1 || r.count("link.up") != 1 {
		t.Errorf("%d discards", r.count("discard"))
	}
}

// The closing that comes just before the restoring wins.
func TestSilenceCloseThenRestore(t *testing.T) {
	r := up(t, nil, 16<<20, 16<<20)
	for i := range 100 {
		s := r.session(nil)
		f, err := r.Blackhole()
		must(t, err)
		submit(t, s, 1, iscsi.Write16, uint64(i*8), 4096, 1)
		time.Sleep(time.Duration(i%3) * time.Millisecond) // at 0 the proxy often reads the command only after the restoring
		s.Reset()
		must(t, r.Restore(f.ID))
	}
	time.Sleep(50 * time.Millisecond)
	for i := range 100 {
		if disk(t, r.tgt, 1, int64(i*8)) != 0 {
			t.Errorf("round %d wrote late", i)
		}
	}
}

// Silence in the middle of heavy traffic loses and doubles nothing, and every goroutine ends.
func TestSilenceUnderLoad(t *testing.T) {
	r := up(t, nil, 64<<20, 1<<20)
	before := runtime.NumGoroutine()
	s := r.session(nil)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for v := byte(1); ctx.Err() == nil; v++ {
				task, ch := submit(t, s, 1, iscsi.Write16, uint64(i*4096), 256<<10, v)
				<-ch
				if task.Err != nil {
					t.Error(task.Err)
					return
				}
				task, ch = submit(t, s, 1, iscsi.Read16, uint64(i*4096), 256<<10, 0)
				<-ch
				if task.Err != nil || !bytes.Equal(task.Result.Data, bytes.Repeat([]byte{v}, 256<<10)) {
					t.Errorf("read back: %v", task.Err)
					return
				}
			}
		})
	}
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		f, err := r.Blackhole()
		must(t, err)
		time.Sleep(20 * time.Millisecond)
		must(t, r.Restore(f.ID))
	}
	cancel()
	wg.Wait()
	s.Close()
	end := time.Now().Add(2 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

func TestControl(t *testing.T) {
	r := up(t, nil, 1<<20, 1<<20)
	dir, err := os.MkdirTemp("", "ctl")
	must(t, err)
	defer func() { _ = os.RemoveAll(dir) }()
	sock := filepath.Join(dir, "s")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, sock) }()
	c := iscsiproxy.NewClient(sock)
	defer c.Close()
	for {
		if _, err := c.State(ctx); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	got := make(chan iscsiproxy.Event, 100)
	started := make(chan struct{})
	go func() { _ = c.Events(ctx, started, func(e iscsiproxy.Event) { got <- e }) }()
	<-started
	f, err := c.Inject(ctx, iscsiproxy.Swallow, &iscsiproxy.Rule{LUN: lun(1), Class: "read"})
	must(t, err)
	if e := <-got; e.What != "fault" || e.Fault != f.ID {
		t.Errorf("%+v", e)
	}
	if st, err := c.State(ctx); err != nil || len(st.Faults) != 1 || *st.Faults[0].Rule.LUN != 1 {
		t.Errorf("%+v %v", st, err)
	}
	must(t, c.Restore(ctx, f.ID))
	must(t, c.Restore(ctx, f.ID))
	must(t, c.RestoreAll(ctx))
	if e := <-got; e.What != "restore" {
		t.Errorf("%+v", e)
	}
	for _, bad := range []func() error{
		func() error { _, err := c.Inject(ctx, "nonsense", nil); return err },
		func() error { _, err := c.Inject(ctx, iscsiproxy.Cut, &iscsiproxy.Rule{}); return err },
		func() error { _, err := c.Inject(ctx, iscsiproxy.Stall, &iscsiproxy.Rule{Class: "x"}); return err },
	} {
		if err := bad(); err == nil {
			t.Error("accepted nonsense")
		} else {
			t.Log(err)
		}
	}
	if st := r.State(); len(st.Faults) != 0 {
		t.Errorf("%+v", st)
	}
	found, err := iscsi.Discover(ctx, r.Addr(), "iqn.2026-11.x:i")
	if err != nil || len(found) != 1 || !slices.Equal(found[0].Portals, []string{r.Addr() + ",1"}) {
		t.Errorf("discovery leaves the path: %v %v", found, err)
	}
	cancel()
	must(t, <-served)
}
