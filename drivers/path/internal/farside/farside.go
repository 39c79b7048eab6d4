// Package farside has what the drivers share that change something on a system over SSH: POSIX shell scripts that run whole or
// not at all, the dead-man timer that a change is armed with before it is made, and errors for the person who runs the lab.
package farside

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Host is a system that scripts run on. It holds nothing to be closed.
type Host struct {
	id      string
	address string
	user    string
	impact  string
	shell   *sshell.Shell
}

// Open reads keys and address; nobody is called yet. impact ends every error that Blame makes.
func Open(env drivers.Env, c sshell.Config, impact string) (*Host, error) {
	shell, err := sshell.New(c, env.Dial)
	if err != nil {
		return nil, &drivers.Operator{Cause: env.ID + ": ssh cannot be used", Impact: impact,
			Do: "Give ssh.address, ssh.key_file and ssh.host_key (the line that ssh-keyscan prints)", Err: err}
	}
	user := c.User
	if user == "" {
		user = "root"
	}
	return &Host{id: env.ID, address: c.Address, user: user, impact: impact, shell: shell}, nil
}

// began is the line before a script's own output: what stands above it are greetings of the far side's login files.
const began = "apd-script-begins"

// prelude makes the far side's programs speak one language, and finds those that only root has in its path.
const prelude = "LC_ALL=C; export LC_ALL\nPATH=$PATH:/sbin:/usr/sbin:/usr/local/sbin; export PATH\n"

// Script runs a POSIX shell script and returns what it said. The script goes over standard input to /bin/sh, whatever the login
// shell is, and as one compound command: a connection that breaks half-way has run nothing of it. ctx and bound limit all of it.
func (h *Host) Script(ctx context.Context, bound time.Duration, body string) (string, error) {
	in, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("it did not answer within %v", bound))
	defer cancel()
	text := "{\n" + prelude + timers + "echo " + began + "\n" + body + "\n} </dev/null\nexit\n"
	out, err := h.shell.Run(in, "/bin/sh -s", strings.NewReader(text))
	_, own, ran := strings.Cut(out, began)
	own = strings.TrimSpace(own)
	var exit *sshell.ExitError
	switch {
	case errors.As(err, &exit):
		return own, &sshell.ExitError{Status: exit.Status, Out: tail(own)}
	case err != nil:
		return own, err
	case !ran:
		return "", errors.New("its shell does not run scripts")
	}
	return own, nil
}

// tail keeps the end of a long output: the last line is the one that says why.
func tail(s string) string {
	const most = 300
	if len(s) > most {
		return "..." + strings.ToValidUTF8(s[len(s)-most:], "")
	}
	return s
}

// Blame makes an error of Script one for the person who runs the lab.
func (h *Host) Blame(err error) error {
	var exit *sshell.ExitError
	var op *drivers.Operator
	cause, do := h.address+" cannot be worked with over SSH", "Log in by hand and try"
	switch {
	case err == nil:
		return nil
	case errors.As(err, &op):
		return err
	case errors.Is(err, sshell.ErrHostKey):
		cause, do = h.address+" shows another host key than the lab file has", "If the system was installed anew, correct ssh.host_key; if not, somebody is between"
	case strings.Contains(err.Error(), "unable to authenticate"):
		cause, do = fmt.Sprintf("%s does not let %s in with that key", h.address, h.user), "Put the public key into authorized_keys there, or correct ssh.user and ssh.key_file"
	case errors.Is(err, syscall.ECONNREFUSED):
		cause, do = "nothing listens at "+h.address, "Start the SSH service there, or correct ssh.address"
	case errors.As(err, &exit):
		cause, do = "a command on "+h.address+" failed", "Do what its own words ask for; the user has to be root"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), isTimeout(err):
		cause, do = h.address+" does not answer", "See whether the system is up and reached over its management network"
	}
	return &drivers.Operator{Cause: h.id + ": " + cause, Impact: h.impact, Do: do, Err: err}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// Refuse makes an error for the person who runs the lab of something that was found on the far side.
func (h *Host) Refuse(cause, do string) error {
	return &drivers.Operator{Cause: h.id + ": " + cause, Impact: h.impact, Do: do}
}

// Silence is the short text of an observation about a system that did not answer.
func Silence(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return tail(s)
}
