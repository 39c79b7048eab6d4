// This file is apd overlay: one claim over several runs, aligned at their faults.

package main

import (
	"context"
	"fmt"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func cmdOverlay(_ context.Context, args []string) error {
	f := flags("overlay")
	out := f.String("out", "", "the folder of the report; default beside the first run")
	rest, err := parse(f, args, 2, 64, "a claim's id and the folders of runs")
	if err != nil {
		return err
	}
	runs, err := readRuns(rest[1:], out, "overlay")
	if err != nil {
		return err
	}
	today := record.Plan{Claim: rest[0]}
	for _, c := range claim.All() {
		if c.ID == today.Claim {
			today = c.Plan(runs[0].Header.Profile, "")
		}
	}
	o, err := reports.Over(runs, today)
	if err != nil {
		return err
	}
	files, err := written(*out, o.Write)
	if err != nil {
		return err
	}
	if jsonOut {
		printJSON(o)
		return nil
	}
	fmt.Print(o.Text())
	sayFiles(files)
	return nil
}
