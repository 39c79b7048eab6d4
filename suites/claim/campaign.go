// This file has the claims that one run cannot decide: statements about how often something happens, judged on the counts of a
// campaign, and the claim of one of its trials, which is an ordinary one.

package claim

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
)

// Campaign is a trial that can be done many times, and the statements about how often it ends in one way.
type Campaign struct {
	ID    string        // "windows.bsod-rate"
	Event string        // what is counted, a noun: "blue screen"
	Title string        // of one trial, with the event not happening; its hold is said after it
	Guest string        // the kind of guest that it needs, as lab files name its driver: "windows"
	In    scenario.Spec // its hold is the trial's
	Needs []drivers.Power
	Where Platform
	Holds []time.Duration // what the statements speak of
	Limit float64         // the rate below which the event counts as one that does not come, unless a campaign says another
	// Judge judges one trial, as any claim: confirmed when the event was seen not to happen, refuted when it happened.
	Judge func(run record.Run, hold time.Duration) record.Verdict
	Rates []Rate

	spec string
	at   types.CodeLocation
}

// Rate is one statement about a campaign's counts.
type Rate struct {
	ID, Title string
	Source    record.Source
	// Judge is a pure function of the counts.
	Judge func(c Counts) record.Verdict
	// Able says, before anything is done, what so many trials can decide. assumed are rates to reckon with, one for each hold, the
	// shortest first, or none.
	Able func(p campaign.Plan, assumed []float64) []string
}

// Counts are what a campaign has counted so far.
type Counts struct {
	Plan     campaign.Plan
	Arms     []campaign.Arm // the shortest hold first
	Complete bool           // every trial of the plan has been done
}

// CountsOf returns a campaign's counts.
func CountsOf(s campaign.State) Counts {
	return Counts{Plan: s.Plan, Arms: s.Arms(), Complete: s.Complete()}
}

// Arm returns the arm with the longest hold above min and up to max.
func (c Counts) Arm(min, max time.Duration) (campaign.Arm, bool) {
	for i := len(c.Arms) - 1; i >= 0; i-- {
		if a := c.Arms[i]; a.Hold > min && a.Hold <= max {
			return a, true
		}
	}
	return campaign.Arm{}, false
}

var campaigns []*Campaign

// RegisterCampaign adds a campaign. As with Register a mistake ends the program with its place.
func RegisterCampaign(c Campaign) *Campaign {
	mu.Lock()
	defer mu.Unlock()
	_, file, line, _ := runtime.Caller(1)
	c.spec = fmt.Sprintf("%s:%d", repoPath(file), line)
	c.at = types.CodeLocation{FileName: repoPath(file), LineNumber: line}
	switch {
	case !idForm.MatchString(c.ID):
		panic(fmt.Sprintf("%s: the campaign's id %q is not lower-case words joined by dots and dashes", c.spec, c.ID))
	case c.Judge == nil || c.Title == "" || c.Event == "" || c.In.Name == "" || len(c.Holds) == 0 || len(c.Rates) == 0 || !(c.Limit > 0 && c.Limit < 1):
		panic(fmt.Sprintf("%s: the campaign %s lacks a title, an event, a scenario, a judge, holds, a limit or statements", c.spec, c.ID))
	}
	for _, r := range c.Rates {
		if !idForm.MatchString(r.ID) || r.Title == "" || r.Source.EN == "" || r.Judge == nil || r.Able == nil {
			panic(fmt.Sprintf("%s: the statement %q of the campaign %s lacks an id, a title, a source, or how it is judged or planned", c.spec, r.ID, c.ID))
		}
	}
	for _, other := range campaigns {
		if other.ID == c.ID {
			panic(fmt.Sprintf("%s: the campaign %s is already registered at %s", c.spec, c.ID, other.spec))
		}
	}
	campaigns = append(campaigns, &c)
	return &c
}

// Campaigns returns every registered campaign, by id.
func Campaigns() []*Campaign {
	mu.Lock()
	defer mu.Unlock()
	out := slices.Clone(campaigns)
	slices.SortFunc(out, func(a, b *Campaign) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// FindCampaign returns a campaign by its id, or that of one of its statements.
func FindCampaign(id string) (*Campaign, error) {
	var ids []string
	for _, c := range Campaigns() {
		if c.ID == id || slices.ContainsFunc(c.Rates, func(r Rate) bool { return r.ID == id }) {
			return c, nil
		}
		ids = append(ids, c.ID)
	}
	return nil, fmt.Errorf("there is no campaign %q; there is %s", id, strings.Join(ids, ", "))
}

// Trial is the claim of one trial with that hold. It is not among All: a run of the claims does not do it.
func (c *Campaign) Trial(hold time.Duration) *Claim {
	in := c.In
	in.Hold, in.Title = scenario.Held(hold), fmt.Sprintf("%s, for %s", in.Title, hold)
	return &Claim{ID: c.ID + ".trial", Title: fmt.Sprintf("%s of %s", c.Title, hold), Source: c.Rates[0].Source, Labels: []string{"campaign"},
		Needs: c.Needs, Where: c.Where, In: in, On: []drivers.Role{drivers.Guest},
		Judge: func(run record.Run) record.Verdict { return c.Judge(run, hold) }, spec: c.spec, at: c.at}
}

// Outcome judges the record of a trial and says what it counts as.
func (c *Campaign) Outcome(r *record.Record, hold time.Duration) campaign.Outcome {
	v := c.Trial(hold).Verdict(r)
	o := campaign.Outcome{Result: campaign.Inconclusive, Why: v.Why, Provenance: v.Provenance}
	if run, ok := r.Run(c.In.Name); ok {
		o.Exposed = run.Fault().Active.What != ""
	}
	switch v.Outcome {
	case record.Confirmed:
		o.Result = campaign.None
	case record.Refuted:
		o.Result = campaign.Event
	}
	return o
}

// Verdict judges a statement on counts, and notes how many trials it rests on and the weakest provenance among them.
func (r Rate) Verdict(c Counts) record.Verdict {
	v := r.Judge(c)
	var ps []drivers.Provenance
	n := 0
	for _, a := range c.Arms {
		n += a.N
		ps = append(ps, a.Provenances...)
	}
	if v.N == 0 {
		v.N = n
	}
	v.Provenance = Weakest(ps...)
	return v
}
