// This file has claims about several runs at once, each on a lab of its own: what one record cannot say.

package claim

import (
	"fmt"
	"slices"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Across is a documented statement about several systems, judged over their runs side by side.
type Across struct {
	ID     string
	Title  string
	Source record.Source
	Labels []string // of claims: those whose verdicts are compared carry one of them
	// Judge is a pure function of the rows that Compare gives it, one a claim.
	Judge func(rows []Compared) record.Verdict
	// Effects judges instead of Judge where the statement is about what one fault did in each run.
	Effects func(rows []record.Effect) record.Verdict
}

// Compared is one claim over several runs. Rows has the claim's row of each run, in the runs' order; one that a run did not plan
// has no outcome.
type Compared struct {
	Claim string
	Title string
	Rows  []record.Row
	Not   string // why it is not counted; empty when it is
}

var across []*Across

// RegisterAcross adds one.
func RegisterAcross(a Across) *Across {
	mu.Lock()
	defer mu.Unlock()
	if !idForm.MatchString(a.ID) || (a.Judge == nil) == (a.Effects == nil) || a.Title == "" || a.Source.EN == "" || len(a.Labels) == 0 {
		panic(fmt.Sprintf("the claim %q over several runs lacks an id, title, source, labels or one judge", a.ID))
	}
	across = append(across, &a)
	return &a
}

// AllAcross returns every registered one, those of Judge and those of Effects.
func AllAcross() []*Across {
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(across)
}

// Compare lines the runs' claims up. A claim counts when at least two runs have a verdict on it that rests on no stand-in.
func (a *Across) Compare(runs []*record.Record) []Compared {
	var out []Compared
	at := map[string]int{}
	for n, r := range runs {
		for _, row := range r.Verdicts() {
			if !slices.ContainsFunc(a.Labels, func(l string) bool { return slices.Contains(row.Plan.Labels, l) }) {
				continue
			}
			i, ok := at[row.Plan.Claim]
			if !ok {
				i = len(out)
				at[row.Plan.Claim] = i
				out = append(out, Compared{Claim: row.Plan.Claim, Title: row.Plan.Title, Rows: make([]record.Row, len(runs))})
			}
			out[i].Rows[n] = row
		}
	}
	for i := range out {
		judged := 0
		for _, row := range out[i].Rows {
			switch {
			case row.K == "" || row.Outcome == record.NotApplicable || row.Outcome == "":
			case row.Provenance == drivers.Modelled:
				out[i].Not = "it rests on our own stand-in"
			default:
				judged++
			}
		}
		if out[i].Not == "" && judged < 2 {
			out[i].Not = "only one of them has a verdict"
		}
	}
	return out
}

// Verdict judges the runs by Judge; Effects is asked by who has the effects. Runs that differ in more than in what is compared say nothing of it.
func (a *Across) Verdict(runs []*record.Record, of func(*record.Record) string) record.Verdict {
	seen := map[string]bool{}
	for _, r := range runs {
		what := of(r)
		if what == "" {
			return Unsure(fmt.Sprintf("run %s does not say what it is about", r.Header.ID))
		}
		seen[what] = true
		if first := runs[0].Header; r.Header.Host != first.Host || r.Header.Profile != first.Profile {
			return Unsure(fmt.Sprintf("the runs differ in more: host %s with profile %s, and host %s with profile %s", first.Host, first.Profile, r.Header.Host, r.Header.Profile))
		}
	}
	if len(seen) < 2 {
		return Unsure("there are not two different ones to compare")
	}
	rows := a.Compare(runs)
	v := a.Judge(rows)
	var ps []drivers.Provenance
	for _, row := range rows {
		for _, one := range row.Rows {
			if row.Not == "" && one.Provenance != "" {
				ps = append(ps, one.Provenance)
			}
		}
	}
	v.Provenance = Weakest(ps...)
	return v
}
