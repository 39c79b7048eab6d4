// This file is tgtd: one process, told by tgtadm over its control socket.

package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

type tgtd struct{}

// stop is SIGKILL: tgtd ignores SIGTERM.
func (tgtd) stop(ctx context.Context, id localproc.ID) error { return id.Kill(ctx) }

func (tgtd) launch(ctx context.Context, c Config) error {
	bin, err := localproc.LookPath("tgtd")
	if err != nil {
		return &drivers.Operator{Cause: "no tgtd", Impact: "there is no target", Do: "apt-get install tgt", Err: err}
	}
	logf, err := os.OpenFile(c.file(".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("opening tgtd's log: %w", err)
	}
	defer logf.Close()
	cmd := exec.Command(bin, "-f", "-C", strconv.Itoa(c.Control), "--iscsi", "portal="+c.Portal)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+c.Socket)
	cmd.Stdout, cmd.Stderr = logf, logf
	id, err := localproc.Start(cmd, c.pidFile())
	if err != nil {
		return fmt.Errorf("starting the target: %w", err)
	}
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		if _, err = c.adm(ctx, "--mode", "sys", "--op", "show"); err == nil {
			tick.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("tgtd does not answer its control socket: %w", err)
		case <-tick.C:
			if !id.Alive() {
				tail, _ := os.ReadFile(logf.Name())
				return fmt.Errorf("tgtd ended while starting: %s", bytes.TrimSpace(tail[max(0, len(tail)-400):]))
			}
		}
	}
}

func (tgtd) configure(ctx context.Context, c Config) error {
	out, err := c.adm(ctx, "--mode", "target", "--op", "show")
	if err != nil {
		return err
	}
	has := map[string]bool{} // the lines of tgtadm's list: "Target 1: NAME", "LUN: 1", and "ALL" under the ACL
	for l := range strings.Lines(string(out)) {
		has[strings.TrimSpace(l)] = true
	}
	if !has["Target 1: "+c.Target] {
		if _, err := c.adm(ctx, "--mode", "target", "--op", "new", "--tid", "1", "--targetname", c.Target); err != nil {
			return err
		}
	}
	for _, l := range c.LUNs {
		if has["LUN: "+strconv.Itoa(l.LUN)] {
			continue
		}
		args := []string{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", strconv.Itoa(l.LUN), "-b", l.File}
		if l.Store != "" {
			args = append(args, "--bstype", l.Store, "--bsopts", l.Options)
		}
		if _, err := c.adm(ctx, args...); err != nil {
			return err
		}
	}
	if has["ALL"] {
		return nil
	}
	_, err = c.adm(ctx, "--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL")
	return err
}

func (c Config) adm(ctx context.Context, args ...string) ([]byte, error) {
	bin, err := localproc.LookPath("tgtadm")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-C", strconv.Itoa(c.Control), "--lld", "iscsi"}, args...)...)
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+c.Socket)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("tgtadm %v: %w: %s", args, err, bytes.TrimSpace(out))
	}
	return out, nil
}
