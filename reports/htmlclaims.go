// This file says in the HTML report what the verdicts are: the counts, and a row for each claim.

package reports

import (
	"fmt"
	"html/template"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// inks are the verdicts' colours where there is no style sheet.
var inks = map[word]string{refuted: "#b8232f", known: "#9a6700", inconclusive: "#9a6700", confirmed: "#1f7a43", notApplicable: "#6a737d"}

// class is a verdict's class in the style sheet.
func class(w word) string {
	return "is-" + strings.NewReplacer(" (", "-", ")", "", " ", "-").Replace(string(w))
}

// shapes tell the verdicts apart without their colours: a cross on an octagon, a cross in a dashed one, a question mark on a triangle, a tick
// on a disc, a bar.
var shapes = map[word]string{
	refuted:       `<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" fill="%[1]s"/><path d="M5.5 5.5l5 5m0-5l-5 5" stroke="#fff" stroke-width="1.8" fill="none"/>`,
	known:         `<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" fill="none" stroke="%[1]s" stroke-width="1.4" stroke-dasharray="2.6 1.6"/><path d="M5.5 5.5l5 5m0-5l-5 5" stroke="%[1]s" stroke-width="1.6" fill="none"/>`,
	inconclusive:  `<path d="M8 1l7.4 13.5H.6z" fill="none" stroke="%[1]s" stroke-width="1.4" stroke-linejoin="round"/><path d="M8 5.8v4" stroke="%[1]s" stroke-width="1.7"/><circle cx="8" cy="12" r="1" fill="%[1]s"/>`,
	confirmed:     `<circle cx="8" cy="8" r="7" fill="%[1]s"/><path d="M4.6 8.3l2.4 2.4 4.6-5" stroke="#fff" stroke-width="1.8" fill="none"/>`,
	notApplicable: `<path d="M3 8h10" stroke="%[1]s" stroke-width="1.8"/>`,
}

func shape(w word) template.HTML {
	return template.HTML(`<svg class="shape ` + class(w) + `" width="14" height="14" viewBox="0 0 16 16" aria-hidden="true">` + fmt.Sprintf(shapes[w], inks[w]) + `</svg>`)
}

// tile is how many claims have a verdict.
type tile struct {
	N     int
	Word  word
	Class string
	Shape template.HTML
	First string // the anchor of the first of them
}

func tiles(rows []record.Row) []tile {
	var out []tile
	for _, w := range order {
		t := tile{Word: w, Class: class(w), Shape: shape(w)}
		for _, row := range rows {
			if wordOf(row) == w {
				if t.N++; t.N == 1 {
					t.First = oneLine(row.Plan.Claim)
				}
			}
		}
		out = append(out, t)
	}
	return out
}

// claimRow is what the page shows of a claim.
type claimRow struct {
	ID, Title, Code, Scenario string
	Word                      word
	Class                     string
	Shape                     template.HTML
	Source                    record.Source
	Measured, Allowed         string
	Follows, Spare            string
	Bar                       template.HTML
	On                        string // its provenance, empty when nobody saw anything
	Why, Short, Spec          string
	Known                     *record.Deviation
	Link                      template.URL // of the deviation
	Stale                     bool
	Open                      bool // why is to be seen at once
	Unfold                    bool // and all the rest as well
	Cites                     []*cite
	Files                     []fileLink
	Turn                      Turn
	Change                    string
}

// fileLink is a file of evidence.
type fileLink struct {
	Name string
	Link template.URL
}

// text is a stranger's text for the page.
func text(s string) string { return cut(oneLine(s), textLimit) }

func claimRows(r *record.Record, o Options, rows []record.Row, c *cites, changes map[string]Change) (asked, skipped []claimRow) {
	files := evidence(o)
	for _, row := range rows {
		w := wordOf(row)
		v := claimRow{ID: oneLine(row.Plan.Claim), Title: text(row.Plan.Title), Code: text(row.Plan.Source.Doc + " " + row.Plan.Source.Code), Scenario: text(row.Plan.Scenario),
			Word: w, Class: class(w), Shape: shape(w), Measured: measured(row.Verdict), Allowed: allowed(row.Verdict), Follows: follows(row.Verdict),
			Spare: room(margin(row.Verdict)), Bar: windowBar(row), Why: text(row.Why), Short: cut(text(row.Why), 110), Stale: stale(row), Open: w == refuted || w == inconclusive, Unfold: w == refuted}
		s := row.Plan.Source
		v.Source = record.Source{Doc: text(s.Doc), Code: text(s.Code), JA: text(s.JA), EN: text(s.EN), Note: text(s.Note)}
		if row.K != "" {
			v.On = text(provenance(r, row))
		}
		if file, line, ok := spec(row.Plan); ok {
			v.Spec = file + ":" + strconv.Itoa(line)
		}
		if k := row.Known; k != nil {
			v.Known = &record.Deviation{Reason: text(k.Reason), Link: text(k.Link), Until: text(k.Until)}
			if webAddress.MatchString(v.Known.Link) {
				v.Link = template.URL(v.Known.Link)
			}
		}
		seen := map[*cite]bool{}
		for _, p := range row.Evidence {
			if p := c.at[p]; !seen[p] {
				seen[p] = true
				v.Cites = append(v.Cites, p)
			}
		}
		for _, f := range files {
			if concerns(f, row.Plan.Claim) {
				v.Files = append(v.Files, fileLink{text(f), linkTo(f)})
			}
		}
		if ch, ok := changes[row.Plan.Claim]; ok {
			v.Turn, v.Change = ch.Turn, changed(ch)
		}
		if w == notApplicable {
			skipped = append(skipped, v)
		} else {
			asked = append(asked, v)
		}
	}
	return asked, skipped
}

// changed says in a few words how a claim fares beside the previous run; empty when nothing is to be said.
func changed(c Change) string {
	var say []string
	switch c.Turn {
	case Same:
	case New:
		say = []string{"new"}
	case Moved:
		say = []string{"margin " + c.margins()}
	default:
		say = []string{string(c.Turn) + ": " + c.words()}
	}
	return text(strings.Join(append(say, c.remarks()...), "; "))
}

// previous is the comparison with the run before.
type previous struct {
	ID, Why     string
	Gone        []Change
	Differences []Difference
	Counts      string
}

func against(r *record.Record, o Options) (*previous, map[string]Change) {
	if o.Previous == nil {
		return nil, nil
	}
	c := Compare(o.Previous, r)
	p := &previous{ID: text(c.A.ID), Why: text(c.NotComparable), Counts: c.tally()}
	for _, d := range c.Differences {
		p.Differences = append(p.Differences, Difference{text(d.What), text(d.Was), text(d.Is)})
	}
	changes := map[string]Change{}
	for _, ch := range c.Changes {
		if ch.Turn == Gone {
			p.Gone = append(p.Gone, Change{Claim: text(ch.Claim), Title: text(ch.Title), WasWord: text(ch.WasWord)})
		} else {
			changes[ch.Claim] = ch
		}
	}
	return p, changes
}

// verdictOf is the run's verdict in a sentence.
func verdictOf(r *record.Record, rows []record.Row) (w word, say string) {
	c := Count(rows)
	switch code := ExitCode(r); {
	case code == ExitHolds && c.Known > 0:
		return confirmed, "The run passes: what was refuted is on the list of known deviations."
	case code == ExitHolds:
		return confirmed, "The run passes: everything that was judged was confirmed."
	case code == ExitRefuted:
		say = "The run fails: " + several(c.Refuted, "claim") + " refuted"
		if why := trouble(r, c); why != "" {
			say += "; " + why
		}
		return refuted, say + "."
	}
	if r.Live {
		return inconclusive, fmt.Sprintf("The run is under way: %d of %s decided.", c.Judged(), several(len(rows)-c.NotApplicable, "claim"))
	}
	if why := trouble(r, c); why != "" {
		return inconclusive, "The run does not pass: " + cut(why, textLimit) + "."
	}
	return inconclusive, "The run does not pass: " + several(c.Inconclusive, "claim") + " could not be decided."
}
