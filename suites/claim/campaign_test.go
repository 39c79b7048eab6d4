package claim_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// often is a campaign without a mistake. Its trials have the event when the record says so in the scenario's title.
func often(id string) claim.Campaign {
	return claim.Campaign{ID: id, Event: "surprise", Title: "No surprise", In: scenario.Spec{Name: "often", Fault: drivers.Reset}, Holds: []time.Duration{time.Minute}, Limit: 0.1,
		Judge: func(run record.Run, hold time.Duration) record.Verdict {
			if hold == time.Minute {
				return claim.Confirm("nothing")
			}
			return claim.Refute("held for " + hold.String())
		},
		Rates: []claim.Rate{{ID: id + ".none", Title: "There is none", Source: record.Source{EN: "None."},
			Judge: func(c claim.Counts) record.Verdict { return claim.Confirm(fmt.Sprint(len(c.Arms))) },
			Able:  func(campaign.Plan, []float64) []string { return nil }}}}
}

func TestRegisterCampaign(t *testing.T) {
	g := NewWithT(t)
	c := claim.RegisterCampaign(often("test.often"))
	g.Expect(claim.Campaigns()).To(ContainElement(c))
	for _, id := range []string{"test.often", "test.often.none"} {
		g.Expect(claim.FindCampaign(id)).To(BeIdenticalTo(c))
	}
	_, err := claim.FindCampaign("test.offen")
	g.Expect(err).To(MatchError(And(ContainSubstring(`there is no campaign "test.offen"`), ContainSubstring("test.often"))))
	g.Expect(func() { claim.RegisterCampaign(often("test.often")) }).To(PanicWith(ContainSubstring("already registered at suites/claim/campaign_test.go:")))
	for name, change := range map[string]func(c *claim.Campaign){
		"no id":              func(c *claim.Campaign) { c.ID = "" },
		"no event":           func(c *claim.Campaign) { c.Event = "" },
		"no title":           func(c *claim.Campaign) { c.Title = "" },
		"no scenario":        func(c *claim.Campaign) { c.In.Name = "" },
		"no judge":           func(c *claim.Campaign) { c.Judge = nil },
		"no holds":           func(c *claim.Campaign) { c.Holds = nil },
		"no limit":           func(c *claim.Campaign) { c.Limit = 0 },
		"no statements":      func(c *claim.Campaign) { c.Rates = nil },
		"a statement's id":   func(c *claim.Campaign) { c.Rates[0].ID = "No" },
		"a statement's work": func(c *claim.Campaign) { c.Rates[0].Judge = nil },
		"a statement's plan": func(c *claim.Campaign) { c.Rates[0].Able = nil },
		"a source":           func(c *claim.Campaign) { c.Rates[0].Source.EN = "" },
	} {
		bad := often("test.mistake")
		change(&bad)
		g.Expect(func() { claim.RegisterCampaign(bad) }).To(PanicWith(HavePrefix("suites/claim/campaign_test.go:")), name)
	}
}

// TestATrialIsAClaimOfItsOwn: it has the hold, and is not among the claims of a run.
func TestATrialIsAClaimOfItsOwn(t *testing.T) {
	g := NewWithT(t)
	bad := often("test.trial")
	c := claim.RegisterCampaign(bad)
	trial := c.Trial(90 * time.Second)
	g.Expect(trial.ID).To(Equal("test.trial.trial"))
	g.Expect(trial.Title).To(Equal("No surprise of 1m30s"))
	for _, profile := range []string{"quick", "documented"} {
		g.Expect(trial.In.Hold.For(profile, time.Hour)).To(Equal(90 * time.Second))
	}
	g.Expect(trial.LabelsFor("quick")).To(ContainElements("campaign", "claim:test.trial.trial", "scenario:often"))
	for _, other := range claim.All() {
		g.Expect(other.ID).NotTo(Equal(trial.ID))
	}
	g.Expect(trial.Skip(map[drivers.Power][]string{}, "esxi")).To(ContainSubstring("the lab lacks"))
}

func TestOutcome(t *testing.T) {
	g := NewWithT(t)
	c := claim.RegisterCampaign(often("test.outcome"))
	const text = `{"k":"run","v":1,"id":"t","lab_kind":"embedded"}
{"k":"phase","t":1,"name":"scenario","scenario":"often","edge":"begin"}
{"k":"fault","t":2,"f":"f1","edge":"begin","type":"reset"}
{"k":"fault","t":3,"f":"f1","edge":"active","type":"reset"}
{"k":"fault","t":4,"f":"f1","edge":"undo","type":"reset"}
{"k":"fault","t":5,"f":"f1","edge":"end","type":"reset"}
{"k":"phase","t":6,"name":"scenario","scenario":"often","edge":"end"}
`
	read := func(s string) *record.Record {
		r, err := record.Parse(bytes.NewReader([]byte(s)))
		g.Expect(err).NotTo(HaveOccurred())
		return r
	}
	whole := read(text)
	g.Expect(c.Outcome(whole, time.Minute)).To(Equal(campaign.Outcome{Result: campaign.None, Why: "nothing", Exposed: true, Provenance: drivers.Embedded}))
	g.Expect(c.Outcome(whole, time.Hour)).To(Equal(campaign.Outcome{Result: campaign.Event, Why: "held for 1h0m0s", Exposed: true, Provenance: drivers.Embedded}))
	lines := bytes.SplitAfter([]byte(text), []byte("\n"))
	for n, exposed := range map[int]bool{1: false, 2: false, 3: false, 4: true, 5: true, 6: true} {
		o := c.Outcome(read(string(bytes.Join(lines[:n], nil))), time.Hour)
		g.Expect(o.Result).To(Equal(campaign.Inconclusive), "%d lines", n)
		g.Expect(o.Exposed).To(Equal(exposed), "%d lines", n)
	}
}

func TestRateVerdict(t *testing.T) {
	g := NewWithT(t)
	r := often("test.rate").Rates[0]
	v := r.Verdict(claim.Counts{Arms: []campaign.Arm{{N: 3, Provenances: []drivers.Provenance{drivers.Real}}, {N: 4, Provenances: []drivers.Provenance{drivers.Modelled, drivers.Real}}}})
	g.Expect(v.N).To(Equal(7))
	g.Expect(v.Provenance).To(Equal(drivers.Modelled))
}

func TestArm(t *testing.T) {
	g := NewWithT(t)
	c := claim.Counts{Arms: []campaign.Arm{{Hold: time.Minute}, {Hold: 2 * time.Minute}}}
	a, ok := c.Arm(0, time.Hour)
	g.Expect(ok).To(BeTrue())
	g.Expect(a.Hold).To(Equal(2 * time.Minute))
	_, ok = c.Arm(2*time.Minute, time.Hour)
	g.Expect(ok).To(BeFalse(), "above, not from")
	_, ok = c.Arm(0, time.Minute)
	g.Expect(ok).To(BeTrue(), "up to and with")
}
