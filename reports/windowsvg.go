// This file draws a measured value against its window, and the picture of a comparison, which is made of nothing else.

package reports

import (
	"fmt"
	"math"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// shownMost is how many claims the picture of a comparison has; the table has all.
const shownMost = 40

// gauge has an axis on which some verdicts of one unit lie.
func gauge(vs ...record.Verdict) (least, most float64) {
	least, most = math.Inf(1), math.Inf(-1)
	take := func(x float64) {
		x = min(max(x, -longest), longest)
		least, most = min(least, x), max(most, x)
	}
	for _, v := range vs {
		if v.Measured != nil {
			take(v.Measured.Lo)
			take(v.Measured.Hi)
		}
		if v.Window != nil && v.Window.Min != nil {
			take(*v.Window.Min)
		}
		if v.Window != nil && v.Window.Max != nil {
			take(*v.Window.Max)
		}
	}
	switch room := 0.08 * (most - least); {
	case most < least:
		return 0, 1
	case room == 0:
		return least - 1, most + 1
	default:
		return least - room, most + room
	}
}

// value draws what a verdict measured on its window, which is a band with its edges' numbers.
func (p *picture) value(y float64, class string, v record.Verdict) {
	if w := v.Window; w != nil && (w.Min != nil || w.Max != nil) {
		from, to := p.least, p.most
		if w.Min != nil {
			from = *w.Min
		}
		if w.Max != nil {
			to = max(from, *w.Max)
		}
		p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%d" class="window"/>`, p.x(from), y-3, max(p.x(to)-p.x(from), 1), barHigh+6)
		for _, edge := range []*float64{w.Min, w.Max} {
			if edge != nil {
				p.say(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="edge"/>`, p.x(*edge), y-3, p.x(*edge), y+barHigh+3)
			}
		}
	}
	if v.Measured == nil {
		p.nothing(y, "nothing was measured")
		return
	}
	lo, hi := min(v.Measured.Lo, v.Measured.Hi), max(v.Measured.Lo, v.Measured.Hi)
	p.bar(y, class, lo, lo, hi)
	s := measured(v)
	if a := allowed(v); a != "" {
		s += ", allowed " + a
	}
	p.label(y, lo, lo, hi, s)
}

// drawn are the changes whose values both runs have, and that are not the same.
func (c Comparison) drawn() []Change {
	var out []Change
	for _, ch := range c.Changes {
		if ch.Shift != nil && ch.Turn != Same && len(out) < shownMost {
			out = append(out, ch)
		}
	}
	return out
}

// SVG is the comparison as a picture: each claim's values on an axis of its own.
func (c Comparison) SVG() []byte {
	const rowHigh = laneHead + 2*(trackHigh+4)
	rows := c.drawn()
	p := &picture{least: 0, most: 1}
	p.begin(headHeight+len(rows)*(rowHigh+laneGap)+laneGap, cut(oneLine(c.label()+c.A.ID+" and "+c.B.ID), 120))
	p.text(16, 45, "dim", c.tally())
	p.text(16, 62, "dim", "Band: what is allowed. Bar: what was measured. Each claim has an axis of its own.")
	y := float64(headHeight)
	for _, ch := range rows {
		p.least, p.most = gauge(ch.Was.Verdict, ch.Is.Verdict)
		p.text(16, y+14, "lane", cut(oneLine(c.label()+ch.Claim), 88))
		p.text(plotRight, y+14, "name", fmt.Sprintf("%s: margin %s", ch.Turn, ch.margins()))
		for i, side := range []struct {
			name, class string
			row         *record.Row
		}{{"A, " + ch.WasWord, "was", ch.Was}, {"B, " + ch.IsWord, "wait", ch.Is}} {
			at := y + laneHead + float64(i*(trackHigh+4)) + (trackHigh-barHigh)/2
			p.text(plotLeft-8, at+barHigh-3, "name", side.name)
			p.value(at, side.class, side.row.Verdict)
		}
		y += rowHigh + laneGap
	}
	p.say("</svg>")
	return []byte(p.String())
}
