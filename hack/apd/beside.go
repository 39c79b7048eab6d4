// This file is apd beside: one report of several runs, target beside target.

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func cmdBeside(_ context.Context, args []string) error {
	f := flags("beside")
	out := f.String("out", "", "the folder of the report; default beside the first run")
	runs, err := severalRuns(f, args, out, "beside")
	if err != nil {
		return err
	}
	return beside(runs, *out)
}

// severalRuns reads the runs that a command was given. A report of them lies beside the first unless out says where.
func severalRuns(f *flag.FlagSet, args []string, out *string, report string) ([]*record.Record, error) {
	rest, err := parse(f, args, 2, 64, "the folders of two runs or more")
	if err != nil {
		return nil, err
	}
	return readRuns(rest, out, report)
}

// readRuns reads runs that were named; a report of them lies beside the first unless out says where.
func readRuns(names []string, out *string, report string) ([]*record.Record, error) {
	var runs []*record.Record
	for _, dir := range names {
		_, r, err := readRun(dir)
		if err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	if *out == "" {
		*out = filepath.Join(filepath.Dir(filepath.Clean(names[0])), time.Now().UTC().Format("20060102-150405")+"-"+report)
	}
	return runs, nil
}

// readRun reads the record of a run that was named, which may be by a link such as out/latest, and returns its folder.
func readRun(name string) (dir string, r *record.Record, err error) {
	if dir, err = filepath.Abs(name); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", nil, fmt.Errorf("finding the run: %w", err)
	}
	r, err = record.Read(dir)
	return dir, r, err
}

// targetOf is what a run's target is: the driver of its lab file.
func targetOf(r *record.Record) string { return r.Header.Facts["target"] }

// beside judges the claims about several runs and writes their report.
func beside(runs []*record.Record, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making the report's folder: %w", err)
	}
	worst := error(nil)
	for _, a := range claim.AllAcross() {
		if a.Judge == nil { // apd contrast judges it
			continue
		}
		b := reports.Beside{Claim: a.ID, Title: a.Title, Source: a.Source, Verdict: a.Verdict(runs, targetOf)}
		for _, r := range runs {
			b.Columns = append(b.Columns, reports.Column{Run: r.Header.ID, Lab: r.Header.Lab, Of: targetOf(r), Detail: r.Header.Facts["target.version"]})
		}
		for _, row := range a.Compare(runs) {
			b.Rows = append(b.Rows, reports.BesideRow{Claim: row.Claim, Title: row.Title, Not: row.Not, Cells: row.Rows})
		}
		j, err := json.MarshalIndent(b, "", " ")
		if err != nil {
			return fmt.Errorf("making beside.json: %w", err)
		}
		files, err := b.Write(dir, j)
		if err != nil {
			return err
		}
		if jsonOut {
			os.Stdout.Write(append(j, '\n'))
		} else {
			fmt.Printf("%s: %s (%s)\n    why: %s\n", a.ID, b.Verdict.Outcome, b.Verdict.Provenance, b.Verdict.Why)
			for _, p := range files {
				fmt.Println("- " + p)
			}
		}
		switch b.Verdict.Outcome {
		case record.Confirmed:
		case record.Refuted:
			worst = errRefuted
		default:
			if worst == nil {
				worst = errNotRun
			}
		}
	}
	return worst
}
