package linux

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

func TestClockMap(t *testing.T) {
	var m clockMap
	if lo, hi := m.place(5, time.Second); lo != time.Second || hi != time.Second {
		t.Fatal(lo, hi)
	}
	s := time.Second
	m.ping(10*s, 12*s, int64(1*s)) // harness is ahead by 9 to 11 s
	if lo, hi := m.place(int64(2*s), 20*s); lo > 11*s || lo < 10*s || hi < 13*s || hi > 14*s {
		t.Fatal(lo, hi)
	}
	m.ping(20*s, 20*s+s/10, int64(10*s)) // by 10 to 10.1 s
	lo, hi := m.place(int64(10*s), 21*s)
	if lo > 20*s || lo < 19*s || hi-lo > s/5 {
		t.Fatal(lo, hi)
	}
	if _, hi = m.place(int64(30*s), 21*s); hi != 21*s {
		t.Fatal("seen after it arrived: ", hi)
	}
	m.ping(100*s, 100*s+s/10, int64(11*s)) // the guest stood still for 80 s
	if lo, hi = m.place(int64(11*s), 101*s); lo < 99*s || hi > 101*s {
		t.Fatal(lo, hi)
	}
}

func TestErrorText(t *testing.T) {
	r := func(command string, status int, lines ...string) response {
		out := response{command: command, status: status}
		for _, l := range lines {
			out.lines = append(out.lines, line{text: l})
		}
		return out
	}
	for want, got := range map[string]response{
		"-bash: /usr/bin/ls: Input/output error":            r("ls -al", 126, "-bash: /usr/bin/ls: Input/output error"),
		"-bash: /usr/bin/dpkg: Input/output error":          r("/usr/bin/dpkg --version", 126, "noise", "-bash: /usr/bin/dpkg: Input/output error"),
		"ls: cannot open directory '.': Input/output error": r("ls -al", 2, "total 4", "ls: cannot open directory '.': Input/output error"),
		"Bus error":     r("ls -al", 135, "Bus error"),
		"exit status 1": r("ls -al", 1),
	} {
		if got.errorText() != want {
			t.Errorf("got %q, want %q", got.errorText(), want)
		}
	}
	if _, ok := cutMarker("apd-14 x", "apd-14"); ok {
		t.Error("not a marker")
	}
	if st, ok := cutMarker("$ apd-14 126", "apd-14"); !ok || st != "126" {
		t.Error(st, ok)
	}
	if got := escapes.ReplaceAllString("\x1b[?2004h\x1b]0;title\x07a\x1b[01;34mb\x1b[0m\x08c", ""); got != "abc" {
		t.Errorf("%q", got)
	}
}

func TestGate(t *testing.T) {
	var g gate
	ctx := context.Background()
	if err := g.enter(ctx); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := g.shut(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("it was shut with somebody inside: ", err)
	}
	shut := make(chan error, 1)
	go func() { shut <- g.shut(ctx) }()
	g.leave()
	if err := <-shut; err != nil {
		t.Fatal(err)
	}
	short, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := g.enter(short); err == nil {
		t.Fatal("the gate is not closed")
	}
	in := make(chan error, 1)
	go func() { in <- g.enter(ctx) }()
	g.open()
	if err := <-in; err != nil {
		t.Fatal(err)
	}
}

func TestSumUp(t *testing.T) {
	files := []agent.LogFile{{Path: "a", Acked: 10}, {Path: "b", Acked: 5}}
	o, err := sumUp(files, []agent.FileResult{{Path: "a", Found: 10}, {Path: "b", Found: 5}})
	if err != nil || o.Value != "intact" || o.Attrs["acked"] != "15" || o.Attrs["found"] != "15" || o.Attrs["missing"] != "0" {
		t.Fatal(o, err)
	}
	for _, bad := range []agent.FileResult{{Missing: 1}, {Corrupt: 1}, {Disorder: 1}} {
		bad.Path = "b"
		o, err := sumUp(files, []agent.FileResult{{Path: "a", Found: 10}, bad})
		if err != nil || o.Value != "damaged" || !strings.Contains(o.Text, "b:") {
			t.Fatal(o, err)
		}
	}
	if _, err := sumUp(files, []agent.FileResult{{Path: "a"}, {Path: "b", Error: "input/output error (EIO)"}}); err == nil {
		t.Fatal("a file that could not be read is no error")
	}
	if _, err := sumUp(files, nil); err == nil {
		t.Fatal("files that were not checked are no error")
	}
}

func TestLoadState(t *testing.T) {
	var last drivers.Observation
	d := &Driver{acked: map[string]agent.LogFile{}}
	o := &observer{d: d, reporter: &reporter{last: map[string]string{}, emit: func(x drivers.Observation) {
		if x.Kind == drivers.State {
			last = x
		}
	}}}
	h := newHandler(o, &agentConn{hello: agent.Hello{Instance: "i"}})
	s := int64(time.Second)
	for i, c := range []struct {
		want string
		load agent.Load
	}{
		{"working", agent.Load{Wanted: 1}},
		{"working", agent.Load{Wanted: 1, Writers: []agent.LoadWriter{{Writer: 1, Path: "/d/acklog-i-1", Acked: 3}}}},
		{"blocked", agent.Load{Wanted: 1, Writers: []agent.LoadWriter{{Writer: 1, Path: "/d/acklog-i-1", Acked: 3, Since: 1}}}},
		{"error", agent.Load{Wanted: 1, Writers: []agent.LoadWriter{{Writer: 1, Path: "/d/acklog-i-1", Acked: 3, Error: "EIO"}}}},
		{"none", agent.Load{}},
	} {
		h.handle(agent.Message{Type: agent.TypeLoad, T: int64(i+1) * 2 * s, Load: &c.load}, time.Duration(i+1)*2*time.Second)
		if last.Value != c.want {
			t.Errorf("step %d: got %s, want %s", i, last.Value, c.want)
		}
	}
	if d.acked["/d/acklog-i-1"].Acked != 3 {
		t.Error(d.acked)
	}
}
