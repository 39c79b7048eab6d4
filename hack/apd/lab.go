// This file is apd lab: a lab in a box to play with by hand.

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/embedded"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
)

// takeBox parses the arguments of a command, loads the lab file of a lab in a box and takes its lock, which release gives back.
func takeBox(f *flag.FlagSet, args []string) (l *lab.File, release func() error, err error) {
	if l, err = oneLab(f, args); err != nil {
		return nil, nil, err
	}
	if l.Embedded == nil {
		return nil, nil, fmt.Errorf("the lab %q is a real one: apd lab works on labs in a box", l.Name)
	}
	lock, err := l.Lock()
	if err != nil {
		return nil, nil, err
	}
	return l, lock.Close, nil
}

func cmdLabUp(ctx context.Context, args []string) error {
	f := flags("lab up")
	profile := f.String("profile", "", "quick (default) or documented")
	l, release, err := takeBox(f, args)
	if err != nil {
		return err
	}
	defer release()
	if _, err := l.ProfileFor(*profile); err != nil {
		return err
	}
	if err := journalOpen(l); err != nil {
		return err
	}
	if _, err := l.Up(ctx, *profile, nil, func(s string) { fmt.Fprintln(os.Stderr, s) }); err != nil {
		return err
	}
	return sayBox(l)
}

func sayBox(l *lab.File) error {
	box, up, err := boxOf(l)
	if err != nil {
		return err
	}
	switch {
	case jsonOut && up:
		printJSON(map[string]any{"up": up, "lab": box})
	case jsonOut:
		printJSON(map[string]any{"up": false})
	case !up:
		fmt.Printf("%s is not up\n", l.Name)
	default:
		fmt.Printf("%s is up: host %s, controller %s, profile %s, files in %s\n", box.Name, box.Host, box.Controller, box.Profile, box.Dir)
		fmt.Printf("target %s at %s, through the path at %s\n", box.Target.Name, box.Target.Portal, box.Portal)
		if v := box.VSphere; v != nil {
			fmt.Printf("vSphere at %s, user %s, password in %s\n  thumbprint (SHA-256) %s\n", v.URL, v.User, v.PasswordFile, v.Thumbprint)
		}
		for _, g := range box.Guests {
			fmt.Printf("guest %s: %s\n", g.Name, g.Command)
		}
	}
	return nil
}

func cmdLabStatus(_ context.Context, args []string) error {
	f := flags("lab status")
	l, err := oneLab(f, args)
	if err != nil {
		return err
	}
	return sayBox(l)
}

// cmdLabEnv prints what a vSphere client needs, as shell commands: the password is read from its file there and not printed.
func cmdLabEnv(_ context.Context, args []string) error {
	f := flags("lab env")
	l, err := oneLab(f, args)
	if err != nil {
		return err
	}
	box, up, err := boxOf(l)
	switch {
	case err != nil:
		return err
	case !up:
		return fmt.Errorf("%s is not up: apd lab up %s", l.Name, l.FilePath())
	case box.VSphere == nil:
		return fmt.Errorf("%s has no vSphere endpoint: its host is %s", l.Name, box.Host)
	}
	v := box.VSphere
	env := [][2]string{{"GOVC_URL", v.URL}, {"GOVC_USERNAME", v.User}, {"GOVC_PASSWORD", "$(cat " + v.PasswordFile + ")"}, {"GOVC_TLS_CA_CERTS", v.CertFile}}
	if jsonOut {
		printJSON(v)
		return nil
	}
	for _, e := range env {
		fmt.Printf("export %s=\"%s\"\n", e[0], e[1])
	}
	return nil
}

func cmdLabDown(ctx context.Context, args []string) error {
	f := flags("lab down")
	l, release, err := takeBox(f, args)
	if err != nil {
		return err
	}
	defer release()
	_, undoErr := replay(ctx, l) // so that the journal is closed; what cannot be undone goes with the box
	dir, err := l.BoxDir()
	if err != nil {
		return err
	}
	if err := embedded.Down(ctx, dir); err != nil {
		return errors.Join(undoErr, err)
	}
	if undoErr != nil {
		journal, err := l.JournalPath()
		if err != nil {
			return err
		}
		if err := os.Remove(journal); err != nil {
			return fmt.Errorf("closing the journal of a box that is gone: %w", err)
		}
	}
	return sayBox(l)
}

func cmdLabCut(ctx context.Context, args []string) error {
	f := flags("lab cut")
	kind := f.String("kind", string(drivers.ServiceStop), "any fault of the whole target or path: service-stop, reset, blackhole, link-down, login-reject, target-power-cut, ...")
	return byHand(ctx, f, args, func(l *lab.Lab, j drivers.Journal) error {
		_, err := l.Inject(ctx, drivers.FaultKind(*kind), drivers.StallRule{}, j)
		return err
	})
}

func cmdLabStall(ctx context.Context, args []string) error {
	f := flags("lab stall")
	lun := f.Int("lun", 0, "only this LUN")
	op := f.String("op", "any", "read, write or any")
	count := f.Int("count", 1, "how many commands; 0: all until restored")
	answer := f.Bool("answer-abort", false, "answer an abort of such a command (swallow) instead of ignoring it (stall)")
	return byHand(ctx, f, args, func(l *lab.Lab, j drivers.Journal) error {
		kind := drivers.Stall
		if *answer {
			kind = drivers.Swallow
		}
		_, err := l.Inject(ctx, kind, drivers.StallRule{LUN: *lun, Op: *op, Count: *count}, j)
		return err
	})
}

// byHand breaks a box outside any run. Its journal stays open, so that apd lab restore and every later run know.
func byHand(ctx context.Context, f *flag.FlagSet, args []string, do func(*lab.Lab, drivers.Journal) error) error {
	l, release, err := takeBox(f, args)
	if err != nil {
		return err
	}
	defer release()
	path, err := l.JournalPath()
	if err != nil {
		return err
	}
	opened, err := l.Open(ctx, drivers.Clock{Zero: time.Now()}, os.TempDir(), func(string, ...any) {})
	if err != nil {
		return err
	}
	defer opened.Close()
	journal, err := undo.Create(path, undo.Header{Lab: l.Name, LabFile: l.FilePath(), Run: "by-hand"})
	if err != nil {
		return err
	}
	defer journal.Close()
	err = do(opened, func(ctx context.Context, u drivers.Undo) error { _, err := journal.Add(ctx, u); return err })
	if err != nil {
		return err
	}
	if jsonOut {
		printJSON(map[string]any{"broken": true})
	} else {
		fmt.Printf("broken; mend it with: apd lab restore %s\n", l.FilePath())
	}
	return nil
}

// cmdLabRestore is apd undo under the name that goes with cut and stall.
func cmdLabRestore(ctx context.Context, args []string) error { return cmdUndo(ctx, args) }
