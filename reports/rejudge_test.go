package reports

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// again is what a claim says the second time.
func again(r *record.Record, change func(*record.Judged)) []record.Judged {
	var out []record.Judged
	for _, j := range r.Judged {
		if j.Claim == "c" {
			change(&j)
		}
		j.T = r.EndT
		out = append(out, j)
	}
	return out
}

func TestWhatARejudgementCallsAChange(t *testing.T) {
	was := &stated{outcome: record.Confirmed, lo: 50, hi: 60, min: ptr(0), max: ptr(100), prov: drivers.Embedded}
	for name, c := range map[string]struct {
		change  func(*record.Judged)
		changed bool
		turn    Turn
	}{
		"nothing":                    {func(*record.Judged) {}, false, ""},
		"the reason in other words":  {func(j *record.Judged) { j.Why = "because" }, false, ""},
		"other evidence":             {func(j *record.Judged) { j.Evidence = []record.Pointer{{T: 1}} }, false, ""},
		"the word":                   {func(j *record.Judged) { j.Outcome = record.Refuted }, true, Worse},
		"the value":                  {func(j *record.Judged) { j.Measured = &record.Interval{Lo: 20, Hi: 21} }, true, Moved},
		"the value by a hair":        {func(j *record.Judged) { j.Measured = &record.Interval{Lo: 50, Hi: 60.001} }, true, Other},
		"the window":                 {func(j *record.Judged) { j.Window = &record.Window{Min: ptr(0), Max: ptr(200)} }, true, Moved},
		"what the window follows":    {func(j *record.Judged) { j.Window = &record.Window{Min: ptr(0), Max: ptr(100), From: "x=1"} }, true, Other},
		"the unit":                   {func(j *record.Judged) { j.Unit = "min" }, true, Other},
		"whose word it is":           {func(j *record.Judged) { j.Provenance = drivers.Modelled }, true, Other},
		"how many trials it rest on": {func(j *record.Judged) { j.N = 7 }, true, Other},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r := runOf("a", was)
			got := Rejudged(r, nil, again(r, c.change), nil, nil)
			g.Expect(r.Judged).To(HaveLen(2), "the record is as it was")
			if !c.changed {
				g.Expect(got.Changed).To(BeEmpty())
				g.Expect(got.Same).To(Equal(2))
				return
			}
			g.Expect(got.Changed).To(HaveLen(1))
			g.Expect(got.Changed[0].Claim).To(Equal("c"))
			g.Expect(got.Changed[0].Turn).To(Equal(c.turn))
			g.Expect(got.Same).To(Equal(1))
		})
	}
}

func TestRejudgementTellsWhatTheRecordIs(t *testing.T) {
	g := NewWithT(t)
	r := runOf("a", nil)
	g.Expect(Rejudged(r, nil, r.Judged, nil, nil).Notes).To(BeEmpty())
	r.Header.V, r.Ended, r.Torn, r.Unknown = 0, false, true, 3
	g.Expect(Rejudged(r, nil, r.Judged, nil, nil).Notes).To(Equal([]string{
		"the record does not say which format it has: what it lacks is taken as not seen",
		"the record was cut off: what came later is not known, and scenarios that did not come to their end decide nothing",
		"its last line was cut off and is left out", "3 lines are of a kind that this version does not know and are left out"}))
	r.Ended, r.EndWhy = true, "interrupted"
	g.Expect(Rejudged(r, nil, r.Judged, nil, nil).Notes).To(ContainElement("the run did not end as planned: interrupted"))
}

func TestRejudgementInAllItsForms(t *testing.T) {
	g := NewWithT(t)
	r := runOf("a", &stated{outcome: record.Confirmed, lo: 5, hi: 6, max: ptr(10)})
	r.Plans = append(r.Plans, record.Plan{K: "plan", Claim: "lost", Title: "Lost", Scenario: "s"}, record.Plan{K: "plan", Claim: "late", Title: "Late", Scenario: "s"})
	r.Judged = append(r.Judged, record.Judged{K: "claim", Claim: "lost", Verdict: record.Verdict{Outcome: record.Refuted, Why: "it stands"}})
	now := again(r, func(j *record.Judged) {
		j.Outcome, j.Why, j.Measured = record.Refuted, "late now "+hostile, &record.Interval{Lo: 12, Hi: 13}
	})
	now = append(now[:2], record.Judged{Claim: "fresh", Verdict: record.Verdict{Outcome: record.Refuted, Why: "seen at last"}}, record.Judged{Claim: "late", Verdict: record.Verdict{Outcome: record.Confirmed}})
	j := Rejudged(r, []record.Plan{{Claim: "fresh", Title: "Fresh", Scenario: "s"}}, now, []string{"open"}, []Unasked{{"lost", "no claim has this id"}})
	g.Expect(j.tally()).To(Equal("2 changed, 1 the same, 1 new, 1 new and not decided, 1 cannot be asked any more"))
	g.Expect(j.Changed[0].Turn).To(Equal(Worse))
	g.Expect(j.Changed[1].Turn).To(Equal(Better), "nobody had judged it")
	g.Expect(j.Text()).To(MatchRegexp(`worse! +c +confirmed -> refuted; measured 5..6 s -> 12..13 s; allowed at most 10 s; margin 40 % -> -20 %`))
	g.Expect(j.Text()).NotTo(MatchRegexp(`is: *\n`), "a reason that is none is not told")
	g.Expect(j.Text()).To(MatchRegexp(`was: so a\n +is: late now `))
	g.Expect(j.Text()).To(MatchRegexp(`new +fresh +refuted\n +is: seen at last`))
	g.Expect(j.Text()).To(MatchRegexp(`unasked +lost +no claim has this id`))
	g.Expect(j.Text()).NotTo(ContainSubstring("\x1b"))
	md := string(j.Markdown())
	g.Expect(md).To(ContainSubstring("## New and not decided\n\nopen"))
	g.Expect(md).To(ContainSubstring("| lost | no claim has this id |"))
	g.Expect(md).NotTo(ContainSubstring("<b>"))
	dir := t.TempDir()
	files, err := j.Write(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "rejudged.md"), filepath.Join(dir, "rejudged.json")}))
	b, err := os.ReadFile(files[1])
	g.Expect(err).NotTo(HaveOccurred())
	var back Rejudgement
	g.Expect(json.Unmarshal(b, &back)).To(Succeed())
	g.Expect(back.Changed).To(HaveLen(2))
}
