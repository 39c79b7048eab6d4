package reports

import "github.com/allpathsdown/allpathsdown/fixtures/record"

// The exit codes of a run.
const (
	ExitHolds     = 0 // something was judged, and nothing was refuted beyond known deviations
	ExitRefuted   = 1 // something was refuted that is not a known deviation
	ExitUndecided = 2 // nothing was refuted, but something is inconclusive, nothing was judged at all, or the run did not end
)

// ExitCode returns the exit code that a record stands for.
func ExitCode(r *record.Record) int {
	c := Count(Rows(r))
	switch {
	case c.Refuted > 0:
		return ExitRefuted
	case c.Inconclusive > 0 || trouble(r, c) != "":
		return ExitUndecided
	}
	return ExitHolds
}

// trouble says why a run proves nothing although no single claim says so; empty when it does.
func trouble(r *record.Record, c Counts) string {
	switch {
	case r.Live:
		return "the run is under way"
	case !r.Ended:
		return "the run was cut off: the record has no end"
	case r.EndWhy != "done":
		return "the run did not end as planned: " + oneLine(r.EndWhy)
	case c.Judged() == 0:
		return "nothing was judged: a run that decides no claim does not pass"
	}
	return ""
}

// runName is the test that stands for the run as a whole, where forms need one: see silent.
const runName = "The run comes to its end and decides something [run]"

// silent says why a run does not pass although none of its claims says so; empty when one does, or the run passes. A form
// that knows nothing but tests has one more for it.
func silent(r *record.Record, c Counts) string {
	if c.Refuted+c.Inconclusive > 0 {
		return ""
	}
	return trouble(r, c)
}

// stopped tells whether the run was broken off, rather than failed.
func stopped(r *record.Record) bool { return !r.Ended || r.EndWhy == "interrupted" }
