// This file writes summary.md: the run on one page, for a pull request or a CI system's summary page.

package reports

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// How many lines the longest lists get: GitHub takes a summary of 1 MiB.
const (
	cellLimit = 300
	listLimit = 200
)

// sentences say what a provenance means for the reader.
var sentences = []struct {
	prov drivers.Provenance
	text string
}{
	{drivers.Real, "**real**: seen on the systems that the lab file names."},
	{drivers.Embedded, "**embedded**: real kernels, wire and daemons on this machine."},
	{drivers.Modelled, "**modelled**: seen on our own stand-in, which is not evidence about ESXi or any other product."},
}

// Summary returns the record as a page of Markdown.
func Summary(r *record.Record, o Options) []byte {
	m := &page{}
	rows := sorted(Rows(r))
	m.header(r, rows)
	m.claims(r, rows)
	m.deviations(rows)
	m.faults(r)
	m.settings(r)
	m.evidence(r, o)
	return []byte(m.String())
}

type page struct{ strings.Builder }

func (m *page) say(format string, a ...any) { fmt.Fprintf(m, format+"\n", a...) }

func (m *page) table(head ...string) {
	m.say("| %s |\n|%s", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
}

// row writes cells that are escaped already.
func (m *page) row(cells ...string) {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	m.say("| %s |", strings.Join(cells, " | "))
}

func (m *page) header(r *record.Record, rows []record.Row) {
	h := r.Header
	m.say("# Run %s\n", markdown(h.ID, cellLimit))
	line := fmt.Sprintf("Lab %s (%s)", markdown(h.Lab, cellLimit), markdown(provenance(r, record.Row{}), cellLimit))
	for _, p := range [][2]string{{"hosts", h.Host}, {"profile", h.Profile}, {"filter", h.Filter}, {"git", h.Git}} {
		if p[1] != "" {
			line += ", " + p[0] + " " + markdown(p[1], cellLimit)
		}
	}
	m.say("%s. Began %s, lasted %s.\n", line, stamp(h.T0, 0), (time.Duration(r.EndT) * time.Millisecond).Round(time.Second))
	for _, s := range sentences {
		if s.prov == h.LabKind || slices.ContainsFunc(rows, func(row record.Row) bool { return row.Provenance == s.prov }) {
			m.say("- %s", s.text)
		}
	}
	c := Count(rows)
	m.say("\n**%s.**", c)
	if why := trouble(r, c); why != "" {
		m.say("\n**This run does not pass: %s.**", markdown(why, cellLimit))
	}
	if r.Torn {
		m.say("\nThe record's last line was cut off and is left out.")
	}
	if r.Unknown > 0 {
		m.say("\n%d lines of the record are of a kind that this version does not know and are left out.", r.Unknown)
	}
}

func (m *page) claims(r *record.Record, rows []record.Row) {
	if len(rows) == 0 {
		return
	}
	m.say("\n## Claims\n")
	m.table("Verdict", "Claim", "Title", "Measured", "Allowed", "Provenance", "Why")
	for _, row := range rows {
		w := string(wordOf(row))
		if wordOf(row) == refuted {
			w = "**" + w + "**"
		}
		window := markdown(allowed(row.Verdict), 60)
		if f := follows(row.Verdict); f != "" {
			window = strings.TrimSpace(window + " (following " + markdown(f, cellLimit) + ")")
		}
		prov := provenance(r, row)
		if row.K == "" { // nobody saw anything
			prov = ""
		}
		m.row(w, markdown(strings.TrimSpace(row.Plan.Source.Doc+" "+row.Plan.Source.Code+" "+row.Plan.Claim), cellLimit),
			markdown(row.Plan.Title, cellLimit), markdown(measured(row.Verdict), 60), window, markdown(prov, 20), markdown(row.Why, cellLimit))
	}
}

func (m *page) deviations(rows []record.Row) {
	for _, list := range []struct {
		title string
		is    func(record.Row) bool
	}{
		{"Known deviations", func(row record.Row) bool { return wordOf(row) == known }},
		{"Deviations that are no longer true\n\nThese are listed as deviating, but were confirmed: take them off the list.", stale},
	} {
		if !slices.ContainsFunc(rows, list.is) {
			continue
		}
		m.say("\n## %s\n", list.title)
		m.table("Claim", "Reason", "Link", "Until")
		for _, row := range rows {
			if list.is(row) {
				m.row(markdown(row.Plan.Claim, cellLimit), markdown(row.Known.Reason, cellLimit), link(row.Known.Link), markdown(row.Known.Until, cellLimit))
			}
		}
	}
}

var webAddress = regexp.MustCompile(`^https?://[^\s<>|\\` + "`" + `]+$`)

func link(s string) string {
	if s = oneLine(s); webAddress.MatchString(s) {
		return "<" + s + ">"
	}
	return markdown(s, cellLimit)
}

func (m *page) faults(r *record.Record) {
	first := true
	for _, s := range scenarios(Rows(r)) {
		v, ok := r.Run(s)
		if !ok {
			continue
		}
		done, why := v.Complete()
		for i, f := range v.Faults() {
			if i == listLimit {
				m.say("\n%d more faults are in run.jsonl.", len(v.Faults())-i)
				break
			}
			if first {
				m.say("\n## Faults\n\nTimes are the run's own; two times are the last at which it was not so and the first at which it was seen.\n")
				m.table("Scenario", "Fault", "Begun", "Seen to work", "Undone", "Seen to be gone", "Note")
				first = false
			}
			note := f.Failed
			if note != "" {
				note = "failed: " + note
			} else if !done {
				note = "the scenario did not end: " + why
			}
			m.row(markdown(scenarioName(s), cellLimit), markdown(f.ID+" "+string(f.Kind), cellLimit), when(f.Begin), when(f.Active), when(f.Undo), when(f.End), markdown(note, cellLimit))
		}
	}
}

func when(m record.Moment) string {
	switch {
	case m.What == "":
		return ""
	case m.Lo == m.Hi:
		return clock(m.Hi)
	}
	return clock(m.Lo) + ".." + clock(m.Hi)
}

func (m *page) settings(r *record.Record) {
	list := settings(r)
	var facts []string
	for k := range r.Header.Facts {
		facts = append(facts, k)
	}
	slices.Sort(facts)
	if len(list)+len(facts) == 0 {
		return
	}
	m.say("\n## Settings\n")
	m.table("Where", "Setting", "Value")
	for _, k := range facts {
		m.row("this run", markdown(k, cellLimit), markdown(r.Header.Facts[k], cellLimit))
	}
	for i, s := range list {
		if i == listLimit {
			m.say("\n%d more settings are in run.jsonl.", len(list)-i)
			break
		}
		m.row(markdown(string(s.Lane.Role)+"/"+s.Lane.Name, cellLimit), markdown(s.Key, cellLimit), markdown(s.Value, cellLimit))
	}
}

func (m *page) evidence(r *record.Record, o Options) {
	m.say("\n## Evidence\n")
	where := "the run's folder"
	if p, ok := fromRoot(o, "."); ok && o.Dir != "" {
		where = markdown(p, cellLimit)
	}
	m.say("In %s: run.jsonl (the record, from which this page was made), probes.jsonl.gz (every sample).", where)
	list := evidence(o)
	for i, f := range list {
		if i == 0 {
			m.say("")
		}
		if i == listLimit {
			m.say("- and %d more below evidence/", len(list)-i)
			break
		}
		m.say("- %s", markdown(f, cellLimit))
	}
	n := 0
	for _, row := range sorted(Rows(r)) {
		w := wordOf(row)
		if (w != refuted && w != inconclusive) || len(row.Evidence) == 0 || n == listLimit {
			continue
		}
		if n == 0 {
			m.say("\n### Where to look\n")
			m.table("Claim", "Observations")
		}
		n++
		var at []string
		for i, p := range row.Evidence {
			if i == 5 {
				at = append(at, fmt.Sprintf("%d more", len(row.Evidence)-i))
				break
			}
			at = append(at, markdown(clock(p.T)+" "+p.Lane+" "+p.What, 100))
		}
		m.row(markdown(row.Plan.Claim, cellLimit), strings.Join(at, "<br>"))
	}
}
