// This file prints the claim table at the end of a run, and GitHub's workflow commands.

package reports

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The colours of verdicts on a terminal.
var colors = map[word]string{refuted: "\x1b[31m", known: "\x1b[33m", inconclusive: "\x1b[33m", confirmed: "\x1b[32m", notApplicable: "\x1b[2m"}

// Table prints one line a claim, refuted ones first, with a second line for why a claim is refuted or undecided. On
// GitHub each refutation that is not known becomes an annotation at the claim.
func (c *Console) Table(rows []record.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeGroup()
	rows = sorted(rows)
	if len(rows) == 0 {
		return
	}
	cells := [][]string{{"claim", "measured", "allowed", "verdict", "provenance"}}
	for _, row := range rows {
		cells = append(cells, []string{or(row.Plan.Claim), or(measured(row.Verdict)), or(allowed(row.Verdict)), string(wordOf(row)), or(string(row.Provenance))})
	}
	const gap = 2
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i := range line {
			line[i] = harmless(line[i])
			widths[i] = max(widths[i], width(line[i]))
		}
	}
	widths[1], widths[2] = min(widths[1], 26), min(widths[2], 30)
	left := c.o.Width - width(c.o.Prefix) - gap*(len(widths)-1)
	for _, w := range widths[1:] {
		left -= w
	}
	widths[0] = min(widths[0], max(left, 12))
	for n, line := range cells {
		var b strings.Builder
		for i, s := range line {
			s = fit(s, widths[i])
			pad := strings.Repeat(" ", widths[i]-width(s)+gap)
			if i == len(line)-1 {
				pad = ""
			}
			if i == 3 && n > 0 && c.o.Color {
				s = colors[wordOf(rows[n-1])] + s + "\x1b[0m"
			}
			b.WriteString(s + pad)
		}
		c.emit(c.o.Prefix + b.String())
		if n == 0 {
			continue
		}
		switch row := rows[n-1]; wordOf(row) {
		case refuted, inconclusive:
			c.line("    why: " + oneLine(row.Why))
		case known:
			c.line("    known: " + because(row.Known))
		case confirmed:
			if stale(row) {
				c.line("    listed as a deviation, but no longer true: " + because(row.Known))
			}
		}
	}
	for _, row := range rows {
		if c.o.GitHub && wordOf(row) == refuted {
			c.annotate(row)
		}
	}
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// annotate writes a workflow command that marks a refuted claim's line.
func (c *Console) annotate(row record.Row) {
	var at string
	if file, line, ok := spec(row.Plan); ok {
		at = fmt.Sprintf("file=%s,line=%d,", property.Replace(file), line)
	}
	msg := oneLine(row.Plan.Title)
	if m := measured(row.Verdict); m != "" {
		msg += ": measured " + m
		if a := allowed(row.Verdict); a != "" {
			msg += ", allowed " + a
		}
	}
	if row.Why != "" {
		msg += ": " + oneLine(row.Why)
	}
	fmt.Fprintf(c.w, "::error %stitle=%s::%s\n", at, property.Replace("refuted: "+oneLine(row.Plan.Claim)), data.Replace(harmless(cut(msg, 1000))))
}

// The escapes of workflow commands.
var (
	data     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	property = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func (c *Console) openGroup(name string) {
	c.closeGroup()
	if c.o.GitHub && c.o.Prefix == "" {
		fmt.Fprintln(c.w, "::group::"+data.Replace(harmless(scenarioName(name))))
		c.group = true
	}
}

func (c *Console) closeGroup() {
	if c.group {
		fmt.Fprintln(c.w, "::endgroup::")
		c.group = false
	}
}
