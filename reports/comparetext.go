// This file shows a comparison: as lines for a terminal, and as compare.md, compare.json and compare.svg.

package reports

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// arrow is what was and what is; one text where they are the same.
func arrow(was, is string) string {
	if was == is {
		return or(is)
	}
	return or(was) + " -> " + or(is)
}

// sides are a text of both rows of a change, or of the one that there is.
func (c Change) sides(of func(record.Row) string) string {
	switch {
	case c.Was == nil:
		return or(of(*c.Is))
	case c.Is == nil:
		return or(of(*c.Was))
	}
	return arrow(of(*c.Was), of(*c.Is))
}

func (c Change) words() string {
	return c.sides(func(r record.Row) string { return string(wordOf(r)) })
}

func (c Change) measured() string {
	return c.sides(func(r record.Row) string { return measured(r.Verdict) })
}
func (c Change) allowed() string {
	return c.sides(func(r record.Row) string { return window(r.Verdict) })
}
func (c Change) provenance() string {
	return c.sides(func(r record.Row) string { return string(r.Provenance) })
}

// margins are both margins in percent of the window's width, and by how many points they moved.
func (c Change) margins() string {
	s := c.sides(func(r record.Row) string {
		if m := margin(r.Verdict); m != nil {
			return fmt.Sprintf("%.0f %%", 100**m)
		}
		return ""
	})
	if c.Shift != nil && c.Turn == Moved {
		s += fmt.Sprintf(" (%+.0f points)", 100**c.Shift)
	}
	return s
}

// remarks are the notes on a change, the first of them why its values were not held against each other.
func (c Change) remarks() []string {
	if c.Apart == "" {
		return c.Notes
	}
	return append([]string{c.Apart}, c.Notes...)
}

// reasons are why the verdicts are what they are, where their words differ, or, when all are wanted, where the reasons do; of one that
// stands alone and is confirmed, nothing.
func (c Change) reasons(all bool) (out [][2]string) {
	switch {
	case c.Turn == Gone || c.Turn == New && c.IsWord == string(confirmed):
	case c.Turn == New:
		out = [][2]string{{"is: ", c.Is.Why}}
	case c.WasWord != c.IsWord, all && c.Was.Why != c.Is.Why:
		out = [][2]string{{"was: ", c.Was.Why}, {"is: ", c.Is.Why}}
	}
	return slices.DeleteFunc(out, func(r [2]string) bool { return r[1] == "" })
}

// text is a change as lines for a terminal.
func (c Change) text(all bool) []string {
	word := string(c.Turn)
	if c.Far() {
		word += "!"
	}
	line := fmt.Sprintf("%-8s %-46s %s", word, or(c.Claim), c.words())
	for _, p := range [][2]string{{"measured ", c.measured()}, {"allowed ", c.allowed()}, {"margin ", c.margins()}, {"", c.provenance()}} {
		if p[1] != "-" {
			line += "; " + p[0] + p[1]
		}
	}
	out := []string{line}
	for _, r := range c.reasons(all) {
		out = append(out, "         "+r[0]+cut(oneLine(r[1]), cellLimit))
	}
	for _, n := range c.remarks() {
		out = append(out, "         "+cut(oneLine(n), cellLimit))
	}
	return out
}

// changes is a table of changes; the label stands in every row.
func (m *page) changes(label string, list []Change, all bool) {
	m.table("Turn", "Claim", "Verdict", "Measured", "Allowed", "Margin", "Provenance", "Why")
	for _, c := range list {
		word, margins := label+string(c.Turn), markdown(c.margins(), cellLimit)
		if c.Turn == Worse {
			word = label + "**" + string(c.Turn) + "**"
		}
		if c.Far() {
			margins = "**" + margins + "**"
		}
		var why []string
		for _, r := range c.reasons(all) {
			why = append(why, r[0]+markdown(r[1], cellLimit))
		}
		for _, n := range c.remarks() {
			why = append(why, markdown(n, cellLimit))
		}
		m.row(word, markdown(c.Claim, cellLimit)+"<br>"+markdown(c.Title, cellLimit), markdown(c.words(), cellLimit), markdown(c.measured(), cellLimit),
			markdown(c.allowed(), cellLimit), margins, markdown(c.provenance(), cellLimit), strings.Join(why, "<br>"))
	}
}

// explainMargin says what a margin is.
const explainMargin = "A margin is the distance from the measured interval to the nearest edge of the window, in percent of the window's width (of a window with one edge: " +
	"of that edge's distance from zero); it is zero where an edge lies within the interval, and negative outside. Those that moved by more than 20 points are bold.\n"

// tally is how many claims took each turn, in one sentence.
func (c Comparison) tally() string {
	var s []string
	for _, t := range turns {
		s = append(s, fmt.Sprintf("%d %s", c.Count(t), t))
	}
	return strings.Join(s, ", ")
}

// unlikeBefore are the claims that are not the same.
func (c Comparison) unlikeBefore() []Change {
	return slices.DeleteFunc(slices.Clone(c.Changes), func(ch Change) bool { return ch.Turn == Same })
}

// label says on every line of a comparison that must not be made what it compares.
func (c Comparison) label() string {
	if c.NotComparable == "" {
		return ""
	}
	kind := func(h record.Header) string { return or(string(h.LabKind)) }
	if kind(c.A) == kind(c.B) {
		return "[not comparable] "
	}
	return "[" + kind(c.A) + " beside " + kind(c.B) + "] "
}

func runLine(h record.Header) string {
	return fmt.Sprintf("%s  lab %s (%s), began %s, git %s", or(h.ID), or(h.Lab), or(string(h.LabKind)), stamp(h.T0, 0), or(h.Git))
}

// Text is the comparison as lines for a terminal; claims that are the same are only counted.
func (c Comparison) Text() string {
	var b strings.Builder
	say := func(s string) { b.WriteString(harmless(c.label()+s) + "\n") }
	say("A  " + runLine(c.A))
	say("B  " + runLine(c.B))
	if c.NotComparable != "" {
		say("not comparable: " + c.NotComparable)
	}
	say(c.tally())
	for _, ch := range c.unlikeBefore() {
		for _, line := range ch.text(false) {
			say(line)
		}
	}
	for i, d := range c.Differences {
		if i == 0 {
			say("What is different about the runs:")
		}
		if i == differencesShown {
			say(fmt.Sprintf("  and %d more, in the report", len(c.Differences)-i))
			break
		}
		say("  " + cut(oneLine(d.What), cellLimit) + ": " + cut(arrow(d.Was, d.Is), cellLimit))
	}
	return b.String()
}

// differencesShown is how many differences a terminal gets.
const differencesShown = 20

// Markdown is the comparison as a page.
func (c Comparison) Markdown() []byte {
	m := &page{}
	label := markdown(c.label(), cellLimit)
	if label != "" {
		label += " "
	}
	m.say("# %sTwo runs: %s and %s\n", label, markdown(c.A.ID, cellLimit), markdown(c.B.ID, cellLimit))
	if c.NotComparable != "" {
		m.say("**These runs must not be compared: %s.** What follows shows them beside each other, and says nothing about either.\n", markdown(c.NotComparable, cellLimit))
	}
	m.say("- A: %s", markdown(runLine(c.A), cellLimit))
	m.say("- B: %s", markdown(runLine(c.B), cellLimit))
	m.say("\n**%s.**\n", c.tally())
	m.say(explainMargin)
	if len(c.drawn()) > 0 {
		m.say("![Measured values and their windows](compare.svg)\n")
	}
	m.changes(label, c.unlikeBefore(), false)
	for i, d := range c.Differences {
		if i == 0 {
			m.say("\n## What is different about the runs\n")
			m.table("What", "A", "B")
		}
		if i == listLimit {
			m.say("\n%d more are in compare.json.", len(c.Differences)-i)
			break
		}
		m.row(label+markdown(d.What, cellLimit), markdown(d.Was, cellLimit), markdown(d.Is, cellLimit))
	}
	return []byte(m.String())
}

// Write makes compare.md, compare.svg and compare.json in dir and returns their paths.
func (c Comparison) Write(dir string) ([]string, error) {
	j, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return nil, fmt.Errorf("making compare.json: %w", err)
	}
	return writeAll(dir, file{"compare.md", c.Markdown()}, file{"compare.svg", c.SVG()}, file{"compare.json", append(j, '\n')})
}

// file is one file of a report.
type file struct {
	name string
	data []byte
}

// writeAll replaces the files in dir, each in one step, and returns their paths.
func writeAll(dir string, files ...file) ([]string, error) {
	var paths []string
	for _, f := range files {
		p := filepath.Join(dir, f.name)
		if err := replace(p, f.data); err != nil {
			return paths, fmt.Errorf("writing %s: %w", f.name, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}
