// This file draws what was seen of one lane: a row with its events, one for each topic's states, one for each topic's samples.

package reports

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// trackRow is one row of the timeline.
type trackRow struct {
	Class string // "role", "lane", "topic", "samples", "crowd", "pictures"
	Lane  string // "guest/a"
	Label string // what stands left of it
	Note  string // in small beside the label
	Hint  string // where the mouse rests on the label
	SVG   template.HTML
}

// chart is the timeline in the making.
type chart struct {
	rec      *record.Record
	faults   []fault
	cites    *cites
	pictures []picturePlace
	least    int64 // ms; what is shorter is drawn together with its neighbours
}

// segments bounds how many states a page draws, over all rows.
const segments = 9000

// Rows of a lane: those of the overview, and the rest.
func (c *chart) lane(tracks []record.Track) (main, rest []trackRow) {
	l := tracks[0].Lane
	name := key(l)
	d := &drawing{to: c.rec.EndT}
	var states, samples []trackRow
	for _, t := range tracks {
		topic := oneLine(t.Topic)
		own := worth(t.Topic, l.Role, len(t.States)) || c.cites.open[cited{name, t.Topic}]
		if len(t.Events) > 0 {
			if minor[t.Topic] {
				e := &drawing{to: c.rec.EndT}
				c.events(e, t)
				rest = append(rest, trackRow{Class: "topic", Lane: name, Label: topic, Note: several(len(t.Events), "event"), SVG: svgRow(rowHigh, e.String())})
			} else {
				c.events(d, t)
			}
		}
		if len(t.States) > 0 {
			e := &drawing{to: c.rec.EndT}
			c.states(e, t)
			e.rings(c.cites.of(name, t.Topic))
			r := trackRow{Class: "topic", Lane: name, Label: topic, SVG: svgRow(rowHigh, e.String())}
			if own {
				states = append(states, r)
			} else {
				rest = append(rest, r)
			}
		}
		if len(t.Buckets) > 0 {
			r := trackRow{Class: "samples", Lane: name, Label: topic, Note: extent(t.Buckets), Hint: "samples: the least, the mean and the most of each stretch, on a log scale", SVG: svgRow(stripHigh, c.strip(t.Buckets))}
			if shownSamples(t.Topic, l.Role, len(t.States) > 0) {
				samples = append(samples, r)
			} else {
				rest = append(rest, r)
			}
		}
	}
	d.rings(c.cites.of(name, ""))
	head := trackRow{Class: "lane", Lane: name, Label: laneLabel(l), Note: string(l.Provenance), SVG: svgRow(rowHigh, d.String())}
	main = append(append([]trackRow{head}, states...), samples...)
	if p := c.shots(l); p != nil {
		main = slices.Insert(main, 1, *p)
	}
	return main, rest
}

// key is a lane as verdicts name it.
func key(l drivers.Lane) string { return string(l.Role) + "/" + l.Name }

func laneLabel(l drivers.Lane) string {
	if l.Name == "" {
		return oneLine(string(l.Role))
	}
	return oneLine(l.Name)
}

// stretch is one state, or several that are too short to be drawn alone.
type stretch struct {
	from, to int64
	tone     tone
	word     string
	title    string
	n        int
}

// stretches puts states that are shorter than least together with their neighbours; the worst gives the tone.
func stretches(t record.Track, least int64) []stretch {
	var out []stretch
	for _, s := range t.States {
		n := stretch{from: s.From, to: s.To, tone: toneOf(t.Topic, s.Value), word: oneLine(s.Value), n: 1}
		tiny := s.To-s.From < least
		if k := len(out) - 1; k >= 0 && tiny && out[k].n > 0 && out[k].to-out[k].from < least {
			o := &out[k]
			o.to, o.n = s.To, o.n+1
			if o.n <= 6 {
				o.title += ", " + n.word
			}
			if n.tone > o.tone {
				o.tone, o.word = n.tone, n.word
			}
			continue
		}
		n.title = n.word
		if !tiny {
			n.title = until(s)
		}
		out = append(out, n)
	}
	return out
}

// until says from when to when a state held.
func until(s record.StateSpan) string {
	t := clock(s.From) + " to " + clock(s.To) + ", " + number(float64(s.To-s.From)/1000) + " s"
	if s.Since.Lo < s.Since.Hi {
		t += "\nnot yet so at " + clock(s.Since.Lo)
	}
	if s.Text != "" {
		t += "\n" + cut(oneLine(s.Text), 160)
	}
	return t
}

func (c *chart) states(d *drawing, t record.Track) {
	for _, s := range stretches(t, c.least) {
		p := paints[s.tone]
		title := s.word + "\n" + s.title
		if s.n > 1 {
			title = fmt.Sprintf("%d states\n%s to %s: %s", s.n, clock(s.from), clock(s.to), s.title)
		}
		rim := ""
		if s.tone == plain { // of two such states side by side each has to be seen
			rim = ` stroke="#aab3bd" stroke-width=".6"`
		}
		d.say(`<rect class="%s" x="%s%%" y="%d" width="%s%%" height="%d" fill="%s"%s><title>%s</title></rect>`, p.class, d.x(s.from), p.top, d.wide(s.from, s.to), p.high, p.fill, rim, lines3(title))
		switch w := cut(s.word, 24); {
		case d.fits(len([]rune(w)), s.from, s.to):
			d.word(s, p, w)
		case s.tone != good && d.fits(1, s.from, s.to):
			d.word(s, p, cut(w, 2)[:len(cut(w, 2))-len("…")])
		}
	}
}

func (d *drawing) word(s stretch, p paint, w string) {
	d.say(`<text class="%sw" x="%s%%" dx="4" y="%d" fill="%s">%s</text>`, p.class, d.x(s.from), p.base, p.ink, svgText(w, 30))
}

// lines3 escapes a text of a few lines.
func lines3(s string) string {
	parts := strings.SplitN(s, "\n", 4)
	for i := range parts {
		parts[i] = svgText(parts[i], 240)
	}
	return strings.Join(parts, "\n")
}

// events draws a tick for each event, one for those too close to be told apart.
func (c *chart) events(d *drawing, t record.Track) {
	for i := 0; i < len(t.Events); {
		e := t.Events[i]
		worst, n := toneOfEvent(t.Topic, e.Type), 1
		for ; i+n < len(t.Events) && t.Events[i+n].Hi-e.Hi < c.least; n++ {
			worst = max(worst, toneOfEvent(t.Topic, t.Events[i+n].Type))
		}
		title := t.Topic + ": " + e.Type + "\n" + clock(e.Hi)
		if e.Lo < e.Hi {
			title += ", not yet at " + clock(e.Lo)
		}
		if n > 1 {
			title += fmt.Sprintf(", and %d more until %s", n-1, clock(t.Events[i+n-1].Hi))
		}
		if e.Text != "" {
			title += "\n" + cut(oneLine(e.Text), 160)
		}
		class, fill, y, high := "ev", "#59636e", 6, 9
		if worst == bad {
			class, fill, y, high = "ev evb", "#b8232f", 3, 14
		}
		d.say(`<rect class="%s" x="%s%%" y="%d" width="2" height="%d" fill="%s"><title>%s</title></rect>`, class, d.x(e.Hi), y, high, fill, lines3(title))
		i += n
	}
}

// rings marks what verdicts rest on; filled are those of verdicts that nobody wants to see.
func (d *drawing) rings(list []*cite) {
	for _, p := range list {
		class, fill := "ring", "#fff"
		if p.Open {
			class, fill = "ring open", "#1f6fd1"
		}
		d.say(`<circle class="%s" id="%s" cx="%s%%" cy="3.5" r="2.5" fill="%s" stroke="#1f6fd1" stroke-width="1.2"><title>%s</title></circle>`, class, p.Mark, d.x(p.T), fill,
			svgText("a verdict rests on this", 40)+"\n"+svgText(clock(p.T)+" "+p.What, 160))
	}
}

// stripHigh is the height of a row of samples, in pixels.
const stripHigh = 34

// stripMost is how many stretches a row of samples has.
const stripMost = 400

// thin puts neighbouring buckets together until there are few enough.
func thin(bs []record.Bucket, most int) []record.Bucket {
	k := (len(bs) + most - 1) / most
	if k <= 1 {
		return bs
	}
	var out []record.Bucket
	for part := range slices.Chunk(bs, k) {
		b := part[0]
		for _, o := range part[1:] {
			b.To, b.N, b.Sum = max(b.To, o.To), b.N+o.N, b.Sum+o.Sum
			b.Min = min(b.Min, o.Min)
			if o.Max > b.Max {
				b.Max, b.MaxT = o.Max, o.MaxT
			}
		}
		out = append(out, b)
	}
	return out
}

// logScale maps values to heights in a strip; what is not above zero lies at the bottom.
type logScale struct{ lo, hi float64 }

func scaleOf(bs []record.Bucket) logScale {
	s := logScale{math.Inf(1), 0}
	for _, b := range bs {
		for _, v := range []float64{b.Min, b.Mean(), b.Max} {
			if v > 0 {
				s.lo = min(s.lo, v)
			}
		}
		s.hi = max(s.hi, b.Max)
	}
	if s.hi <= 0 || math.IsInf(s.hi, 0) {
		return logScale{1, 10}
	}
	s.lo = max(s.lo, s.hi/1e6)
	if s.hi < 2*s.lo {
		s.lo = s.hi / 2
	}
	return s
}

func (s logScale) y(v float64) string {
	part := 0.0
	if v > 0 {
		part = math.Log(v/s.lo) / math.Log(s.hi/s.lo)
	}
	return strconv.FormatFloat(3+(stripHigh-6)*(1-min(max(part, 0), 1)), 'f', 1, 64)
}

// extent is the least and the most of samples.
func extent(bs []record.Bucket) string {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, b := range bs {
		lo, hi = min(lo, b.Min), max(hi, b.Max)
	}
	return few(lo) + ".." + few(hi)
}

// few is a number in few digits.
func few(x float64) string {
	if math.Abs(x) >= 100 && math.Abs(x) < 1e6 {
		return strconv.FormatFloat(x, 'f', 0, 64)
	}
	return strconv.FormatFloat(x, 'g', 3, 64)
}

// strip draws samples: the span from least to most, the mean as a line. A silence interrupts it.
func (c *chart) strip(bs []record.Bucket) string {
	bs = thin(bs, stripMost)
	s := scaleOf(bs)
	quiet := max(15_000, 3*c.rec.EndT/stripMost)
	var span, mean strings.Builder
	var back []string
	x := func(t int64) string { return strconv.FormatFloat(10*percent(t, c.rec.EndT), 'f', 1, 64) }
	shut := func() {
		slices.Reverse(back)
		span.WriteString(strings.Join(back, "") + "Z")
		back = nil
	}
	most := bs[0]
	for i, b := range bs {
		next := "L"
		if i == 0 || b.From-bs[i-1].To > quiet {
			if i > 0 {
				shut()
			}
			next = "M"
		}
		to := max(b.To, b.From+1)
		fmt.Fprintf(&span, "%s%s %sH%s", next, x(b.From), s.y(b.Max), x(to))
		back = append(back, "L"+x(to)+" "+s.y(b.Min)+"H"+x(b.From))
		fmt.Fprintf(&mean, "%s%s %sH%s", next, x(b.From), s.y(b.Mean()), x(to))
		if b.Max > most.Max {
			most = b
		}
	}
	shut()
	d := &drawing{to: c.rec.EndT}
	d.say(`<svg width="100%%" height="%d" viewBox="0 0 1000 %d" preserveAspectRatio="none"><path class="span" d="%s" fill="#b9cfea"/><path class="mean" d="%s" fill="none" stroke="#2a62a8" stroke-width="1" vector-effect="non-scaling-stroke"/></svg>`,
		stripHigh, stripHigh, span.String(), mean.String())
	d.say(`<rect class="most" x="%s%%" y="%s" width="3" height="3" fill="#2a62a8"><title>%s</title></rect>`, d.x(most.MaxT), s.y(most.Max),
		svgText("the most: "+number(most.Max), 60)+"\n"+svgText(clock(most.MaxT), 40))
	return d.String()
}
