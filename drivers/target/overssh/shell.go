// This file runs commands on the system, and tells its errors in the operator's words.

package overssh

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// wrap makes a script of commands that does nothing unless all of it has arrived, and whose commands cannot read the script.
// Some systems leave the folders of system programs out of the path of a shell without a terminal.
func wrap(commands string) string {
	return "LC_ALL=C PATH=$PATH:/sbin:/usr/sbin:/usr/local/sbin:/usr/local/bin; export LC_ALL PATH\napd_all() {\n" + commands + "\n}\napd_all </dev/null\n"
}

// run runs commands with /bin/sh, whose language is the same everywhere: root's login shell on a FreeBSD is csh. The script goes
// in by standard input, so that no shell has to unquote it.
func (d *Driver) run(ctx context.Context, within time.Duration, commands string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	line := "/bin/sh -s"
	if d.c.Sudo {
		line = "sudo -n " + line
	}
	return d.shell.Run(ctx, line, strings.NewReader(wrap(commands)))
}

// read looks how a switch is. A command that failed may still have told it: what it says is judged, not its status.
func (d *Driver) read(ctx context.Context, sw Switch) (State, error) {
	out, err := d.run(ctx, d.t.command, sw.Read)
	if err := brokeOff(err); err != nil {
		return State{}, d.operator(err)
	}
	return d.parse(sw, out)
}

func (d *Driver) parse(sw Switch, out string) (State, error) {
	st, err := sw.Parse(out)
	if err != nil {
		return st, &drivers.Operator{Cause: fmt.Sprintf("%s at %s answers what is not understood: %q", d.sys.Product, d.c.SSH.Address, clip(out)),
			Impact: "nothing is known of its state", Do: "check that it is the system and version that the lab file says, and that the user may do this", Err: err}
	}
	return st, nil
}

// brokeOff drops the error of a command that ran to its end.
func brokeOff(err error) error {
	var exit *sshell.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// clip bounds the words of a system in an error.
func clip(s string) string {
	const most = 300
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// operator says what an error of the shell means.
func (d *Driver) operator(err error) error {
	var op *drivers.Operator
	if err == nil || errors.As(err, &op) {
		return err
	}
	op = &drivers.Operator{Err: err, Impact: "the target can be neither broken nor put back"}
	var exit *sshell.ExitError
	switch {
	case errors.Is(err, sshell.ErrHostKey):
		op.Cause = "the system at " + d.c.SSH.Address + " is not the one that the lab file knows"
		op.Impact = "nothing that it says is believed"
		op.Do = "if it was installed anew, put its new key into host_key or known_hosts; otherwise find out who answers there"
	case errors.Is(err, sshell.ErrLogin):
		op.Cause = "the login at " + d.c.SSH.Address + " is refused"
		op.Do = "check user and key_file, that the key is in the user's authorized_keys, and that the system allows this user to log in"
	case errors.As(err, &exit):
		op.Cause = "a command at " + d.c.SSH.Address + " failed"
		op.Do = "check that the user may do this: log in as root, or set sudo: true"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		op.Cause = "the system at " + d.c.SSH.Address + " did not answer over SSH in time"
		op.Do = "look at its console, and at the network in between"
	default:
		op.Cause = "the system at " + d.c.SSH.Address + " cannot be reached over SSH"
		op.Do = "check ssh.address, that its SSH service runs, and the network in between"
	}
	return op
}

// survey is what one login tells of the system.
type survey struct {
	user     string
	missing  []string // of what makes it the system that it should be
	boot     string   // the boot that runs
	state    State
	stateErr error
	parts    map[string]string
}

// The parts of a survey.
const (
	partUser     = "user"
	partMissing  = "missing"
	partBoot     = "boot"
	partState    = "state"
	partSessions = "sessions"
	partAtBoot   = "atboot"
	partCheck    = "check" // and a number
	partEnd      = "end"
)

// showBoot works on Linux and on FreeBSD, whose kern.boot_id came with version 13.
const showBoot = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.boot_id 2>/dev/null || sysctl -n kern.boottime"

// survey asks for everything at once, so that it costs one login.
func (d *Driver) survey(ctx context.Context, more ...[2]string) (*survey, error) {
	var need strings.Builder
	for _, n := range d.sys.Needs {
		test := "command -v " + Quote(n) + " >/dev/null"
		if strings.HasPrefix(n, "/") {
			test = "[ -e " + Quote(n) + " ]"
		}
		need.WriteString(test + " || echo " + Quote(n) + "\n")
	}
	asked := append([][2]string{{partUser, "id -u"}, {partMissing, need.String()}, {partBoot, showBoot}, {partState, d.sys.Service.Read}}, more...)
	var b strings.Builder
	for _, a := range asked {
		b.WriteString("echo; echo " + marker + a[0] + "\n(\n:\n" + a[1] + "\n) 2>&1\n")
	}
	b.WriteString("echo; echo " + marker + partEnd)
	out, err := d.run(ctx, d.t.command, b.String())
	if err != nil {
		return nil, d.operator(err)
	}
	s := &survey{parts: sections(out)}
	if _, whole := s.parts[partEnd]; !whole {
		return nil, d.operator(fmt.Errorf("%w: it is no shell that answers there: %q", sshell.ErrCut, clip(out)))
	}
	s.user = s.parts[partUser]
	s.missing = strings.Fields(s.parts[partMissing])
	if s.boot, err = ReadBoot(s.parts[partBoot]); err != nil {
		return nil, d.operator(err)
	}
	s.state, s.stateErr = d.parse(d.sys.Service, s.parts[partState])
	return s, nil
}

// right tells whether it is the system that the lab file says, and the user may change it.
func (d *Driver) right(s *survey) error {
	switch {
	case len(s.missing) > 0:
		return &drivers.Operator{Cause: fmt.Sprintf("the system at %s is not %s: it has no %s", d.c.SSH.Address, d.sys.Product, strings.Join(s.missing, ", no ")),
			Impact: "the target can be neither broken nor put back", Do: "choose the driver for the system that is there"}
	case s.user != "0":
		return &drivers.Operator{Cause: fmt.Sprintf("the user at %s is not root (its number is %s)", d.c.SSH.Address, clip(s.user)),
			Impact: "it has no permission to stop and start the target", Do: "log in as root, or set sudo: true and allow sudo /bin/sh without a password"}
	}
	return s.stateErr
}
