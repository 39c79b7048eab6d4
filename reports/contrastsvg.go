// This file draws a contrast: one lane a run on one time axis from the fault on.

package reports

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

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
	p.begin(high, title)
	p.text(16, 45, "dim", cut(c.Title+": "+or(string(c.Verdict.Outcome))+" ("+or(string(c.Verdict.Provenance))+")", lettersWide+20))
	p.text(16, 62, "dim", "Behind each lane: the fault, until it was undone (dashed). Pale: it may have begun already.")
	y := float64(headHeight)
	for _, e := range c.Rows {
		p.lane(y, e)
		y += laneHigh + laneGap
	}
	p.axis(y-laneGap/2, "seconds since the fault")
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
