// This file writes trace.json: faults, phases, states and events in the trace event format, for Perfetto and Chrome's tracing
// page. Samples are left out: they would be most of the file, and the HTML report has them.
//
// A lane is a process and a topic of it a thread, for that is what such a viewer can fold. It draws no slice that overlaps
// another one of the same thread, so what can overlap is dealt out over several threads. Processes and threads are numbered from
// one row, since viewers take a thread whose number is its process's for the main one.

package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// traceEvent is one entry of the format: "X" is a slice, "i" an instant, "M" the name or the place of a process or thread.
type traceEvent struct {
	Ph    string         `json:"ph"`
	Name  string         `json:"name"`
	Cat   string         `json:"cat,omitempty"`
	PID   int            `json:"pid"`
	TID   int            `json:"tid,omitempty"`
	TS    int64          `json:"ts"`            // µs of the run's clock
	Dur   *int64         `json:"dur,omitempty"` // µs
	Scope string         `json:"s,omitempty"`   // how high an instant is drawn: "t" as its thread
	Args  map[string]any `json:"args,omitempty"`
}

// latest is the end of the time axis in ms: what a record says of later times would be no number for a reader in JavaScript.
const latest = int64(1) << 43

func micros(ms int64) int64 { return min(max(ms, 0), latest) * 1000 }

type trace struct {
	events []traceEvent
	last   int // the last number given to a process or thread
	places int // the last place given to one, from above
	pids   map[string]int
}

// Trace returns the record as a trace.
func Trace(r *record.Record, _ Options) ([]byte, error) {
	t := &trace{pids: map[string]int{}}
	run := t.process("run " + r.Header.ID)
	t.faults(run, r)
	t.phases(run, r)
	t.others(run, r)
	for _, track := range r.Tracks() {
		if len(track.States)+len(track.Events) > 0 {
			t.track(track)
		}
	}
	verdicts := map[word]int{}
	c := Count(Rows(r))
	for _, w := range order {
		verdicts[w] = c.of(w)
	}
	var b bytes.Buffer
	b.WriteString("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n")
	for i, e := range t.events {
		line, err := json.Marshal(e)
		if err != nil {
			return nil, fmt.Errorf("making trace.json: %w", err)
		}
		b.Write(line)
		if i < len(t.events)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("],\"otherData\":")
	end, err := json.Marshal(map[string]any{"tool": tool, "run": oneLine(r.Header.ID), "lab": oneLine(r.Header.Lab), "provenance": oneLine(provenance(r, record.Row{})),
		"zero": r.Header.T0, "record_sha256": r.SHA256, "verdicts": verdicts})
	if err != nil {
		return nil, fmt.Errorf("making trace.json: %w", err)
	}
	b.Write(end)
	b.WriteString("}\n")
	return b.Bytes(), nil
}

// process returns the number of the process of a name, which it introduces when it is new.
func (t *trace) process(name string) int {
	if pid, ok := t.pids[name]; ok {
		return pid
	}
	t.last++
	t.pids[name] = t.last
	t.introduce("process", t.last, 0, name)
	return t.last
}

func (t *trace) thread(pid int, name string) int {
	t.last++
	t.introduce("thread", pid, t.last, name)
	return t.last
}

func (t *trace) introduce(what string, pid, tid int, name string) {
	if name = cut(oneLine(name), labelLimit); name == "" {
		name = "nameless"
	}
	t.places++
	t.events = append(t.events, traceEvent{Ph: "M", Name: what + "_name", PID: pid, TID: tid, Args: map[string]any{"name": name}},
		traceEvent{Ph: "M", Name: what + "_sort_index", PID: pid, TID: tid, Args: map[string]any{"sort_index": t.places}})
}

// slice is a stretch of time from From to To (ms).
type slice struct {
	name, cat string
	from, to  int64
	args      map[string]any
}

func (t *trace) slice(pid, tid int, s slice) {
	from := micros(s.from)
	dur := max(micros(s.to)-from, 0)
	t.events = append(t.events, traceEvent{Ph: "X", Name: named(s.name), Cat: s.cat, PID: pid, TID: tid, TS: from, Dur: &dur, Args: s.args})
}

func (t *trace) instant(pid, tid int, cat, name string, at int64, args map[string]any) {
	t.events = append(t.events, traceEvent{Ph: "i", Name: named(name), Cat: cat, PID: pid, TID: tid, TS: micros(at), Scope: "t", Args: args})
}

func named(s string) string {
	if s = cut(oneLine(s), labelLimit); s == "" {
		return "nameless"
	}
	return s
}

// told are the details of a slice or instant, those that there are.
func told(pairs ...string) map[string]any {
	args := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if v := cut(oneLine(pairs[i+1]), messageLimit); v != "" {
			args[pairs[i]] = v
		}
	}
	return args
}

// notBefore tells of a moment that was not seen itself when it was last not so.
func notBefore(m record.Moment) string {
	if m.Lo == m.Hi {
		return ""
	}
	return clock(m.Lo)
}

// deal lays slices out over as many threads as it takes so that none overlap, in order of their begin.
func (t *trace) deal(pid int, thread string, list []slice) {
	slices.SortStableFunc(list, func(a, b slice) int { return cmp.Compare(micros(a.from), micros(b.from)) })
	var tids []int
	var free []int64 // µs; when each thread is free again
	for _, s := range list {
		i := slices.IndexFunc(free, func(at int64) bool { return at <= micros(s.from) })
		if i < 0 {
			i = len(tids)
			name := thread
			if i > 0 {
				name += " " + strconv.Itoa(i+1)
			}
			tids, free = append(tids, t.thread(pid, name)), append(free, 0)
		}
		t.slice(pid, tids[i], s)
		free[i] = max(micros(s.to), micros(s.from))
	}
}

// faults are slices from the begin until the fault was seen to be gone; one that nobody saw end lasts to the record's end.
func (t *trace) faults(pid int, r *record.Record) {
	var list []slice
	for _, f := range faultRows(r) {
		to := r.EndT
		switch {
		case f.End.What != "":
			to = f.End.Hi
		case f.Failed != "":
			to = max(f.Begin.Hi, f.Undo.Hi)
		}
		list = append(list, slice{name: f.ID + " " + string(f.Kind), cat: "fault", from: f.Begin.Lo, to: to, args: told("title", f.Title, "scenario", f.Scenario,
			"seen to work", when(f.Active), "undone", when(f.Undo), "seen to be gone", when(f.End), "note", f.Note)})
	}
	t.deal(pid, "faults", list)
}

func (t *trace) phases(pid int, r *record.Record) {
	var whole, parts []slice
	for _, p := range r.Phases() {
		s := slice{name: p.Name, cat: "phase", from: p.From, to: p.To, args: told("scenario", p.Scenario, "ended", p.Edge, "why", p.Why)}
		if p.Name == "scenario" {
			s.name = scenarioName(p.Scenario)
			whole = append(whole, s)
		} else {
			parts = append(parts, s)
		}
	}
	t.deal(pid, "scenarios", whole)
	t.deal(pid, "phases", parts)
}

// others are the lines of kinds that this version does not know, where they have a time.
func (t *trace) others(pid int, r *record.Record) {
	tids := map[string]int{}
	for _, o := range r.Others() {
		if o.T < 0 {
			continue
		}
		if tids[o.Kind] == 0 {
			tids[o.Kind] = t.thread(pid, "lines of the unknown kind "+o.Kind)
		}
		t.instant(pid, tids[o.Kind], "unknown", o.Kind, o.T, told("line", o.Line))
	}
}

func (t *trace) track(track record.Track) {
	name := lane(track.Lane)
	if p := track.Lane.Provenance; p != "" {
		name += " (" + string(p) + ")"
	}
	pid := t.process(name)
	tid := t.thread(pid, track.Topic)
	for _, s := range track.States {
		t.slice(pid, tid, slice{name: s.Value, cat: "state", from: s.From, to: s.To, args: told("text", s.Text, "last not so", notBefore(s.Since))})
	}
	for _, e := range track.Events {
		t.instant(pid, tid, "event", e.Type, e.Hi, told("text", e.Text, "last not so", notBefore(e.Moment)))
	}
}
