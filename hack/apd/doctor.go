// This file is apd doctor and apd undo.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/embedded"
	"github.com/allpathsdown/allpathsdown/fixtures/embedded/image"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// check is one line of apd doctor.
type check struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Note bool   `json:"note,omitempty"` // not OK, and a run begins all the same: its claims mean less
	Say  string `json:"say,omitempty"`
}

func cmdDoctor(ctx context.Context, args []string) error {
	f := flags("doctor")
	l, err := oneLab(f, args)
	if err != nil {
		return err
	}
	var checks []check
	add := func(what string, err error) {
		c := check{What: what, OK: err == nil}
		if err != nil {
			c.Say = err.Error()
		}
		checks = append(checks, c)
	}
	add("the lab file is right", nil)
	_, err = l.Deviations()
	add("the known deviations can be read", err)
	add("no run left anything undone", journalOpen(l))
	add("the lab is free", free(l))
	_, up, err := boxOf(l)
	switch {
	case err != nil:
		return err
	case l.Embedded != nil:
		add("the packages of the lab in a box are installed", packages())
		if !up {
			add("the box is down; a run brings it up", nil)
		}
	}
	if up || l.Embedded == nil {
		found, err := probe(ctx, l)
		add("every driver reaches its system", err)
		checks = append(checks, found...)
	}
	skipped := 0
	for _, c := range claim.All() {
		if c.Skip(l.Powers(), l.HostKind()) != "" {
			skipped++
		}
	}
	add(fmt.Sprintf("%d claims can be judged, %d not (apd list says why)", len(claim.All())-skipped, skipped), nil)
	return sayChecks(checks)
}

func sayChecks(checks []check) error {
	bad := false
	for _, c := range checks {
		bad = bad || !c.OK && !c.Note
		if jsonOut {
			continue
		}
		mark := "ok  "
		switch {
		case c.Note:
			mark = "NB  "
		case !c.OK:
			mark = "BAD "
		}
		fmt.Println(mark + c.What)
		if c.Say != "" {
			fmt.Println("    " + c.Say)
		}
	}
	if jsonOut {
		printJSON(checks)
	}
	if bad {
		return errNotRun
	}
	return nil
}

// journalOpen is the error of a lab with changes that nobody has put back.
func journalOpen(l *lab.File) error {
	path, err := l.JournalPath()
	if err != nil {
		return err
	}
	h, entries, err := undo.Pending(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = &undo.OpenError{Path: path, Header: h, Entries: entries}
	}
	return err
}

func packages() error {
	if missing := image.Missing(); len(missing) > 0 {
		return errors.New("install them with: " + image.InstallLine(missing))
	}
	return nil
}

func free(l *lab.File) error {
	lock, err := l.Lock()
	if err != nil {
		return err
	}
	return lock.Close()
}

func boxOf(l *lab.File) (box embedded.Lab, up bool, err error) {
	dir, err := l.BoxDir()
	if err != nil {
		return box, false, err
	}
	box, up = embedded.Find(dir)
	return box, up, nil
}

// probeTimeout bounds the probing of all drivers.
const probeTimeout = 30 * time.Second

// probe reaches every system, and has those examined whose drivers know what to look at.
func probe(ctx context.Context, l *lab.File) ([]check, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	opened, err := l.Open(ctx, drivers.Clock{Zero: time.Now()}, os.TempDir(), func(string, ...any) {})
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	if err := opened.Probe(ctx); err != nil {
		return nil, err
	}
	var found []check
	for id, d := range opened.All() {
		if e, ok := d.(drivers.Examiner); ok {
			for _, f := range e.Examine(ctx) {
				found = append(found, check{What: id + ": " + f.What, OK: f.OK, Note: !f.OK, Say: f.Say})
			}
		}
	}
	return found, nil
}

// undone is one line of apd undo --json.
type undone struct {
	Driver string `json:"driver"`
	Op     string `json:"op"`
	Result string `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
}

func cmdUndo(ctx context.Context, args []string) error {
	f := flags("undo")
	l, err := oneLab(f, args)
	if err != nil {
		return err
	}
	lock, err := l.Lock()
	if err != nil {
		return err
	}
	defer lock.Close()
	all, err := replay(ctx, l)
	if jsonOut {
		printJSON(all)
		if err != nil {
			return errNotRun // each failure stands in the list
		}
		return nil
	}
	for _, u := range all {
		fmt.Printf("%s %s: %s%s\n", u.Driver, u.Op, u.Result, u.Error)
	}
	if len(all) == 0 && err == nil {
		fmt.Println("nothing was left to undo")
	}
	return err
}

// replay undoes all that a lab's journal holds. The caller has the lab's lock.
func replay(ctx context.Context, l *lab.File) ([]undone, error) {
	journal, err := l.JournalPath()
	if err != nil {
		return nil, err
	}
	all := []undone{}
	err = undo.Replay(ctx, journal, l.Opener(drivers.Clock{Zero: time.Now()}), func(e undo.Entry, r drivers.UndoResult, err error) {
		u := undone{Driver: e.Undo.Driver, Op: e.Undo.Op, Result: string(r)}
		if err != nil {
			u.Error = err.Error()
		}
		all = append(all, u)
	})
	return all, err
}
