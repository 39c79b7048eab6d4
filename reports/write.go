package reports

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Write makes junit.xml and summary.md in dir, each replaced in one step so that a reader never sees half of one, and
// returns their paths. Without Options.Dir, dir is the run's folder.
func Write(r *record.Record, dir string, o Options) ([]string, error) {
	if o.Dir == "" {
		o.Dir = dir
	}
	x, err := JUnit(r, o)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range []struct {
		name string
		data []byte
	}{{"junit.xml", x}, {"summary.md", Summary(r, o)}} {
		p := filepath.Join(dir, f.name)
		if err := replace(p, f.data); err != nil {
			return paths, fmt.Errorf("writing the report %s: %w", f.name, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
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
