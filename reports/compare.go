// This file compares two runs: which verdicts turned, which values moved towards an edge of their window, what was different
// about the runs themselves.

package reports

import (
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Turn is how a claim fares in a later run beside an earlier one.
type Turn string

// The turns, in the order in which people want to read them.
const (
	Worse  Turn = "worse"   // it passed, and is now refuted or undecided
	Better Turn = "better"  // the other way round
	Other  Turn = "changed" // another word, neither better nor worse
	New    Turn = "new"     // the earlier run did not plan it
	Gone   Turn = "gone"    // the later run did not plan it
	Moved  Turn = "moved"   // the same word; the value moved within its window
	Same   Turn = "same"
)

// Change is one claim in two runs.
type Change struct {
	Claim    string      `json:"claim"`
	Title    string      `json:"title"`
	Turn     Turn        `json:"turn"`
	Was, Is  *record.Row `json:"-"` // nil where that run did not plan it
	WasWord  string      `json:"was,omitempty"`
	IsWord   string      `json:"is,omitempty"`
	WasSpare *float64    `json:"was_margin,omitempty"` // the distance to the nearest edge as a part of the window's width; negative outside
	IsSpare  *float64    `json:"is_margin,omitempty"`
}

// Difference is something of the runs themselves that is not the same: a setting, a version, a commit.
type Difference struct {
	What string `json:"what"`
	Was  string `json:"was"`
	Is   string `json:"is"`
}

// Comparison is a later run B beside an earlier run A.
type Comparison struct {
	A, B          record.Header
	Changes       []Change     // in the order of the turns; Same ones too, last
	Differences   []Difference // in order of their names
	NotComparable string       // why the two must not be compared, such as an embedded lab with a real one; empty when they may
}
