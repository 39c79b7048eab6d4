// This file finds what a report names: the evidence in a run's folder, and the settings that the record lists.

package reports

import (
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// evidence lists the files below the folder's evidence/, as slash paths relative to the folder, sorted.
func evidence(o Options) []string {
	if o.Dir == "" {
		return nil
	}
	var out []string
	root := filepath.Join(o.Dir, "evidence")
	_ = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil // what cannot be read is not named
		}
		if rel, err := filepath.Rel(o.Dir, p); err == nil {
			out = append(out, filepath.ToSlash(rel))
		}
		return nil
	})
	return out
}

// concerns tells whether a file of evidence is named after something: its folder or file name is that name, or begins
// with it and a separator.
func concerns(file, name string) bool {
	if name == "" {
		return false
	}
	for _, part := range strings.Split(strings.TrimPrefix(file, "evidence/"), "/") {
		rest, ok := strings.CutPrefix(part, name)
		if ok && (rest == "" || strings.ContainsAny(rest[:1], ".-_ ")) {
			return true
		}
	}
	return false
}

// fromRoot returns the path of a file of the run's folder relative to the project's root, and whether it lies in it.
func fromRoot(o Options, file string) (string, bool) {
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return "", false
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return "", false
	}
	rel, err := filepath.Rel(root, filepath.Join(dir, filepath.FromSlash(file)))
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// settings lists the knobs that were read before the run, the last value of each, in the order of the record.
func settings(r *record.Record) []record.Setting {
	type name struct {
		lane drivers.Lane
		key  string
	}
	at := map[name]int{}
	var out []record.Setting
	for _, s := range r.Settings() {
		n := name{s.Lane, s.Key}
		if i, again := at[n]; again {
			out[i] = s
			continue
		}
		at[n] = len(out)
		out = append(out, s)
	}
	return out
}
