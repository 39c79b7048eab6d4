package iscsiproxy_test

// What the proxy leaves behind after many connections and many faults: nothing.

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// heap is what is reachable, in bytes; twice, because a sync.Pool keeps what it has for one collection.
func heap() int64 {
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// left checks that goroutines and memory are what they were.
func left(t *testing.T, goroutines int, bytes int64) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, %d before", n, goroutines)
	}
	if n := heap(); n > bytes+2<<20 {
		t.Errorf("%d KiB of memory, %d before", n>>10, bytes>>10)
	}
}

// A thousand connections at once, and then a thousand one after the other with a login and I/O each.
func TestThousandConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var far []net.Conn
	var mu sync.Mutex
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			far = append(far, c)
			mu.Unlock()
		}
	}()
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: l.Addr().String()})
	must(t, err)
	defer p.Close()
	defer func() { _ = l.Close() }()
	before, mem := runtime.NumGoroutine(), heap()
	const n = 1000
	half := iscsi.AppendPDU(nil, &iscsi.PDU{Header: iscsi.Header{0: iscsi.OpLoginReq | iscsi.ImmediateBit}, Data: make([]byte, 400)}, iscsi.Digests{})[:300]
	var near []net.Conn
	for range n {
		c, err := net.Dial("tcp", p.Addr())
		must(t, err)
		_, err = c.Write(half) // a login that never ends
		must(t, err)
		near = append(near, c)
	}
	eventually(t, "all are through", func() bool { mu.Lock(); defer mu.Unlock(); return len(far) == n && p.State().Connections == n })
	f, err := p.Inject(iscsiproxy.Blackhole, nil)
	must(t, err)
	for i, c := range near {
		if i%2 == 0 {
			_ = c.(*net.TCPConn).SetLinger(0)
		}
		_ = c.Close()
	}
	must(t, p.Restore(f.ID))
	eventually(t, "all are gone", func() bool { return p.State().Connections == 0 })
	mu.Lock()
	for _, c := range far {
		_ = c.Close()
	}
	far, near = nil, nil
	mu.Unlock()
	left(t, before, mem)

	g := iscsitest.Start(t, 1<<20)
	q, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: g.Portal})
	must(t, err)
	defer q.Close()
	before, mem = runtime.NumGoroutine(), heap()
	for i := range n {
		s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: q.Addr(), InitiatorName: "iqn.2026-11.x:i", TargetName: iscsitest.TargetName})
		must(t, err)
		must(t, s.TestReady(t.Context(), iscsi.NewLUN(1)))
		if i%2 == 0 {
			s.Reset()
		} else {
			s.Close()
		}
	}
	eventually(t, "all are gone", func() bool { return q.State().Connections == 0 })
	left(t, before, mem)
}

// Many short cycles of every fault under load, as a day would have them: what comes after is as it was before.
func TestDayOfFaults(t *testing.T) {
	g := iscsitest.Start(t, 16<<20, 16<<20)
	var mu sync.Mutex
	seen := map[string]int{}
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: g.Portal, OnEvent: func(e iscsiproxy.Event) {
		mu.Lock()
		seen[e.What]++
		mu.Unlock()
	}})
	must(t, err)
	defer p.Close()
	before, mem := runtime.NumGoroutine(), heap()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { host(ctx, p.Addr(), i) })
	}
	type rule = iscsiproxy.Rule
	type act = iscsiproxy.Action
	faults := []struct {
		k iscsiproxy.Kind
		r *rule
	}{
		{iscsiproxy.Cut, nil}, {iscsiproxy.Reset, nil}, {iscsiproxy.Refuse, nil}, {iscsiproxy.Blackhole, nil}, {iscsiproxy.LinkDown, nil},
		{iscsiproxy.Stall, &rule{LUN: lun(1), Count: 3}}, {iscsiproxy.Swallow, &rule{Class: "write"}},
		{iscsiproxy.Status, &rule{Class: "read", Action: act{Status: 8}}}, {iscsiproxy.Status, &rule{Action: act{Status: 2, Sense: "06/29/00", Executed: true}, Count: 5}},
		{iscsiproxy.AckLost, &rule{Count: 2}}, {iscsiproxy.Delay, &rule{Action: act{DelayMS: 20}}}, {iscsiproxy.Hold, &rule{LUN: lun(2)}},
		{iscsiproxy.R2T, &rule{Class: "write"}}, {iscsiproxy.CorruptData, &rule{Class: "io"}}, {iscsiproxy.CorruptDigest, &rule{Count: 2}}, {iscsiproxy.Drop, &rule{Count: 1}},
		{iscsiproxy.TMF, &rule{}}, {iscsiproxy.TMF, &rule{Action: act{Answer: answer(0)}}}, {iscsiproxy.NopIgnore, &rule{}},
		{iscsiproxy.LoginRefuse, &rule{Count: 2, Action: act{Login: 0x301}}}, {iscsiproxy.LoginSlow, &rule{}}, {iscsiproxy.Async, &rule{Count: 2, Action: act{Event: 2}}},
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		var ids []string
		for range 1 + rnd.IntN(3) {
			f := faults[rnd.IntN(len(faults))]
			got, err := p.Inject(f.k, f.r)
			must(t, err)
			ids = append(ids, got.ID)
		}
		time.Sleep(time.Duration(rnd.IntN(30)) * time.Millisecond)
		for _, i := range rnd.Perm(len(ids)) {
			must(t, p.Restore(ids[i]))
		}
		time.Sleep(time.Duration(rnd.IntN(15)) * time.Millisecond)
	}
	cancel()
	wg.Wait()
	eventually(t, "all are gone", func() bool { return p.State().Connections == 0 })
	s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: p.Addr(), InitiatorName: "iqn.2026-11.x:i", TargetName: iscsitest.TargetName})
	must(t, err)
	must(t, s.TestReady(t.Context(), iscsi.NewLUN(1)))
	must(t, do(t, s, 1, iscsi.Write16, 0, 100<<10, 1))
	must(t, do(t, s, 1, iscsi.Read16, 0, 100<<10, 0))
	must(t, s.Logout(t.Context()))
	st := p.State()
	left(t, before, mem)
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d connections, %v", st.Accepted, seen)
	if seen["malformed"]+seen["limit"]+seen["leak"] > 0 {
		t.Errorf("%v", seen)
	}
	if len(st.Faults) != 0 || st.Refusing || st.Silent || st.Accepted < 20 {
		t.Errorf("%+v", st)
	}
}

// host does I/O as one does that never gives up: what is late is aborted, what is broken is connected again.
func host(ctx context.Context, portal string, n int) {
	for ctx.Err() == nil {
		s, err := iscsi.Dial(ctx, iscsi.Config{Portal: portal, InitiatorName: "iqn.2026-11.x:i", TargetName: iscsitest.TargetName,
			LoginTimeout: 100 * time.Millisecond, HeaderDigest: n%2 == 0, DataDigest: n%2 == 0, NoImmediate: n > 1})
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		for i := 0; ctx.Err() == nil && s.Err() == nil; i++ {
			done := make(chan struct{})
			task := &iscsi.Task{Command: iscsi.Command{LUN: iscsi.NewLUN(1 + i%2), CDB: iscsi.CDBReadWrite(iscsi.Write16, uint64(n*1000), 80)}, Done: func(*iscsi.Task) { close(done) }}
			if i%3 == 0 {
				task.CDB[0], task.InLen = iscsi.Read16, 80*512
			} else {
				task.Out = make([]byte, 80*512)
			}
			if s.Submit(task) != nil {
				break
			}
			select {
			case <-done:
			case <-time.After(15 * time.Millisecond):
				short, cancel := context.WithTimeout(ctx, 15*time.Millisecond)
				code, err := s.AbortTask(short, task)
				if err != nil || code != iscsi.TMFComplete {
					code, err = s.LUNReset(short, task.LUN)
				}
				cancel()
				if err != nil || code != iscsi.TMFComplete {
					s.Reset()
				}
				select {
				case <-done:
				case <-time.After(time.Second):
					s.Reset()
				}
			}
		}
		s.Reset()
	}
}

// The whole suite of libiscsi, which takes about 45 s each way, says the same directly and through the path.
func TestTransparentWhole(t *testing.T) {
	if os.Getenv("APD_WHOLE_SUITE") == "" {
		t.Skip("APD_WHOLE_SUITE is not set (it takes some minutes)")
	}
	if _, err := exec.LookPath("iscsi-test-cu"); err != nil {
		t.Skip("iscsi-test-cu is not installed (Debian package libiscsi-bin)")
	}
	line := regexp.MustCompile(`Test: \S+|^\s*(tests|suites)\s.*`)
	for name, opts := range map[string][][2]string{"plain": nil, "header digest": {{"HeaderDigest", "CRC32C"}}} {
		run := func(through bool) (out []string) {
			g := iscsitest.StartWith(t, opts, 256<<20) // each way begins with an empty disk
			portal := g.Portal
			if through {
				p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: g.Portal})
				must(t, err)
				defer p.Close()
				portal = p.Addr()
			}
			url := "iscsi://" + portal + "/" + iscsitest.TargetName + "/1"
			if opts != nil {
				url += "?header_digest=crc32c"
			}
			b, _ := exec.CommandContext(t.Context(), "timeout", "-s", "KILL", "300", "iscsi-test-cu", "-d", "-V", url).CombinedOutput()
			for _, l := range strings.Split(string(b), "\n") {
				if m := line.FindString(l); m != "" {
					out = append(out, m+" "+map[bool]string{true: "failed"}[strings.Contains(l, "FAILED")])
				}
			}
			return out
		}
		direct, through := run(false), run(true)
		t.Logf("%s: %d lines direct, %d through the path", name, len(direct), len(through))
		if len(direct) < 600 || !slices.Equal(direct, through) {
			for i := range min(len(direct), len(through)) {
				if direct[i] != through[i] {
					t.Errorf("%s: direct %q, through the path %q", name, direct[i], through[i])
				}
			}
			t.Errorf("%s: not the same", name)
		}
	}
}
