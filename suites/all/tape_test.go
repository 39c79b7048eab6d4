package all_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// line is one line of a record, decoded. Times in it are milliseconds, as float64.
type line = map[string]any

// tape is a record to be spoilt: its lines can be changed, forgotten and added, then judged. Whoever looks for a line
// that is not there fails the test, so a saboteur cannot miss its target unnoticed.
type tape struct {
	testing.TB
	lines []line
	has   []scenario.Spec // whose claims it confirms
}

// The baselines: the lines of records in which every claim of their scenarios is confirmed. Two are real, of a lab in a box with a
// NAS and of one with Ceph (hack/labs/ceph-timer.yaml); the other, with a Windows guest, is of the lab without machines
// (rig_test.go makes it anew with APD_RIG_KEEP).
var (
	clusterBaseline = sync.OnceValues(func() ([]line, error) { return recorded("ceph") })
	baseline        = sync.OnceValues(func() ([]line, error) { return recorded("esxi") })
	windowsBaseline = sync.OnceValues(func() ([]line, error) { return recorded("windows") })
)

func recorded(name string) ([]line, error) {
	b, err := os.ReadFile(filepath.Join("..", "testdata", name, "run.jsonl"))
	if err != nil {
		return nil, err
	}
	var lines []line
	for l := range bytes.Lines(b) {
		var v line
		if err := json.Unmarshal(l, &v); err != nil {
			return nil, err
		}
		lines = append(lines, v)
	}
	return lines, nil
}

// loadFor returns the tape that has a scenario, loadWindows that of the Windows guest, loadCluster that of the cluster.
func loadFor(t testing.TB, in string) *tape {
	t.Helper()
	for _, s := range scenario.Catalogue() {
		if s.Name == in && s.Windows {
			return loadWindows(t)
		}
		if s.Name == in && s.Fault.OfCluster() {
			return loadCluster(t)
		}
	}
	return load(t)
}

func loadCluster(t testing.TB) *tape {
	t.Helper()
	p := onTape(t, clusterBaseline)
	p.has = slices.DeleteFunc(scenarios(), func(s scenario.Spec) bool { return !s.Fault.OfCluster() })
	return p
}

func loadWindows(t testing.TB) *tape {
	t.Helper()
	p := onTape(t, windowsBaseline)
	p.has = slices.DeleteFunc(scenarios(), func(s scenario.Spec) bool { return !s.Windows })
	return p
}

func onTape(t testing.TB, from func() ([]line, error)) *tape {
	t.Helper()
	lines, err := from()
	if err != nil {
		t.Fatal(err)
	}
	p := &tape{TB: t, lines: make([]line, len(lines))}
	for i, l := range lines {
		p.lines[i] = copied(l)
	}
	return p
}

// load returns the baseline on a tape of its own, with the scenario that it lacks.
func load(t testing.TB) *tape {
	t.Helper()
	p := onTape(t, baseline)
	p.has = slices.DeleteFunc(scenarios(), func(s scenario.Spec) bool { return s.Windows || s.Fault.OfCluster() })
	p.again(repeated, soak)
	p.again(reboot, powerCut)
	for _, l := range p.kind("fault") {
		if in := p.scenario(powerCut); when(l) >= in.from && when(l) <= in.to {
			l["type"] = string(drivers.PowerCut)
		}
	}
	p.again(brief, hostDown)
	p.takeDown()
	slices.SortFunc(p.has, func(a, b scenario.Spec) int { return cmp.Compare(p.scenario(a.Name).from, p.scenario(b.Name).from) })
	return p
}

// takeDown makes the tape's last scenario one in which the host went down: it could not be managed meanwhile, it was booted anew,
// and its machines were off until it had been. No box has a host that could.
func (p *tape) takeDown() {
	p.Helper()
	in := p.scenario(hostDown)
	for _, l := range p.kind("fault") {
		if at := when(l); at >= in.from && at <= in.to {
			l["type"] = string(drivers.HostCrash)
		}
	}
	f := p.fault(hostDown)
	p.state(when(f.active)-1, host, "manageable", "no")
	p.state(when(f.active)+1, host, "boot", "booted anew")
	p.state(when(f.end)-1, host, "manageable", "yes")
	for _, vm := range vms {
		p.state(when(f.active)+2, vm, "power", "off")
		p.state(when(f.end), vm, "power", "on")
	}
	for _, g := range guests {
		p.state(when(f.end), g, "boot", "booted anew")
	}
}

// The lanes of the baseline's host and machines, as vSphere shows them.
const host = "hypervisor/esxi"

var vms = []string{"hypervisor/vm/a", "hypervisor/vm/b"}

// scenarios are all that the tapes have.
func scenarios() []scenario.Spec { return append(scenario.Catalogue(), scenario.HostDown) }

// registered are the claims that the tapes are for: all but those about one product's cluster, which stand-ins that misbehave refute.
func registered() []*claim.Claim {
	return slices.DeleteFunc(claim.All(), func(c *claim.Claim) bool { return len(c.Where.Clusters) > 0 })
}

// copied returns a line that can be spoilt without the other.
func copied(l line) line {
	c := maps.Clone(l)
	if a, ok := c["a"].(map[string]any); ok {
		c["a"] = maps.Clone(a)
	}
	return c
}

// again adds a scenario to the tape: what was seen in another is seen once more, under its name. The soak is the repeated
// outages with more of them, and a real one has no more to say to its claims.
func (p *tape) again(what, name string) {
	p.Helper()
	in := p.scenario(what)
	last := len(p.lines) - 1
	end := p.lines[last]
	p.lines = p.lines[:last]
	later := end["t"].(float64) - float64(in.from) + 1000 // after all that is on the tape
	for _, l := range p.lines {
		t, timed := l["t"].(float64)
		if !timed || int64(t) < in.from || int64(t) > in.to {
			continue
		}
		c := copied(l)
		for _, key := range []string{"t", "lo", "to", "max_t"} {
			if t, ok := c[key].(float64); ok {
				c[key] = t + later
			}
		}
		switch c["k"] {
		case "phase":
			if c["scenario"] != what { // the next one began in the same millisecond
				continue
			}
			c["scenario"] = name
		case "fault":
			c["f"] = "again " + c["f"].(string)
		}
		p.lines = append(p.lines, c)
	}
	end["t"] = float64(in.to) + later
	p.lines = append(p.lines, end)
}

// claims are those of the tape's scenarios.
func (p *tape) claims() []*claim.Claim {
	return slices.DeleteFunc(registered(), func(c *claim.Claim) bool {
		return !slices.ContainsFunc(p.has, func(s scenario.Spec) bool { return s.Name == c.In.Name })
	})
}

// judge reads the tape as a record and asks every claim of its scenarios.
func (p *tape) judge() map[string]record.Verdict {
	p.Helper()
	r := p.read()
	out := map[string]record.Verdict{}
	for _, c := range p.claims() {
		out[c.ID] = c.Verdict(r)
	}
	return out
}

// ask asks one claim.
func (p *tape) ask(id string) record.Verdict {
	p.Helper()
	for _, c := range claim.All() {
		if c.ID == id {
			return c.Verdict(p.read())
		}
	}
	p.Fatalf("no claim %s is registered", id)
	return record.Verdict{}
}

func (p *tape) read() *record.Record {
	p.Helper()
	r, err := record.Parse(bytes.NewReader(p.bytes()))
	if err != nil {
		p.Fatal(err)
	}
	return r
}

func (p *tape) bytes() []byte {
	p.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for _, l := range p.lines {
		if len(l) == 0 || l["k"] == "plan" { // forgotten, or of no use to a claim
			continue
		}
		if err := enc.Encode(l); err != nil {
			p.Fatal(err)
		}
	}
	return b.Bytes()
}

// kind returns all lines of a kind.
func (p *tape) kind(k string) []line {
	p.Helper()
	var out []line
	for _, l := range p.lines {
		if l["k"] == k {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		p.Fatalf("the record has no line of kind %q", k)
	}
	return out
}

// lane returns the number of a lane, "guest/a".
func (p *tape) lane(name string) float64 {
	p.Helper()
	role, name, _ := strings.Cut(name, "/")
	for _, l := range p.kind("lane") {
		if l["kind"] == role && l["name"] == name {
			return l["l"].(float64)
		}
	}
	p.Fatalf("the record has no lane %s/%s", role, name)
	return 0
}

// seen returns the states, events or buckets (kind "s", "e", "b") of a lane's topic within a span; an empty word, the
// state or the event's type, is any.
func (p *tape) seen(in span, kind, lane, topic, word string) []line {
	p.Helper()
	var out []line
	n := p.lane(lane)
	for _, l := range p.kind(kind) {
		at := when(l)
		if l["l"] == n && l["topic"] == topic && at >= in.from && at <= in.to && (word == "" || l["s"] == word || l["type"] == word) {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		p.Fatalf("between %d and %d ms %s has no %s %s", in.from, in.to, lane, topic, word)
	}
	return out
}

// forget takes lines off the tape.
func forget(ls ...line) {
	for _, l := range ls {
		clear(l)
	}
}

// state adds a state that began at a time.
func (p *tape) state(at int64, lane, topic, value string) line {
	p.Helper()
	return p.add(line{"k": "s", "t": float64(at), "l": p.lane(lane), "topic": topic, "s": value})
}

// event adds an event.
func (p *tape) event(at int64, lane, topic, typ, text string) line {
	p.Helper()
	return p.add(line{"k": "e", "t": float64(at), "l": p.lane(lane), "topic": topic, "type": typ, "why": text})
}

func (p *tape) add(l line) line {
	p.lines = append(p.lines, l)
	return l
}

// setting changes a setting of a lane.
func (p *tape) setting(lane, key, value string) {
	p.Helper()
	n := p.lane(lane)
	for _, l := range p.kind("setting") {
		if l["l"] == n && l["key"] == key {
			l["value"] = value
			return
		}
	}
	p.Fatalf("%s has no setting %s", lane, key)
}

// span is a stretch of time in ms.
type span struct{ from, to int64 }

// scenario returns the span of a scenario.
func (p *tape) scenario(name string) span { return p.phase(name, "scenario") }

// phase returns the span of a scenario's phase, the first of that name.
func (p *tape) phase(scenario, name string) span {
	p.Helper()
	s := span{-1, -1}
	for _, l := range p.kind("phase") {
		switch {
		case l["scenario"] != scenario || l["name"] != name:
		case l["edge"] == "begin" && s.from < 0:
			s.from = when(l)
		case l["edge"] == "end" && s.to < 0:
			s.to = when(l)
		}
	}
	if s.from < 0 || s.to < 0 {
		p.Fatalf("scenario %s has no whole phase %s", scenario, name)
	}
	return s
}

// fault is a fault's lines.
type fault struct{ begin, active, undo, end line }

// fault returns the last fault of a scenario; all but one have only one.
func (p *tape) fault(scenario string) fault {
	p.Helper()
	in := p.scenario(scenario)
	var f fault
	for _, l := range p.kind("fault") {
		if at := when(l); at < in.from || at > in.to {
			continue
		}
		switch l["edge"] {
		case "begin":
			f.begin = l
		case "active":
			f.active = l
		case "undo":
			f.undo = l
		case "end":
			f.end = l
		}
	}
	if f.begin == nil || f.active == nil || f.undo == nil || f.end == nil {
		p.Fatalf("scenario %s has no whole fault", scenario)
	}
	return f
}

// outage is the span in which the scenario's last fault was surely active.
func (p *tape) outage(scenario string) span {
	p.Helper()
	f := p.fault(scenario)
	return span{when(f.active), when(f.undo)}
}

// after is the span from the end of the scenario's last fault to the scenario's end.
func (p *tape) after(scenario string) span {
	p.Helper()
	return span{when(p.fault(scenario).end), p.scenario(scenario).to}
}

// hold makes the scenario's fault last between lo and hi seconds.
func (p *tape) hold(scenario string, lo, hi float64) {
	p.Helper()
	f := p.fault(scenario)
	place(f.active, when(f.active)-ms(hi-lo), when(f.active))
	undo := when(f.active) + ms(lo)
	place(f.undo, undo, undo)
	place(f.end, undo, undo+250)
}

// atLeast makes the scenario's fault last for so many seconds, if it was shorter: time is put in before its undo, and all that
// came after comes later.
func (p *tape) atLeast(scenario string, seconds float64) {
	p.Helper()
	f := p.fault(scenario)
	from := when(f.undo)
	more := float64(when(f.active) + ms(seconds) - from)
	if more <= 0 {
		return
	}
	for _, l := range p.lines {
		for _, key := range []string{"t", "lo", "to", "max_t"} {
			if t, ok := l[key].(float64); ok && int64(t) >= from {
				l[key] = t + more
			}
		}
	}
}

// forgetAny takes a lane's states of a topic with that value off the tape, where there are any in the span.
func (p *tape) forgetAny(in span, lane, topic, value string) {
	p.Helper()
	n := p.lane(lane)
	for _, l := range p.kind("s") {
		if at := when(l); l["l"] == n && l["topic"] == topic && l["s"] == value && at >= in.from && at <= in.to {
			forget(l)
		}
	}
}

// sharp makes the moments of a fault exact, so that what is measured from or to them is as exact as its other end.
func sharp(f fault) {
	place(f.begin, when(f.active), when(f.active))
	place(f.active, when(f.active), when(f.active))
	place(f.undo, when(f.undo), when(f.undo))
	place(f.end, when(f.end), when(f.end))
}

func when(l line) int64 { return int64(l["t"].(float64)) }

// place says that something happened between lo and hi (ms).
func place(l line, lo, hi int64) {
	l["t"], l["lo"] = float64(hi), float64(lo)
	if lo == hi {
		delete(l, "lo")
	}
}

// placeAfter says that something happened between lo and hi seconds after a time.
func placeAfter(l line, from int64, lo, hi float64) { place(l, from+ms(lo), from+ms(hi)) }

func ms(seconds float64) int64 { return int64(seconds*1000 + 0.5) }

// guests are the lanes of the baseline's guests; a has the shorter timeout, 2 s, and b 4 s.
var guests = []string{"guest/a", "guest/b"}

// provenance gives lanes of a role another provenance; an empty role is all.
func (p *tape) provenance(role drivers.Role, prov drivers.Provenance) {
	p.Helper()
	for _, l := range p.kind("lane") {
		if role == "" || l["kind"] == string(role) {
			l["prov"] = string(prov)
		}
	}
}
