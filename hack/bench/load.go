package main

// This file is the work: an initiator that keeps a number of commands in flight for a while, and the target.

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// work is one workload.
type work struct {
	name   string
	op     byte
	bytes  int
	depth  int
	random bool
}

var works = []work{
	{"4 KiB random read, depth 1", iscsi.Read16, 4 << 10, 1, true},
	{"4 KiB random read, depth 32", iscsi.Read16, 4 << 10, 32, true},
	{"128 KiB sequential read, depth 8", iscsi.Read16, 128 << 10, 8, false},
	{"128 KiB sequential write, depth 8", iscsi.Write16, 128 << 10, 8, false},
}

const (
	targetName = "iqn.2026-11.allpathsdown.bench:t"
	diskBytes  = 64 << 20
)

// result is what one measurement gave.
type result struct {
	rate float64       // commands a second
	cpu  time.Duration // processor time of the way's process in that time
	load time.Duration // and of the initiator; 0: not known
	ops  int
}

//go:embed testdata/load.c
var loadSource []byte

// load is who does the work: a program in C that costs little itself, or, where none can be built, this project's initiator.
// That one takes more of the machine than the proxy does, by which all ways look more alike than they are.
type load struct{ bin string }

func newLoad(ctx context.Context, dir string) (load, error) {
	bin, err := compile(ctx, dir, "load", loadSource)
	return load{bin}, err
}

// measure does one workload over one way: a little to warm up, and then for the time that is asked for.
func (l load) measure(ctx context.Context, w *way, k work, each time.Duration) (r result, err error) {
	if l.bin == "" {
		r, err = measureGo(ctx, w, k, each)
	} else {
		order := "sequential"
		if k.random {
			order = "random"
		}
		r, err = l.run(ctx, w, k, order, 1, diskBytes, each)
	}
	if err == nil && r.ops == 0 {
		err = errors.New("no command has ended")
	}
	if err != nil {
		return result{}, fmt.Errorf("%s: %s: %w", w.name, k.name, err)
	}
	return r, nil
}

// run is the C program's measurement; order is one of its words.
func (l load) run(ctx context.Context, w *way, k work, order string, lun int, disk int64, each time.Duration) (r result, err error) {
	host, port, err := net.SplitHostPort(w.addr)
	if err != nil {
		return r, err
	}
	what := "read"
	if k.op == iscsi.Write16 {
		what = "write"
	}
	cmd := exec.CommandContext(ctx, l.bin, host, port, targetName, strconv.Itoa(lun), what, strconv.Itoa(k.bytes), strconv.Itoa(k.depth),
		order, strconv.FormatInt(disk, 10), strconv.FormatInt((each/5).Milliseconds(), 10), strconv.FormatInt(each.Milliseconds(), 10))
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return r, err
	}
	if err := cmd.Start(); err != nil {
		return r, err
	}
	lines, ended := bufio.NewScanner(out), false
	var took, own int64
	for lines.Scan() {
		if lines.Text() == "begin" {
			r.cpu = w.cpu()
		} else if _, err := fmt.Sscanf(lines.Text(), "end %d %d %d", &r.ops, &took, &own); err == nil {
			r.cpu, ended = w.cpu()-r.cpu, true
		}
	}
	if err := errors.Join(lines.Err(), cmd.Wait()); err != nil {
		return r, fmt.Errorf("%w: %s", err, bytes.TrimSpace(complaint.Bytes()))
	}
	if !ended || took <= 0 {
		return r, errors.New("the load has told nothing")
	}
	r.rate, r.load = float64(r.ops)/time.Duration(took).Seconds(), time.Duration(own)
	return r, nil
}

// measureGo is the same with this project's own initiator.
func measureGo(ctx context.Context, w *way, k work, each time.Duration) (result, error) {
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: w.addr, InitiatorName: "iqn.2026-11.allpathsdown.bench:i", TargetName: targetName, FirstBurst: 262144})
	if err != nil {
		return result{}, err
	}
	defer s.Close()
	if err := s.TestReady(ctx, iscsi.NewLUN(1)); err != nil {
		return result{}, err
	}
	var stopped atomic.Bool
	var n, failed atomic.Int64
	var next atomic.Uint64
	var wg sync.WaitGroup
	blocks := uint64(k.bytes / 512)
	lba := func() uint64 {
		if k.random {
			return rand.Uint64N(diskBytes/uint64(k.bytes)) * blocks
		}
		return next.Add(1) % (diskBytes / uint64(k.bytes)) * blocks
	}
	for range k.depth {
		t := &iscsi.Task{Command: iscsi.Command{LUN: iscsi.NewLUN(1)}}
		if k.op == iscsi.Read16 {
			t.InLen, t.In = k.bytes, make([]byte, k.bytes)
		} else {
			t.Out = make([]byte, k.bytes)
		}
		t.Done = func(t *iscsi.Task) {
			if t.Err != nil || t.Result.Status != 0 || len(t.Result.Data) != t.InLen {
				failed.Add(1)
				wg.Done()
				return
			}
			n.Add(1)
			if stopped.Load() {
				wg.Done()
				return
			}
			t.CDB = iscsi.CDBReadWrite(k.op, lba(), uint32(blocks))
			if s.Submit(t) != nil { // on the session's own goroutine: no switch that would be the initiator's
				failed.Add(1)
				wg.Done()
			}
		}
		t.CDB = iscsi.CDBReadWrite(k.op, lba(), uint32(blocks))
		wg.Add(1)
		if err := s.Submit(t); err != nil {
			return result{}, err
		}
	}
	time.Sleep(each / 5)
	n0, cpu0, start := n.Load(), w.cpu(), time.Now()
	for time.Sleep(each); n.Load() == n0 && failed.Load() == 0 && ctx.Err() == nil; time.Sleep(each) { // on a busy machine one may take longer
	}
	ops, cpu, took := n.Load()-n0, w.cpu()-cpu0, time.Since(start)
	stopped.Store(true)
	wg.Wait()
	if failed.Load() > 0 {
		return result{}, fmt.Errorf("%d commands failed", failed.Load())
	}
	return result{rate: float64(ops) / took.Seconds(), cpu: cpu, ops: int(ops)}, nil
}

// target starts a tgtd with two LUNs of the null backing store, which costs least, or in memory.
func target(ctx context.Context, dir string, disk bool) (portal string, stop func(), err error) {
	if portal, err = freeAddr(); err != nil {
		return "", nil, err
	}
	env := append(os.Environ(), "TGT_IPC_SOCKET="+filepath.Join(dir, "ipc"))
	const ctl = "7"
	cmd := exec.Command("tgtd", "-f", "-C", ctl, "--iscsi", "portal="+portal)
	cmd.Env = env
	if err := cmd.Start(); err != nil {
		return "", nil, fmt.Errorf("starting tgtd (Debian package tgt): %w", err)
	}
	stop = func() {
		_ = cmd.Process.Kill() // it ignores SIGTERM
		_ = cmd.Wait()
	}
	admin := func(args ...string) error {
		c := exec.CommandContext(ctx, "tgtadm", append([]string{"-C", ctl, "--lld", "iscsi"}, args...)...)
		c.Env = env
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("tgtadm %v: %w: %s", args, err, out)
		}
		return nil
	}
	for end := time.Now().Add(10 * time.Second); admin("--op", "show", "--mode", "target") != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			stop()
			return "", nil, errors.New("tgtd is not ready")
		}
	}
	err = admin("--op", "new", "--mode", "target", "--tid", "1", "-T", targetName)
	for _, lun := range []string{"1", "2"} {
		backing := []string{"-b", "/dev/null", "-E", "null"}
		if disk {
			file := filepath.Join(dir, "lun"+lun)
			if werr := os.WriteFile(file, make([]byte, diskBytes), 0o600); werr != nil {
				err = errors.Join(err, werr)
			}
			backing = []string{"-b", file}
		}
		err = errors.Join(err, admin(append([]string{"--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", lun}, backing...)...))
	}
	if err = errors.Join(err, admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")); err != nil {
		stop()
		return "", nil, err
	}
	return portal, stop, nil
}
