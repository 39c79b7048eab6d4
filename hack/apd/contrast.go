// This file is apd contrast: one fault over several runs, platform beside platform.

package main

import (
	"context"
	"fmt"
	"os"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/cluster"
)

func cmdContrast(_ context.Context, args []string) error {
	f := flags("contrast")
	in := f.String("scenario", scenario.DiskStalls.Name, "the scenario, which all runs must have")
	out := f.String("out", "", "the folder of the report; default beside the first run")
	runs, err := severalRuns(f, args, out, "contrast")
	if err != nil {
		return err
	}
	rows, err := reports.Effects(runs, *in)
	if err != nil {
		return err
	}
	p := cluster.Contrast
	c := reports.Contrast{Claim: p.ID, Title: p.Title, Source: p.Source, Verdict: p.Effects(rows), Scenario: *in, Rows: rows}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return fmt.Errorf("making the report's folder: %w", err)
	}
	files, err := c.Write(*out)
	if err != nil {
		return err
	}
	if jsonOut {
		printJSON(c)
	} else {
		fmt.Printf("%s: %s (%s)\n    why: %s\n", c.Claim, c.Verdict.Outcome, c.Verdict.Provenance, c.Verdict.Why)
		for _, p := range files {
			fmt.Println("- " + p)
		}
	}
	switch c.Verdict.Outcome {
	case record.Confirmed:
		return nil
	case record.Refuted:
		return errRefuted
	}
	return errNotRun
}
