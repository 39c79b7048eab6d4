package ceph

// This file is a process of the cluster: started in a session of its own, known by its id and start time, frozen and killed.

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// Daemon is a program that stays in the foreground.
type Daemon struct {
	Argv    []string `yaml:"argv" json:"argv"`
	PIDFile string   `yaml:"pid_file" json:"pid_file"`
	Log     string   `yaml:"log" json:"log"` // for what it says before its own log is open
}

// Start starts the daemon unless it runs.
func (d Daemon) Start() error {
	if id, err := localproc.Load(d.PIDFile); err == nil && id.Alive() {
		return nil
	}
	bin, err := localproc.LookPath(d.Argv[0])
	if err != nil {
		return err
	}
	logf, err := os.OpenFile(d.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening the log of %s: %w", filepath.Base(d.Argv[0]), err)
	}
	defer logf.Close()
	cmd := exec.Command(bin, d.Argv[1:]...)
	cmd.Stdout, cmd.Stderr = logf, logf
	cmd.Dir = filepath.Dir(d.PIDFile)
	if _, err := localproc.Start(cmd, d.PIDFile); err != nil {
		return fmt.Errorf("starting %s: %w", filepath.Base(d.Argv[0]), err)
	}
	return nil
}

// Kill ends the daemon, and waits until it is gone or ctx is.
func (d Daemon) Kill(ctx context.Context) error {
	_, err := localproc.KillFile(ctx, d.PIDFile)
	return err
}

func (d Daemon) signal(sig syscall.Signal) error {
	id, err := localproc.Load(d.PIDFile)
	if err != nil {
		return err
	}
	if !id.Alive() {
		return fmt.Errorf("%s does not run", filepath.Base(d.Argv[0]))
	}
	return syscall.Kill(id.PID, sig)
}

// State is what the kernel says of the daemon: up, hung where it was stopped, or down.
func (d Daemon) State() string { return state(d.PIDFile) }

// state is what the kernel says of the process whose id is in a file: up, hung where it was stopped, or down.
func state(pidFile string) string {
	id, err := localproc.Load(pidFile)
	if err != nil || !id.Alive() {
		return "down"
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.PID))
	if err != nil {
		return "down"
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold anything
	switch {
	case strings.HasPrefix(rest, "T"):
		return "hung"
	case strings.HasPrefix(rest, "Z"), strings.HasPrefix(rest, "X"):
		return "down"
	}
	return "up"
}
