// This file shows what today's claims say of an old record, beside what was said of it then.

package reports

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Rejudgement is a record that was judged again. A claim has changed when anything of its verdict that reports show is another: the
// word, the value, the window, whose word it is. The reason in other words is no change.
type Rejudgement struct {
	Run      record.Header `json:"run"`
	SHA256   string        `json:"sha256"` // of the record that was read
	Notes    []string      `json:"notes,omitempty"`
	Changed  []Change      `json:"changed"`
	Same     int           `json:"same"`
	Reworded int           `json:"reworded"`          // of Same, those whose reason is in other words
	Fresh    []Change      `json:"fresh,omitempty"`   // claims that the record has no verdict on and that it decides
	Open     []string      `json:"open,omitempty"`    // and those that it does not
	Unasked  []Unasked     `json:"unasked,omitempty"` // claims of the record that cannot be asked any more
}

// Unasked is a claim of a record that cannot be asked any more; its verdict stands.
type Unasked struct {
	Claim string `json:"claim"`
	Why   string `json:"why"`
}

// Rejudged holds new verdicts on a record, with the plans of claims that it did not plan, against its own.
func Rejudged(r *record.Record, plans []record.Plan, judged []record.Judged, open []string, unasked []Unasked) Rejudgement {
	out := Rejudgement{Run: r.Header, SHA256: r.SHA256, Notes: oddities(r), Changed: []Change{}, Open: open, Unasked: unasked}
	after := *r
	after.Plans = slices.Concat(r.Plans, plans)
	after.Judged = slices.Concat(r.Judged, judged)
	for i := len(r.Judged); i < len(after.Judged); i++ {
		after.Judged[i].K = "claim" // as a reader of them would have it
	}
	for _, c := range Compare(r, &after).Changes {
		switch {
		case c.Was == nil:
			out.Fresh = append(out.Fresh, c)
		case slices.ContainsFunc(unasked, func(u Unasked) bool { return u.Claim == c.Claim }):
		case shown(*c.Was) != shown(*c.Is):
			if c.Turn == Same { // the same word of another window, or on another's word
				c.Turn = Other
			}
			out.Changed = append(out.Changed, c)
		default:
			out.Same++
			if c.Was.Why != c.Is.Why {
				out.Reworded++
			}
		}
	}
	return out
}

// shown is what reports show of a verdict, without its reason.
func shown(row record.Row) string {
	return strings.Join([]string{string(wordOf(row)), measured(row.Verdict), window(row.Verdict), string(row.Provenance)}, "\n")
}

// oddities are what a reader of the record has to know before its verdicts.
func oddities(r *record.Record) []string {
	var out []string
	if r.Header.V == 0 {
		out = append(out, "the record does not say which format it has: what it lacks is taken as not seen")
	}
	if !r.Ended {
		out = append(out, "the record was cut off: what came later is not known, and scenarios that did not come to their end decide nothing")
	} else if r.EndWhy != "done" {
		out = append(out, "the run did not end as planned: "+r.EndWhy)
	}
	if r.Torn {
		out = append(out, "its last line was cut off and is left out")
	}
	if r.Unknown > 0 {
		out = append(out, fmt.Sprintf("%d lines are of a kind that this version does not know and are left out", r.Unknown))
	}
	return out
}

// tally is what came of it, in one sentence.
func (j Rejudgement) tally() string {
	s := fmt.Sprintf("%d changed, %d the same", len(j.Changed), j.Same)
	if j.Reworded > 0 {
		s += fmt.Sprintf(" (%d for a reason in other words)", j.Reworded)
	}
	return s + fmt.Sprintf(", %d new, %d new and not decided, %d cannot be asked any more", len(j.Fresh), len(j.Open), len(j.Unasked))
}

// Text is the rejudgement as lines for a terminal.
func (j Rejudgement) Text() string {
	var b strings.Builder
	say := func(s string) { b.WriteString(harmless(s) + "\n") }
	say(runLine(j.Run))
	for _, n := range j.Notes {
		say("  " + cut(oneLine(n), cellLimit))
	}
	say("  " + j.tally())
	for _, c := range slices.Concat(j.Changed, j.Fresh) {
		for _, line := range c.text(true) {
			say("  " + line)
		}
	}
	for _, u := range j.Unasked {
		say(fmt.Sprintf("  %-8s %-46s %s", "unasked", or(u.Claim), cut(oneLine(u.Why), cellLimit)))
	}
	return b.String()
}

// Markdown is the rejudgement as a page.
func (j Rejudgement) Markdown() []byte {
	m := &page{}
	m.say("# Run %s, judged again\n", markdown(j.Run.ID, cellLimit))
	m.say("%s. Record sha256 %s.\n", markdown(runLine(j.Run), cellLimit), markdown(j.SHA256, cellLimit))
	for _, n := range j.Notes {
		m.say("- %s", markdown(n, cellLimit))
	}
	m.say("\n**%s.** The record is as it was; what is new stands behind it, in a copy.\n", j.tally())
	for _, list := range []struct {
		title string
		rows  []Change
	}{{"Changed", j.Changed}, {"New", j.Fresh}} {
		if len(list.rows) > 0 {
			m.say("\n## %s\n", list.title)
			m.say(explainMargin)
			m.changes("", list.rows, true)
		}
	}
	if len(j.Open) > 0 {
		m.say("\n## New and not decided\n\n%s", markdown(strings.Join(j.Open, ", "), 10*cellLimit))
	}
	if len(j.Unasked) > 0 {
		m.say("\n## Not asked any more\n")
		m.table("Claim", "Why")
		for _, u := range j.Unasked {
			m.row(markdown(u.Claim, cellLimit), markdown(u.Why, cellLimit))
		}
	}
	return []byte(m.String())
}

// Write makes rejudged.md and rejudged.json in dir and returns their paths.
func (j Rejudgement) Write(dir string) ([]string, error) {
	b, err := json.MarshalIndent(j, "", " ")
	if err != nil {
		return nil, fmt.Errorf("making rejudged.json: %w", err)
	}
	return writeAll(dir, file{"rejudged.md", j.Markdown()}, file{"rejudged.json", append(b, '\n')})
}
