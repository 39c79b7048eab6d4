// This file is apd history: many runs, summed up.

package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

func cmdHistory(_ context.Context, args []string) error {
	f := flags("history")
	out := f.String("out", "", "the folder of the report; default the folder of the runs")
	rest, err := parse(f, args, 1, 1, "one folder with runs below it")
	if err != nil {
		return err
	}
	dir, err := filepath.EvalSymlinks(rest[0])
	if err != nil {
		return fmt.Errorf("finding the folder of the runs: %w", err)
	}
	h, err := historyOf(dir)
	if err != nil {
		return err
	}
	if *out == "" {
		*out = dir
	}
	files, err := written(*out, h.Write)
	if err != nil {
		return err
	}
	if jsonOut {
		printJSON(h)
		return nil
	}
	fmt.Print(h.Text())
	sayFiles(files)
	return nil
}

// historyOf reads the records below a folder, one at a time and in order of their folders' names. Links are not followed.
func historyOf(dir string) (*reports.History, error) {
	h := reports.NewHistory()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		rel, relErr := filepath.Rel(dir, p)
		if relErr != nil {
			return relErr
		}
		if err != nil {
			if p == dir {
				return err
			}
			h.CannotRead(rel, err)
			return nil
		}
		if d.IsDir() || d.Name() != "run.jsonl" {
			return nil
		}
		r, err := record.Read(filepath.Dir(p))
		if err != nil {
			h.CannotRead(filepath.Dir(rel), err)
			return nil
		}
		h.Add(r, filepath.Dir(rel))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for runs: %w", err)
	}
	if h.Runs == 0 {
		return nil, &drivers.Operator{Cause: fmt.Sprintf("below %s there is no record that can be read", dir), Impact: fmt.Sprintf("nothing was summed up; %d could not be read", len(h.Unread)),
			Do: "give the folder that has the runs' folders, such as out"}
	}
	h.Sum()
	return h, nil
}
