package all_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// tapeBytes are a tape's lines as they stand on disk.
func tapeBytes(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", name, "run.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rejudged judges a record again and holds the verdicts against its own.
func rejudged(t *testing.T, b []byte) (reports.Rejudgement, claim.Afresh) {
	t.Helper()
	r, err := record.Parse(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	a := claim.Rejudge(r)
	var unasked []reports.Unasked
	for _, l := range a.Lost {
		unasked = append(unasked, reports.Unasked(l))
	}
	return reports.Rejudged(r, a.Plans, a.Judged, a.Open, unasked), a
}

// TestRejudgedTapesAreTheSame: a claim that now says something else of what a real lab did must be noticed.
func TestRejudgedTapesAreTheSame(t *testing.T) {
	// Of ceph 50 were planned and skipped; the other two tapes hold no plans.
	for name, verdicts := range map[string]int{"esxi": 54, "ceph": 113, "windows": 0} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			j, a := rejudged(t, tapeBytes(t, name))
			for _, c := range j.Changed {
				t.Errorf("%s: was %s (%s), is %s (%s)", c.Claim, c.WasWord, c.Was.Why, c.IsWord, c.Is.Why)
			}
			g.Expect(j.Same).To(Equal(verdicts))
			g.Expect(a.Lost).To(BeEmpty())
			if name == "windows" { // which nobody judged
				g.Expect(j.Fresh).NotTo(BeEmpty())
				g.Expect(len(a.Judged)).To(Equal(len(j.Fresh)))
			}
		})
	}
}

// TestRejudgingFindsAnAlteredVerdict has the negative controls: exactly what was altered is told.
func TestRejudgingFindsAnAlteredVerdict(t *testing.T) {
	const id = `"id":"esxi.loss-noticed-at-once","t":25485,"lab":"box-esxi",`
	for name, c := range map[string]struct {
		old, new string
		turn     reports.Turn
	}{
		"its word":       {id + `"verdict":"confirmed"`, id + `"verdict":"refuted"`, reports.Better},
		"its value":      {id + `"verdict":"confirmed","why":"first event of the loss","measured":{"lo":-0.039,"hi":0.005}`, id + `"verdict":"confirmed","why":"first event of the loss","measured":{"lo":4,"hi":5}`, reports.Moved},
		"its window":     {`"hi":0.005},"unit":"s","window":{"max":10}`, `"hi":0.005},"unit":"s","window":{"max":0.01}`, reports.Moved},
		"whose word":     {`"hi":0.005},"unit":"s","window":{"max":10},"provenance":"modelled"`, `"hi":0.005},"unit":"s","window":{"max":10},"provenance":"real"`, reports.Other},
		"a listed claim": {id + `"verdict":"confirmed","why"`, id + `"known":{"claim":"x","reason":"so"},"verdict":"refuted","why"`, reports.Better},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			b := string(tapeBytes(t, "esxi"))
			g.Expect(strings.Count(b, c.old)).To(Equal(1))
			j, _ := rejudged(t, []byte(strings.Replace(b, c.old, c.new, 1)))
			g.Expect(j.Changed).To(HaveLen(1))
			g.Expect(j.Changed[0].Claim).To(Equal("esxi.loss-noticed-at-once"))
			g.Expect(j.Changed[0].Turn).To(Equal(c.turn))
			g.Expect(j.Same).To(Equal(53))
		})
	}
}

// TestRejudgingFindsAnAlteredObservation: what a record says was seen decides, not what was said of it.
func TestRejudgingFindsAnAlteredObservation(t *testing.T) {
	g := NewWithT(t)
	p := load(t)
	before := len(p.judge())
	for _, l := range p.kind("e") {
		if l["type"] == "esx.problem.storage.connectivity.lost" {
			forget(l)
		}
	}
	r := p.read()
	j, _ := rejudged(t, p.bytes())
	g.Expect(before).To(BeNumerically(">", 50))
	g.Expect(r.Judged).NotTo(BeEmpty())
	g.Expect(j.Changed).NotTo(BeEmpty())
	g.Expect(slices.ContainsFunc(j.Changed, func(c reports.Change) bool { return c.Claim == "esxi.loss-noticed-at-once" })).To(BeTrue())
}

func TestWhatIsRejudged(t *testing.T) {
	g := NewWithT(t)
	p := load(t)
	r := p.read()
	ids := func(a claim.Afresh) (out []string) {
		for _, j := range a.Judged {
			out = append(out, j.Claim)
		}
		return out
	}
	all := ids(claim.Rejudge(r))
	g.Expect(all).To(ContainElement("esxi.loss-noticed-at-once"))
	g.Expect(all).NotTo(ContainElement(HavePrefix("vsan.")), "the run has no vSAN")
	g.Expect(all).NotTo(ContainElement(HavePrefix("guest.windows.")), "nor a Windows guest")

	deviation := &record.Deviation{Reason: "so"}
	r.Judged = []record.Judged{{Claim: "gone.with-the-wind"}, {Claim: "windows.bsod-rate.trial"}, {Claim: "host.stays-up", Known: deviation}}
	r.Plans = []record.Plan{{Claim: "host.leaves-vms-alone", Scenario: "brief-outage", Skip: "the lab lacks it"}, {Claim: "gone.too", Scenario: "s"}}
	a := claim.Rejudge(r)
	g.Expect(a.Lost).To(Equal([]claim.Lost{{Claim: "gone.too", Why: "no claim has this id today: its recorded verdict stands"},
		{Claim: "gone.with-the-wind", Why: "no claim has this id today: its recorded verdict stands"},
		{Claim: "windows.bsod-rate.trial", Why: "it is one trial of a campaign, which apd campaign judges with all others"}}))
	g.Expect(ids(a)).NotTo(ContainElement("host.leaves-vms-alone"), "what was skipped stays skipped")
	g.Expect(ids(a)[0]).To(Equal("host.stays-up"), "those of the record come first")
	g.Expect(a.Judged[0].Known).To(Equal(deviation))
	g.Expect(a.Judged[0].T).To(Equal(r.EndT))
	planned := map[string]bool{}
	for _, p := range a.Plans {
		g.Expect(planned[p.Claim]).To(BeFalse(), "%s is planned once", p.Claim)
		planned[p.Claim] = true
	}
	for _, id := range ids(a) {
		g.Expect(planned[id]).To(BeTrue(), "nobody planned %s, so it is planned now", id)
	}

	r.Header.Host = "qemu"
	g.Expect(ids(claim.Rejudge(r))).NotTo(ContainElement("esxi.loss-noticed-at-once"), "it speaks of another host")
}

// TestRejudgingARecordThatWasCutOff has verdicts on what is there, and none that is confirmed without its scenario's end.
func TestRejudgingARecordThatWasCutOff(t *testing.T) {
	g := NewWithT(t)
	whole := tapeBytes(t, "esxi")
	for n := len(whole) / 13; n < len(whole); n += len(whole) / 13 {
		j, a := rejudged(t, whole[:n])
		g.Expect(j.Notes).To(ContainElement(ContainSubstring("the record was cut off")))
		for _, c := range j.Changed {
			t.Errorf("%s changed in a record cut at %d: was %s, is %s (%s)", c.Claim, n, c.WasWord, c.IsWord, c.Is.Why)
		}
		for _, v := range a.Judged {
			if v.Outcome != record.Inconclusive {
				g.Expect(v.Provenance).To(BeElementOf(drivers.Embedded, drivers.Modelled))
			}
		}
	}
}
