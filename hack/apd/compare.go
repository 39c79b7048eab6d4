// This file is apd compare: a later run beside an earlier one.

package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/reports"
)

func cmdCompare(_ context.Context, args []string) error {
	f := flags("compare")
	out := f.String("out", "", "a folder for compare.md, compare.svg and compare.json; default none")
	force := f.Bool("force", false, "show beside each other what must not be compared, such as an embedded lab and a real one; every line says so")
	rest, err := parse(f, args, 2, 2, "the folders of an earlier and a later run")
	if err != nil {
		return err
	}
	_, a, err := readRun(rest[0])
	if err != nil {
		return err
	}
	_, b, err := readRun(rest[1])
	if err != nil {
		return err
	}
	c := reports.Compare(a, b)
	if c.NotComparable != "" && !*force {
		return &drivers.Operator{Cause: "the two runs must not be compared: " + c.NotComparable, Impact: "a difference between them would say nothing about either; nothing was written",
			Do: "compare runs of the same kind, or say --force to see them beside each other"}
	}
	files, err := written(*out, c.Write)
	if err != nil {
		return err
	}
	if jsonOut {
		printJSON(c)
	} else {
		fmt.Print(c.Text())
		sayFiles(files)
	}
	if c.Regressed() {
		return errRefuted
	}
	return nil
}

// written has a report written into a folder, which is made; without one nothing is written.
func written(dir string, write func(dir string) ([]string, error)) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the report's folder: %w", err)
	}
	return write(dir)
}

// sayFiles lists files that were written.
func sayFiles(files []string) {
	if len(files) > 0 {
		fmt.Println("- " + strings.Join(files, "\n- "))
	}
}
