// This file sums up many runs: how often each claim had which verdict, and how its measured value spreads.

package reports

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// earlierLeast is how many earlier values there must be before the newest is held against them.
const earlierLeast = 5

// Level is how far out the newest value is.
type Level string

// The levels.
const (
	Usual  Level = "usual"
	Yellow Level = "yellow" // worse than P95 of the earlier values
	Red    Level = "red"    // worse than P99 of them
	TooFew Level = "too few"
)

// History is many runs, summed up. Percentiles are of the nearest rank: P95 of N values is the one at place ceil(0.95 N), the best
// first, so it is a value that was measured, and P99 of fewer than 100 values is the worst of them. The value of a run is the end of
// the measured interval that is farther out: the upper one, and greater is worse; of a claim whose window has a lower edge alone, the
// lower one, and less is worse.
type History struct {
	Runs   int      `json:"runs"` // that were read
	Lines  []Line   `json:"lines"`
	Unread []Unread `json:"unread,omitempty"`
	Copies []string `json:"copies,omitempty"` // folders with another copy of a run that is counted already

	seen map[runKey]bool
	all  map[lineKey][]entry
}

// Line is one claim on one lab, on one kind of word, in one unit.
type Line struct {
	Lab        string   `json:"lab"`
	Provenance string   `json:"provenance"`
	Claim      string   `json:"claim"`
	Title      string   `json:"title"` // of the newest run
	Unit       string   `json:"unit,omitempty"`
	N          int      `json:"n"` // runs that planned it or have a verdict on it
	Counts     Counts   `json:"counts"`
	Word       string   `json:"word"`   // of the newest run
	Values     []Value  `json:"values"` // the oldest first
	LessWorse  bool     `json:"less_is_worse,omitempty"`
	P50        *float64 `json:"p50,omitempty"` // of all values
	P95        *float64 `json:"p95,omitempty"`
	P99        *float64 `json:"p99,omitempty"`
	Earlier    int      `json:"earlier"`               // values before the newest
	EarlierP95 *float64 `json:"earlier_p95,omitempty"` // what the newest is held against
	EarlierP99 *float64 `json:"earlier_p99,omitempty"`
	Level      Level    `json:"level,omitempty"` // of the newest value; empty without any
}

// Value is what one run measured.
type Value struct {
	Run   string    `json:"run"`
	T0    time.Time `json:"t0"`
	Value float64   `json:"value"`
}

// Unread is a folder whose record could not be read.
type Unread struct {
	Folder string `json:"folder"`
	Why    string `json:"why"`
}

type runKey struct {
	id, lab string
	t0      int64
}

type lineKey struct{ lab, claim string }

// entry is what is kept of a claim in a run: few bytes, whatever the record's size.
type entry struct {
	run, title, prov, unit string
	t0                     time.Time
	row                    record.Row // without its texts
}

// NewHistory begins a history of no run.
func NewHistory() *History {
	return &History{Lines: []Line{}, seen: map[runKey]bool{}, all: map[lineKey][]entry{}}
}

// Add takes what is needed of a record, which is not kept. A run that was added already is a copy, such as one that was judged again,
// and not counted: the first that is added counts.
func (h *History) Add(r *record.Record, folder string) {
	k := runKey{r.Header.ID, r.Header.Lab, r.Header.T0.UnixNano()}
	if h.seen[k] {
		h.Copies = append(h.Copies, folder)
		return
	}
	h.seen[k] = true
	h.Runs++
	for _, row := range Rows(r) {
		e := entry{run: r.Header.ID, title: row.Plan.Title, t0: r.Header.T0, prov: string(row.Provenance)}
		if row.Measured != nil {
			e.unit = unit(row.Verdict)
		}
		e.row.Verdict = record.Verdict{Outcome: row.Outcome, Measured: row.Measured, Window: row.Window}
		e.row.Known = row.Known
		lk := lineKey{r.Header.Lab, row.Plan.Claim}
		h.all[lk] = append(h.all[lk], e)
	}
}

// CannotRead notes a folder whose record could not be read.
func (h *History) CannotRead(folder string, err error) {
	h.Unread = append(h.Unread, Unread{folder, err.Error()})
}

// Sum makes the lines of all that was added.
func (h *History) Sum() {
	h.Lines = []Line{}
	for k, es := range h.all {
		slices.SortStableFunc(es, func(a, b entry) int { return cmp.Or(a.t0.Compare(b.t0), cmp.Compare(a.run, b.run)) })
		type group struct{ prov, unit string }
		groups := map[group][]entry{}
		newest := func(of func(entry) string) string { // what a verdict that rests on nobody's word, or measured nothing, counts as
			for _, e := range slices.Backward(es) {
				if s := of(e); s != "" {
					return s
				}
			}
			return ""
		}
		prov, in := newest(func(e entry) string { return e.prov }), newest(func(e entry) string { return e.unit })
		for _, e := range es {
			g := group{cmp.Or(e.prov, prov, "unknown"), cmp.Or(e.unit, in)}
			groups[g] = append(groups[g], e)
		}
		for g, es := range groups {
			h.Lines = append(h.Lines, lineOf(k, g.prov, g.unit, es))
		}
	}
	slices.SortFunc(h.Lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Lab, b.Lab), cmp.Compare(a.Claim, b.Claim), cmp.Compare(a.Provenance, b.Provenance), cmp.Compare(a.Unit, b.Unit))
	})
}

func lineOf(k lineKey, prov, unit string, es []entry) Line {
	newest := es[len(es)-1]
	l := Line{Lab: k.lab, Claim: k.claim, Title: newest.title, Provenance: prov, Unit: unit, N: len(es), Word: string(wordOf(newest.row)), Values: []Value{}}
	var rows []record.Row
	for _, e := range es {
		rows = append(rows, e.row)
		if w := e.row.Window; e.row.Measured != nil && w != nil {
			l.LessWorse = w.Min != nil && w.Max == nil // as the newest has it
		}
	}
	l.Counts = Count(rows)
	var values []float64
	for _, e := range es {
		if m := e.row.Measured; m != nil {
			v := max(m.Lo, m.Hi)
			if l.LessWorse {
				v = min(m.Lo, m.Hi)
			}
			values = append(values, v)
			l.Values = append(l.Values, Value{e.run, e.t0, v})
		}
	}
	if len(values) == 0 {
		return l
	}
	l.P50, l.P95, l.P99 = percentile(values, 50, l.LessWorse), percentile(values, 95, l.LessWorse), percentile(values, 99, l.LessWorse)
	last, earlier := values[len(values)-1], values[:len(values)-1]
	l.Earlier = len(earlier)
	if l.Earlier < earlierLeast {
		l.Level = TooFew
		return l
	}
	l.EarlierP95, l.EarlierP99 = percentile(earlier, 95, l.LessWorse), percentile(earlier, 99, l.LessWorse)
	worse := func(than float64) bool { return last > than && !l.LessWorse || last < than && l.LessWorse }
	switch {
	case worse(*l.EarlierP99):
		l.Level = Red
	case worse(*l.EarlierP95):
		l.Level = Yellow
	default:
		l.Level = Usual
	}
	return l
}

// percentile is that of the nearest rank, of at least one value; the best value comes first.
func percentile(values []float64, p int, lessWorse bool) *float64 {
	s := slices.Sorted(slices.Values(values))
	if lessWorse {
		slices.Reverse(s)
	}
	rank := int(math.Ceil(float64(p) * float64(len(s)) / 100)) // p*len is whole, so only the division rounds
	return &s[max(rank, 1)-1]
}
