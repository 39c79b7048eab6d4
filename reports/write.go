// This file writes the reports of a run into its folder: one table of all the forms, each made from the record alone.

package reports

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// form is a file that is made of every record.
type form struct {
	name string
	make func(*record.Record, Options) ([]byte, error)
}

// forms are all of them, in the order in which they are written.
var forms = []form{
	{"junit.xml", JUnit},
	{"junit-full.xml", FullJUnit},
	{"summary.md", sure(Summary)},
	{"metrics.txt", sure(Metrics)},
	{"run.json", CTRF},
	{"trace.json", Trace},
	{htmlName, HTML},
}

// sure is a form that can always be made.
func sure(make func(*record.Record, Options) []byte) func(*record.Record, Options) ([]byte, error) {
	return func(r *record.Record, o Options) ([]byte, error) { return make(r, o), nil }
}

// Write makes every form in dir, each replaced in one step so that a reader never sees half of one, and returns the paths of
// those that were written. A form that cannot be made does not keep the others from being written. Without Options.Dir, dir is
// the run's folder.
func Write(r *record.Record, dir string, o Options) ([]string, error) {
	if r == nil {
		return nil, errors.New("writing the reports: there is no record")
	}
	if o.Dir == "" {
		o.Dir = dir
	}
	if o.HTML == "" {
		o.HTML = htmlName
	}
	var paths []string
	var failed []error
	for _, f := range forms {
		p := filepath.Join(dir, f.name)
		data, err := f.make(r, o)
		if err == nil {
			err = replace(p, data)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("writing the report %s: %w", f.name, err))
			continue
		}
		paths = append(paths, p)
	}
	return paths, errors.Join(failed...)
}

func replace(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails when the file has its name, which is the aim
	_, err = f.Write(data)
	for _, step := range []func() error{func() error { return f.Chmod(0o644) }, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// exists tells whether a file of the run's folder is there.
func exists(o Options, file string) bool {
	st, err := os.Stat(filepath.Join(o.Dir, filepath.FromSlash(file)))
	return err == nil && st.Mode().IsRegular()
}
