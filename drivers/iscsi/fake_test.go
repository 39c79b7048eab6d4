package iscsi_test

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// fake is a target that says what tgtd never says. It answers the login with login, then calls full.
func fake(t *testing.T, login func(*iscsi.PDU), full func(c net.Conn, rd *iscsi.Reader)) iscsi.Config {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		rd := iscsi.NewReader(c, 1<<20)
		for {
			var q iscsi.PDU
			if rd.ReadPDU(&q) != nil || q.Opcode() != iscsi.OpLoginReq {
				return
			}
			r := iscsi.PDU{}
			r.Header[0], r.Header[1] = iscsi.OpLoginResp, q.Flags()
			r.SetITT(q.ITT())
			r.SetExpCmdSN(1)
			r.SetMaxCmdSN(8)
			login(&r)
			if iscsi.WritePDU(c, &r, iscsi.Digests{}) != nil {
				return
			}
			if r.Flags()&3 == iscsi.StageFull {
				full(c, rd)
				return
			}
		}
	}()
	return iscsi.Config{Portal: l.Addr().String(), InitiatorName: initiator, TargetName: "iqn.2026-11.x:fake"}
}

func reply(c net.Conn, op byte, itt, statSN uint32, edit func(*iscsi.PDU)) {
	r := iscsi.PDU{}
	r.Header[0], r.Header[1] = op, iscsi.FinalBit
	r.SetITT(itt)
	r.SetTTT(iscsi.NoTag)
	r.SetStatSN(statSN)
	r.SetExpCmdSN(2)
	r.SetMaxCmdSN(9)
	edit(&r)
	_ = iscsi.WritePDU(c, &r, iscsi.Digests{})
}

func accept(*iscsi.PDU) {}

func TestRejectPingAndAsync(t *testing.T) {
	echoed := make(chan string, 1)
	cfg := fake(t, accept, func(c net.Conn, rd *iscsi.Reader) {
		var q iscsi.PDU
		if rd.ReadPDU(&q) != nil {
			return
		}
		reply(c, iscsi.OpReject, iscsi.NoTag, 1, func(r *iscsi.PDU) { // the command is rejected
			r.Header[2] = 0x09
			r.Data = append([]byte(nil), q.Header[:]...)
		})
		reply(c, iscsi.OpNopIn, iscsi.NoTag, 2, func(r *iscsi.PDU) { // the target pings
			r.SetTTT(77)
			r.Data = []byte("ping!")
		})
		if rd.ReadPDU(&q) == nil && q.Opcode() == iscsi.OpNopOut && q.TTT() == 77 && q.ITT() == iscsi.NoTag {
			echoed <- string(q.Data)
		}
		reply(c, iscsi.OpAsync, iscsi.NoTag, 2, func(r *iscsi.PDU) { r.Header[36] = 2 })
		_ = rd.ReadPDU(&q)
	})
	async := make(chan iscsi.AsyncEvent, 1)
	cfg.OnAsync = func(e iscsi.AsyncEvent) { async <- e }
	s, err := iscsi.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Do(t.Context(), iscsi.Command{CDB: iscsi.CDBTestUnitReady()}); !errors.Is(err, iscsi.ErrRejected) || !strings.Contains(err.Error(), "0x09") {
		t.Errorf("reject: %v", err)
	}
	if got := <-echoed; got != "ping!" {
		t.Errorf("echo %q", got)
	}
	if e := <-async; e.Event != 2 {
		t.Errorf("%+v", e)
	}
	<-s.Done()
	if !errors.Is(s.Err(), iscsi.ErrConnection) {
		t.Error(s.Err())
	}
}

// The initiator does not send beyond MaxCmdSN.
func TestWindow(t *testing.T) {
	counted := make(chan int, 2)
	cfg := fake(t, func(r *iscsi.PDU) { r.SetMaxCmdSN(3) }, func(c net.Conn, rd *iscsi.Reader) {
		var q iscsi.PDU
		n := 0
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for rd.ReadPDU(&q) == nil {
			n++
		}
		counted <- n
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		reply(c, iscsi.OpNopIn, iscsi.NoTag, 1, func(r *iscsi.PDU) { r.SetExpCmdSN(4); r.SetMaxCmdSN(5) })
		for n < 5 && rd.ReadPDU(&q) == nil {
			n++
		}
		counted <- n
	})
	s, err := iscsi.Dial(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tasks := make([]*iscsi.Task, 10)
	for i := range tasks {
		tasks[i] = &iscsi.Task{Command: iscsi.Command{CDB: iscsi.CDBTestUnitReady()}}
		if err := s.Submit(tasks[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n := <-counted; n != 3 {
		t.Errorf("%d commands in a window of 3", n)
	}
	if n := <-counted; n != 5 {
		t.Errorf("%d commands after the window moved by 2", n)
	}
	if s.Withdraw(tasks[0]) || !s.Withdraw(tasks[9]) {
		t.Error("only a command that was not sent can be withdrawn")
	}
}

func TestRedirect(t *testing.T) {
	cfg := fake(t, func(r *iscsi.PDU) {
		r.Header[36], r.Header[37] = 1, 1
		r.Data = iscsi.Keys{{Name: "TargetAddress", Value: "10.0.0.1:3260"}}.Append(nil)
	}, nil)
	var le *iscsi.LoginError
	if _, err := iscsi.Dial(t.Context(), cfg); !errors.As(err, &le) || le.Address != "10.0.0.1:3260" {
		t.Errorf("%v", err)
	}
}
