package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// The load in C and this project's initiator agree on what is on the disk, and the load believes no path that lies: wrong
// data, a bad status, an answer that never comes.
func TestLoad(t *testing.T) {
	for _, bin := range []string{"tgtd", "tgtadm", "cc"} {
		if _, err := exec.LookPath(bin); err != nil {
			t.Skipf("%s is not installed (Debian packages tgt, gcc and libc6-dev)", bin)
		}
	}
	ctx := t.Context()
	dir := t.TempDir()
	by, err := newLoad(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	portal, stop, err := target(ctx, dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: portal})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w := &way{name: ours, addr: p.Addr()}
	const bytesOf, disk = 128 << 10, 1 << 20
	read, write := work{op: iscsi.Read16, bytes: bytesOf, depth: 8}, work{op: iscsi.Write16, bytes: bytesOf, depth: 8}
	const each = 50 * time.Millisecond
	r, err := by.run(ctx, w, write, "sequential", 1, disk, each)
	if err != nil {
		t.Fatal(err)
	}
	if r.ops < disk/bytesOf || r.load <= 0 || r.rate <= 0 {
		t.Fatalf("%+v", r)
	}
	want := make([]byte, bytesOf) // as load.c fills it
	for i := range want {
		want[i] = byte(i % 251)
	}
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: portal, InitiatorName: "iqn.2026-11.allpathsdown.bench:i", TargetName: targetName})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do := func(op byte, lba uint64, out []byte) []byte {
		t.Helper()
		done := make(chan struct{})
		task := &iscsi.Task{Command: iscsi.Command{LUN: iscsi.NewLUN(1), CDB: iscsi.CDBReadWrite(op, lba, bytesOf/512)}, Done: func(*iscsi.Task) { close(done) }}
		if task.Out = out; out == nil {
			task.InLen = bytesOf
		}
		if err := s.Submit(task); err != nil {
			t.Fatal(err)
		}
		<-done
		if err := errors.Join(task.Err, task.Result.Err(op)); err != nil {
			t.Fatal(err)
		}
		return task.Result.Data
	}
	if err := s.TestReady(ctx, iscsi.NewLUN(1)); err != nil {
		t.Fatal(err)
	}
	for lba := uint64(0); lba < disk/512; lba += bytesOf / 512 {
		if !bytes.Equal(do(iscsi.Read16, lba, nil), want) {
			t.Errorf("the data at %d is not what the load has written", lba)
		}
	}
	verify := func() error {
		_, err := by.run(ctx, w, read, "verify", 1, disk, each)
		return err
	}
	if err := verify(); err != nil {
		t.Error(err)
	}
	wrong := bytes.Clone(want)
	wrong[bytesOf-1]++
	do(iscsi.Write16, 512, wrong)
	if err := verify(); err == nil || !strings.Contains(err.Error(), "wrong data") {
		t.Errorf("one wrong byte: %v", err)
	}
	do(iscsi.Write16, 512, want)
	if err := verify(); err != nil {
		t.Error(err)
	}

	for kind, f := range map[iscsiproxy.Kind]struct {
		action iscsiproxy.Action
		want   string
	}{
		iscsiproxy.CorruptData: {iscsiproxy.Action{}, "wrong data"},
		iscsiproxy.Status:      {iscsiproxy.Action{Status: iscsi.StatusBusy}, "status 08"},
		iscsiproxy.Drop:        {iscsiproxy.Action{}, "reading: "},
	} {
		f0, err := p.Inject(kind, &iscsiproxy.Rule{Class: "read", Nth: 20, Action: f.action})
		if err != nil {
			t.Fatal(err)
		}
		if err := verify(); err == nil || !strings.Contains(err.Error(), f.want) {
			t.Errorf("%s: %v", kind, err)
		}
		if err := p.Restore(f0.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Stall(iscsiproxy.Rule{Class: "read", Nth: 20}); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if _, err := by.run(short, w, read, "verify", 1, disk, each); err == nil {
		t.Error("a load that never ended was believed")
	}
}

// A ratio is of the same round; what is told of them is the median and the quartiles.
func TestRatio(t *testing.T) {
	rs := func(v ...float64) (out []result) {
		for _, x := range v {
			out = append(out, result{rate: x})
		}
		return out
	}
	low, mid, high := ratio(rs(1, 2, 3, 4, 50), rs(1, 1, 1, 1, 1))
	if low != 2 || mid != 3 || high != 4 {
		t.Errorf("%v %v %v", low, mid, high)
	}
}
