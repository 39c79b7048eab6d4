// This file draws a contrast: one lane a run on one time axis from the fault on. The picture has no script and no font of its own, and
// is readable on light and on dark.

package reports

import (
	"encoding/xml"
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The measures of the picture, in pixels.
const (
	svgWidth    = 1000
	plotLeft    = 172
	plotRight   = svgWidth - 24
	headHeight  = 80
	laneHead    = 24
	trackHigh   = 22
	barHigh     = 14
	laneGap     = 22
	axisHeight  = 44
	letterWide  = 6.3 // of the small text, on average
	lettersWide = 125 // that many fit beside each other
)

// longest is the longest time that a picture has, in seconds: a record that was tampered with may have any.
const longest = 1e10

const svgStyle = `
text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;fill:#1f2328}
.title{font-size:15px;font-weight:600}.lane{font-size:13px;font-weight:600}.end{text-anchor:end}.name{text-anchor:end;fill:#59636e}.dim{fill:#59636e}
.on{fill:#fff;font-weight:600}.back{fill:#fff}.fault{fill:#f6d5d5;opacity:.55}.rule{stroke:#d1d9e0}.edge{stroke:#b35900;stroke-dasharray:4 3}
.out{fill:#c2313a}.bare{fill:#a86400}.wait{fill:#1f6fd1}.mark{fill:#7d3fc9}.maybe{opacity:.35}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.name,.dim{fill:#9da7b3}.on{fill:#0d1117}.back{fill:#0d1117}.fault{fill:#6b2b30;opacity:.45}.rule{stroke:#3d444d}.edge{stroke:#e0a458}
.out{fill:#ff7b7b}.bare{fill:#e3a53a}.wait{fill:#58a6ff}.mark{fill:#b98cff}}
`

// picture is an SVG in the making.
type picture struct {
	strings.Builder
	most float64 // seconds at the right edge
	undo float64 // where the lane's fault was undone, in pixels
}

func (p *picture) say(format string, a ...any) { fmt.Fprintf(p, format+"\n", a...) }

// svgText escapes a text of strangers.
func svgText(s string, n int) string {
	var b strings.Builder
	if xml.EscapeText(&b, []byte(cut(oneLine(s), n))) != nil {
		return "" // a Builder takes all
	}
	return b.String()
}

// x is where a time is.
func (p *picture) x(t float64) float64 {
	return plotLeft + (plotRight-plotLeft)*min(max(t, 0), p.most)/p.most
}

func (p *picture) text(x, y float64, class, s string) {
	p.say(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, svgText(s, 200))
}

// bar draws a time on a track, with a paler part for when it may have begun already.
func (p *picture) bar(y float64, class string, may, from, to float64) {
	a, b := p.x(from), p.x(to)
	if may < from {
		p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%d" class="%s maybe"/>`, p.x(may), y, a-p.x(may), barHigh, class)
	}
	p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%d" rx="2" class="%s"/>`, a, y, max(b-a, 2), barHigh, class)
}

// label writes a text beside a bar: right of it where there is room, else left of it, else on the bar, else at the right edge.
func (p *picture) label(y, may, from, to float64, s string) {
	s = cut(oneLine(s), lettersWide)
	wide := letterWide * float64(len([]rune(s)))
	x, y := p.x(to)+6, y+barHigh-3
	if near := p.undo - x; near > -4 && near < 70 { // not across its line
		x = p.undo + 6
	}
	switch left := p.x(may) - 6; {
	case x+wide <= plotRight:
		p.text(x, y, "", s)
	case left-wide > plotLeft:
		p.text(left, y, "end", s)
	case wide+12 < p.x(to)-p.x(from):
		p.text(p.x(from)+6, y, "on", s)
	default:
		p.text(plotRight-4, y, "end", s)
	}
}

// ends is when a period is over in the picture.
func ends(e record.Effect, p record.Period) float64 {
	if p.To != nil {
		return p.To.Hi
	}
	return e.Watched
}

// reaches is the last time in a run that the picture has to show.
func reaches(e record.Effect) float64 {
	last := e.Held.Hi
	for _, s := range e.Stopped {
		last = max(last, ends(e, s.Period))
	}
	for _, u := range e.Unprotected {
		last = max(last, ends(e, u))
	}
	for _, m := range append(append([]record.Mark{}, e.VMs.Restarted...), e.VMs.Moved...) {
		last = max(last, m.At.Hi)
	}
	if e.Pause != nil {
		last = max(last, e.Pause.Ended)
	}
	return last
}

// SVG is the contrast as a picture.
func (c Contrast) SVG() []byte {
	p := &picture{most: 1}
	for _, e := range c.Rows {
		p.most = max(p.most, min(1.04*reaches(e), longest))
	}
	const laneHigh = laneHead + 4*trackHigh
	high := headHeight + len(c.Rows)*(laneHigh+laneGap) + axisHeight
	title := fmt.Sprintf("One fault, %d runs: %s", len(c.Rows), c.Scenario)
	p.say(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`, svgWidth, high, svgWidth, high)
	p.say("<title>%s</title>\n<style>%s</style>", svgText(title, 200), svgStyle)
	p.say(`<rect class="back" width="%d" height="%d"/>`, svgWidth, high)
	p.text(16, 26, "title", title)
	p.text(16, 45, "dim", cut(c.Title+": "+or(string(c.Verdict.Outcome))+" ("+or(string(c.Verdict.Provenance))+")", lettersWide+20))
	p.text(16, 62, "dim", "Behind each lane: the fault, until it was undone (dashed). Pale: it may have begun already.")
	y := float64(headHeight)
	for _, e := range c.Rows {
		p.lane(y, e)
		y += laneHigh + laneGap
	}
	p.axis(y - laneGap/2)
	p.say("</svg>")
	return []byte(p.String())
}

// lane draws one run.
func (p *picture) lane(y float64, e record.Effect) {
	head := []string{platform(e), e.Lab, e.Run, string(e.Provenance)}
	if e.Unproven != "" {
		head = append(head, "proves nothing: "+e.Unproven)
	}
	p.undo = p.x(e.Held.Hi)
	p.text(16, y+14, "lane", cut(oneLine(strings.Join(head, " · ")), 88))
	p.text(plotRight, y+14, "name", cut(oneLine("acted: "+acted(e)), 48))
	top := y + laneHead
	p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%d" class="fault"/>`, p.x(0), top, p.undo-p.x(0), 4*trackHigh)
	p.say(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" class="rule"/>`, plotLeft, top+4*trackHigh, plotRight, top+4*trackHigh)
	p.say(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="edge"/>`, p.undo, top, p.undo, top+4*trackHigh)
	for i, t := range []struct {
		name string
		draw func(y float64, e record.Effect)
	}{{"stopped", p.stops}, {"not all copies", p.unprotected}, {"guest's write waits", p.pause}, {"machines restarted", p.marks}} {
		at := top + float64(i*trackHigh) + (trackHigh-barHigh)/2
		p.text(plotLeft-8, at+barHigh-3, "name", t.name)
		t.draw(at, e)
	}
}

func (p *picture) stops(y float64, e record.Effect) {
	if len(e.Stopped) == 0 {
		p.nothing(y, "nothing")
		return
	}
	last := 0.0
	for _, s := range e.Stopped {
		p.bar(y, "out", s.Since.Lo, s.Since.Hi, ends(e, s.Period))
		last = max(last, ends(e, s.Period))
	}
	s := partOf(e.Stopped[0]) + " after " + between(e.Stopped[0].Since)
	if more := len(e.Stopped) - 1; more > 0 {
		s += fmt.Sprintf(", and %d more", more)
	}
	p.label(y, e.Stopped[0].Since.Lo, e.Stopped[0].Since.Hi, last, s)
}

func (p *picture) unprotected(y float64, e record.Effect) {
	s := whole(e)
	if e.Whole.At != nil {
		s = "all copies back after " + s
	}
	if len(e.Unprotected) == 0 {
		p.nothing(y, s)
		return
	}
	last := 0.0
	for _, u := range e.Unprotected {
		p.bar(y, "bare", u.Since.Lo, u.Since.Hi, ends(e, u))
		last = max(last, ends(e, u))
	}
	if e.Whole.At == nil {
		s = "all copies back " + s
	}
	p.label(y, e.Unprotected[0].Since.Lo, e.Unprotected[0].Since.Hi, last, s)
}

func (p *picture) pause(y float64, e record.Effect) {
	if e.Pause == nil {
		p.nothing(y, paused(e))
		return
	}
	from := e.Pause.Ended - e.Pause.Seconds
	p.bar(y, "wait", from, from, e.Pause.Ended)
	p.label(y, from, from, e.Pause.Ended, paused(e))
}

// marks draws a diamond for each machine that was restarted or moved.
func (p *picture) marks(y float64, e record.Effect) {
	first, last := p.most, 0.0
	for _, m := range append(append([]record.Mark{}, e.VMs.Restarted...), e.VMs.Moved...) {
		x, mid := p.x(m.At.Hi), y+barHigh/2.0
		p.say(`<path d="M%.1f %.1fl6 6l-6 6l-6 -6z" class="mark"/>`, x, mid-6)
		first, last = min(first, m.At.Hi), max(last, m.At.Hi)
	}
	var said []string
	for _, k := range []struct {
		what string
		ms   []record.Mark
	}{{"restarted", e.VMs.Restarted}, {"moved", e.VMs.Moved}} {
		if len(k.ms) > 0 {
			said = append(said, k.what+" after "+between(k.ms[0].At)+": "+vms(k.ms))
		}
	}
	switch {
	case len(said) > 0:
		p.label(y, first, last, last+8*p.most/(plotRight-plotLeft), strings.Join(said, "; "))
	case e.VMs.Watched == 0:
		p.nothing(y, "not watched")
	default:
		p.nothing(y, fmt.Sprintf("none of %d", e.VMs.Watched))
	}
}

func vms(ms []record.Mark) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.VM)
	}
	return list(out, "")
}

// nothing says in words that a track has nothing to draw.
func (p *picture) nothing(y float64, s string) { p.text(plotLeft+6, y+barHigh-3, "dim", s) }

// axis draws the seconds, in steps of 1, 2 or 5.
func (p *picture) axis(y float64) {
	step := 1.0
	for i := 0; p.most/step > 12; i++ {
		step *= []float64{2, 2.5, 2}[i%3]
	}
	for t := 0.0; t <= p.most; t += step {
		p.say(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="rule"/>`, p.x(t), y, p.x(t), y+5)
		p.say(`<text x="%.1f" y="%.1f" text-anchor="middle" class="dim">%g</text>`, p.x(t), y+19, t)
	}
	p.say(`<text x="%d" y="%.1f" class="name">seconds since the fault</text>`, plotLeft-14, y+19)
}
