// This file is apd list and apd report.

package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/embedded"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// listed is one claim of apd list --json.
type listed struct {
	ID       string   `json:"id"`
	Code     string   `json:"code"`
	Title    string   `json:"title"`
	Scenario string   `json:"scenario"`
	Labels   []string `json:"labels"`
	Needs    []string `json:"needs"`
	Skip     string   `json:"skip,omitempty"`
	// Provenance is that of the weakest system of the lab whose word the claim's verdict will rest on.
	Provenance drivers.Provenance `json:"provenance,omitempty"`
	Source     record.Source      `json:"source"`
}

func cmdList(_ context.Context, args []string) error {
	f := flags("list")
	profile := f.String("profile", embedded.Quick, "for the label slow")
	rest, err := parse(f, args, 0, 1, "one lab file, or none")
	if err != nil {
		return err
	}
	var l *lab.File
	if len(rest) == 1 {
		if l, err = lab.Load(rest[0]); err != nil {
			return err
		}
	}
	var out []listed
	for _, c := range claim.All() {
		e := listed{ID: c.ID, Code: c.Source.Code, Title: c.Title, Scenario: c.In.Name, Labels: c.LabelsFor(*profile), Source: c.Source}
		for _, p := range append(c.In.Powers(), c.Needs...) {
			e.Needs = append(e.Needs, string(p))
		}
		if l != nil {
			e.Skip = c.Skip(l.Powers(), l.HostKind())
			var ps []drivers.Provenance
			for _, r := range c.RestsOn() {
				ps = append(ps, l.Provenance(r))
			}
			e.Provenance = claim.Weakest(ps...)
		}
		out = append(out, e)
	}
	if jsonOut {
		printJSON(out)
		return nil
	}
	for _, e := range out {
		fmt.Printf("%-4s %-50s %s\n     %s\n     labels %s\n     needs  %s\n", e.Code, e.ID, e.Scenario, e.Title, plain(e.Labels), strings.Join(e.Needs, " "))
		switch {
		case l != nil && e.Skip == "":
			fmt.Printf("     %s judges it, evidence %s\n", l.Name, e.Provenance)
		case l != nil:
			fmt.Printf("     %s skips it: %s\n", l.Name, e.Skip)
		}
	}
	for _, c := range claim.Campaigns() { // what no single run decides
		fmt.Printf("\ncampaign %s (apd campaign --claim %s --lab LAB)\n", c.ID, c.ID)
		for _, r := range c.Rates {
			fmt.Printf("%-4s %s\n     %s\n", r.Source.Code, r.ID, r.Title)
		}
	}
	for _, a := range claim.AllAcross() { // nor what one run alone decides
		with := "apd beside RUN RUN..."
		if a.Effects != nil {
			with = "apd contrast RUN RUN..."
		}
		fmt.Printf("\nseveral runs (%s)\n%-4s %s\n     %s\n", with, a.Source.Code, a.ID, a.Title)
	}
	return nil
}

// plain lists labels without those that only repeat the id, the code and the scenario.
func plain(labels []string) string {
	var out []string
	for _, l := range labels {
		if !strings.Contains(l, ":") {
			out = append(out, l)
		}
	}
	return strings.Join(out, " ")
}

func cmdReport(_ context.Context, args []string) error {
	f := flags("report")
	dialect := f.String("junit", string(reports.Jenkins10), "the dialect of junit.xml: jenkins10 or dtkit4")
	rest, err := parse(f, args, 1, 1, "the folder of one run")
	if err != nil {
		return err
	}
	dir, rec, err := readRun(rest[0])
	if err != nil {
		return err
	}
	root, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("finding the project: %w", err)
	}
	files, err := reports.Write(rec, dir, reports.Options{Root: root, Dir: dir, JUnit: reports.Dialect(*dialect), Previous: record.Before(dir, rec.Header)})
	if err != nil {
		return err
	}
	rows := reports.Rows(rec)
	if jsonOut {
		printJSON(map[string]any{"run": rec.Header.ID, "files": files, "counts": reports.Count(rows), "claims": rows, "exit": reports.ExitCode(rec)})
	} else {
		c := reports.NewConsole(os.Stdout, reports.ConsoleFor(os.Stdout, os.Getenv))
		c.Table(rows)
		c.Done(reports.Count(rows), files...)
	}
	switch reports.ExitCode(rec) {
	case reports.ExitRefuted:
		return errRefuted
	case reports.ExitUndecided:
		return errNotRun
	}
	return nil
}
