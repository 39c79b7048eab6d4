// This file finds the faults of a run and the margins of its verdicts, for every form that shows them.

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

// spare is a verdict's margin: the distance from the measured interval to the nearest edge of its window, as a part of the
// window's width (of the edge itself where the other side is open); negative when some of the interval lies outside. It is nil
// where nothing was measured, nothing is forbidden, or the window has no width.
func spare(v record.Verdict) *float64 {
	if v.Measured == nil || v.Window == nil {
		return nil
	}
	var left, width float64
	switch lo, hi := v.Window.Min, v.Window.Max; {
	case lo == nil && hi == nil:
		return nil
	case hi == nil:
		left, width = v.Measured.Lo-*lo, math.Abs(*lo)
	case lo == nil:
		left, width = *hi-v.Measured.Hi, math.Abs(*hi)
	default:
		left, width = math.Min(v.Measured.Lo-*lo, *hi-v.Measured.Hi), *hi-*lo
	}
	x := math.Round(left/width*1e6) / 1e6
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}
