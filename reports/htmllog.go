// This file makes the evidence log: what happened, line by line, bounded, but never without what a verdict rests on.

package reports

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// How many lines the log has of one lane at each end of the run, of all lanes together, and of lines of unknown kinds.
const (
	logOfLane  = 40
	logOfAll   = 700
	logUnknown = 50
)

type logLine struct {
	ID, When, Since, Lane, What, Why string
	Class                            string // "cited", "fault", "phase", "strange" or empty
	t                                int64
	Mark                             string // the anchor of its ring
}

// more is what of a lane the log leaves out.
type more struct {
	Who string
	N   int
}

// log is the evidence log in the making.
func logOf(r *record.Record, c *cites, faults []fault) (lines []logLine, left []more, total int) {
	heads := r.Headlines()
	lanes := map[string]int{}
	for _, h := range heads {
		lanes[laneOf(h)]++
	}
	ends := min(logOfLane, logOfAll/max(2*len(lanes), 1)) // of a crowd nothing but what is cited
	seen := map[string]int{}
	gone := map[string]int{}
	found := map[*cite]bool{}
	for _, h := range heads {
		who := laneOf(h)
		seen[who]++
		l := logLine{When: clock(h.T), Since: since(faults, h.T), Lane: oneLine(who), What: cut(oneLine(h.What), 160), Why: cut(oneLine(h.Why), 240), t: h.T}
		keep := seen[who] <= ends || lanes[who]-seen[who] < ends
		switch p := c.at[record.Pointer{T: h.T, Lane: who, What: h.What}]; {
		case p != nil && !found[p]:
			found[p] = true
			l.ID, l.Class, l.Mark, keep = p.Log, "cited", p.Mark, true
		case who == "" && strings.HasPrefix(h.What, "fault "):
			l.Class, keep = "fault", seen[who] <= logOfAll/2
		case who == "":
			l.Class, keep = "phase", seen[who] <= logOfAll/2
		}
		if !keep {
			gone[who]++
			continue
		}
		lines = append(lines, l)
	}
	for _, p := range c.all {
		if !found[p] {
			lines = append(lines, logLine{ID: p.Log, Class: "cited", When: clock(p.T), Since: since(faults, p.T), Lane: oneLine(p.Lane), What: cut(oneLine(p.What), 160), t: p.T, Mark: p.Mark})
		}
	}
	for i, o := range r.Others() {
		if i == logUnknown {
			gone["lines of unknown kinds"] = r.Unknown - logUnknown
			break
		}
		l := logLine{Class: "strange", What: "unknown kind " + strconv.Quote(cut(oneLine(o.Kind), 40)), Why: cut(oneLine(o.Line), 240), t: o.T}
		if o.Lane.Role != "" {
			l.Lane = oneLine(key(o.Lane))
		}
		if o.T >= 0 {
			l.When, l.Since = clock(o.T), since(faults, o.T)
		}
		lines = append(lines, l)
	}
	slices.SortStableFunc(lines, func(a, b logLine) int { return cmp.Compare(a.t, b.t) })
	return lines, missing(gone), len(heads) + r.Unknown
}

// missing lists what is left out, lanes of one kind together.
func missing(gone map[string]int) []more {
	kinds := map[string]more{}
	for who, n := range gone {
		kind := who
		if len(gone) > lanesMost {
			kind, _, _ = strings.Cut(who, "/")
			kind += ", all lanes"
		}
		kinds[kind] = more{oneLine(cmp.Or(kind, "faults and scenarios")), kinds[kind].N + n}
	}
	var out []more
	for _, m := range kinds {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b more) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Who, b.Who)) })
	return out
}

// laneOf is a headline's lane as verdicts name it; empty of faults and phases.
func laneOf(h record.Headline) string {
	if h.Lane.Name == "" && h.Lane.Role == "" {
		return ""
	}
	return key(h.Lane)
}

// since is the time since the fault that began last before a time: "f3 +1.250".
func since(faults []fault, t int64) string {
	for _, f := range slices.Backward(faults) {
		if f.Begin.Hi <= t {
			return oneLine(f.ID) + " +" + number(float64(t-f.Begin.Hi)/1000)
		}
	}
	return ""
}
