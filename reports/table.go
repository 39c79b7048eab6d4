// This file prints the claim table at the end of a run, and GitHub's workflow commands.

package reports

import (
	"fmt"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The colours of verdicts on a terminal.
var colors = map[word]string{refuted: "\x1b[31m", known: "\x1b[33m", inconclusive: "\x1b[33m", confirmed: "\x1b[32m", notApplicable: "\x1b[2m"}

// gap is the space between two columns, leastClaim how wide the first has to be at least.
const (
	gap        = 2
	leastClaim = 16
)

// Table prints one line a claim, refuted ones first, with a second line for why a claim is refuted or undecided; on a terminal that
// is too narrow for it, the numbers stand on a line of their own. Claims that were not applicable are summed up by their reasons: there
// are many on every lab, and summary.md lists them. On GitHub each refutation that is not known, and what is
// undecided, becomes an annotation at the claim.
func (c *Console) Table(rows []record.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeGroup()
	rows = sorted(rows)
	if len(rows) == 0 {
		return
	}
	c.measure()
	cells := [][]string{{"claim", "measured", "allowed", "verdict", "provenance"}}
	shown := slices.DeleteFunc(slices.Clone(rows), func(row record.Row) bool { return wordOf(row) == notApplicable })
	for _, row := range shown {
		cells = append(cells, []string{or(row.Plan.Claim), or(measured(row.Verdict)), or(allowed(row.Verdict)), string(wordOf(row)), or(string(row.Provenance))})
	}
	widths := make([]int, len(cells[0]))
	for _, line := range cells {
		for i := range line {
			line[i] = harmless(line[i])
			widths[i] = max(widths[i], wide(line[i]))
		}
	}
	widths[1], widths[2] = min(widths[1], 26), min(widths[2], 30)
	left := c.room() - wide(c.o.Prefix) - gap*(len(widths)-1)
	for _, w := range widths[1:] {
		left -= w
	}
	widths[0] = min(widths[0], left)
	for n, line := range cells {
		color := ""
		if n > 0 && c.o.Color {
			color = colors[wordOf(shown[n-1])]
		}
		switch {
		case left >= leastClaim:
			c.across(line, widths, color)
		case n > 0:
			c.stacked(line, color)
		}
		if n > 0 {
			c.reason(shown[n-1])
		}
	}
	c.skipped(rows)
	if c.o.GitHub {
		c.annotateAll("error", refuted, rows)
		c.annotateAll("warning", inconclusive, rows)
	}
}

// mostSkips is how many reasons for not judging are printed.
const mostSkips = 8

// skipped prints how many claims were not applicable for which reason, the most frequent one first.
func (c *Console) skipped(rows []record.Row) {
	n := map[string]int{}
	var reasons []string
	for _, row := range rows {
		if wordOf(row) != notApplicable {
			continue
		}
		if n[row.Why]++; n[row.Why] == 1 {
			reasons = append(reasons, row.Why)
		}
	}
	slices.SortStableFunc(reasons, func(a, b string) int { return n[b] - n[a] })
	for i, why := range reasons {
		if i == mostSkips {
			c.line("not applicable: " + several(len(reasons)-i, "more reason"))
			return
		}
		c.line(fmt.Sprintf("%d not applicable: %s", n[why], oneLine(why)))
	}
}

// across prints the cells of a row side by side.
func (c *Console) across(cells []string, widths []int, color string) {
	var b strings.Builder
	for i, s := range cells {
		s = fit(s, widths[i])
		pad := strings.Repeat(" ", widths[i]-wide(s)+gap)
		if i == len(cells)-1 {
			pad = ""
		}
		if i == 3 {
			s = colored(s, color)
		}
		b.WriteString(s + pad)
	}
	c.emit(c.o.Prefix + b.String())
}

// stacked prints them one below the other.
func (c *Console) stacked(cells []string, color string) {
	room := max(c.room()-wide(c.o.Prefix), 1)
	c.emit(c.o.Prefix + fit(cells[0], room))
	c.emit(c.o.Prefix + "  " + colored(fit(cells[3]+" ("+cells[4]+")", room-2), color))
	if cells[1] != "-" || cells[2] != "-" {
		c.line("  measured " + cells[1])
		c.line("  allowed " + cells[2])
	}
}

func colored(s, color string) string {
	if color == "" {
		return s
	}
	return color + s + "\x1b[0m"
}

// reason prints what stands below a claim.
func (c *Console) reason(row record.Row) {
	switch wordOf(row) {
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

func or(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// annotateAll marks the lines of all claims with a verdict. GitHub shows so many annotations of a kind, and leaves out the rest
// without a word: the last one sums it up.
func (c *Console) annotateAll(kind string, w word, rows []record.Row) {
	var of []record.Row
	for _, row := range rows {
		if wordOf(row) == w {
			of = append(of, row)
		}
	}
	single := len(of)
	if single > c.o.Marks {
		single = c.o.Marks - 1
	}
	for _, row := range of[:single] {
		c.annotate(kind, row)
	}
	if rest := len(of) - single; rest > 0 {
		more := ""
		if single > 0 {
			more = " more"
		}
		c.command(kind, "", fmt.Sprintf("%d%s claims are %s", rest, more, w), "the table at the end of the log names each")
	}
}

// annotate marks a claim's line.
func (c *Console) annotate(kind string, row record.Row) {
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
	c.command(kind, at, string(wordOf(row))+": "+oneLine(row.Plan.Claim), msg)
}

// command writes a workflow command. The properties in at are escaped already.
func (c *Console) command(kind, at, title, msg string) {
	c.clear()
	fmt.Fprintf(c.w, "::%s %stitle=%s::%s\n", kind, at, property.Replace(harmless(title)), data.Replace(harmless(cut(msg, 1000))))
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
