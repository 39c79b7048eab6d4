package claim

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
)

// TestChosen: with --campaign a run has one claim, that of the trial, and without it all but that.
func TestChosen(t *testing.T) {
	g := NewWithT(t)
	c := RegisterCampaign(Campaign{ID: "test.chosen", Event: "e", Title: "t", In: scenario.Spec{Name: "chosen", Fault: drivers.Reset}, Holds: []time.Duration{time.Minute}, Limit: 0.1,
		Judge: func(record.Run, time.Duration) record.Verdict { return Confirm("so") },
		Rates: []Rate{{ID: "test.chosen.r", Title: "t", Source: record.Source{EN: "e"}, Judge: func(Counts) record.Verdict { return Confirm("so") },
			Able: func(campaign.Plan, []float64) []string { return nil }}}})
	got, err := chosen("test.chosen", 7*time.Second)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(HaveLen(1))
	g.Expect(got[0].ID).To(Equal("test.chosen.trial"))
	g.Expect(got[0].In.Hold).To(Equal(scenario.Held(7 * time.Second)))
	g.Expect(got[0].at).To(Equal(c.at))
	all, err := chosen("", 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(all).NotTo(ContainElement(HaveField("ID", "test.chosen.trial")))
	for want, call := range map[string]func() ([]*Claim, error){
		"there is no campaign":       func() ([]*Claim, error) { return chosen("test.none", time.Minute) },
		"needs --hold of at least":   func() ([]*Claim, error) { return chosen("test.chosen", 0) },
		"--hold is for a campaign's": func() ([]*Claim, error) { return chosen("", time.Minute) },
	} {
		_, err := call()
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
}
