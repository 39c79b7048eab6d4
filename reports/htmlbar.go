// This file draws a verdict's window with the measured value in it, to scale.

package reports

import (
	"fmt"
	"html/template"
	"math"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The measures of a window bar, in pixels. A value that lies further out than the drawing reaches stands beyond a break.
const (
	barWide   = 264
	barLeft   = 72.0 // where a lower edge is
	barRight  = barWide - barLeft
	barEnd    = 6.0  // how near things come to the drawing's ends
	barBreak  = 26.0 // where the break is, from the end
	barTop    = 4.0
	barHeight = 12.0
)

// ruler places values: to scale from edge to edge of the window, and beyond as far as the drawing reaches.
type ruler struct {
	zero, one   float64 // the values at barLeft and barRight
	left, right bool    // something lies beyond the break
}

func rulerOf(v record.Verdict) (ruler, bool) {
	if v.Window == nil || v.Window.Min == nil && v.Window.Max == nil {
		return ruler{}, false
	}
	lo, hi := v.Window.Min, v.Window.Max
	b := ruler{}
	switch m := v.Measured; {
	case lo != nil && hi != nil:
		b.zero, b.one = *lo, *hi
	case hi != nil: // nothing below: zero stands where the lower edge would, where that says something
		b.zero, b.one = min(0, *hi-math.Abs(*hi)), *hi
	default: // nothing above: the measured value gives the scale
		b.zero, b.one = *lo, *lo+math.Abs(*lo)
		if m != nil && m.Hi > b.one {
			b.one = m.Hi
		}
	}
	if w := b.one - b.zero; w <= 0 || math.IsInf(w, 0) || math.IsNaN(w) { // one value alone is allowed: how far off the measured one is gives the scale
		off := 0.0
		if m := v.Measured; m != nil {
			off = max(math.Abs(m.Lo-b.zero), math.Abs(m.Hi-b.zero))
		}
		if off == 0 || math.IsInf(off, 0) || math.IsNaN(off) {
			off = 1
		}
		b.one = b.zero + 4*off
	}
	return b, true
}

// x is where a value is, and whether it is further out than the drawing reaches.
func (b *ruler) x(v float64) float64 {
	x := barLeft + (barRight-barLeft)*(v-b.zero)/(b.one-b.zero)
	switch {
	case x < barBreak+4:
		b.left = true
		return (barEnd + barBreak) / 2
	case x > barWide-barBreak-4 || math.IsNaN(x):
		b.right = true
		return barWide - (barEnd+barBreak)/2
	}
	return x
}

// windowBar draws a verdict's window; nothing where it has none.
func windowBar(row record.Row) template.HTML {
	v := row.Verdict
	b, ok := rulerOf(v)
	if !ok {
		return ""
	}
	d := &drawing{}
	lo, hi := v.Window.Min, v.Window.Max
	from, to := barEnd, barWide-barEnd
	if lo != nil {
		from = barLeft
	}
	if hi != nil {
		to = barRight
		if lo != nil && *lo == *hi {
			to = barLeft
		}
	}
	label := "measured " + measured(v) + ", allowed " + allowed(v)
	if v.Measured == nil {
		label = "nothing measured, allowed " + allowed(v)
	}
	d.say(`<svg class="bar" width="%d" height="32" viewBox="0 0 %d 32" role="img" aria-label="%s" font-size="10" font-family="system-ui,sans-serif"><title>%s</title>`, barWide, barWide, svgText(label, 200), svgText(label, 200))
	d.say(`<rect class="track" x="%g" y="%g" width="%g" height="2" fill="#d8dee4"/>`, barEnd, barTop+barHeight/2-1, barWide-2*barEnd)
	d.say(`<rect class="allow" x="%.2f" y="%g" width="%.2f" height="%g" fill="#cfe5d6"/>`, from, barTop, max(to-from, 2), barHeight)
	if lo == nil && b.zero == 0 { // a number on the scale where the window gives none
		d.say(`<rect class="zero" x="%.2f" y="%g" width="1" height="%g" fill="#59636e"/>`, barLeft-0.5, barTop+barHeight-3, 5.0)
		d.say(`<text class="m" x="%g" y="28" text-anchor="middle" fill="#59636e">0</text>`, barLeft)
	}
	d.edge(lo, from, -1)
	if lo == nil || hi == nil || *lo != *hi {
		d.edge(hi, to, 1)
	}
	if m := v.Measured; m != nil {
		d.value(&b, *m, string(wordOf(row)))
	}
	d.say(`</svg>`)
	return template.HTML(d.String())
}

// edge draws one edge of the window: a line with its number, or an arrow where it is open.
func (d *drawing) edge(v *float64, x float64, side float64) {
	anchor := "middle"
	if v == nil {
		tip := x + side*barEnd/2
		d.say(`<path class="open" d="M%.1f %gL%.1f %gL%.1f %gZ" fill="#cfe5d6"/>`, x, barTop-2, tip+side*3, barTop+barHeight/2, x, barTop+barHeight+2)
		if side < 0 {
			anchor = "start"
		} else {
			anchor = "end"
		}
		d.say(`<text class="m" x="%.1f" y="28" text-anchor="%s" fill="#59636e">no limit</text>`, x, anchor)
		return
	}
	d.say(`<rect class="lim" x="%.2f" y="%g" width="1.5" height="%g" fill="#2f7d4f"/>`, x-0.75, barTop-3, barHeight+6)
	d.say(`<text class="n" x="%.1f" y="28" text-anchor="%s">%s</text>`, x, anchor, svgText(number(*v), 20))
}

// value draws the measured interval: a beam from its least to its most with an end on each side.
func (d *drawing) value(b *ruler, m record.Interval, w string) {
	if m.Hi < m.Lo {
		m.Lo, m.Hi = m.Hi, m.Lo
	}
	from, to := b.x(m.Lo), b.x(m.Hi)
	mid := barTop + barHeight/2
	class := "v " + class(word(w))
	fill := inks[word(w)]
	d.say(`<g class="%s" fill="%s"><rect class="beam" x="%.2f" y="%g" width="%.2f" height="4"/>`, class, fill, from, mid-2, max(to-from, 0))
	for _, x := range []float64{from, to} {
		d.say(`<rect class="cap" x="%.2f" y="%g" width="2" height="%g"/>`, x-1, mid-7, 14.0)
	}
	d.say(`</g>`)
	for _, side := range []struct {
		far bool
		x   float64
	}{{b.left, barBreak}, {b.right, barWide - barBreak}} {
		if side.far {
			d.say(`<path class="break" d="M%.1f %gl4 -10M%.1f %gl4 -10" fill="none" stroke="#59636e" stroke-width="1.5"><title>not to scale beyond this mark</title></path>`, side.x-4, mid+5, side.x, mid+5)
		}
	}
}

// room is a margin in per cent; empty where there is none.
func room(v *float64) string {
	if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
		return ""
	}
	x := 100 * max(min(*v, 99), -99)
	if x != 0 && math.Abs(x) < 1 { // nearly nothing is not nothing
		return fmt.Sprintf("%.1g\u00a0%%", x)
	}
	return fmt.Sprintf("%.0f\u00a0%%", x)
}
