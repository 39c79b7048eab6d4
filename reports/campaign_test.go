package reports_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

func someCampaign() reports.Campaign {
	limit := 0.05
	return reports.Campaign{ID: "windows.bsod-rate", Event: "blue screen", Lab: "esxi|1", Profile: "documented", Provenance: drivers.Real,
		Began: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Complete: true, Seed: 7, Confidence: 0.95, Limit: limit,
		Arms: []reports.Arm{{Hold: 900, Planned: 59, Trials: 59, Upper: 0.0495, Undecided: 1, Void: 2, Discarded: 3},
			{Hold: 1200, Planned: 59, Trials: 59, Events: 2, Lower: 0.006, Upper: 0.102, Records: []string{"trials/0002-20m0s", "trials/0007-20m0s"}}},
		Verdicts: []reports.CampaignVerdict{{Claim: "guest.windows.none", Title: "None", Source: record.Source{Code: "W11"},
			Verdict: record.Verdict{Outcome: record.Confirmed, Why: "0 of 59 | at most 4.95 %", N: 59, Unit: "of trials", Measured: &record.Interval{Hi: 0.0495}, Window: &record.Window{Max: &limit}}}}}
}

func TestCampaignSummary(t *testing.T) {
	g := NewWithT(t)
	s := string(someCampaign().Summary())
	for _, want := range []string{"# Campaign windows.bsod-rate", "Order by seed 7", "a confidence of 95 %", "seen on the systems that the lab file names",
		"| 15m0s | 59 of 59 | 0 | 0 % | 4.95 % | 1 | 2 | 3 |", "| 20m0s | 59 of 59 | 2 | 0.6 % | 10.2 % | 0 | 0 | 0 |",
		"| **confirmed** | W11 guest.windows.none |", "n=59", "at most 0.05 of trials", "- trials/0007-20m0s"} {
		g.Expect(s).To(ContainSubstring(want))
	}
	g.Expect(s).NotTo(ContainSubstring("esxi|1"), "a bar in a name would be another cell")
	g.Expect(s).NotTo(ContainSubstring("Not every trial"))
	c := someCampaign()
	c.Complete = false
	g.Expect(string(c.Summary())).To(ContainSubstring("**Not every trial of the plan has been done.**"))
	c.Arms[1].Records = make([]string, 500)
	g.Expect(string(c.Summary())).To(ContainSubstring("- and 300 more, in campaign.json"))
}

func TestCampaignFiles(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	files, err := reports.WriteCampaign(someCampaign(), dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "campaign.json"), filepath.Join(dir, "summary.md")}))
	b, err := os.ReadFile(files[0])
	g.Expect(err).NotTo(HaveOccurred())
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	var c reports.Campaign
	g.Expect(dec.Decode(&c)).To(Succeed())
	g.Expect(c).To(Equal(someCampaign()))
	for _, want := range []string{`"hold_s": 900`, `"events": 2`, `"verdict": "confirmed"`, `"upper": 0.102`, `"discarded": 3`} {
		g.Expect(string(b)).To(ContainSubstring(want))
	}
	_, err = reports.WriteCampaign(someCampaign(), filepath.Join(dir, "none"))
	g.Expect(err).To(MatchError(ContainSubstring("writing the report campaign.json")))
}

func TestCampaignExitCode(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		want     int
		outcomes []record.Outcome
	}{
		{reports.ExitHolds, []record.Outcome{record.Confirmed, record.Confirmed}},
		{reports.ExitUndecided, []record.Outcome{record.Confirmed, record.Inconclusive}},
		{reports.ExitUndecided, nil},
		{reports.ExitRefuted, []record.Outcome{record.Inconclusive, record.Refuted}},
		{reports.ExitRefuted, []record.Outcome{record.Refuted, record.Inconclusive}},
	} {
		var r reports.Campaign
		for _, o := range c.outcomes {
			r.Verdicts = append(r.Verdicts, reports.CampaignVerdict{Verdict: record.Verdict{Outcome: o}})
		}
		g.Expect(r.ExitCode()).To(Equal(c.want), "%v", c.outcomes)
	}
}
