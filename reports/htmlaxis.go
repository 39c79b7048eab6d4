// This file draws what all rows of the timeline have in common: the time axis, the faults behind the rows, the scenarios above them.
//
// Places on the axis are per cent of the drawing's width, so one drawing serves every screen and zooming is only a wider drawing: texts
// keep their size. Heights are pixels.

package reports

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// narrow is the least width that the axis is drawn at, in pixels: what fits there fits everywhere. Scripts add words where more does.
const narrow = 640

// rowHigh is the height of a row of states, in pixels.
const rowHigh = 20

// drawing is an SVG in the making, over the time from 0 to to (ms).
type drawing struct {
	strings.Builder
	to int64
}

func (d *drawing) say(format string, a ...any) { fmt.Fprintf(d, format, a...) }

// percent is where a time is, in per cent of the width.
func percent(t, to int64) float64 {
	return 100 * float64(min(max(t, 0), to)) / float64(max(to, 1))
}

func (d *drawing) x(t int64) string { return short(percent(t, d.to)) }

// wide is how wide a stretch of time is; never negative, whatever a record says.
func (d *drawing) wide(from, to int64) string {
	return short(max(percent(to, d.to)-percent(from, d.to), 0))
}

func short(x float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(x, 'f', 3, 64), "0"), ".")
}

// fits tells whether n letters fit into a stretch of time where the axis is narrow.
func (d *drawing) fits(n int, from, to int64) bool {
	return (percent(to, d.to)-percent(from, d.to))/100*narrow >= letterWide*float64(n)+8
}

// svgRow is an SVG of the axis' width around what is drawn in it.
func svgRow(high int, what string) template.HTML {
	return template.HTML(fmt.Sprintf(`<svg class="row" display="block" width="100%%" height="%d" font-size="10" font-family="system-ui,sans-serif"><use href="#behind"/>%s</svg>`, high, what))
}

// steps of the axis, in ms.
var steps = []int64{1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
	7_200_000, 21_600_000, 43_200_000, 86_400_000}

// ticks are the times that the axis names.
func ticks(to int64) []int64 {
	const most = 9
	step := steps[len(steps)-1]
	for i := len(steps) - 1; i >= 0 && to/steps[i] < most; i-- {
		step = steps[i]
	}
	for to/step > most { // more than a week
		step *= 2
	}
	var out []int64
	for t := int64(0); t <= to; t += step {
		out = append(out, t)
	}
	return out
}

// mark is a time of the axis in short: 0:30, 1:02:03, 0:00.25.
func mark(t int64) string {
	s := fmt.Sprintf("%d:%02d", t/60000, t/1000%60)
	if t >= 3600000 {
		s = fmt.Sprintf("%d:%02d:%02d", t/3600000, t/60000%60, t/1000%60)
	}
	if ms := t % 1000; ms != 0 {
		s += strings.TrimRight(fmt.Sprintf(".%03d", ms), "0")
	}
	return s
}

// axis is the run's time, and the wall clock's in UTC below it.
func axis(r *record.Record) template.HTML {
	d := &drawing{to: r.EndT}
	for _, t := range ticks(r.EndT) {
		p := percent(t, d.to)
		anchor, dx := "middle", 0
		switch {
		case p < 3:
			anchor, dx = "start", 2
		case p > 95:
			anchor, dx = "end", -2
		}
		wall := r.Header.T0.Add(time.Duration(t) * time.Millisecond).UTC().Format("15:04:05")
		d.say(`<text class="t" x="%s%%" dx="%d" y="11" text-anchor="%s">%s</text><text class="m" x="%s%%" dx="%d" y="23" text-anchor="%s" fill="#59636e">%s</text>`,
			short(p), dx, anchor, mark(t), short(p), dx, anchor, wall)
	}
	return svgRow(28, d.String())
}

// behind is what stands behind every row: the faults' bands and the axis' lines. It is drawn once and used by all.
func behind(r *record.Record, faults []fault) template.HTML {
	d := &drawing{to: r.EndT}
	for _, t := range ticks(r.EndT) {
		d.say(`<rect class="rule" x="%s%%" width="1" height="100%%" fill="#e6eaee"/>`, d.x(t))
	}
	for _, f := range faults {
		d.bands(f)
	}
	return template.HTML(`<svg width="0" height="0" display="block" position="absolute" class="defs" aria-hidden="true"><defs>` +
		`<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="w0" width="6" height="6" fill="#f7d897"/><rect class="w1" width="2" height="6" fill="#e0a93f"/></pattern>` +
		`<pattern id="lines" width="6" height="5" patternUnits="userSpaceOnUse"><rect class="w0" width="6" height="5" fill="#f7d897"/><rect class="w1" width="6" height="1.4" fill="#e0a93f"/></pattern>` +
		`<pattern id="fault" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="f1" width="1.5" height="5" fill="#e3adad"/></pattern>` +
		`<g id="behind">` + d.String() + `</g></defs></svg>`)
}

// bands draws a fault: hatched while it was not yet seen to work and while it was not yet seen to be gone, full in between.
func (d *drawing) bands(f fault) {
	band := func(class, fill string, from, to int64) {
		if to > from {
			d.say(`<rect class="%s" data-f="%s" x="%s%%" width="%s%%" height="100%%" fill="%s"/>`, class, svgText(f.ID, 20), d.x(from), d.wide(from, to), fill)
		}
	}
	if f.Active.What == "" { // it never was seen to work
		band("maybe", "url(#fault)", f.Begin.Hi, f.over)
		d.say(`<rect class="edge" x="%s%%" width="1" height="100%%" fill="#d7a0a0"/>`, d.x(f.Begin.Hi))
		return
	}
	undo := f.over
	if f.Undo.What != "" {
		undo = f.Undo.Hi
	}
	band("maybe", "url(#fault)", f.Begin.Hi, f.Active.Hi)
	band("full", "#fae7e7", f.Active.Hi, undo)
	band("maybe", "url(#fault)", undo, f.over)
	d.say(`<rect class="edge" x="%s%%" width="1" height="100%%" fill="#d7a0a0"/><rect class="edge" x="%s%%" width="1" height="100%%" fill="#d7a0a0"/>`, d.x(f.Active.Hi), d.x(undo))
}

// fault is a fault of the run.
type fault struct {
	faultRow
	over int64 // ms; seen to be gone, or the end of what is known
}

// faultsOf lists the faults of the whole run in order of time.
func faultsOf(r *record.Record) []fault {
	var out []fault
	for _, f := range faultRows(r) {
		o := fault{f, r.EndT}
		if f.End.What != "" {
			o.over = f.End.Hi
		} else if f.Failed != "" {
			o.over = max(f.Begin.Hi, f.Active.Hi, f.Undo.Hi)
		}
		out = append(out, o)
	}
	slices.SortStableFunc(out, func(a, b fault) int { return cmp.Compare(a.Begin.Hi, b.Begin.Hi) })
	return out
}

// name is a fault in short.
func (f fault) name() string { return oneLine(f.ID + " " + string(f.Kind)) }

// labels writes the faults' names above their bands, as much of each as fits before the next.
func faultLabels(r *record.Record, faults []fault) template.HTML {
	d := &drawing{to: r.EndT}
	free := int64(-1)
	for i, f := range faults {
		next := r.EndT
		if i+1 < len(faults) {
			next = faults[i+1].Begin.Hi
		}
		d.say(`<g class="fl" data-f="%s"><title>%s</title><rect class="hit" x="%s%%" width="%s%%" height="%d" fill="#fff" fill-opacity="0"/>`, svgText(f.ID, 20),
			svgText(f.name(), 80)+"\n"+svgText(f.Title, 200), d.x(f.Begin.Hi), d.wide(f.Begin.Hi, max(f.over, f.Begin.Hi)), rowHigh)
		for _, s := range []string{f.name(), oneLine(f.ID)} {
			if f.Begin.Hi >= free && d.fits(len([]rune(s)), f.Begin.Hi, next) {
				d.say(`<text class="f" x="%s%%" dx="3" y="14" fill="#8f1d27">%s</text>`, d.x(f.Begin.Hi), svgText(s, 60))
				break
			}
		}
		d.say(`</g>`)
	}
	return svgRow(rowHigh, d.String())
}

// scenes draws the scenarios with their parts.
func scenes(r *record.Record) template.HTML {
	d := &drawing{to: r.EndT}
	n := 0
	for _, p := range r.Phases() {
		title := svgText(p.Scenario, 120) + "\n" + svgText(p.Name+" "+clock(p.From)+" to "+clock(p.To)+" "+p.Edge+" "+p.Why, 200)
		if p.Name != "scenario" {
			d.say(`<rect class="part" x="%s%%" y="15" width="%s%%" height="4" fill="#8aa4c4"><title>%s</title></rect>`, d.x(p.From), d.wide(p.From, p.To), title)
			continue
		}
		n++
		d.say(`<rect class="scene s%d" x="%s%%" y="1" width="%s%%" height="18" fill="%s"><title>%s</title></rect>`, n%2, d.x(p.From), d.wide(p.From, p.To),
			[]string{"#e3ebf5", "#eef3f9"}[n%2], title)
		if s := scenarioName(p.Scenario); d.fits(len([]rune(s)), p.From, p.To) {
			d.say(`<text class="t" x="%s%%" dx="4" y="12">%s</text>`, d.x(p.From), svgText(s, 60))
		}
	}
	return svgRow(rowHigh, d.String())
}
