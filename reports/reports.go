// Package reports makes what people and CI systems read out of a record: the files that the table forms lists, the lines on the
// console while a run goes on, and the exit code. It judges nothing and reads nothing but the record and the names of
// the files in the run's folder, so a report can be made again years later, and the same record gives the same bytes.
package reports

import (
	"strconv"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Options says where a run's files are and how a reader gets to them.
type Options struct {
	Root string // the project's root: attachments are named relative to it, and files outside of it are not named at all
	Dir  string // the run's folder; without it no files are attached and no settings are listed
	HTML string // the name of the HTML report beside junit.xml, where one is made: "report.html"

	JUnit Dialect // the dialect of junit.xml; empty for Jenkins10

	Previous *record.Record // the run before of the same lab, which the HTML report compares with; nil for none
}

// unplannedScenario stands for the scenario of a claim that nobody planned.
const unplannedScenario = "unplanned"

// Rows returns what all reports show: one row a planned claim, and one for each verdict on a claim that nobody planned,
// so that no refutation is lost. A claim that was planned twice is shown once.
func Rows(r *record.Record) []record.Row {
	at := map[string]int{}
	var rows []record.Row
	for _, row := range r.Verdicts() {
		i, twice := at[row.Plan.Claim]
		switch {
		case !twice:
			at[row.Plan.Claim] = len(rows)
			rows = append(rows, row)
		case rows[i].Plan.Skip != "" && row.Plan.Skip == "": // one plan meant to judge it: a skip must not hide that
			rows[i] = row
		}
	}
	planned := len(rows)
	for _, j := range r.Judged {
		row := record.Row{Plan: record.Plan{Claim: j.Claim, Title: "a claim that nobody planned", Scenario: unplannedScenario}, Judged: j}
		i, seen := at[j.Claim]
		switch {
		case !seen:
			at[j.Claim] = len(rows)
			rows = append(rows, row)
		case i >= planned:
			rows[i] = row
		}
	}
	return rows
}

// word is the verdict as reports show it: the outcomes, with refutations that are known for the platform set apart.
type word string

const (
	refuted       word = "refuted"
	known         word = "refuted (known)"
	inconclusive  word = "inconclusive"
	confirmed     word = "confirmed"
	notApplicable word = "not applicable"
)

// order is that in which people read verdicts.
var order = []word{refuted, known, inconclusive, confirmed, notApplicable}

// wordOf returns a row's verdict. An outcome that this version does not know is inconclusive, never a success.
func wordOf(row record.Row) word {
	switch row.Outcome {
	case record.Confirmed:
		return confirmed
	case record.NotApplicable:
		return notApplicable
	case record.Refuted:
		if row.Known != nil {
			return known
		}
		return refuted
	}
	return inconclusive
}

// stale tells whether a listed deviation is no longer true.
func stale(row record.Row) bool {
	return row.Known != nil && row.Outcome == record.Confirmed && !row.Known.Sometimes
}

// sorted returns the rows in reading order; within a word they keep the order of the plan.
func sorted(rows []record.Row) []record.Row {
	out := make([]record.Row, 0, len(rows))
	for _, w := range order {
		for _, row := range rows {
			if wordOf(row) == w {
				out = append(out, row)
			}
		}
	}
	return out
}

// Counts is how many claims there are of each verdict. Refuted leaves out the Known ones; Stale ones are also Confirmed.
type Counts struct{ Refuted, Known, Inconclusive, Confirmed, NotApplicable, Stale int }

// Count counts verdicts.
func Count(rows []record.Row) Counts {
	var c Counts
	for _, row := range rows {
		switch wordOf(row) {
		case refuted:
			c.Refuted++
		case known:
			c.Known++
		case inconclusive:
			c.Inconclusive++
		case confirmed:
			c.Confirmed++
		case notApplicable:
			c.NotApplicable++
		}
		if stale(row) {
			c.Stale++
		}
	}
	return c
}

// of is how many claims have a verdict.
func (c Counts) of(w word) int {
	return map[word]int{refuted: c.Refuted, known: c.Known, inconclusive: c.Inconclusive, confirmed: c.Confirmed, notApplicable: c.NotApplicable}[w]
}

// Judged is how many claims were decided, one way or the other.
func (c Counts) Judged() int { return c.Refuted + c.Known + c.Confirmed }

// String is the counts in one sentence.
func (c Counts) String() string {
	n := strconv.Itoa
	s := n(c.Refuted) + " refuted, " + n(c.Known) + " refuted (known), " + n(c.Inconclusive) + " inconclusive, " +
		n(c.Confirmed) + " confirmed, " + n(c.NotApplicable) + " not applicable"
	if c.Stale > 0 {
		s += "; " + n(c.Stale) + " listed as deviating but confirmed"
	}
	return s
}

func provenance(r *record.Record, row record.Row) string {
	switch {
	case row.Provenance != "":
		return string(row.Provenance)
	case r != nil && r.Header.LabKind != "":
		return string(r.Header.LabKind)
	}
	return "unknown"
}
