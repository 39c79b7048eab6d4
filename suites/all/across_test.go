package all_test

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// ran makes a record of a run on a lab whose target is the given one, in which each planned claim has its verdict.
func ran(t *testing.T, target string, change func(*record.Record)) *record.Record {
	t.Helper()
	p := load(t)
	r := p.read()
	r.Header.Facts["target"] = target
	r.Header.ID += "-" + target
	r.Plans, r.Judged = nil, nil
	for _, c := range p.claims() {
		r.Plans = append(r.Plans, c.Plan("quick", ""))
		r.Judged = append(r.Judged, record.Judged{K: "verdict", Claim: c.ID, Lab: r.Header.Lab, Verdict: c.Verdict(r)})
	}
	if change != nil {
		change(r)
	}
	return r
}

// put changes one claim's verdict.
func put(id string, o record.Outcome) func(*record.Record) {
	return func(r *record.Record) {
		for i := range r.Judged {
			if r.Judged[i].Claim == id {
				r.Judged[i].Outcome = o
			}
		}
	}
}

func targetsAlike(t *testing.T, runs ...*record.Record) record.Verdict {
	t.Helper()
	for _, a := range claim.AllAcross() {
		if a.ID == "targets.behave-alike" {
			return a.Verdict(runs, func(r *record.Record) string { return r.Header.Facts["target"] })
		}
	}
	t.Fatal("E10 is not registered")
	return record.Verdict{}
}

func TestTwoTargetsThatBehaveAlike(t *testing.T) {
	g := NewWithT(t)
	v := targetsAlike(t, ran(t, "target/tgt", nil), ran(t, "target/istgt-local", nil))
	g.Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
	g.Expect(v.N).To(BeNumerically(">", 15))
	g.Expect(v.Provenance).To(Equal(drivers.Embedded), "what our own host says is not counted")
}

func TestTargetsThatDifferAreRed(t *testing.T) {
	g := NewWithT(t)
	v := targetsAlike(t, ran(t, "target/tgt", nil), ran(t, "target/lio", put("host.cable-pull-is-harmless", record.Refuted)))
	g.Expect(v.Outcome).To(Equal(record.Refuted))
	g.Expect(v.Why).To(ContainSubstring("host.cable-pull-is-harmless"))
	g.Expect(strings.Count(v.Why, ".")).To(Equal(1), "exactly that one: %s", v.Why)
}

func TestWhatIsNotComparable(t *testing.T) {
	tgt := func() *record.Record { return ran(t, "target/tgt", nil) }
	for name, runs := range map[string][]*record.Record{
		"one target twice":           {tgt(), tgt()},
		"a run that names no target": {tgt(), ran(t, "", nil)},
		"another kind of host":       {tgt(), ran(t, "target/lio", func(r *record.Record) { r.Header.Host = "qemu" })},
		"another profile":            {tgt(), ran(t, "target/lio", func(r *record.Record) { r.Header.Profile = "documented" })},
		"an undecided claim":         {tgt(), ran(t, "target/lio", put("host.cable-pull-is-harmless", record.Inconclusive))},
		"no verdicts":                {tgt(), ran(t, "target/lio", func(r *record.Record) { r.Judged = nil })},
	} {
		t.Run(name, func(t *testing.T) {
			v := targetsAlike(t, runs...)
			NewWithT(t).Expect(v.Outcome).To(Equal(record.Inconclusive), v.Why)
		})
	}
}

// TestAStandInIsNotCounted: a claim that rests on our own host may differ without saying anything about targets.
func TestAStandInIsNotCounted(t *testing.T) {
	v := targetsAlike(t, ran(t, "target/tgt", nil), ran(t, "target/lio", put("esxi.loss-noticed-at-once", record.Refuted)))
	NewWithT(t).Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
}
