package iscsi_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
)

const initiator = "iqn.2026-11.allpathsdown.test:host"

func config(g *iscsitest.Tgt) iscsi.Config {
	return iscsi.Config{Portal: g.Portal, InitiatorName: initiator, TargetName: iscsitest.TargetName}
}

func open(t testing.TB, cfg iscsi.Config) *iscsi.Session {
	t.Helper()
	s, err := iscsi.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if err := s.TestReady(t.Context(), iscsi.NewLUN(1)); err != nil {
		t.Fatal(err)
	}
	return s
}

func rw(ctx context.Context, s *iscsi.Session, op byte, lba uint64, buf []byte) error {
	c := iscsi.Command{LUN: iscsi.NewLUN(1), CDB: iscsi.CDBReadWrite(op, lba, uint32(len(buf)/512))}
	if op == iscsi.Write16 {
		c.Out = buf
	} else {
		c.InLen = len(buf)
	}
	r, err := s.Do(ctx, c)
	if err == nil {
		err = r.Err(op)
	}
	if op == iscsi.Read16 && err == nil && copy(buf, r.Data) != len(buf) {
		err = fmt.Errorf("short read of %d", len(r.Data))
	}
	return err
}

// Every negotiation that changes the data transfer moves the same bytes.
func TestReadWrite(t *testing.T) {
	for name, opts := range map[string][][2]string{
		"tgt defaults":  nil,
		"small bursts":  {{"MaxBurstLength", "16384"}, {"FirstBurstLength", "8192"}},
		"unsolicited":   {{"InitialR2T", "No"}, {"FirstBurstLength", "65536"}},
		"no immediate":  {{"ImmediateData", "No"}, {"InitialR2T", "No"}},
		"big segments":  {{"MaxRecvDataSegmentLength", "262144"}},
		"both digests":  {{"HeaderDigest", "CRC32C"}, {"DataDigest", "CRC32C"}},
		"header digest": {{"HeaderDigest", "CRC32C"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := iscsitest.StartWith(t, opts, 16<<20)
			cfg := config(g)
			cfg.HeaderDigest, cfg.DataDigest = true, true
			s := open(t, cfg)
			t.Logf("%+v", s.Params())
			rnd := rand.New(rand.NewPCG(1, 2))
			var wg sync.WaitGroup
			for i := range 64 {
				buf := make([]byte, 512*(1+rnd.IntN(400)))
				for j := range buf {
					buf[j] = byte(rnd.Uint32())
				}
				wg.Go(func() {
					lba := uint64(i * 400)
					if err := rw(t.Context(), s, iscsi.Write16, lba, buf); err != nil {
						t.Error(err)
					}
					got := make([]byte, len(buf))
					if err := rw(t.Context(), s, iscsi.Read16, lba, got); err != nil || !bytes.Equal(got, buf) {
						t.Errorf("read back differs, %v", err)
					}
					disk := make([]byte, len(buf))
					f, err := os.Open(g.File(1))
					if err != nil {
						t.Error(err)
						return
					}
					defer func() { _ = f.Close() }()
					if _, err := f.ReadAt(disk, int64(lba)*512); err != nil || !bytes.Equal(disk, buf) {
						t.Errorf("disk differs, %v", err)
					}
				})
			}
			wg.Wait()
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Logout(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDiscoverProbeAndLUNs(t *testing.T) {
	g := iscsitest.Start(t, 1<<20, 2<<20)
	found, err := iscsi.Discover(t.Context(), g.Portal, initiator)
	if err != nil || len(found) != 1 || found[0].Name != iscsitest.TargetName {
		t.Fatalf("%v %v", found, err)
	}
	for range 3 {
		if err := iscsi.Probe(t.Context(), g.Portal, initiator, iscsitest.TargetName, 2); err != nil {
			t.Fatal(err)
		}
	}
	var se *iscsi.StatusError
	if err := iscsi.Probe(t.Context(), g.Portal, initiator, iscsitest.TargetName, 9); !errors.As(err, &se) || se.Sense.Key != iscsi.SenseIllegalReq {
		t.Errorf("missing LUN gives %v", err)
	}
	var le *iscsi.LoginError
	if err := iscsi.Probe(t.Context(), g.Portal, initiator, "iqn.2026-11.x:none", 1); !errors.As(err, &le) || le.Class != 2 || le.Detail != 3 {
		t.Errorf("missing target gives %v", err)
	}
	s := open(t, config(g))
	luns, err := s.LUNs(t.Context())
	if err != nil || len(luns) != 3 || luns[2].Number() != 2 {
		t.Errorf("%v %v", luns, err)
	}
	if code, err := s.LUNReset(t.Context(), iscsi.NewLUN(1)); err != nil || code != iscsi.TMFComplete {
		t.Errorf("LUN reset: %d %v", code, err)
	}
	r, err := s.Do(t.Context(), iscsi.Command{LUN: iscsi.NewLUN(1), CDB: iscsi.CDBTestUnitReady()})
	if err != nil || !errors.As(r.Err(0), &se) || se.Sense.Key != iscsi.SenseUnitAttention {
		t.Errorf("after LUN reset: %+v %v", r, err)
	}
	if code, err := s.AbortTask(t.Context(), &iscsi.Task{}); err != nil || code != iscsi.TMFNoTask {
		t.Errorf("abort of nothing: %d %v", code, err)
	}
}

// A killed target fails every task in flight with ErrConnection, and leaks no goroutine.
func TestTargetDies(t *testing.T) {
	g := iscsitest.Start(t, 16<<20)
	before := runtime.NumGoroutine()
	for range 5 {
		s, err := iscsi.Dial(t.Context(), config(g))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.TestReady(t.Context(), iscsi.NewLUN(1)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 300 { // more than the command window
			wg.Go(func() {
				for {
					if err := rw(t.Context(), s, iscsi.Write16, uint64(i*8), make([]byte, 4096)); err != nil {
						if !errors.Is(err, iscsi.ErrConnection) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		g.Kill()
		wg.Wait()
		<-s.Done()
		if !errors.Is(s.Err(), iscsi.ErrConnection) {
			t.Error(s.Err())
		}
		g.Up()
	}
	leak(t, before)
}

func leak(t *testing.T, before int) {
	t.Helper()
	end := time.Now().Add(2 * time.Second)
	for runtime.NumGoroutine() > before && time.Now().Before(end) {
		time.Sleep(10 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		b := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before\n%s", n, before, b[:runtime.Stack(b, true)])
	}
}

// A silent target is noticed by NOP-Out; a portal that accepts and says nothing by the login timeout.
func TestSilence(t *testing.T) {
	g := iscsitest.Start(t, 1<<20)
	cfg := config(g)
	cfg.NoopInterval, cfg.NoopTimeout = 200*time.Millisecond, 300*time.Millisecond
	s := open(t, cfg)
	time.Sleep(time.Second) // alive for several rounds
	if s.Err() != nil {
		t.Fatal(s.Err())
	}
	stop(t, g)
	start := time.Now()
	<-s.Done()
	if d := time.Since(start); d < 250*time.Millisecond || d > 800*time.Millisecond || !errors.Is(s.Err(), iscsi.ErrNoopTimeout) {
		t.Errorf("after %v: %v", d, s.Err())
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	cfg.Portal, cfg.LoginTimeout = l.Addr().String(), 200*time.Millisecond
	start = time.Now()
	if _, err = iscsi.Dial(t.Context(), cfg); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, iscsi.ErrConnection) || time.Since(start) > time.Second {
		t.Errorf("silent portal gives %v", err)
	}
	cfg.Portal = iscsitest.FreeAddr(t)
	if _, err = iscsi.Dial(t.Context(), cfg); !errors.Is(err, iscsi.ErrConnection) {
		t.Errorf("refused connection gives %v", err)
	}
}

func BenchmarkWrite4K(b *testing.B) {
	g := iscsitest.Start(b, 16<<20)
	s := open(b, config(g))
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for i := range b.N {
		if err := rw(b.Context(), s, iscsi.Write16, uint64(i%1000*8), buf); err != nil {
			b.Fatal(err)
		}
	}
}
