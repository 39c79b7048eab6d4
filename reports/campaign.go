// This file writes what a campaign came to: campaign.json for programs and summary.md for people.

package reports

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Campaign is what a campaign came to, as campaign.json has it. Times are in seconds, rates between 0 and 1.
type Campaign struct {
	ID         string             `json:"id"`
	Event      string             `json:"event"` // what was counted
	Lab        string             `json:"lab"`
	Profile    string             `json:"profile"`
	Provenance drivers.Provenance `json:"provenance,omitempty"` // the weakest
	Began      time.Time          `json:"began"`
	Complete   bool               `json:"complete"` // every trial of the plan has been done
	Seed       uint64             `json:"seed"`     // of the trials' order
	Confidence float64            `json:"confidence"`
	Limit      float64            `json:"limit"` // the rate below which the event counts as one that does not come
	Arms       []Arm              `json:"arms"`
	Verdicts   []CampaignVerdict  `json:"verdicts"`
}

// Arm is what was counted under one hold.
type Arm struct {
	Hold    float64 `json:"hold_s"`
	Planned int     `json:"planned"`
	Trials  int     `json:"trials"` // that count
	Events  int     `json:"events"`
	// Lower and Upper are the bounds of the rate, each alone at the campaign's confidence (Clopper and Pearson).
	Lower     float64  `json:"lower"`
	Upper     float64  `json:"upper"`
	Undecided int      `json:"undecided"`         // nobody saw what came of the fault; done again
	Void      int      `json:"void"`              // came to no fault; done again
	Discarded int      `json:"discarded"`         // cut off by the end of the process or by a person; done again
	Records   []string `json:"records,omitempty"` // those of the trials with an event
}

// CampaignVerdict is the verdict on one statement.
type CampaignVerdict struct {
	Claim  string        `json:"claim"`
	Title  string        `json:"title"`
	Source record.Source `json:"src"`
	record.Verdict
}

// ExitCode returns the exit code that a campaign stands for.
func (c Campaign) ExitCode() int {
	code := ExitHolds
	for _, v := range c.Verdicts {
		switch v.Outcome {
		case record.Refuted:
			return ExitRefuted
		case record.Confirmed:
		default:
			code = ExitUndecided
		}
	}
	if len(c.Verdicts) == 0 {
		return ExitUndecided
	}
	return code
}

// WriteCampaign makes campaign.json and summary.md in dir, each replaced in one step, and returns their paths.
func WriteCampaign(c Campaign, dir string) ([]string, error) {
	j, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("making the campaign's report: %w", err)
	}
	var paths []string
	for _, f := range []struct {
		name string
		data []byte
	}{{"campaign.json", append(j, '\n')}, {"summary.md", c.Summary()}} {
		p := filepath.Join(dir, f.name)
		if err := replace(p, f.data); err != nil {
			return paths, fmt.Errorf("writing the report %s: %w", f.name, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// Summary returns the campaign as a page of Markdown.
func (c Campaign) Summary() []byte {
	m := &page{}
	m.say("# Campaign %s\n", markdown(c.ID, cellLimit))
	m.say("Lab %s, profile %s. Began %s. Order by seed %d; a confidence of %s in each one-sided statement.\n", markdown(c.Lab, cellLimit), markdown(c.Profile, cellLimit),
		stamp(c.Began, 0), c.Seed, rate(c.Confidence))
	for _, s := range sentences {
		if s.prov == c.Provenance {
			m.say("- %s\n", s.text)
		}
	}
	if !c.Complete {
		m.say("**Not every trial of the plan has been done.** The bounds are those of the trials so far, and a plan that ends where its counts look well proves nothing.\n")
	}
	m.table("held for", "trials", markdown(c.Event, cellLimit), "rate at least", "rate at most", "undecided", "void", "discarded")
	for _, a := range c.Arms {
		m.row(held(a), fmt.Sprintf("%d of %d", a.Trials, a.Planned), fmt.Sprint(a.Events), rate(a.Lower), rate(a.Upper), fmt.Sprint(a.Undecided), fmt.Sprint(a.Void), fmt.Sprint(a.Discarded))
	}
	m.say("\nEach bound holds alone with the confidence above (Clopper and Pearson). Undecided: the fault took hold and nobody saw what came of it. Void: there was no proven fault. " +
		"Discarded: cut off. None of these three counts, and each was done again.\n")
	m.table("verdict", "claim", "measured", "allowed", "why")
	for _, v := range c.Verdicts {
		m.row("**"+markdown(string(v.Outcome), cellLimit)+"**", markdown(v.Source.Code+" "+v.Claim, cellLimit), markdown(measured(v.Verdict), cellLimit),
			markdown(allowed(v.Verdict), cellLimit), markdown(oneLine(v.Why), 2*cellLimit))
	}
	for _, a := range c.Arms {
		for i, r := range a.Records {
			if i == 0 {
				m.say("\nRecords of the trials of %s with a %s:\n", held(a), markdown(c.Event, cellLimit))
			}
			if i == listLimit {
				m.say("- and %d more, in campaign.json", len(a.Records)-i)
				break
			}
			m.say("- %s", markdown(r, cellLimit))
		}
	}
	return []byte(m.String())
}

func held(a Arm) string {
	return time.Duration(a.Hold * float64(time.Second)).Round(time.Second).String()
}

// rate says a rate in percent with the digits that tell it apart from its neighbours.
func rate(r float64) string { return fmt.Sprintf("%.3g %%", 100*r) }
