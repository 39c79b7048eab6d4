// This file checks before a run that the guest can be used.

package linux

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// probeLimit bounds a Probe whose context has no nearer deadline.
const probeLimit = 20 * time.Second

// Probe logs in, runs a command and checks that it runs as root.
func (d *Driver) Probe(ctx context.Context) error {
	ctx, cancel := d.bound(ctx, probeLimit)
	defer cancel()
	c, err := d.dial(ctx)
	if err != nil {
		return d.operator(err)
	}
	defer c.end()
	uid, err := c.command(ctx, "id -u", nil)
	if err != nil {
		return d.operator(err)
	}
	if uid != "0" {
		return d.unusable("it is not root", "Set user: root; the agent reads the disk itself and drops caches", nil)
	}
	return nil
}

func (d *Driver) unusable(cause, do string, err error) error {
	return &drivers.Operator{
		Cause:  fmt.Sprintf("%s: logging in as %s at %s: %s", d.env.ID, d.cfg.User, d.cfg.Address, cause),
		Impact: "The guest cannot be observed, so no claim about it can be judged", Do: do, Err: err,
	}
}

// operator explains a failed login.
func (d *Driver) operator(err error) error {
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return d.unusable("a simple command fails", "Log in by hand and run `id -u`; the guest's disk may be broken from an earlier run: reset it", err)
	}
	var e *loginError
	if !errors.As(err, &e) {
		return d.unusable("it fails", "Log in by hand with the same user and key", err)
	}
	switch {
	case e.way == byHostKey:
		return d.unusable("the host key is not the one that the lab file names",
			"Make sure that the address is the guest's; if the guest was installed anew, put its new key into host_key or known_hosts", err)
	case e.stage == stageAuth && e.way == byRefusal:
		return d.unusable("the server refuses the credentials",
			"Check user, key_file or password_env, and that the server lets this user log in (PermitRootLogin)", err)
	case e.stage == stageTCP && e.way == byRefusal:
		return d.unusable("nothing listens there", "Start the guest and its SSH server, or correct the port in address", err)
	case e.stage == stageTCP && e.way == byTimeout:
		return d.unusable("no answer from that address", "Power the guest on, check the address and the firewalls between", err)
	case e.way == byTimeout:
		return d.unusable("the server accepts the connection and then is silent",
			"The guest's disk may be away or broken from an earlier run: see its console, mend the storage, reset the guest", err)
	}
	return d.unusable("it fails at the stage "+e.stage, "Log in by hand with the same user and key and read the server's log", err)
}
