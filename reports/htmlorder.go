// This file orders the timeline's rows: lanes by role and name, the topics of a lane always in the same order, so that rows can be compared.

package reports

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// topicOrder is from what fails first to what notices last. Topics that are not in it come after, in the order of the record.
var topicOrder = strings.Fields("power host daemon controller medium up in service image portal path hit lun apd datastore connection manageable disk device fs write read " +
	"redirect resilient healing member compliance objects run monitor boot alive heartbeat agent ssh.held ssh.new rdp.held rdp.new winrm shell shell.external shell.builtin " +
	"shell.package-manager folder screen screen.shows")

func topicRank(topic string) int {
	if i := slices.Index(topicOrder, topic); i >= 0 {
		return i
	}
	return len(topicOrder)
}

// tracksOf hands out the record's tracks by lane: lanes of a role by name, those of parts ("vm/a") after the others.
func tracksOf(r *record.Record) [][]record.Track {
	var out [][]record.Track
	at := map[drivers.Lane]int{}
	for _, t := range r.Tracks() {
		i, ok := at[t.Lane]
		if !ok {
			i = len(out)
			at[t.Lane] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], t)
	}
	for _, ts := range out {
		slices.SortStableFunc(ts, func(a, b record.Track) int { return cmp.Compare(topicRank(a.Topic), topicRank(b.Topic)) })
	}
	for from := 0; from < len(out); { // Tracks has the roles in their order already
		to := from + 1
		for to < len(out) && out[to][0].Lane.Role == out[from][0].Lane.Role {
			to++
		}
		slices.SortStableFunc(out[from:to], func(a, b []record.Track) int { return byName(a[0].Lane.Name, b[0].Lane.Name) })
		from = to
	}
	return out
}

// byName compares names as people do: g2 comes before g10.
func byName(a, b string) int {
	as, an := numbered(a)
	bs, bn := numbered(b)
	return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), cmp.Compare(as, bs), cmp.Compare(an, bn), cmp.Compare(a, b))
}

// numbered takes the number off the end of a name; -1 without one.
func numbered(s string) (stem string, n int) {
	stem = strings.TrimRight(s, "0123456789")
	n, err := strconv.Atoi(s[len(stem):])
	if err != nil {
		return s, -1
	}
	return stem, n
}
