// This file finds the faults of a run, for every form that shows them.

package reports

import (
	"math"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// faultRow is a fault with what the record says around it.
type faultRow struct {
	record.Fault
	Scenario string // that it belongs to; empty when the record does not tell
	Note     string // why it proves nothing; empty when nothing is known against it
}

// faultRows lists the faults of the whole run in their order, planned scenarios or not.
func faultRows(r *record.Record) []faultRow {
	var out []faultRow
	phases := r.Phases()
	for _, f := range r.Whole().Faults() {
		row := faultRow{Fault: f}
		for _, p := range phases { // of two that meet in one millisecond it is the later one's
			if p.Name == "scenario" && p.From <= f.Begin.Hi && f.Begin.Hi <= p.To {
				row.Scenario = p.Scenario
			}
		}
		if f.Failed != "" {
			row.Note = "failed: " + f.Failed
		} else if v, ok := r.Run(row.Scenario); ok {
			if done, why := v.Complete(); !done {
				row.Note = "the scenario did not end: " + why
			}
		}
		out = append(out, row)
	}
	return out
}

// lasted is for how long a fault was active, in seconds: at least from when it was seen to work until its undo, at most from
// its begin until it was seen to be gone. Hi is nil when nobody saw that.
func (f faultRow) lasted() (lo float64, hi *float64) {
	if f.Active.What != "" && f.Undo.What != "" {
		lo = math.Max(float64(f.Undo.Lo-f.Active.Hi)/1000, 0)
	}
	if f.End.What != "" {
		x := float64(f.End.Hi-f.Begin.Lo) / 1000
		hi = &x
	}
	return lo, hi
}
