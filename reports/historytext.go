// This file shows a history: as lines for a terminal, and as history.md, history.json and history.html, which needs nothing else.

package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"strings"
)

// sparkMost is how many values a small curve has: the newest.
const sparkMost = 32

var sparks = []rune("▁▂▃▄▅▆▇█")

// spark is a small curve in letters, from the least to the greatest of the values; empty of fewer than two.
func (l Line) spark() string {
	vs := l.last()
	if len(vs) < 2 {
		return ""
	}
	lo, hi := extremes(vs)
	var b strings.Builder
	for _, v := range vs {
		b.WriteRune(sparks[int(share(v.Value, lo, hi)*float64(len(sparks)-1))])
	}
	return b.String()
}

// last are the newest values.
func (l Line) last() []Value { return l.Values[max(len(l.Values)-sparkMost, 0):] }

func extremes(vs []Value) (lo, hi float64) {
	lo, hi = vs[0].Value, vs[0].Value
	for _, v := range vs {
		lo, hi = min(lo, v.Value), max(hi, v.Value)
	}
	return lo, hi
}

// share is where a value lies between two others, from 0 to 1. Halves, for the whole of what a record may have is no number.
func share(x, lo, hi float64) float64 {
	if hi <= lo {
		return 0
	}
	return min(max((x/2-lo/2)/(hi/2-lo/2), 0), 1)
}

// amount is a number with the line's unit; empty of none.
func (l Line) amount(x *float64) string {
	if x == nil {
		return ""
	}
	return number(*x) + " " + l.Unit
}

// newest is the newest value, and how far out it is.
func (l Line) newest() string {
	if len(l.Values) == 0 {
		return ""
	}
	s := l.amount(&l.Values[len(l.Values)-1].Value)
	switch l.Level {
	case TooFew:
		return s + fmt.Sprintf(" (%d earlier, too few to say more)", l.Earlier)
	case Yellow:
		return s + fmt.Sprintf(": yellow, worse than P95 of %d earlier, %s", l.Earlier, l.amount(l.EarlierP95))
	case Red:
		return s + fmt.Sprintf(": red, worse than P99 of %d earlier, %s", l.Earlier, l.amount(l.EarlierP99))
	}
	return s
}

// verdicts are the counts that are not zero.
func (l Line) verdicts() string {
	var s []string
	for _, c := range []struct {
		n int
		w word
	}{{l.Counts.Refuted, refuted}, {l.Counts.Known, known}, {l.Counts.Inconclusive, inconclusive}, {l.Counts.Confirmed, confirmed}, {l.Counts.NotApplicable, notApplicable}} {
		if c.n > 0 {
			s = append(s, fmt.Sprintf("%d %s", c.n, c.w))
		}
	}
	return strings.Join(s, ", ")
}

// explainHistory says what the numbers are.
const explainHistory = "A value is the end of the measured interval that is farther out: the upper one, or the lower one of a claim that only asks for a least value (marked v). " +
	"Percentiles are of the nearest rank, over all runs: each is a value that was measured, and P99 of fewer than 100 runs is the worst of them. " +
	"The newest value is yellow when it is worse than P95, red when it is worse than P99 of the earlier ones, of which there must be 5. Embedded and modelled values are never mixed with real ones."

// head is how many runs the history has.
func (h *History) head() string {
	s := several(h.Runs, "run")
	if n := len(h.Copies); n > 0 {
		s += fmt.Sprintf(", %d left out as copies", n)
	}
	if n := len(h.Unread); n > 0 {
		s += fmt.Sprintf(", %d that could not be read", n)
	}
	return s
}

// cells are what all forms show of a line.
func (l Line) cells() []string {
	worst := ""
	if l.LessWorse {
		worst = " v"
	}
	return []string{l.Lab, l.Provenance, l.Claim + worst, fmt.Sprint(l.N), l.verdicts(), l.amount(l.P50), l.amount(l.P95), l.amount(l.P99), l.newest()}
}

var historyHead = []string{"Lab", "Provenance", "Claim", "Runs", "Verdicts", "P50", "P95", "P99", "Newest"}

// Text is the history as lines for a terminal.
func (h *History) Text() string {
	var b strings.Builder
	say := func(s string) { b.WriteString(harmless(s) + "\n") }
	say(h.head())
	lab := ""
	for i, l := range h.Lines {
		if of := l.Lab + " "; i == 0 || of != lab {
			lab = of
			say("lab " + or(l.Lab))
		}
		c := l.cells()
		s := fmt.Sprintf("  %-46s %-9s %s of %s", or(c[2]), or(c[1]), c[4], several(l.N, "run"))
		if l.P50 != nil {
			s += fmt.Sprintf("; P50 %s, P95 %s, P99 %s; newest %s", c[5], c[6], c[7], c[8])
		}
		if curve := l.spark(); curve != "" {
			s += "  " + curve
		}
		say(s)
	}
	for _, u := range h.Unread {
		say("could not be read: " + or(u.Folder) + ": " + oneLine(u.Why))
	}
	return b.String()
}

// Markdown is the history as a page.
func (h *History) Markdown() []byte {
	m := &page{}
	m.say("# History of %s\n\n%s\n", h.head(), explainHistory)
	m.table(append(append([]string{}, historyHead...), "Curve")...)
	for _, l := range h.Lines {
		var cells []string
		for _, c := range l.cells() {
			cells = append(cells, markdown(c, cellLimit))
		}
		if l.Level == Yellow || l.Level == Red {
			cells[8] = "**" + cells[8] + "**"
		}
		m.row(append(cells, l.spark())...)
	}
	for _, list := range []struct {
		title string
		what  []string
	}{{"Could not be read", h.unread()}, {"Copies of runs that are counted already", h.Copies}} {
		for i, s := range list.what {
			if i == 0 {
				m.say("\n## %s\n", list.title)
			}
			if i == listLimit {
				m.say("- and %d more, in history.json", len(list.what)-i)
				break
			}
			m.say("- %s", markdown(s, cellLimit))
		}
	}
	return []byte(m.String())
}

func (h *History) unread() []string {
	var out []string
	for _, u := range h.Unread {
		out = append(out, u.Folder+": "+u.Why)
	}
	return out
}

// historyPage is readable without scripts and styles too, as behind the policy under which some CI systems show files: colours stand
// in attributes.
var historyPage = template.Must(template.New("history").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>History of {{.Head}}</title>
<style>body{font:14px system-ui,sans-serif;margin:16px}table{border-collapse:collapse}td,th{border:1px solid #d1d9e0;padding:3px 8px;text-align:left;vertical-align:top}</style>
</head><body><h1>History of {{.Head}}</h1><p>{{.Explain}}</p>
<table border="1" cellspacing="0" cellpadding="4"><tr>{{range .Columns}}<th>{{.}}</th>{{end}}<th>Curve</th></tr>
{{range .Lines}}<tr{{if .Colour}} bgcolor="{{.Colour}}"{{end}}>{{range .Cells}}<td>{{.}}</td>{{end}}<td>{{if .Points}}<svg width="160" height="28" viewBox="0 0 160 28" role="img"><title>{{.Range}}</title><polyline points="{{.Points}}" fill="none" stroke="#1f6fd1" stroke-width="1.5"/><circle cx="{{.X}}" cy="{{.Y}}" r="2.5" fill="#c2313a"/></svg>{{end}}</td></tr>
{{end}}</table>
{{if .Unread}}<h2>Could not be read</h2><ul>{{range .Unread}}<li>{{.}}</li>{{end}}</ul>{{end}}
{{if .Copies}}<h2>Copies of runs that are counted already</h2><ul>{{range .Copies}}<li>{{.}}</li>{{end}}</ul>{{end}}
</body></html>
`))

// HTML is the history as a page that needs nothing else.
func (h *History) HTML() ([]byte, error) {
	type line struct {
		Cells                       []string
		Colour, Points, Range, X, Y string
	}
	var lines []line
	for _, l := range h.Lines {
		v := line{Colour: map[Level]string{Yellow: "#fff3c4", Red: "#f6d5d5"}[l.Level]}
		for _, c := range l.cells() {
			v.Cells = append(v.Cells, or(cut(oneLine(c), cellLimit)))
		}
		if vs := l.last(); len(vs) > 1 {
			lo, hi := extremes(vs)
			v.Range = l.amount(&lo) + " to " + l.amount(&hi)
			for i, p := range vs {
				v.X, v.Y = fmt.Sprintf("%.1f", 4+152*float64(i)/float64(len(vs)-1)), fmt.Sprintf("%.1f", 25-22*share(p.Value, lo, hi))
				v.Points += v.X + "," + v.Y + " "
			}
		}
		lines = append(lines, v)
	}
	clear := func(list []string) (out []string) {
		for _, s := range list {
			out = append(out, cut(oneLine(s), cellLimit))
		}
		return out
	}
	var b bytes.Buffer
	err := historyPage.Execute(&b, map[string]any{"Head": h.head(), "Explain": explainHistory, "Columns": historyHead, "Lines": lines, "Unread": clear(h.unread()), "Copies": clear(h.Copies)})
	return b.Bytes(), err
}

// Write makes history.md, history.json and history.html in dir and returns their paths.
func (h *History) Write(dir string) ([]string, error) {
	j, err := json.MarshalIndent(h, "", " ")
	if err != nil {
		return nil, fmt.Errorf("making history.json: %w", err)
	}
	page, err := h.HTML()
	if err != nil {
		return nil, fmt.Errorf("making history.html: %w", err)
	}
	return writeAll(dir, file{"history.md", h.Markdown()}, file{"history.json", append(j, '\n')}, file{"history.html", page})
}
