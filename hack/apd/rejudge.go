// This file is apd rejudge: today's claims over old records.

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func cmdRejudge(_ context.Context, args []string) error {
	f := flags("rejudge")
	out := f.String("out", "", "a folder for a copy of each run with the new verdicts behind the old ones, and its reports; default none")
	rest, err := parse(f, args, 1, 1000, "the folders of runs")
	if err != nil {
		return err
	}
	all := []reports.Rejudgement{}
	var worst error
	for _, name := range rest {
		j, files, err := rejudge(name, *out)
		if err != nil {
			fmt.Fprintf(os.Stderr, "apd: %s: %v\n", name, err)
			worst = errNotRun
			continue
		}
		if len(j.Changed) > 0 && worst == nil {
			worst = errRefuted
		}
		all = append(all, j)
		if !jsonOut {
			fmt.Print(j.Text())
			sayFiles(files)
		}
	}
	if jsonOut {
		printJSON(all)
	}
	return worst
}

// rejudge judges one run again, and makes a copy of it with the verdicts in a folder of its name in out, unless that is empty.
func rejudge(name, out string) (reports.Rejudgement, []string, error) {
	dir, r, err := readRun(name)
	if err != nil {
		return reports.Rejudgement{}, nil, err
	}
	a := claim.Rejudge(r)
	var unasked []reports.Unasked
	for _, l := range a.Lost {
		unasked = append(unasked, reports.Unasked(l))
	}
	j := reports.Rejudged(r, a.Plans, a.Judged, a.Open, unasked)
	if out == "" {
		return j, nil, nil
	}
	to, err := filepath.Abs(filepath.Join(out, filepath.Base(dir)))
	if err != nil {
		return j, nil, fmt.Errorf("finding the new run's folder: %w", err)
	}
	if err := record.Again(dir, to, a.Plans, a.Judged); err != nil {
		return j, nil, err
	}
	r, err = record.Read(to)
	if err != nil {
		return j, nil, err
	}
	root, err := os.Getwd()
	if err != nil {
		return j, nil, fmt.Errorf("finding the project: %w", err)
	}
	files, err := reports.Write(r, to, reports.Options{Root: root, Dir: to, Previous: record.Before(dir, r.Header)})
	if err != nil {
		return j, nil, err
	}
	more, err := j.Write(to)
	return j, append(files, more...), err
}
