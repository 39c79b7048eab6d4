// This file draws many lanes of one kind as one: how many were in each state at each time. Where there are few lanes nothing is summed up.

package reports

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

const (
	lanesMost  = 60  // above, lanes of the same kind are summed up
	crowdLeast = 8   // fewer of a kind are drawn one by one
	differMost = 12  // of the lanes that differ from the rest, that many are drawn, the worst first
	slots      = 480 // of a crowd's drawing
	crowdHigh  = 56  // px
)

// kindOf is the kind of a lane: its role, and what its name has before a slash ("vm" of "vm/a").
func kindOf(l drivers.Lane) string {
	kind, _, ok := strings.Cut(l.Name, "/")
	if !ok {
		return string(l.Role)
	}
	return string(l.Role) + "/" + kind
}

// lot is the lanes that stand together: one lane, or a crowd.
type lot struct {
	kind  string
	lanes [][]record.Track
}

// lots puts lanes of the same kind together where there are too many for a row each.
func lots(lanes [][]record.Track) []lot {
	n := map[string]int{}
	for _, l := range lanes {
		n[kindOf(l[0].Lane)]++
	}
	var out []lot
	at := map[string]int{}
	for _, l := range lanes {
		k := kindOf(l[0].Lane)
		if i, ok := at[k]; ok {
			out[i].lanes = append(out[i].lanes, l)
			continue
		}
		if len(lanes) > lanesMost && n[k] > crowdLeast {
			at[k] = len(out)
		}
		out = append(out, lot{k, [][]record.Track{l}})
	}
	return out
}

// layer is one state of a crowd's topic: how many lanes are in it in each column.
type layer struct {
	word string
	tone tone
	n    []float64
}

// layers counts a crowd's topic, the worst states first.
func (c *chart) layers(topic string, lanes [][]record.Track) []layer {
	at := map[string]int{}
	var out []layer
	for _, l := range lanes {
		for _, t := range l {
			if t.Topic != topic {
				continue
			}
			for _, s := range t.States {
				i, ok := at[s.Value]
				if !ok {
					i = len(out)
					at[s.Value] = i
					out = append(out, layer{oneLine(s.Value), toneOf(topic, s.Value), make([]float64, slots)})
				}
				from, to := percent(s.From, c.rec.EndT)/100*slots, percent(s.To, c.rec.EndT)/100*slots
				for k := int(from); k < slots && float64(k) < to; k++ {
					out[i].n[k] += min(to, float64(k+1)) - max(from, float64(k))
				}
			}
		}
	}
	slices.SortStableFunc(out, func(a, b layer) int { return cmp.Or(cmp.Compare(b.tone, a.tone), cmp.Compare(a.word, b.word)) })
	const most = 8 // states with a layer of their own
	if len(out) > most {
		rest := layer{word: fmt.Sprintf("%d other states", len(out)-most+1), n: make([]float64, slots)}
		for _, l := range out[most-1:] {
			for k, n := range l.n {
				rest.n[k] += n
			}
			rest.tone = max(rest.tone, l.tone)
		}
		out = append(out[:most-1], rest)
	}
	return out
}

// stack draws the layers on each other. Of all lanes together it is as high as the row.
func (c *chart) stack(topic string, lanes [][]record.Track) string {
	d := &drawing{to: c.rec.EndT}
	under := make([]float64, slots)
	high := func(n float64) float64 { return (crowdHigh - 4) * n / float64(len(lanes)) }
	d.say(`<svg width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none">`, crowdHigh, slots, crowdHigh)
	var words []string
	for _, l := range c.layers(topic, lanes) {
		p := paints[l.tone]
		switch l.tone {
		case good:
			p.fill = "#c9e4d3"
		case waiting:
			p.fill = "url(#lines)" // which a wide drawing does not distort
		}
		most, when := 0.0, 0
		var path strings.Builder
		for k := 0; k < slots; {
			lo, hi := high(under[k]), high(under[k]+l.n[k])
			to := k + 1
			for to < slots && math.Abs(high(under[to])-lo) < 0.05 && math.Abs(high(under[to]+l.n[to])-hi) < 0.05 {
				to++
			}
			if hi > lo {
				fmt.Fprintf(&path, "M%d %.1fH%dV%.1fH%dZ", k, crowdHigh-2-hi, to, crowdHigh-2-lo, k)
			}
			if l.n[k] > most {
				most, when = l.n[k], k
			}
			k = to
		}
		d.say(`<path class="c%s" fill="%s" shape-rendering="crispEdges" d="%s"><title>%s</title></path>`, p.class, p.fill, path.String(), lines3(fmt.Sprintf(
			"%s\nat most %.0f of %d, at %s", l.word, most, len(lanes), clock(int64(when)*c.rec.EndT/slots))))
		words = append(words, c.plateau(l, p, under, high))
		for k := range under {
			under[k] += l.n[k]
		}
	}
	d.say(`</svg>%s`, strings.Join(words, ""))
	return d.String()
}

// plateau writes a layer's word where it is high and long enough.
func (c *chart) plateau(l layer, p paint, under []float64, high func(float64) float64) string {
	line := 13.0
	for k := range under {
		line = max(line, 0.7*(high(under[k]+l.n[k])-high(under[k])))
	}
	best, at, mid := 0, 0, 0.0
	for i := 0; i < slots; i++ {
		lo, hi := 0.0, math.Inf(1)
		j := i
		for ; j < slots; j++ {
			lo, hi = max(lo, high(under[j])), min(hi, high(under[j]+l.n[j]))
			if hi-lo < line {
				break
			}
			if j-i+1 > best {
				best, at, mid = j-i+1, i, (lo+hi)/2
			}
		}
		if j == slots {
			break
		}
	}
	if best == 0 || float64(best)*narrow/slots < letterWide*float64(len([]rune(l.word)))+8 {
		return ""
	}
	return fmt.Sprintf(`<text class="%sw" x="%s%%" dx="4" y="%.1f" fill="%s">%s</text>`, p.class, short(100*float64(at)/slots), crowdHigh-2-mid+3.5, p.ink, svgText(l.word, 30))
}

// crowd draws a lot of many lanes: what they did together, those that differ from the rest, and one line for each.
func (c *chart) crowd(l lot) (main, rest []trackRow, all []company) {
	n := len(l.lanes)
	role := l.lanes[0][0].Lane.Role
	name := l.kind
	prov := string(l.lanes[0][0].Lane.Provenance)
	var topics []string
	changed, sampled := map[string]bool{}, map[string]bool{}
	happened := make([]float64, slots)
	events := 0
	for _, ts := range l.lanes {
		if p := string(ts[0].Lane.Provenance); p != prov {
			prov = "mixed"
		}
		for _, t := range ts {
			if !slices.Contains(topics, t.Topic) {
				topics = append(topics, t.Topic)
			}
			sampled[t.Topic] = sampled[t.Topic] || len(t.Buckets) > 0
			changed[t.Topic] = changed[t.Topic] || worth(t.Topic, role, len(t.States)) || c.cites.open[cited{key(t.Lane), t.Topic}]
			for _, e := range t.Events {
				events++
				happened[min(int(percent(e.Hi, c.rec.EndT)/100*slots), slots-1)]++
			}
		}
	}
	d := &drawing{to: c.rec.EndT}
	d.say("%s", histogram(happened))
	for _, ts := range l.lanes {
		d.rings(c.cites.of(key(ts[0].Lane), ""))
	}
	main = append(main, trackRow{Class: "lane", Lane: name, Label: fmt.Sprintf("%s × %d", oneLine(name[strings.Index(name, "/")+1:]), n), Note: prov, Hint: several(events, "event"), SVG: svgRow(rowHigh, d.String())})
	for _, topic := range topics {
		r := trackRow{Class: "crowd", Lane: name, Label: oneLine(topic), Hint: "how many lanes are in each state", SVG: svgRow(crowdHigh, c.stack(topic, l.lanes))}
		switch {
		case changed[topic]:
			main = append(main, r)
		case slices.ContainsFunc(l.lanes, func(ts []record.Track) bool {
			return slices.ContainsFunc(ts, func(t record.Track) bool { return t.Topic == topic && len(t.States) > 0 })
		}):
			rest = append(rest, r)
		}
	}
	for _, topic := range topics {
		if !sampled[topic] {
			continue
		}
		bs := c.together(topic, l.lanes)
		r := trackRow{Class: "samples", Lane: name, Label: oneLine(topic), Note: extent(bs), SVG: svgRow(stripHigh, c.strip(bs)),
			Hint: "samples: the line is the middle lane's mean, the span reaches from the least to the most of any lane; log scale"}
		if shownSamples(topic, role, changed[topic]) {
			main = append(main, r)
		} else {
			rest = append(rest, r)
		}
	}
	all = companies(l.lanes, changed)
	left := differMost
	for _, co := range all {
		for _, f := range co.lanes {
			if left == 0 || co.Rest || f.bad+f.waiting == 0 {
				break
			}
			left--
			m, r := c.lane(f.tracks)
			m[0].Class = "lane differs"
			main, rest = append(main, m...), append(rest, r...)
		}
	}
	if topic := worstTopic(l.lanes, changed); topic != "" {
		rest = append(rest, c.raster(topic, all, n, name))
	}
	return main, rest, all
}
