package iscsiproxy_test

// Faults of logins and of whole connections, and connections that misbehave by themselves.

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

func (r *strict) gone() {
	r.t.Helper()
	eventually(r.t, "every connection ends", func() bool { return r.State().Connections == 0 })
}

// A login is refused with any status, or sent elsewhere, for the initiators that the rule chooses.
func TestLoginRefused(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		stays := r.session(func(c *iscsi.Config) { c.InitiatorName = "iqn.2026-11.x:other" })
		for _, code := range []int{0x200, 0x201, 0x202, 0x203, 0x300, 0x301, 0x302} {
			f := r.inject(iscsiproxy.LoginRefuse, iscsiproxy.Rule{Initiator: "iqn.2026-11.x:i", Action: iscsiproxy.Action{Login: code}})
			var le *iscsi.LoginError
			if _, err := r.dial(nil); !errors.As(err, &le) || int(le.Class)<<8|int(le.Detail) != code {
				t.Errorf("%#x: %v", code, err)
			}
			r.session(func(c *iscsi.Config) { c.InitiatorName = "iqn.2026-11.x:other" }).Close()
			must(t, r.Restore(f.ID))
		}
		for _, code := range []int{0, 0x102} {
			f := r.inject(iscsiproxy.LoginRedirect, iscsiproxy.Rule{Count: 1, Action: iscsiproxy.Action{Login: code, Address: "192.0.2.1:3260,1"}})
			var le *iscsi.LoginError
			if _, err := r.dial(nil); !errors.As(err, &le) || le.Class != 1 || le.Address != "192.0.2.1:3260,1" {
				t.Errorf("redirect: %v", err)
			}
			r.session(nil).Close() // only the first
			must(t, r.Restore(f.ID))
		}
		r.well(stays)
		stays.Close()
		r.gone()
		if n := r.count("login"); n != 9 {
			t.Errorf("%d events", n)
		}
	})
}

func TestLoginSlow(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		f := r.inject(iscsiproxy.LoginSlow, iscsiproxy.Rule{Action: iscsiproxy.Action{DelayMS: 150}})
		start := time.Now()
		s := r.session(nil)
		if d := time.Since(start); d < 150*time.Millisecond {
			t.Errorf("logged in after %v", d)
		}
		r.well(s)
		must(t, r.Restore(f.ID))
		f = r.inject(iscsiproxy.LoginSlow, iscsiproxy.Rule{})
		if _, err := r.dial(func(c *iscsi.Config) { c.LoginTimeout = 100 * time.Millisecond }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		s.Close()
		r.gone() // also that of who gave up
		got := make(chan error, 1)
		go func() {
			_, err := r.dial(func(c *iscsi.Config) { c.LoginTimeout = 3 * time.Second })
			got <- err
		}()
		select {
		case err := <-got:
			t.Errorf("logged in: %v", err)
		case <-time.After(100 * time.Millisecond):
		}
		must(t, r.Restore(f.ID))
		must(t, <-got)
	})
}

// Asynchronous Messages of every sort; those that announce the end are followed by it.
func TestAsync(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		for event := range 5 {
			seen := make(chan iscsi.AsyncEvent, 1)
			other := r.session(func(c *iscsi.Config) { c.InitiatorName = "iqn.2026-11.x:other" })
			s := r.session(func(c *iscsi.Config) { c.OnAsync = func(e iscsi.AsyncEvent) { seen <- e } })
			a := iscsiproxy.Action{Event: event, Params: [3]int{1, 2, 300}}
			if event == 0 {
				a.Sense = "06/3f/0e"
			}
			f := r.inject(iscsiproxy.Async, iscsiproxy.Rule{Initiator: "iqn.2026-11.x:i", Action: a})
			select {
			case e := <-seen:
				if int(e.Event) != event || e.Param1 != 1 || e.Param3 != 300 || (len(e.Sense) > 0) != (event == 0) {
					t.Errorf("%+v", e)
				}
			case <-time.After(2 * time.Second):
				t.Fatalf("event %d does not come", event)
			}
			if event == 0 || event == 4 { // our initiator ends the session on the others
				r.well(s)
			} else {
				<-s.Done()
			}
			s.Close()
			r.well(other)
			other.Close()
			must(t, r.Restore(f.ID))
			r.gone()
		}
	})
}

// Half alive: no answer to NOP-Out, all else as ever.
func TestNopIgnored(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		s := r.session(nil)
		f := r.inject(iscsiproxy.NopIgnore, iscsiproxy.Rule{})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.Ping(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		must(t, do(t, s, 1, iscsi.Write16, 0, 4096, 1))
		must(t, r.Restore(f.ID))
		r.well(s)
	})
}

// Drop resets the one connection that carries the command; Refuse keeps new ones out.
func TestDropAndRefuse(t *testing.T) {
	eachStrict(t, func(t *testing.T, r *strict) {
		a, b := r.session(nil), r.session(nil)
		r.inject(iscsiproxy.Drop, iscsiproxy.Rule{LUN: lun(1), Class: "write", Nth: 3, Count: 1})
		for range 2 {
			must(t, do(t, a, 1, iscsi.Write16, 0, 100<<10, 1))
		}
		if err := do(t, a, 1, iscsi.Write16, 0, 100<<10, 1); !errors.Is(err, iscsi.ErrConnection) {
			t.Errorf("%v", err)
		}
		r.well(b)
		_, err := r.Inject(iscsiproxy.Refuse, nil)
		must(t, err)
		if _, err := net.Dial("tcp", r.Addr()); err == nil {
			t.Error("not refused")
		}
		r.well(b)
		must(t, r.RestoreAll())
		r.session(nil).Close()
	})
}

// A login that never ends, and a stream that is no iSCSI, are named and bounded.
func TestMisfits(t *testing.T) {
	g := iscsitest.Start(t, 1<<20)
	seen := make(chan iscsiproxy.Event, 100)
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: g.Portal, LoginLimit: 500 * time.Millisecond, OnEvent: func(e iscsiproxy.Event) { seen <- e }})
	must(t, err)
	defer p.Close()
	want := func(what string) {
		t.Helper()
		for {
			select {
			case e := <-seen:
				if e.What == what {
					t.Log(e.Detail)
					return
				}
			case <-time.After(2 * time.Second):
				t.Fatalf("no event %s", what)
			}
		}
	}
	stays, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: p.Addr(), InitiatorName: "iqn.2026-11.x:i", TargetName: iscsitest.TargetName})
	must(t, err)
	defer stays.Reset()
	silent, err := net.Dial("tcp", p.Addr())
	must(t, err)
	defer func() { _ = silent.Close() }()
	want("limit")
	garbage, err := net.Dial("tcp", p.Addr())
	must(t, err)
	defer func() { _ = garbage.Close() }()
	_, err = garbage.Write([]byte("GET / HTTP/1.1\r\nHost: nobody.example\r\nAccept: everything\r\n\r\n"))
	must(t, err)
	want("malformed")
	_ = garbage.Close()
	must(t, stays.TestReady(t.Context(), iscsi.NewLUN(1)))
	eventually(t, "only one connection stays", func() bool { return p.State().Connections == 1 })
}
