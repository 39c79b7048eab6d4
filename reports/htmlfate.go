// This file sorts the lanes of a crowd by what they went through, so that the few that differ are found among the many.

package reports

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// namesLength bounds the list of a company's names.
const namesLength = 4000

// fate is what a lane of a crowd went through.
type fate struct {
	tracks  []record.Track
	is      string // the states in the order in which they came first, with the last one, topic by topic
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
		last := oneLine(t.States[len(t.States)-1].Value)
		is := oneLine(t.Topic) + " " + strings.Join(words, ", ")
		if len(words) > 1 {
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

func worse(a, b fate) int {
	return cmp.Or(cmp.Compare(b.bad, a.bad), cmp.Compare(b.waiting, a.waiting))
}

// ranges sorts names and writes those that are numbered one after the other as "g7 to g12".
func ranges(names []string) []string {
	type name struct {
		all, stem string
		n         int // -1 without a number
	}
	var list []name
	for _, s := range names {
		stem := strings.TrimRight(s, "0123456789")
		n, err := strconv.Atoi(s[len(stem):])
		if err != nil {
			n = -1
		}
		list = append(list, name{s, stem, n})
	}
	slices.SortStableFunc(list, func(a, b name) int {
		return cmp.Or(cmp.Compare(a.stem, b.stem), cmp.Compare(a.n, b.n), cmp.Compare(a.all, b.all))
	})
	var out []string
	for i := 0; i < len(list); {
		j := i
		for j+1 < len(list) && list[i].n >= 0 && list[j+1].stem == list[i].stem && list[j+1].n == list[j].n+1 {
			j++
		}
		if j > i+1 {
			out = append(out, list[i].all+" to "+list[j].all)
			i = j + 1
			continue
		}
		out = append(out, list[i].all)
		i++
	}
	return out
}
