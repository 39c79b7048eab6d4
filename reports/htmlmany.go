// This file draws what a crowd's lanes have beside their states: events, samples, and one thin line for each lane.

package reports

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// histogram draws how many events there were, on a log scale.
func histogram(n []float64) string {
	most := slices.Max(n)
	if most == 0 {
		return ""
	}
	var path strings.Builder
	for k, v := range n {
		if v > 0 {
			fmt.Fprintf(&path, "M%d %dh1V%.1fh-1Z", k, rowHigh-2, rowHigh-2-3-(rowHigh-7)*math.Log1p(v)/math.Log1p(most))
		}
	}
	return fmt.Sprintf(`<svg width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none"><path class="ev" fill="#59636e" shape-rendering="crispEdges" d="%s"><title>events
at most %.0f at a time</title></path></svg>`, rowHigh, slots, rowHigh, path.String(), most)
}

// together sums the samples of a topic up over all lanes: in each stretch the least, the most, and as the mean the middle of the lanes' means.
func (c *chart) together(topic string, lanes [][]record.Track) []record.Bucket {
	const parts = 200
	to := max(c.rec.EndT, 1)
	sum := make([]record.Bucket, parts)
	means := make([][]float64, parts)
	for _, ts := range lanes {
		for _, t := range ts {
			if t.Topic != topic {
				continue
			}
			for _, b := range t.Buckets {
				from, last := min(max(b.From, 0)*parts/to, parts-1), min(max(b.To, 0)*parts/to, parts-1)
				for k := from; k <= last; k++ {
					s := &sum[k]
					if len(means[k]) == 0 {
						s.Min, s.Max, s.MaxT = b.Min, b.Max, b.MaxT
					}
					s.Min = min(s.Min, b.Min)
					if b.Max > s.Max {
						s.Max, s.MaxT = b.Max, b.MaxT
					}
					means[k] = append(means[k], b.Mean())
				}
			}
		}
	}
	var out []record.Bucket
	for k, s := range sum {
		if len(means[k]) == 0 {
			continue
		}
		slices.Sort(means[k])
		s.From, s.To = int64(k)*to/parts, int64(k+1)*to/parts
		s.N, s.Sum = 1, means[k][len(means[k])/2]
		out = append(out, s)
	}
	return out
}

// worstTopic is the topic in which the lanes were ill or waiting for the longest.
func worstTopic(lanes [][]record.Track, changed map[string]bool) string {
	ill := map[string]int64{}
	worst := ""
	for _, ts := range lanes {
		for _, t := range ts {
			for _, s := range t.States {
				if changed[t.Topic] && toneOf(t.Topic, s.Value) >= waiting {
					ill[t.Topic] += s.To - s.From
				}
			}
			if ill[t.Topic] > ill[worst] || ill[t.Topic] == ill[worst] && ill[t.Topic] > 0 && t.Topic < worst {
				worst = t.Topic
			}
		}
	}
	return worst
}

// raster draws one thin line a lane, in the order of the companies. Nothing is left out: a state too short for a dot has one.
func (c *chart) raster(topic string, all []company, n int, name string) trackRow {
	across := 600
	if n > 2000 {
		across = 200
	}
	paths := map[tone]*strings.Builder{plain: {}, waiting: {}, bad: {}}
	y := 0
	for _, co := range all {
		for _, f := range co.lanes {
			for _, t := range f.tracks {
				if t.Topic != topic {
					continue
				}
				for _, s := range t.States {
					p := paths[toneOf(topic, s.Value)]
					if p == nil {
						continue // of the good ones the ground is enough
					}
					from := int(percent(s.From, c.rec.EndT) / 100 * float64(across))
					to := int(math.Ceil(percent(s.To, c.rec.EndT) / 100 * float64(across)))
					fmt.Fprintf(p, "M%d %dh%dv1h-%dz", from, y, max(to-from, 1), max(to-from, 1))
				}
			}
			y++
		}
	}
	high := min(max(2*n, 40), 1600)
	d := &drawing{to: c.rec.EndT}
	d.say(`<svg width="100%%" height="%d" viewBox="0 0 %d %d" preserveAspectRatio="none" shape-rendering="crispEdges"><rect class="cg" width="100%%" height="100%%" fill="#c9e4d3"/>`, high, across, n)
	for _, t := range []tone{plain, waiting, bad} {
		fill := paints[t].fill
		if t == waiting {
			fill = "#e0a93f"
		}
		d.say(`<path class="r%s" fill="%s" d="%s"/>`, paints[t].class, fill, paths[t].String())
	}
	d.say(`</svg>`)
	return trackRow{Class: "raster", Lane: name, Label: oneLine(topic), Note: fmt.Sprintf("%d lanes, one line each", n), Hint: "the lanes that differ first, then the rest; in each the worst first", SVG: svgRow(high, d.String())}
}
