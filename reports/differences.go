// This file finds what was different about two runs besides their verdicts.

package reports

import (
	"maps"
	"slices"
	"strconv"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// differences lists what is not the same of two runs, in order of names.
func differences(a, b *record.Record) []Difference {
	was, is := circumstances(a), circumstances(b)
	names := maps.Clone(was)
	maps.Copy(names, is)
	out := []Difference{}
	for _, what := range slices.Sorted(maps.Keys(names)) {
		if was[what] != is[what] {
			out = append(out, Difference{What: what, Was: was[what], Is: is[what]})
		}
	}
	return out
}

// circumstances are under what a run was done: its lab, its profile, versions, commit, facts and settings, and how it ended.
func circumstances(r *record.Record) map[string]string {
	h := r.Header
	out := map[string]string{"lab": h.Lab, "lab kind": string(h.LabKind), "lab file": h.LabFile, "hosts": h.Host, "profile": h.Profile, "filter": h.Filter,
		"git": h.Git, "machine": h.On, "record format": strconv.Itoa(h.V), "end": r.EndWhy}
	if !r.Ended {
		out["end"] = "the record was cut off"
	}
	for k, v := range h.Facts {
		out["fact "+k] = v
	}
	for _, s := range settings(r) {
		out["setting "+lane(s.Lane)+" "+s.Key] = s.Value
	}
	return out
}
