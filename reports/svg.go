// This file has what the pictures are drawn with: one page with a title, bars and texts on an axis. A picture has no script and no font
// of its own, and is readable on light and on dark.

package reports

import (
	"encoding/xml"
	"fmt"
	"math"
	"strings"
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
.out{fill:#c2313a}.bare{fill:#a86400}.wait{fill:#1f6fd1}.mark{fill:#7d3fc9}.was{fill:#8a94a0}.window{fill:#b7e3c0;opacity:.6}.calm{fill:#b9c3cc}.tick{fill:#1f2328}.maybe{opacity:.35}
@media (prefers-color-scheme:dark){
text{fill:#e6edf3}.name,.dim{fill:#9da7b3}.on{fill:#0d1117}.back{fill:#0d1117}.fault{fill:#6b2b30;opacity:.45}.rule{stroke:#3d444d}.edge{stroke:#e0a458}
.out{fill:#ff7b7b}.bare{fill:#e3a53a}.wait{fill:#58a6ff}.mark{fill:#b98cff}.was{fill:#8b949e}.window{fill:#1f5a33;opacity:.7}.calm{fill:#4a535d}.tick{fill:#e6edf3}}
`

// picture is an SVG in the making.
type picture struct {
	strings.Builder
	least float64 // what is at the left edge of the axis
	most  float64 // and at the right one
	undo  float64 // where the lane's fault was undone, in pixels
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

// begin draws the page and its title.
func (p *picture) begin(high int, title string) {
	p.say(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`, svgWidth, high, svgWidth, high)
	p.say("<title>%s</title>\n<style>%s</style>", svgText(title, 200), svgStyle)
	p.say(`<rect class="back" width="%d" height="%d"/>`, svgWidth, high)
	p.text(16, 26, "title", title)
}

// x is where a value of the axis is.
func (p *picture) x(t float64) float64 {
	return plotLeft + (plotRight-plotLeft)*(min(max(t, p.least), p.most)-p.least)/(p.most-p.least)
}

func (p *picture) text(x, y float64, class, s string) {
	p.say(`<text x="%.1f" y="%.1f" class="%s">%s</text>`, x, y, class, svgText(s, 200))
}

// bar draws a stretch on a track, with a paler part for where it may have begun already.
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

// nothing says in words that a track has nothing to draw.
func (p *picture) nothing(y float64, s string) { p.text(plotLeft+6, y+barHigh-3, "dim", s) }

// axis draws the values, in steps of 1, 2 or 5.
func (p *picture) axis(y float64, what string) {
	step := 1.0
	for i := 0; (p.most-p.least)/step > 12; i++ {
		step *= []float64{2, 2.5, 2}[i%3]
	}
	for i := int(math.Ceil(p.least / step)); float64(i)*step <= p.most; i++ {
		t := float64(i) * step
		p.say(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="rule"/>`, p.x(t), y, p.x(t), y+5)
		p.say(`<text x="%.1f" y="%.1f" text-anchor="middle" class="dim">%g</text>`, p.x(t), y+19, t)
	}
	p.say(`<text x="%d" y="%.1f" class="name">%s</text>`, plotLeft-14, y+19, svgText(what, 30))
}
