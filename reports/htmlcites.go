// This file keeps what the verdicts point at: each such observation has a ring in the timeline and a line in the log.

package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// cite is one observation that verdicts rest on.
type cite struct {
	record.Pointer
	Mark string // the anchor of its ring: "t=15.757"
	Log  string // the anchor of its line in the log: "e12"
	Note string // the time in words

	Open bool // a verdict that nobody wants to see rests on it

	ringed bool
}

type cited struct{ lane, topic string }

type cites struct {
	all  []*cite // by time
	at   map[record.Pointer]*cite
	by   map[string][]*cite // by lane
	open map[cited]bool     // what verdicts that nobody wants to see rest on: always in the overview
}

// topicOf is the topic that a pointer speaks of: the first word.
func topicOf(what string) string {
	topic, _, _ := strings.Cut(what, " ")
	return topic
}

func citesOf(rows []record.Row) *cites {
	c := &cites{at: map[record.Pointer]*cite{}, by: map[string][]*cite{}, open: map[cited]bool{}}
	for _, row := range rows {
		w := wordOf(row)
		ill := w == refuted || w == inconclusive
		for _, p := range row.Evidence {
			if ill {
				c.open[cited{p.Lane, topicOf(p.What)}] = true
			}
			if c.at[p] == nil {
				c.at[p] = &cite{Pointer: p}
				c.all = append(c.all, c.at[p])
			}
			c.at[p].Open = c.at[p].Open || ill
		}
	}
	slices.SortStableFunc(c.all, func(a, b *cite) int {
		return cmp.Or(cmp.Compare(a.T, b.T), cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.What, b.What))
	})
	times := map[int64]int{}
	for i, p := range c.all {
		p.Note = clock(p.T)
		p.Log = "e" + strconv.Itoa(i+1)
		p.Mark = "t=" + strconv.FormatFloat(float64(p.T)/1000, 'f', 3, 64)
		if times[p.T]++; times[p.T] > 1 {
			p.Mark += fmt.Sprintf("~%d", times[p.T])
		}
		c.by[p.Lane] = append(c.by[p.Lane], p)
	}
	return c
}

// of takes the observations of a lane's topic that have no ring yet; an empty topic takes all that are left.
func (c *cites) of(lane, topic string) []*cite {
	var out []*cite
	for _, p := range c.by[lane] {
		if !p.ringed && (topic == "" || topicOf(p.What) == topic) {
			p.ringed = true
			out = append(out, p)
		}
	}
	return out
}

// left takes those that no row took.
func (c *cites) left() []*cite {
	var out []*cite
	for _, p := range c.all {
		if !p.ringed {
			p.ringed = true
			out = append(out, p)
		}
	}
	return out
}
