package ceph

// This file asks the cluster. Each question is a process of Ceph's own client with a deadline; one that watches asks many
// questions of one process, since starting it costs more than any answer.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// command runs a program to its end, or to ctx's; the error has what it said.
func command(ctx context.Context, name string, args ...string) ([]byte, error) {
	bin, err := localproc.LookPath(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return append(out.Bytes(), errs.Bytes()...), fmt.Errorf("%s %s: %w%s", name, strings.Join(args, " "), err, said(errs.String()))
	}
	return out.Bytes(), nil
}

func said(s string) string {
	if s = strings.TrimSpace(s); s == "" {
		return ""
	}
	return ": " + s[max(0, len(s)-300):]
}

// Run runs one of Ceph's programs on the cluster and returns what it prints.
func (c Config) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	return command(ctx, name, append([]string{"-c", c.Conf}, args...)...)
}

// ask asks the cluster one question and reads the answer.
func (d *Driver) ask(ctx context.Context, into any, args ...string) error {
	b, err := d.c.Run(ctx, "ceph", append(args, "-f", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("reading what ceph %s says: %w", strings.Join(args, " "), err)
	}
	return nil
}

func (d *Driver) status(ctx context.Context) (status, error) {
	var s status
	if err := d.ask(ctx, &s, "status"); err != nil {
		return s, err
	}
	return s, s.check()
}

// talk is a running ceph that takes one question a line.
type talk struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (d *Driver) talk() (*talk, error) {
	bin, err := localproc.LookPath("ceph")
	if err != nil {
		return nil, err
	}
	t := &talk{cmd: exec.Command(bin, "-c", d.c.Conf, "-f", "json")}
	t.cmd.Dir = filepath.Dir(d.c.Conf)
	if t.in, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := t.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	t.out = bufio.NewReader(out)
	if err := t.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting ceph: %w", err)
	}
	return t, nil
}

// ask asks one question. After an error the talk is over.
func (t *talk) ask(ctx context.Context, into any, question string) error {
	defer context.AfterFunc(ctx, func() { _ = t.cmd.Process.Kill() })()
	if _, err := io.WriteString(t.in, question+"\n"); err != nil {
		return fmt.Errorf("asking ceph: %w", errors.Join(ctx.Err(), err))
	}
	for {
		line, err := t.out.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("hearing ceph's answer to %q: %w", question, errors.Join(ctx.Err(), err))
		}
		// The prompt stands before the answer, and there are empty lines.
		at := bytes.IndexAny(line, "{[")
		if at < 0 {
			continue
		}
		if err := json.Unmarshal(line[at:], into); err != nil {
			return fmt.Errorf("reading what ceph says to %q: %w", question, err)
		}
		return nil
	}
}

func (t *talk) close() {
	_ = t.in.Close()
	_ = t.cmd.Process.Kill()
	_ = t.cmd.Wait()
}
