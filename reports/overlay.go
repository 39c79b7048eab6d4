// This file lays one claim over several runs, each from its fault on: overlay.md, overlay.svg, overlay.json.

package reports

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Overlay is one claim over several runs. Times are seconds since the fault of each run.
type Overlay struct {
	Claim  string        `json:"claim"`
	Title  string        `json:"title"`
	Source record.Source `json:"source"`
	Mixed  bool          `json:"mixed,omitempty"` // real systems stand beside others: they are labelled, and nothing is said of them together
	Rows   []OverRow     `json:"rows"`
}

// OverRow is the claim in one run.
type OverRow struct {
	Run        string             `json:"run"`
	Lab        string             `json:"lab"`
	LabKind    drivers.Provenance `json:"lab_kind"`
	Platform   string             `json:"platform"` // the kind of host, and what serves the storage
	Profile    string             `json:"profile"`
	Scenario   string             `json:"scenario"`
	Word       string             `json:"word"`
	Provenance string             `json:"provenance"`
	Verdict    record.Verdict     `json:"verdict"`
	Not        string             `json:"not,omitempty"` // why there is nothing to draw of it
	Fault      drivers.FaultKind  `json:"fault,omitempty"`
	Held       []record.Interval  `json:"held,omitempty"` // the faults in view: the first begins at 0
	Reach      float64            `json:"reach"`          // until when it is worth looking
	Tracks     []OverTrack        `json:"tracks"`
	More       int                `json:"more,omitempty"` // tracks that the verdict points to and that are left out
}

// OverTrack is a topic of a lane that the verdict points to.
type OverTrack struct {
	Lane       string             `json:"lane"`
	Topic      string             `json:"topic"`
	Provenance drivers.Provenance `json:"provenance"`
	States     []OverSpan         `json:"states,omitempty"`
	Events     []OverSpan         `json:"events,omitempty"`
	Samples    []OverSpan         `json:"samples,omitempty"`  // the greatest of each bucket
	Evidence   []float64          `json:"evidence,omitempty"` // where the verdict points to
}

// OverSpan is a state, an event (which begins where it ends) or a bucket of samples (whose greatest is Max).
type OverSpan struct {
	What string  `json:"what,omitempty"`
	May  float64 `json:"may"` // since when it may have been so already
	From float64 `json:"from"`
	To   float64 `json:"to"`
	Max  float64 `json:"max,omitempty"`
}

// How much a row shows at most.
const (
	tracksMost = 6
	spansMost  = 400 // of a track; what flaps faster than this is no picture
)

// Over lays a claim over runs. Today's plan of it says what is not in the record of a run that has a verdict on it and did not plan it.
func Over(runs []*record.Record, today record.Plan) (Overlay, error) {
	o := Overlay{Claim: today.Claim, Title: cmp.Or(today.Title, today.Claim), Source: today.Source, Rows: []OverRow{}}
	reals, others, found := 0, 0, false
	for _, r := range runs {
		row := OverRow{Run: r.Header.ID, Lab: r.Header.Lab, LabKind: r.Header.LabKind, Platform: r.Header.Host, Profile: r.Header.Profile, Tracks: []OverTrack{}}
		rows := Rows(r)
		i := slices.IndexFunc(rows, func(row record.Row) bool { return row.Plan.Claim == today.Claim })
		if i < 0 {
			row.Not = "this run has no verdict on the claim"
			o.Rows = append(o.Rows, row)
			continue
		}
		found = true
		if of := rows[i]; !unplanned(of) {
			row.Scenario, o.Title, o.Source = of.Plan.Scenario, of.Plan.Title, of.Plan.Source
		} else {
			row.Scenario = today.Scenario
		}
		row.Word, row.Verdict, row.Provenance = string(wordOf(rows[i])), rows[i].Verdict, provenance(r, rows[i])
		if row.Provenance == string(drivers.Real) {
			reals++
		} else {
			others++
		}
		row.look(r)
		o.Rows = append(o.Rows, row)
	}
	if !found {
		return o, &drivers.Operator{Cause: fmt.Sprintf("none of the %d runs has a verdict on the claim %q", len(runs), today.Claim), Impact: "there is nothing to lay over each other; nothing was written",
			Do: "apd list has the ids of all claims, and apd report RUN those of a run"}
	}
	o.Mixed = reals > 0 && others > 0
	return o, nil
}

// look finds what is to be seen of a row in its run.
func (o *OverRow) look(r *record.Record) {
	run, ok := r.Run(o.Scenario)
	if !ok {
		o.Not = "its scenario did not begin"
		return
	}
	if p := run.Effect().Platform; p != o.Platform {
		o.Platform = strings.TrimSpace(o.Platform + " " + p)
	}
	faults := slices.DeleteFunc(run.Faults(), func(f record.Fault) bool { return f.Begin.What == "" })
	if len(faults) == 0 {
		o.Not = "no fault was injected"
		return
	}
	f := faults[0]
	if ev := o.Verdict.Evidence; len(ev) > 0 { // of several faults the one that it speaks of first
		first := slices.MinFunc(ev, func(a, b record.Pointer) int { return int(min(max(a.T-b.T, -1), 1)) }).T
		for _, later := range faults {
			if later.Begin.Hi <= first {
				f = later
			}
		}
	}
	o.Fault = f.Kind
	at := func(t int64) float64 { return float64(t-f.Begin.Hi) / 1000 }
	last := f.Begin.Hi
	for _, of := range faults {
		end := run.To
		for _, m := range []record.Moment{of.Undo, of.End} { // the end, where it was seen
			if m.What != "" {
				end = m.Hi
			}
		}
		if of.Begin.Hi >= f.Begin.Hi {
			o.Held = append(o.Held, record.Interval{Lo: at(of.Begin.Hi), Hi: at(end)})
		}
		if of.ID == f.ID {
			last = end
		}
	}
	for _, p := range o.Verdict.Evidence {
		last = max(last, min(p.T, run.To))
	}
	last = min(last+(last-f.Begin.Hi)/5, run.To)
	o.Reach = max(at(last), 0.001)
	o.tracks(r, f.Begin.Hi-(last-f.Begin.Hi)/20, last, at)
}

// tracks finds those that the verdict points to, in the order in which it does.
func (o *OverRow) tracks(r *record.Record, from, to int64, at func(int64) float64) {
	all := r.Tracks()
	index := map[int]int{}
	for _, p := range o.Verdict.Evidence {
		i := slices.IndexFunc(all, func(t record.Track) bool { return lane(t.Lane) == p.Lane && pointsTo(p.What, t.Topic) })
		if i < 0 { // to the fault itself, or to something that did not come
			continue
		}
		n, ok := index[i]
		if !ok {
			if len(o.Tracks) == tracksMost {
				o.More++
				index[i] = -1
				continue
			}
			n = len(o.Tracks)
			index[i] = n
			o.Tracks = append(o.Tracks, overTrack(all[i], from, to, at))
		}
		if n >= 0 && p.T >= from && p.T <= to {
			o.Tracks[n].Evidence = append(o.Tracks[n].Evidence, at(p.T))
		}
	}
}

// pointsTo tells whether a pointer's words are about a topic: they begin with it.
func pointsTo(what, topic string) bool {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(what, "no "), topic)
	return ok && topic != "" && (rest == "" || rest[0] == ' ')
}

// overTrack takes from a track what lies within a stretch.
func overTrack(t record.Track, from, to int64, at func(int64) float64) OverTrack {
	out := OverTrack{Lane: lane(t.Lane), Topic: t.Topic, Provenance: t.Lane.Provenance}
	add := func(list *[]OverSpan, s OverSpan) {
		if len(*list) < spansMost {
			*list = append(*list, s)
		}
	}
	for _, s := range t.States {
		if s.To >= from && s.From <= to {
			add(&out.States, OverSpan{What: s.Value, May: at(max(s.Since.Lo, from)), From: at(max(s.From, from)), To: at(min(s.To, to))})
		}
	}
	for _, e := range t.Events {
		if e.Hi >= from && e.Hi <= to {
			add(&out.Events, OverSpan{What: e.Type, May: at(max(e.Lo, from)), From: at(e.Hi), To: at(e.Hi)})
		}
	}
	for _, b := range t.Buckets {
		if b.To >= from && b.From <= to {
			add(&out.Samples, OverSpan{May: at(max(b.From, from)), From: at(max(b.From, from)), To: at(min(b.To, to)), Max: b.Max})
		}
	}
	return out
}

// mixedWords stands over an overlay of real systems beside others.
const mixedWords = "Real systems stand beside embedded or modelled ones: each row says what it is, and nothing is said of them together."

// Markdown is the overlay as a page.
func (o Overlay) Markdown() []byte {
	m := &page{}
	m.say("# One claim, %s: %s\n", several(len(o.Rows), "run"), markdown(o.Title, cellLimit))
	if o.Source.EN != "" {
		m.say("> %s\n", markdown(o.Source.EN, cellLimit))
	}
	m.say("Claim %s. Times are seconds since each run's fault.\n", markdown(o.Claim, cellLimit))
	if o.Mixed {
		m.say("**%s**\n", mixedWords)
	}
	m.say("![The runs, aligned at their faults](overlay.svg)\n")
	m.table("Run", "Lab", "Platform", "Provenance", "Profile", "Fault", "Held", "Verdict", "Measured", "Allowed", "Why")
	for _, r := range o.Rows {
		why := r.Verdict.Why
		if r.Not != "" {
			why = strings.TrimSpace("nothing is drawn: " + r.Not + ". " + why)
		}
		held := ""
		if len(r.Held) > 0 {
			held = between(record.Interval{Lo: r.Held[0].Hi, Hi: r.Held[0].Hi})
		}
		var cells []string
		for _, s := range []string{r.Run, r.Lab, r.Platform, r.kind(), r.Profile, string(r.Fault), held, r.Word, measured(r.Verdict), window(r.Verdict), why} {
			cells = append(cells, markdown(s, cellLimit))
		}
		m.row(cells...)
	}
	return []byte(m.String())
}

// Text is the overlay as lines for a terminal.
func (o Overlay) Text() string {
	var b strings.Builder
	say := func(s string) { b.WriteString(harmless(s) + "\n") }
	say(or(o.Claim) + ": " + or(o.Title))
	if o.Mixed {
		say(mixedWords)
	}
	for _, r := range o.Rows {
		s := fmt.Sprintf("  %-30s %-12s %s (%s)", or(r.Run), or(r.Platform), or(r.Word), r.kind())
		if m := measured(r.Verdict); m != "" {
			s += "; measured " + m
		}
		if w := window(r.Verdict); w != "" {
			s += "; allowed " + w
		}
		if r.Not != "" {
			s += "; nothing is drawn: " + r.Not
		}
		say(s)
	}
	return b.String()
}

// kind is whose word a row rests on, and in what kind of lab it was.
func (o OverRow) kind() string {
	if o.Provenance == "" || o.Provenance == string(o.LabKind) {
		return or(string(o.LabKind))
	}
	return o.Provenance + ", in a lab that is " + or(string(o.LabKind))
}

// Write makes overlay.md, overlay.svg and overlay.json in dir and returns their paths.
func (o Overlay) Write(dir string) ([]string, error) {
	j, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		return nil, fmt.Errorf("making overlay.json: %w", err)
	}
	return writeAll(dir, file{"overlay.md", o.Markdown()}, file{"overlay.svg", o.SVG()}, file{"overlay.json", append(j, '\n')})
}
