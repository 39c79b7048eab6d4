// This file asks today's claims about an old record.

package claim

import (
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Afresh is what today's claims say of a record that was judged before.
type Afresh struct {
	Plans  []record.Plan   // of claims that the record's run did not plan, for it was older, or left them out; only those that the record decides
	Judged []record.Judged // one a claim: first those of the record, in its order, then those of Plans
	Open   []string        // claims that the run did not plan, and that the record does not decide
	Lost   []Lost          // claims of the record that cannot be asked any more
}

// Lost is a claim of a record that cannot be asked any more.
type Lost struct {
	Claim string `json:"claim"`
	Why   string `json:"why"`
}

// Rejudge judges every claim of a record again, and those that exist today and are about a scenario that the record has. A claim that
// its run skipped stays skipped: what a lab could do is not in its record. Known deviations stay those of the run. The record is not
// altered.
func Rejudge(r *record.Record) Afresh {
	var a Afresh
	today := map[string]*Claim{}
	for _, c := range All() {
		today[c.ID] = c
	}
	deviations := map[string]*record.Deviation{}
	for _, j := range r.Judged {
		deviations[j.Claim] = j.Known
	}
	seen := map[string]bool{}
	ask := func(id string, skip bool) {
		if seen[id] {
			return
		}
		seen[id] = true
		c, ok := today[id]
		switch {
		case skip:
		case ok:
			a.Judged = append(a.Judged, record.Judged{Claim: id, T: r.EndT, Lab: r.Header.Lab, Verdict: c.Verdict(r), Known: deviations[id]})
		default:
			a.Lost = append(a.Lost, Lost{id, lostWhy(id)})
		}
	}
	for _, p := range r.Plans {
		skipped := p.Skip != "" && !slices.ContainsFunc(r.Plans, func(o record.Plan) bool { return o.Claim == p.Claim && o.Skip == "" })
		ask(p.Claim, skipped && !slices.ContainsFunc(r.Judged, func(j record.Judged) bool { return j.Claim == p.Claim }))
	}
	for _, j := range r.Judged {
		ask(j.Claim, false)
	}
	for _, c := range All() {
		if seen[c.ID] || !c.fits(r) {
			continue
		}
		v := c.Verdict(r)
		if v.Outcome == record.Inconclusive || v.Outcome == record.NotApplicable {
			a.Open = append(a.Open, c.ID)
			continue
		}
		a.Plans = append(a.Plans, c.Plan(r.Header.Profile, ""))
		a.Judged = append(a.Judged, record.Judged{Claim: c.ID, T: r.EndT, Lab: r.Header.Lab, Verdict: v})
	}
	// A claim that was judged and never planned has no title and no scenario in the record: today's plan gives it both.
	for _, j := range a.Judged {
		planned := func(p record.Plan) bool { return p.Claim == j.Claim }
		if !slices.ContainsFunc(r.Plans, planned) && !slices.ContainsFunc(a.Plans, planned) {
			a.Plans = append(a.Plans, today[j.Claim].Plan(r.Header.Profile, ""))
		}
	}
	return a
}

// lostWhy tells why no claim has an id.
func lostWhy(id string) string {
	if of, ok := strings.CutSuffix(id, ".trial"); ok {
		if _, err := FindCampaign(of); err == nil {
			return "it is one trial of a campaign, which apd campaign judges with all others"
		}
	}
	return "no claim has this id today: its recorded verdict stands"
}

// fits tells whether a record is of a kind that the claim speaks of: its scenario began, and its host and cluster are meant.
func (c *Claim) fits(r *record.Record) bool {
	run, ok := r.Run(c.In.Name)
	if !ok || !c.Where.Includes(r.Header.Host) {
		return false
	}
	return len(c.Where.Clusters) == 0 || slices.Contains(c.Where.Clusters, run.Effect().Platform)
}
