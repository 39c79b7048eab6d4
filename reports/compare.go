// This file compares two runs: which verdicts turned, which values moved towards an edge of their window, what was different
// about the runs themselves.

package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Turn is how a claim fares in a later run beside an earlier one.
type Turn string

// The turns, in the order in which people want to read them. A claim holds when it is confirmed, or refuted as the platform's list of
// deviations has it: such a one lets a run pass.
const (
	Worse  Turn = "worse"   // it held, and is now undecided, or refuted and not on the list
	Better Turn = "better"  // it was refuted or undecided, and is now confirmed
	Other  Turn = "changed" // otherwise, neither better nor worse: put on the list, refuted instead of undecided, not asked
	New    Turn = "new"     // the earlier run did not plan it
	Gone   Turn = "gone"    // the later run did not plan it
	Moved  Turn = "moved"   // the same word; the value moved against its window by a hundredth of the window's width or more
	Same   Turn = "same"
)

var turns = []Turn{Worse, Better, Other, New, Gone, Moved, Same}

// How far a margin has to move, as a part of the window's width, to be told at all, and to be pointed out.
const (
	movedLeast = 0.01
	movedFar   = 0.2
)

// Change is one claim in two runs.
type Change struct {
	Claim    string      `json:"claim"`
	Title    string      `json:"title"`
	Scenario string      `json:"scenario,omitempty"`
	Turn     Turn        `json:"turn"`
	Was      *record.Row `json:"was_row,omitempty"` // nil where that run did not plan it
	Is       *record.Row `json:"is_row,omitempty"`
	WasWord  string      `json:"was,omitempty"`
	IsWord   string      `json:"is,omitempty"`
	WasSpare *float64    `json:"was_margin,omitempty"` // see margin; negative outside the window, nil without a value or a window
	IsSpare  *float64    `json:"is_margin,omitempty"`
	Shift    *float64    `json:"shift,omitempty"` // IsSpare less WasSpare; nil where the two must not be held against each other
	Apart    string      `json:"apart,omitempty"` // why they must not: another provenance, unit or scenario
	Notes    []string    `json:"notes,omitempty"` // what else is different: the window, the list of deviations
}

// Far tells whether the margin moved by more than a fifth of the window's width.
func (c Change) Far() bool { return c.Shift != nil && math.Abs(*c.Shift) > movedFar }

// Difference is something of the runs themselves that is not the same: a setting, a version, a commit.
type Difference struct {
	What string `json:"what"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// Comparison is a later run B beside an earlier run A.
type Comparison struct {
	A             record.Header `json:"a"`
	B             record.Header `json:"b"`
	Changes       []Change      `json:"changes"`                  // in the order of the turns; Same ones too, last
	Differences   []Difference  `json:"differences"`              // in order of their names
	NotComparable string        `json:"not_comparable,omitempty"` // why the two must not be compared, such as an embedded lab with a real one; empty when they may
}

// Compare holds a later run b against an earlier run a. A claim is the same in both when it has the same id and is about the same
// scenario; its verdicts' words are always held against each other, so that no refutation hides behind another unit or another
// witness, its values only when provenance and unit are the same.
func Compare(a, b *record.Record) Comparison {
	c := Comparison{A: a.Header, B: b.Header, Changes: []Change{}, Differences: differences(a, b)}
	was := map[string]record.Row{}
	earlier := sorted(Rows(a))
	for _, row := range earlier {
		was[row.Plan.Claim] = row
	}
	met := map[string]bool{}
	for _, row := range sorted(Rows(b)) {
		old, ok := was[row.Plan.Claim]
		if !ok || !sameScenario(old, row) {
			ch := Change{Turn: New, Is: &row}
			if ok {
				ch.Apart = "it was about the scenario " + old.Plan.Scenario
			}
			c.Changes = append(c.Changes, ch.filled())
			continue
		}
		met[row.Plan.Claim] = true
		c.Changes = append(c.Changes, change(old, row))
	}
	for _, row := range earlier {
		if !met[row.Plan.Claim] {
			c.Changes = append(c.Changes, Change{Turn: Gone, Was: &row}.filled())
		}
	}
	slices.SortStableFunc(c.Changes, func(x, y Change) int {
		return cmp.Or(cmp.Compare(slices.Index(turns, x.Turn), slices.Index(turns, y.Turn)), cmp.Compare(moved(y), moved(x)))
	})
	c.NotComparable = unlike(a.Header, b.Header, c.Changes)
	return c
}

// Count is how many claims took a turn.
func (c Comparison) Count(t Turn) int {
	n := 0
	for _, ch := range c.Changes {
		if ch.Turn == t {
			n++
		}
	}
	return n
}

// Regressed tells whether a claim that held does not any more.
func (c Comparison) Regressed() bool { return c.Count(Worse) > 0 }

// moved is how far a claim moved within its window, zero for all others.
func moved(c Change) float64 {
	if c.Turn != Moved {
		return 0
	}
	return math.Abs(*c.Shift)
}

// unplanned tells whether nobody planned what a row has a verdict on: then its scenario is not known.
func unplanned(row record.Row) bool {
	return row.Plan.K == "" && row.Plan.Scenario == unplannedScenario
}

func sameScenario(a, b record.Row) bool {
	return a.Plan.Scenario == b.Plan.Scenario || unplanned(a) || unplanned(b)
}

// change holds two verdicts on one claim against each other.
func change(was, is record.Row) Change {
	c := Change{Was: &was, Is: &is, Turn: turn(was, is), Apart: apart(was.Verdict, is.Verdict)}.filled()
	if c.WasSpare != nil && c.IsSpare != nil && c.Apart == "" {
		shift := *c.IsSpare - *c.WasSpare
		c.Shift = &shift
		if c.Turn == Same && math.Abs(shift) >= movedLeast {
			c.Turn = Moved
		}
	}
	if w, i := window(was.Verdict), window(is.Verdict); w != i {
		c.Notes = append(c.Notes, "the window was "+or(w)+", and is "+or(i))
	}
	switch w, i := wordOf(was), wordOf(is); {
	case w == known && i == refuted:
		c.Notes = append(c.Notes, "it is not on the list of deviations any more: "+because(was.Known))
	case w == refuted && i == known:
		c.Notes = append(c.Notes, "it was put on the list of deviations: "+because(is.Known))
	case stale(is):
		c.Notes = append(c.Notes, "listed as a deviation, but no longer true: "+because(is.Known))
	}
	return c
}

// filled takes from the rows what a change shows of them.
func (c Change) filled() Change {
	row := c.Is
	if row == nil || unplanned(*row) && c.Was != nil {
		row = c.Was
	}
	c.Claim, c.Title, c.Scenario = row.Plan.Claim, row.Plan.Title, row.Plan.Scenario
	if c.Was != nil {
		c.WasWord, c.WasSpare = string(wordOf(*c.Was)), margin(c.Was.Verdict)
	}
	if c.Is != nil {
		c.IsWord, c.IsSpare = string(wordOf(*c.Is)), margin(c.Is.Verdict)
	}
	return c
}

func turn(was, is record.Row) Turn {
	w, i := wordOf(was), wordOf(is)
	switch {
	case w == i:
		return Same
	case (w == confirmed || w == known) && (i == refuted || i == inconclusive):
		return Worse
	case w != notApplicable && i == confirmed:
		return Better
	}
	return Other
}

// apart tells why two verdicts' values must not be held against each other. A verdict that rests on nobody's word, or that measured
// nothing, fits any.
func apart(was, is record.Verdict) string {
	var s []string
	if was.Provenance != is.Provenance && was.Provenance != "" && is.Provenance != "" {
		s = append(s, fmt.Sprintf("it rested on what is %s, and rests on what is %s", was.Provenance, is.Provenance))
	}
	if was.Measured != nil && is.Measured != nil && unit(was) != unit(is) {
		s = append(s, fmt.Sprintf("it was measured in %s, and is in %s", unit(was), unit(is)))
	}
	return strings.Join(s, "; ")
}

// window is a verdict's window with the settings that it follows.
func window(v record.Verdict) string {
	s := allowed(v)
	if f := follows(v); f != "" {
		s += " (following " + f + ")"
	}
	return s
}

// margin is what a value has to spare: the distance from its interval to the nearest edge of the window, as a part of the window's
// width. Inside it is that of the end which is nearer to an edge; with an edge within the interval it is zero; outside it is that of
// the end which is nearer to the window, and negative. The width of a window with one edge, or with two equal ones, is that edge's
// distance from zero, and one unit where the edge is zero. It is nil without a value or an edge, and where no number comes of them.
func margin(v record.Verdict) *float64 {
	if v.Measured == nil || v.Window == nil || v.Window.Min == nil && v.Window.Max == nil {
		return nil
	}
	lo, hi := min(v.Measured.Lo, v.Measured.Hi), max(v.Measured.Lo, v.Measured.Hi)
	spare, width := math.Inf(1), 0.0
	edge := func(inner, outer, edge, inwards float64) { // the ends that are farther out and farther in, seen from this edge
		far, near := inwards*(inner-edge), inwards*(outer-edge)
		switch {
		case near >= 0: // all of it is on the inner side
			spare = min(spare, near)
		case far >= 0:
			spare = min(spare, 0)
		default:
			spare = min(spare, far)
		}
		width = max(width, math.Abs(edge))
	}
	if v.Window.Min != nil {
		edge(hi, lo, *v.Window.Min, 1)
	}
	if v.Window.Max != nil {
		edge(lo, hi, *v.Window.Max, -1)
	}
	if v.Window.Min != nil && v.Window.Max != nil && *v.Window.Min < *v.Window.Max {
		width = *v.Window.Max - *v.Window.Min
	}
	if width == 0 {
		width = 1
	}
	if spare = math.Round(spare/width*1e6) / 1e6; math.IsInf(spare, 0) || math.IsNaN(spare) {
		return nil
	}
	return &spare
}

// unlike tells why two runs must not be compared: what a real system does and what stands in for one are no two runs of one thing.
func unlike(a, b record.Header, changes []Change) string {
	kind := func(h record.Header) string {
		if h.LabKind == "" {
			return "a lab of an unknown kind"
		}
		return "a lab that is " + oneLine(string(h.LabKind))
	}
	if (a.LabKind == drivers.Real) != (b.LabKind == drivers.Real) {
		return fmt.Sprintf("run %s is of %s, run %s of %s", oneLine(a.ID), kind(a), oneLine(b.ID), kind(b))
	}
	var claims []string
	if !slices.ContainsFunc(changes, func(c Change) bool { return c.Was != nil && c.Is != nil }) {
		return "they have no claim in common"
	}
	for _, c := range changes {
		if c.Was == nil || c.Is == nil || c.Was.Provenance == "" || c.Is.Provenance == "" {
			continue
		}
		if (c.Was.Provenance == drivers.Real) != (c.Is.Provenance == drivers.Real) {
			claims = append(claims, oneLine(c.Claim))
		}
	}
	if len(claims) == 0 {
		return ""
	}
	return "in one run what is real was judged, in the other what is not: " + list(claims, "")
}
