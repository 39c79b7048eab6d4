package watch

import (
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
	g := &Guest{}
	o := &Observer{g: g, Reporter: NewReporter(drivers.Clock{}, drivers.Lane{}, func(x drivers.Observation) {
		if x.Kind == drivers.State {
			last = x
		}
	})}
	h := newHandler(o, &Agent{Hello: agent.Hello{Instance: "i"}, clock: &clockMap{}})
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
	if g.acked["/d/acklog-i-1"].Acked != 3 {
		t.Error(g.acked)
	}
}
