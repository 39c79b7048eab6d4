package reports

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

type exitCase struct {
	verdicts []record.Judged
	skips    int
	missing  int
	end      string // empty: cut off
	want     int
}

func (c exitCase) record() *record.Record {
	r := &record.Record{Header: record.Header{Lab: "l"}, Ended: c.end != "", EndWhy: c.end}
	id := func() string { return "c" + string(rune('a'+len(r.Plans))) }
	for _, j := range c.verdicts {
		j.K, j.Claim = "claim", id()
		r.Plans = append(r.Plans, record.Plan{Claim: j.Claim})
		r.Judged = append(r.Judged, j)
	}
	for range c.skips {
		r.Plans = append(r.Plans, record.Plan{Claim: id(), Skip: "lab lacks it"})
	}
	for range c.missing {
		r.Plans = append(r.Plans, record.Plan{Claim: id()})
	}
	return r
}

func says(o record.Outcome) record.Judged { return record.Judged{Verdict: record.Verdict{Outcome: o}} }

func expected(o record.Outcome) record.Judged {
	j := says(o)
	j.Known = &record.Deviation{Reason: "known"}
	return j
}

var (
	yes, no, open = says(record.Confirmed), says(record.Refuted), says(record.Inconclusive)
	exitCases     = map[string]exitCase{
		"confirmed":                     {verdicts: []record.Judged{yes}, skips: 1, end: "done", want: 0},
		"known refutation":              {verdicts: []record.Judged{expected(record.Refuted)}, end: "done", want: 0},
		"no longer true":                {verdicts: []record.Judged{expected(record.Confirmed)}, end: "done", want: 0},
		"refuted":                       {verdicts: []record.Judged{yes, no}, end: "done", want: 1},
		"refuted beside a known":        {verdicts: []record.Judged{expected(record.Refuted), no}, end: "done", want: 1},
		"refuted and inconclusive":      {verdicts: []record.Judged{no, open}, end: "done", want: 1},
		"refuted, then cut off":         {verdicts: []record.Judged{no}, want: 1},
		"inconclusive":                  {verdicts: []record.Judged{yes, open}, end: "done", want: 2},
		"inconclusive beside a known":   {verdicts: []record.Judged{expected(record.Refuted), open}, end: "done", want: 2},
		"a known one that is undecided": {verdicts: []record.Judged{yes, expected(record.Inconclusive)}, end: "done", want: 2},
		"an outcome of a later version": {verdicts: []record.Judged{yes, says("plausible")}, end: "done", want: 2},
		"a claim that nobody judged":    {verdicts: []record.Judged{yes}, missing: 1, end: "done", want: 2},
		"all skipped":                   {skips: 3, end: "done", want: 2},
		"no claims":                     {end: "done", want: 2},
		"interrupted after all":         {verdicts: []record.Judged{yes}, end: "interrupted", want: 2},
		"an error after all":            {verdicts: []record.Judged{yes}, end: "disk full", want: 2},
		"cut off after all":             {verdicts: []record.Judged{yes}, want: 2},
	}
)

func TestExitCode(t *testing.T) {
	for name, c := range exitCases {
		t.Run(name, func(t *testing.T) { NewWithT(t).Expect(ExitCode(c.record())).To(Equal(c.want)) })
	}
}

func TestNoRefutationIsLost(t *testing.T) {
	g := NewWithT(t)
	r := exitCase{verdicts: []record.Judged{yes}, end: "done"}.record()
	bad := no
	bad.Claim = "unplanned"
	r.Judged = append(r.Judged, bad)
	g.Expect(ExitCode(r)).To(Equal(ExitRefuted))

	twice := &record.Record{Ended: true, EndWhy: "done", Plans: []record.Plan{{Claim: "a", Skip: "no"}, {Claim: "a"}, {Claim: "b"}},
		Judged: []record.Judged{{Claim: "b", Verdict: record.Verdict{Outcome: record.Confirmed}}}}
	g.Expect(Rows(twice)).To(HaveLen(2))
	g.Expect(ExitCode(twice)).To(Equal(ExitUndecided))
}

// TestARunThatIsUnderWayDoesNotFail shows a record that is still being written.
func TestARunThatIsUnderWayDoesNotFail(t *testing.T) {
	g := NewWithT(t)
	r := exitCase{verdicts: []record.Judged{{Verdict: record.Verdict{Outcome: record.Confirmed}}, {Verdict: record.Verdict{Outcome: record.Inconclusive}}}, end: "done"}.record()
	r.Ended, r.EndWhy, r.Live = false, "", true
	page, err := HTML(r, Options{})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(ContainSubstring("The run is under way: 1 of 2 claims decided."))
	g.Expect(ExitCode(r)).NotTo(Equal(ExitHolds))
}
