// This file sorts the lanes of a crowd by what they went through, so that the few that differ are found among the many.

package reports

import (
	"cmp"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// namesLength bounds the list of a company's names.
const namesLength = 4000

// fate is what a lane of a crowd went through.
type fate struct {
	tracks  []record.Track
	is      string // the states in the order in which they came first, with the last one, topic by topic
	ill     bool   // in the end it fails or waits
	bad     int64  // ms
	waiting int64
}

func fateOf(tracks []record.Track, changed map[string]bool) fate {
	f := fate{tracks: tracks}
	var said []string
	for _, t := range tracks {
		if len(t.States) == 0 || !changed[t.Topic] {
			continue
		}
		var words []string
		for _, s := range t.States {
			switch toneOf(t.Topic, s.Value) {
			case bad:
				f.bad += s.To - s.From
			case waiting:
				f.waiting += s.To - s.From
			}
			if w := oneLine(s.Value); !slices.Contains(words, w) {
				words = append(words, w)
			}
		}
		end := t.States[len(t.States)-1].Value
		f.ill = f.ill || toneOf(t.Topic, end) >= waiting
		last := oneLine(end)
		is := oneLine(t.Topic) + " " + strings.Join(words, ", ")
		if last != words[len(words)-1] {
			is += ", in the end " + last
		}
		said = append(said, cut(is, 200))
	}
	f.is = strings.Join(said, "; ")
	return f
}

// company is the lanes of a crowd that went through the same.
type company struct {
	N          int
	Is, Names  string
	Rest       bool // the largest: what the others differ from
	bad, waits int64
	lanes      []fate
}

// companies sorts a crowd: the worst first, the largest last.
func companies(lanes [][]record.Track, changed map[string]bool) []company {
	at := map[string]int{}
	var out []company
	for _, l := range lanes {
		f := fateOf(l, changed)
		i, ok := at[f.is]
		if !ok {
			i = len(out)
			at[f.is] = i
			out = append(out, company{Is: f.is})
		}
		c := &out[i]
		c.N, c.bad, c.waits = c.N+1, c.bad+f.bad, c.waits+f.waiting
		c.lanes = append(c.lanes, f)
	}
	most := 0
	for i := range out {
		if out[i].N > out[most].N {
			most = i
		}
	}
	out[most].Rest = true
	for i := range out {
		c := &out[i]
		slices.SortStableFunc(c.lanes, worse)
		names := make([]string, len(c.lanes))
		for j, l := range c.lanes {
			names[j] = laneLabel(l.tracks[0].Lane)
		}
		c.Names = cut(strings.Join(ranges(names), ", "), namesLength)
	}
	slices.SortStableFunc(out, func(a, b company) int {
		if a.Rest != b.Rest {
			return map[bool]int{true: 1, false: -1}[a.Rest]
		}
		return worse(a.lanes[0], b.lanes[0])
	})
	return out
}

// worse puts lanes first that did not come back, then those that failed or waited for the longest.
func worse(a, b fate) int {
	if a.ill != b.ill {
		return map[bool]int{true: -1, false: 1}[a.ill]
	}
	return cmp.Or(cmp.Compare(b.bad, a.bad), cmp.Compare(b.waiting, a.waiting))
}

// ranges sorts names and writes those that are numbered one after the other as "g7 to g12".
func ranges(names []string) []string {
	names = slices.SortedFunc(slices.Values(names), byName)
	var out []string
	for i := 0; i < len(names); {
		j := i
		for j+1 < len(names) && next(names[j], names[j+1]) {
			j++
		}
		if j > i+1 {
			out = append(out, names[i]+" to "+names[j])
			i = j + 1
			continue
		}
		out = append(out, names[i])
		i++
	}
	return out
}

func next(a, b string) bool {
	as, an := numbered(a)
	bs, bn := numbered(b)
	return as == bs && an >= 0 && bn == an+1
}
