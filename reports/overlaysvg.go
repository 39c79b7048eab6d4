// This file draws an overlay: above the runs on one time axis, each from its fault on; below what each measured, against what it was
// allowed.

package reports

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// stateClasses are the colours of states other than the one before the fault, in the order in which they are first seen.
var stateClasses = []string{"wait", "bare", "out", "mark"}

// SVG is the overlay as a picture.
func (o Overlay) SVG() []byte {
	p := &picture{most: 1}
	high := headHeight + axisHeight + laneGap
	var verdicts []record.Verdict
	units := map[string]bool{}
	for _, r := range o.Rows {
		p.most = max(p.most, min(r.Reach, longest))
		high += r.high() + laneGap + trackHigh + 8
		if r.Verdict.Measured != nil {
			units[unit(r.Verdict)] = true
		}
		verdicts = append(verdicts, r.Verdict)
	}
	p.least = -p.most / 20
	p.begin(high+axisHeight, fmt.Sprintf("One claim, %s: %s", several(len(o.Rows), "run"), cut(oneLine(o.Title), 90)))
	sub := o.Claim
	if o.Mixed {
		sub = mixedWords
	}
	p.text(16, 45, "dim", cut(sub, lettersWide+20))
	p.text(16, 62, "dim", "Behind each run: its fault. Grey: as before the fault. Pale: it may have begun already. Ticks below: what the verdict points to.")
	y := float64(headHeight)
	class := map[string]string{}
	for _, r := range o.Rows {
		p.over(y, r, class)
		y += float64(r.high() + laneGap)
	}
	p.axis(y-laneGap/2, "seconds since the fault")
	y += axisHeight
	p.text(16, y, "lane", "Measured, and what each run was allowed")
	for _, r := range o.Rows {
		y += trackHigh + 8
		if p.least, p.most = gauge(verdicts...); len(units) > 1 { // of different units no axis is common
			p.least, p.most = gauge(r.Verdict)
		}
		p.undo = 0
		p.text(plotLeft-8, y-trackHigh+barHigh+5, "name", cut(oneLine(r.Lab), 22))
		p.value(y-trackHigh+8, "wait", r.Verdict)
	}
	p.say("</svg>")
	return []byte(p.String())
}

// high is how much room a row takes, in pixels.
func (o OverRow) high() int { return laneHead + trackHigh*max(len(o.Tracks), 1) }

// over draws one run.
func (p *picture) over(y float64, r OverRow, class map[string]string) {
	head := strings.Join([]string{or(r.Platform), or(r.Lab), or(r.Run), r.kind()}, " · ")
	if r.More > 0 {
		head += fmt.Sprintf(" · %d more tracks", r.More)
	}
	p.text(16, y+14, "lane", cut(oneLine(head), 100))
	p.text(plotRight, y+14, "name", r.Word)
	top, bottom := y+laneHead, y+float64(r.high())
	for _, f := range r.Held {
		p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="fault"/>`, p.x(f.Lo), top, max(p.x(f.Hi)-p.x(f.Lo), 0), bottom-top)
	}
	p.say(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="edge"/>`, p.x(0), top, p.x(0), bottom)
	p.say(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" class="rule"/>`, plotLeft, bottom, plotRight, bottom)
	switch {
	case r.Not != "":
		p.nothing(top+4, r.Not)
	case len(r.Tracks) == 0:
		p.nothing(top+4, "the verdict points to nothing but the fault")
	}
	for i, t := range r.Tracks {
		p.track(top+float64(i*trackHigh)+(trackHigh-barHigh)/2, t, class)
	}
}

// track draws a topic of a lane.
func (p *picture) track(y float64, t OverTrack, class map[string]string) {
	p.text(plotLeft-8, y+barHigh-3, "name", cut(oneLine(t.Lane+" "+t.Topic), 26))
	before := ""
	for _, s := range t.States {
		if s.From > 0 {
			break
		}
		before = s.What
	}
	for i, s := range t.States {
		c := "calm"
		if s.What != before || s.From > 0 && i == 0 {
			if class[s.What] == "" {
				class[s.What] = stateClasses[len(class)%len(stateClasses)]
			}
			c = class[s.What]
		}
		p.bar(y, c, max(s.May, s.From-(s.To-s.From)), s.From, s.To)
		if text := cut(oneLine(s.What), 30); letterWide*float64(len([]rune(text)))+8 < p.x(s.To)-p.x(s.From) {
			on := "on"
			if c == "calm" {
				on = ""
			}
			p.text(p.x(s.From)+5, y+barHigh-3, on, text)
		}
	}
	peak := 0.0
	for _, s := range t.Samples {
		peak = max(peak, s.Max)
	}
	if len(t.States) == 0 && peak > 0 {
		for _, s := range t.Samples {
			h := barHigh * max(s.Max, 0) / peak
			p.say(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" class="wait"/>`, p.x(s.From), y+barHigh-h, max(p.x(s.To)-p.x(s.From), 2), h)
		}
		p.text(plotRight-4, y+barHigh-3, "end", "greatest "+number(peak))
	}
	for _, e := range t.Events {
		p.say(`<path d="M%.1f %.1fl5 5l-5 5l-5 -5z" class="mark"><title>%s</title></path>`, p.x(e.From), y+2, svgText(e.What, 100))
	}
	for _, at := range t.Evidence {
		p.say(`<path d="M%.1f %.1fl3 5l-6 0z" class="tick"/>`, p.x(at), y+barHigh)
	}
}
