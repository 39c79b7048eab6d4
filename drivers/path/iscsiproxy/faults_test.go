package iscsiproxy_test

// Every fault of single commands and of task management, with a real target behind, with and without digests.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

func answer(n byte) *int { v := int(n); return &v }

// A command is answered with any status and sense, and is on the disk only when it was to be executed.
func TestStatus(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		descriptor := "720611000000000C" // SPC-5 section 4.4.2
		for i, a := range []iscsiproxy.Action{
			{Status: iscsi.StatusBusy}, {Status: iscsi.StatusTaskSetFull}, {Status: iscsi.StatusReservation},
			{Status: iscsi.StatusCheck, Sense: "03/11/00"}, {Status: iscsi.StatusCheck, Sense: "06/29/00"},
			{Status: iscsi.StatusCheck, Sense: "05/25/00"}, {Status: iscsi.StatusCheck, Sense: descriptor},
			{Status: iscsi.StatusCheck, Sense: "04/44/00", Executed: true}, {Status: iscsi.StatusBusy, Executed: true},
		} {
			f := r.inject(iscsiproxy.Status, iscsiproxy.Rule{LUN: lun(1), Class: "io", FirstLBA: 1000, LastLBA: 1999, Action: a})
			for _, op := range []byte{iscsi.Write16, iscsi.Read16} {
				task, ch := submit(t, s, 1, op, 1000+uint64(i), 40<<10, byte(i+1))
				if !ended(ch, 3*time.Second) || task.Err != nil {
					t.Fatalf("%+v: not answered: %v", a, task.Err)
				}
				res := task.Result
				sense, ok := iscsi.ParseSense(res.Sense)
				if res.Status != a.Status || res.Flags != iscsi.Underflow || res.Residual != 40<<10 || ok != (a.Sense != "") {
					t.Errorf("%+v: %+v", a, res)
				}
				want := a.Sense
				if want == descriptor {
					want = "06/11/00"
				}
				if got := fmt.Sprintf("%02x/%02x/%02x", sense.Key, sense.ASC, sense.ASCQ); ok && got != want {
					t.Errorf("%+v: sense %s", a, got)
				}
			}
			must(t, do(t, s, 2, iscsi.Write16, 1000, 4096, 1))
			must(t, s.TestReady(t.Context(), iscsi.NewLUN(1)))
			want := byte(0)
			if a.Executed {
				want = byte(i + 1)
			}
			if got := disk(t, r.tgt, 1, 1000+int64(i)); got != want {
				t.Errorf("%+v: disk has %d", a, got)
			}
			must(t, r.Restore(f.ID))
			r.well(s)
		}
		if n := r.count("status"); n != 18 {
			t.Errorf("%d events", n)
		}
		must(t, s.Logout(t.Context()))
	})
}

// A UNIT ATTENTION comes once for each command that reports one, and for no INQUIRY.
func TestUnitAttention(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		r.inject(iscsiproxy.Status, iscsiproxy.Rule{LUN: lun(1), Count: 1, Action: iscsiproxy.Action{Status: iscsi.StatusCheck, Sense: "06/2a/09"}})
		res, err := s.Do(t.Context(), iscsi.Command{LUN: iscsi.NewLUN(1), CDB: iscsi.CDBInquiry(-1, 96), InLen: 96})
		if err != nil || res.Status != iscsi.StatusGood || len(res.Data) == 0 {
			t.Fatalf("%+v %v", res, err)
		}
		var se *iscsi.StatusError
		if err := do(t, s, 1, iscsi.Read16, 0, 4096, 0); !errors.As(err, &se) || se.Sense != (iscsi.Sense{Key: 6, ASC: 0x2a, ASCQ: 9}) {
			t.Errorf("%v", err)
		}
		r.well(s)
	})
}

// The acknowledgement is lost: the target has done it, and nobody learns of it.
func TestAckLost(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		f := r.inject(iscsiproxy.AckLost, iscsiproxy.Rule{LUN: lun(1), Class: "io", LastLBA: 999})
		write, wch := submit(t, s, 1, iscsi.Write16, 100, 40<<10, 7)
		_, rch := submit(t, s, 1, iscsi.Read16, 100, 40<<10, 0)
		eventually(t, "two answers are lost", func() bool { return r.count("ack-lost") == 2 })
		r.well(s)
		if ended(wch, 0) || ended(rch, 0) {
			t.Error("answered")
		}
		if got := disk(t, r.tgt, 1, 100); got != 7 {
			t.Errorf("disk has %d", got)
		}
		code, err := s.AbortTask(t.Context(), write)
		if err != nil || code != iscsi.TMFNoTask {
			t.Errorf("abort of what the target has done: %d %v", code, err)
		}
		must(t, r.Restore(f.ID))
		r.well(s)
	})
}

// Delayed answers come in their own time, held ones when the fault is restored, all others at once.
func TestDelayAndHold(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		const wait = 200 * time.Millisecond
		must(t, do(t, s, 1, iscsi.Write16, 100, 40<<10, 9))
		rule := iscsiproxy.Rule{LUN: lun(1), Class: "io", LastLBA: 999}
		rule.DelayMS = int(wait / time.Millisecond)
		f := r.inject(iscsiproxy.Delay, rule)
		for _, op := range []byte{iscsi.Read16, iscsi.Write16} {
			start := time.Now()
			task, ch := submit(t, s, 1, op, 100, 40<<10, 9)
			must(t, do(t, s, 2, iscsi.Read16, 100, 4096, 0))
			if other := time.Since(start); other >= wait {
				t.Logf("another command took %v", other) // what is held, below, shows that none waits for it
			}
			if !ended(ch, 3*time.Second) || task.Err != nil || task.Result.Status != 0 || time.Since(start) < wait {
				t.Errorf("after %v: %+v %v", time.Since(start), task.Result, task.Err)
			}
			if op == iscsi.Read16 && !bytes.Equal(task.Result.Data, bytes.Repeat([]byte{9}, 40<<10)) {
				t.Error("delayed data is not what was written")
			}
		}
		must(t, r.Restore(f.ID))

		rule.DelayMS = 0
		f = r.inject(iscsiproxy.Hold, rule)
		read, rch := submit(t, s, 1, iscsi.Read16, 100, 40<<10, 0)
		taken, tch := submit(t, s, 1, iscsi.Write16, 200, 40<<10, 8)
		eventually(t, "both are held", func() bool { return r.count("hold") == 4 })
		r.well(s)
		code, err := s.AbortTask(t.Context(), taken)
		if err != nil || code != iscsi.TMFComplete || !ended(tch, time.Second) || !errors.Is(taken.Err, iscsi.ErrTaskAborted) {
			t.Errorf("abort of what is held: %d %v", code, err)
		}
		if ended(rch, 50*time.Millisecond) {
			t.Error("answered while held")
		}
		must(t, r.Restore(f.ID))
		if !ended(rch, time.Second) || read.Err != nil || !bytes.Equal(read.Result.Data, bytes.Repeat([]byte{9}, 40<<10)) {
			t.Errorf("not let go: %+v", read.Err)
		}
		r.well(s)
		if n := r.count("release"); n != 3 {
			t.Errorf("%d released", n)
		}
	})
}

// A held R2T stops one write and nothing else.
func TestR2T(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		for _, ms := range []int{0, 150} {
			f := r.inject(iscsiproxy.R2T, iscsiproxy.Rule{LUN: lun(1), Class: "write", LastLBA: 999, Count: 1, Action: iscsiproxy.Action{DelayMS: ms}})
			holds := r.count("hold")
			_, ch := submit(t, s, 1, iscsi.Write16, 100, 100<<10, byte(ms+1))
			eventually(t, "an R2T is held", func() bool { return r.count("hold") > holds })
			must(t, do(t, s, 2, iscsi.Write16, 100, 100<<10, 1))
			if ms == 0 {
				if ended(ch, 50*time.Millisecond) {
					t.Error("written without its data")
				}
				must(t, r.Restore(f.ID))
			}
			if !ended(ch, 3*time.Second) {
				t.Fatal("the write does not go on")
			}
			if got := disk(t, r.tgt, 1, 299); got != byte(ms+1) {
				t.Errorf("disk has %d", got)
			}
			must(t, r.Restore(f.ID))
			r.well(s)
		}
	})
}

// Task management is answered with any code, or not at all, and the target goes on as if nothing had been asked.
func TestTMF(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		for _, fn := range []byte{iscsi.TMFAbortTask, iscsi.TMFLUNReset} {
			for _, a := range []*int{nil, answer(iscsi.TMFComplete), answer(iscsi.TMFNoTask), answer(iscsi.TMFNotSupported), answer(iscsi.TMFRejected)} {
				f := r.inject(iscsiproxy.TMF, iscsiproxy.Rule{LUN: lun(1), Function: fn, Action: iscsiproxy.Action{Answer: a}})
				must(t, syscall.Kill(r.tgt.Pid(), syscall.SIGSTOP))
				task, ch := submit(t, s, 1, iscsi.Read16, 100, 4096, 0)
				wait := 3 * time.Second
				if a == nil {
					wait = 100 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), wait)
				var code byte
				var err error
				if fn == iscsi.TMFAbortTask {
					code, err = s.AbortTask(ctx, task)
				} else {
					code, err = s.LUNReset(ctx, iscsi.NewLUN(1))
				}
				cancel()
				must(t, syscall.Kill(r.tgt.Pid(), syscall.SIGCONT))
				if a == nil && !errors.Is(err, context.DeadlineExceeded) || a != nil && (err != nil || int(code) != *a) {
					t.Errorf("function %d: %d %v", fn, code, err)
				}
				if !ended(ch, 3*time.Second) {
					t.Fatalf("function %d, code %d: the target's answer is lost", fn, code)
				}
				if aborted := a != nil && *a == 0; aborted != errors.Is(task.Err, iscsi.ErrTaskAborted) {
					t.Errorf("function %d, code %d: task %v", fn, code, task.Err)
				}
				r.well(s)
				must(t, r.Restore(f.ID))
				r.well(s)
			}
		}
		// Each function and LUN by itself: here the target answers.
		r.inject(iscsiproxy.TMF, iscsiproxy.Rule{LUN: lun(2), Function: iscsi.TMFLUNReset})
		if code, err := s.LUNReset(t.Context(), iscsi.NewLUN(1)); err != nil || code != 0 {
			t.Errorf("LUN 1: %d %v", code, err)
		}
		must(t, s.TestReady(t.Context(), iscsi.NewLUN(1)))
	})
}

// One byte of data is changed under a right digest, or a digest is wrong.
func TestCorrupt(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		must(t, do(t, s, 1, iscsi.Write16, 100, 256<<10, 5))
		f := r.inject(iscsiproxy.CorruptData, iscsiproxy.Rule{LUN: lun(1), Class: "io", Count: 3})
		task, ch := submit(t, s, 1, iscsi.Read16, 100, 256<<10, 0)
		want := bytes.Repeat([]byte{5}, 256<<10)
		want[0] ^= 0xff
		if !ended(ch, 3*time.Second) || task.Err != nil || !bytes.Equal(task.Result.Data, want) {
			t.Errorf("read: %v", task.Err)
		}
		must(t, do(t, s, 1, iscsi.Write16, 2000, 4096, 5)) // immediate data
		if got := disk(t, r.tgt, 1, 2000); got != 5^0xff {
			t.Errorf("immediate data: disk has %d", got)
		}
		s2 := r.session(func(c *iscsi.Config) { c.NoImmediate = true }) // its data is solicited
		must(t, do(t, s2, 1, iscsi.Write16, 3000, 100<<10, 5))
		if got := disk(t, r.tgt, 1, 3000); got != 5^0xff {
			t.Errorf("solicited data: disk has %d", got)
		}
		if got := disk(t, r.tgt, 1, 3001); got != 5 {
			t.Errorf("the next block: disk has %d", got)
		}
		must(t, r.Restore(f.ID))
		r.well(s)
		r.well(s2)

		r.front.loose.Store(true)
		r.inject(iscsiproxy.CorruptDigest, iscsiproxy.Rule{LUN: lun(1), Class: "read", Count: 1})
		err := do(t, s, 1, iscsi.Read16, 100, 40<<10, 0)
		if r.digests != errors.Is(err, iscsi.ErrDigest) {
			t.Errorf("wrong digest: %v", err)
		}
		if !r.digests {
			must(t, err)
		}
		if n := r.count("corrupt"); n != 4 {
			t.Errorf("%d events", n)
		}
		r.well(s2)
	})
}

// Rules choose by initiator and by operation code too.
func TestChoice(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		a, b := r.session(nil), r.session(func(c *iscsi.Config) { c.InitiatorName = "iqn.2026-11.x:b" })
		r.inject(iscsiproxy.Status, iscsiproxy.Rule{Initiator: "iqn.2026-11.x:b", Opcode: answer(iscsi.Read16), Nth: 2, Count: 2, Action: iscsiproxy.Action{Status: 8}})
		var got []bool
		for range 4 {
			must(t, do(t, a, 1, iscsi.Read16, 0, 4096, 0))
			must(t, do(t, b, 1, iscsi.Write16, 0, 4096, 0))
			got = append(got, do(t, b, 1, iscsi.Read16, 0, 4096, 0) == nil)
		}
		if fmt.Sprint(got) != "[true false false true]" {
			t.Errorf("%v", got)
		}
	})
}

func TestRuleRefused(t *testing.T) {
	r := &rig{t: t}
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: "127.0.0.1:1"})
	must(t, err)
	r.Proxy = p
	defer p.Close()
	type a = iscsiproxy.Action
	for i, c := range []struct {
		k iscsiproxy.Kind
		r iscsiproxy.Rule
	}{
		{iscsiproxy.Status, iscsiproxy.Rule{}}, {iscsiproxy.Status, iscsiproxy.Rule{Action: a{Status: 2}}},
		{iscsiproxy.Status, iscsiproxy.Rule{Action: a{Status: 8, Sense: "03/11/00"}}}, {iscsiproxy.Status, iscsiproxy.Rule{Action: a{Status: 2, Sense: "03/11"}}},
		{iscsiproxy.Status, iscsiproxy.Rule{Action: a{Status: 2, Sense: "13/11/00"}}}, {iscsiproxy.Status, iscsiproxy.Rule{Action: a{Status: 2, Sense: "7x"}}},
		{iscsiproxy.Delay, iscsiproxy.Rule{}}, {iscsiproxy.Delay, iscsiproxy.Rule{Action: a{DelayMS: -1}}}, {iscsiproxy.Hold, iscsiproxy.Rule{Action: a{DelayMS: 1}}},
		{iscsiproxy.Stall, iscsiproxy.Rule{Action: a{Answer: answer(0)}}}, {iscsiproxy.Stall, iscsiproxy.Rule{Opcode: lun(256)}}, {iscsiproxy.Stall, iscsiproxy.Rule{FirstLBA: 2, LastLBA: 1}},
		{iscsiproxy.Stall, iscsiproxy.Rule{Function: 1}}, {iscsiproxy.TMF, iscsiproxy.Rule{Function: 9}}, {iscsiproxy.TMF, iscsiproxy.Rule{Class: "read"}},
		{iscsiproxy.LoginRefuse, iscsiproxy.Rule{}}, {iscsiproxy.LoginRefuse, iscsiproxy.Rule{LUN: lun(1), Action: a{Login: 0x301}}},
		{iscsiproxy.LoginRedirect, iscsiproxy.Rule{}}, {iscsiproxy.LoginSlow, iscsiproxy.Rule{Action: a{Login: 0x301}}},
		{iscsiproxy.Async, iscsiproxy.Rule{}}, {iscsiproxy.Async, iscsiproxy.Rule{Action: a{Event: 5}}}, {iscsiproxy.Stall, iscsiproxy.Rule{Nth: -1}},
	} {
		if _, err := p.Inject(c.k, &c.r); err == nil {
			t.Errorf("%d: %s %+v was accepted", i, c.k, c.r)
		}
	}
	if n := len(p.State().Faults); n != 0 {
		t.Errorf("%d faults", n)
	}
}
