// Package localproc starts and ends processes of this machine that outlive the process that started them, and tells them
// from strangers: a process is its id together with its start time, kept in a file.
package localproc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ID identifies one process for as long as the machine is up.
type ID struct {
	PID   int
	Start uint64 // clock ticks after boot, field 22 of /proc/PID/stat (proc(5))
}

// Self returns the ID of this process.
func Self() ID {
	id, _ := Find(os.Getpid())
	return id
}

// Find returns the ID of the process that has this pid now.
func Find(pid int) (ID, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return ID{}, fmt.Errorf("looking for process %d: %w", pid, err)
	}
	// The name in parentheses may hold anything: count the fields after its end.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return ID{}, fmt.Errorf("process %d has ended", pid)
	}
	// A leading thread that has ended is a zombie while others of its process still hold its files: field 20 counts them.
	threads, _ := strconv.Atoi(fields[17])
	if fields[0] == "X" || fields[0] == "Z" && threads <= 1 {
		return ID{}, fmt.Errorf("process %d has ended", pid)
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return ID{}, fmt.Errorf("reading the start time of process %d: %w", pid, err)
	}
	return ID{PID: pid, Start: start}, nil
}

// Alive tells whether that very process still runs.
func (id ID) Alive() bool {
	now, err := Find(id.PID)
	return err == nil && now == id
}

// Kill ends the process with SIGKILL (QEMU and tgtd do not always mind SIGTERM) and waits until it is gone.
func (id ID) Kill(ctx context.Context) error { return id.end(ctx, syscall.SIGKILL) }

// Terminate asks the process to end, with SIGTERM, and waits until it is gone.
func (id ID) Terminate(ctx context.Context) error { return id.end(ctx, syscall.SIGTERM) }

func (id ID) end(ctx context.Context, sig syscall.Signal) error {
	for tick, told := time.NewTicker(5*time.Millisecond), false; ; told = true {
		if !id.Alive() {
			tick.Stop()
			return nil
		}
		if !told || sig == syscall.SIGKILL { // a thread may have been born while the others were killed
			if err := syscall.Kill(id.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("ending process %d: %w", id.PID, err)
			}
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("process %d does not end: %w", id.PID, ctx.Err())
		case <-tick.C:
		}
	}
}

// Start starts cmd in a session of its own, so that no signal to the terminal or the caller's group reaches it, and keeps
// its ID in file. The process is reaped if it ends while the caller lives.
func Start(cmd *exec.Cmd, file string) (ID, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	if err := cmd.Start(); err != nil {
		return ID{}, fmt.Errorf("starting %s: %w", filepath.Base(cmd.Path), err)
	}
	id, err := Find(cmd.Process.Pid)
	go cmd.Wait()
	if err != nil {
		return ID{}, fmt.Errorf("%s ended at once: %w", filepath.Base(cmd.Path), err)
	}
	if file != "" {
		if err := Save(file, id); err != nil {
			syscall.Kill(id.PID, syscall.SIGKILL)
			return ID{}, err
		}
	}
	return id, nil
}

// Save writes an ID to a file.
func Save(file string, id ID) error {
	tmp := file + ".new" // an empty file would keep the process from ever being ended by it
	err := os.WriteFile(tmp, fmt.Appendf(nil, "%d %d\n", id.PID, id.Start), 0o644)
	if err == nil {
		err = os.Rename(tmp, file)
	}
	if err != nil {
		return fmt.Errorf("keeping the id of process %d: %w", id.PID, err)
	}
	return nil
}

// Load reads an ID from a file. A file that is not there is the zero ID, which is not alive.
func Load(file string) (ID, error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return ID{}, nil
	}
	if err != nil {
		return ID{}, fmt.Errorf("reading a process id: %w", err)
	}
	var id ID
	if _, err := fmt.Sscan(string(b), &id.PID, &id.Start); err != nil {
		return ID{}, fmt.Errorf("reading a process id from %s: %w", file, err)
	}
	return id, nil
}

// KillFile ends the process whose ID is in file, if it still runs, and removes the file.
func KillFile(ctx context.Context, file string) (found bool, err error) {
	id, err := Load(file)
	if err != nil {
		return false, err
	}
	found = id.PID > 0 && id.Alive()
	if found {
		if err := id.Kill(ctx); err != nil {
			return true, err
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return found, fmt.Errorf("removing a process id: %w", err)
	}
	return found, nil
}

// LookPath finds a program, also in the folders of system programs that an ordinary user's PATH leaves out.
func LookPath(name string) (string, error) {
	if p, err := exec.LookPath(name); err == nil {
		return p, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("the program %s is not installed", name)
}

// TestArgs keeps of a test binary's arguments only which test to run, for a program that starts itself again as something
// else: that test is where it finds out what it is.
func TestArgs(args []string) []string {
	for i, a := range args {
		switch flag := strings.TrimLeft(a, "-"); {
		case strings.HasPrefix(flag, "test.run="):
			return []string{a}
		case flag == "test.run" && i+1 < len(args):
			return []string{a, args[i+1]}
		}
	}
	return nil
}
