// This file puts the agent into the guest and runs it.

package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/binary"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

func defaultBinary(ctx context.Context, goos, goarch string) ([]byte, error) {
	return binary.Binary(ctx, goos, goarch)
}

// openLimit bounds the way from the first packet to the agent's hello.
const openLimit = 45 * time.Second

// place stores what comes on standard input as $name in memory and makes it a program. Where /run may not hold programs
// (some distributions mount it noexec), /dev/shm is the next. It prints where the program is.
const place = `umask 077; for d in /run/apd /dev/shm/apd; do mkdir -p $d || exit; f=$d/agent-$name
if [ -z "$from" ]; then cat >$f || exit; else cp $from $f && rm -f $from || exit; fi
chmod 700 $f; if $f -version >/dev/null 2>&1; then echo $f; exit 0; fi; from=$f; done; rm -f $from; exit 126`

// machines are the architectures by the words of uname -m.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// openAgent puts a new agent into the guest and runs it. A quiet one takes commands and does nothing else.
func (d *Driver) openAgent(ctx context.Context, quiet bool) (*watch.Agent, error) {
	ctx, cancel := d.bound(ctx, openLimit)
	defer cancel()
	begun := d.env.Clock.Now()
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	a, err := d.startAgent(ctx, c, begun, quiet)
	if err != nil {
		c.end()
		return nil, err
	}
	c.free()
	return a, nil
}

func (d *Driver) startAgent(ctx context.Context, c *client, begun time.Duration, quiet bool) (*watch.Agent, error) {
	machine, err := c.command(ctx, "uname -m", nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the architecture: %w", err)
	}
	arch, ok := machines[machine]
	if !ok {
		return nil, fmt.Errorf("no agent for a machine of the kind %q", machine)
	}
	program, err := d.binary(ctx, "linux", arch)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.instances++
	instance := fmt.Sprintf("%s-%d", d.run, d.instances)
	d.mu.Unlock()
	path, err := c.command(ctx, "name="+instance+" from=; "+place, bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("putting the agent into the guest: %w (%.200s)", err, path)
	}
	path = path[strings.LastIndexByte(path, '\n')+1:]

	s, err := c.NewSession()
	if err != nil {
		return nil, fail(stageSession, err, ctx.Err() != nil)
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("the agent's input: %w", err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("the agent's output: %w", err)
	}
	line := fmt.Sprintf("exec %s -remove -instance %s -keep %s %s", path, instance, d.run, d.agentArgs)
	if quiet {
		line += " -quiet"
	}
	if err := s.Start(line); err != nil {
		return nil, fail(stageCommand, err, ctx.Err() != nil)
	}
	a, err := watch.Join(begun, d.env.Clock.Now, in, out, c.end)
	var early *watch.HelloError
	if errors.As(err, &early) {
		return nil, fmt.Errorf("waiting for the agent's hello: %w", fail(stageCommand, early.Err, ctx.Err() != nil))
	}
	return a, err
}

// why says in a few words why a connection to an agent could not be made.
func why(err error) string {
	var e *loginError
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &e):
		return e.words()
	case errors.As(err, &exit):
		return fmt.Sprintf("the guest cannot run it: exit status %d", exit.ExitStatus())
	}
	return err.Error()
}
