// This file writes summary.md: the run on one page, for a pull request or a CI system's summary page.

package reports

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// How long one text may be, in runes, how many lines the lists beside the claims get, and how long the whole page may be, in
// bytes: GitHub takes a summary of 1 MiB and shows nothing of a longer one, so what is left is for headings and sentences.
const (
	cellLimit = 300
	listLimit = 200
	pageLimit = 1<<20 - 1<<16
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
func (m *page) row(cells ...string) { m.say("%s", tableRow(cells...)) }

// tableRow is a table's line of cells that are escaped already.
func tableRow(cells ...string) string {
	for i, c := range cells {
		if c == "" {
			cells[i] = "-"
		}
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// list writes n lines: most of them at the most, and no more than the page has room for. What is left out is told, with where
// it is.
func (m *page) list(n, most int, what string, line func(i int) string) {
	for i := range n {
		s := line(i)
		if i == most || m.Len()+len(s) > pageLimit {
			m.say("\n%d more %s.", n-i, what)
			return
		}
		m.say("%s", s)
	}
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
	m.list(len(rows), len(rows), "claims are in run.json", func(i int) string {
		c := rows[i]
		w := string(wordOf(c))
		if wordOf(c) == refuted {
			w = "**" + w + "**"
		}
		window := markdown(allowed(c.Verdict), 60)
		if f := follows(c.Verdict); f != "" {
			window = strings.TrimSpace(window + " (following " + markdown(f, cellLimit) + ")")
		}
		prov := provenance(r, c)
		if c.K == "" { // nobody saw anything
			prov = ""
		}
		return tableRow(w, markdown(strings.TrimSpace(c.Plan.Source.Doc+" "+c.Plan.Source.Code+" "+c.Plan.Claim), cellLimit),
			markdown(c.Plan.Title, cellLimit), markdown(measured(c.Verdict), 60), window, markdown(prov, 20), markdown(c.Why, cellLimit))
	})
}

func (m *page) deviations(rows []record.Row) {
	for _, list := range []struct {
		title string
		is    func(record.Row) bool
	}{
		{"Known deviations", func(row record.Row) bool { return wordOf(row) == known }},
		{"Deviations that are no longer true\n\nThese are listed as deviating, but were confirmed: take them off the list.", stale},
	} {
		those := slices.DeleteFunc(slices.Clone(rows), func(row record.Row) bool { return !list.is(row) })
		if len(those) == 0 {
			continue
		}
		m.say("\n## %s\n", list.title)
		m.table("Claim", "Reason", "Link", "Until")
		m.list(len(those), listLimit, "are in run.json", func(i int) string {
			d := those[i].Known
			return tableRow(markdown(those[i].Plan.Claim, cellLimit), markdown(d.Reason, cellLimit), link(d.Link), markdown(d.Until, cellLimit))
		})
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
	list := faultRows(r)
	if len(list) == 0 {
		return
	}
	m.say("\n## Faults\n\nTimes are the run's own; two times are the last at which it was not so and the first at which it was seen.\n")
	m.table("Scenario", "Fault", "Begun", "Seen to work", "Undone", "Seen to be gone", "Note")
	m.list(len(list), listLimit, "faults are in run.jsonl", func(i int) string {
		f := list[i]
		return tableRow(markdown(scenarioName(f.Scenario), cellLimit), markdown(f.ID+" "+string(f.Kind), cellLimit), when(f.Begin), when(f.Active), when(f.Undo), when(f.End), markdown(f.Note, cellLimit))
	})
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
	var list [][]string
	for _, k := range slices.Sorted(maps.Keys(r.Header.Facts)) {
		list = append(list, []string{"this run", k, r.Header.Facts[k]})
	}
	for _, s := range settings(r) {
		list = append(list, []string{string(s.Lane.Role) + "/" + s.Lane.Name, s.Key, s.Value})
	}
	if len(list) == 0 {
		return
	}
	m.say("\n## Settings\n")
	m.table("Where", "Setting", "Value")
	m.list(len(list), listLimit, "settings are in run.jsonl", func(i int) string {
		return tableRow(markdown(list[i][0], cellLimit), markdown(list[i][1], cellLimit), markdown(list[i][2], cellLimit))
	})
}

func (m *page) evidence(r *record.Record, o Options) {
	m.say("\n## Evidence\n")
	where := "the run's folder"
	if p, ok := fromRoot(o, "."); ok && o.Dir != "" {
		where = markdown(p, cellLimit)
	}
	m.say("In %s: run.jsonl (the record, from which this page was made), probes.jsonl.gz (every sample).", where)
	if list := evidence(o); len(list) > 0 {
		m.say("")
		m.list(len(list), listLimit, "are below evidence/", func(i int) string { return "- " + markdown(list[i], cellLimit) })
	}
	look := slices.DeleteFunc(sorted(Rows(r)), func(row record.Row) bool {
		w := wordOf(row)
		return (w != refuted && w != inconclusive) || len(row.Evidence) == 0
	})
	if len(look) == 0 {
		return
	}
	m.say("\n### Where to look\n")
	m.table("Claim", "Observations")
	m.list(len(look), listLimit, "claims are in run.json", func(i int) string {
		var at []string
		for n, p := range look[i].Evidence {
			if n == 5 {
				at = append(at, fmt.Sprintf("%d more", len(look[i].Evidence)-n))
				break
			}
			at = append(at, markdown(clock(p.T)+" "+p.Lane+" "+p.What, 100))
		}
		return tableRow(markdown(look[i].Plan.Claim, cellLimit), strings.Join(at, "<br>"))
	})
}
