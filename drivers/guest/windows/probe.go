// This file checks before a run that the guest can be used.

package windows

import (
	"context"
	"errors"
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// Probe logs in, reads the facts and checks that the user is an administrator.
func (d *Driver) Probe(ctx context.Context) error {
	f, err := d.facts(ctx)
	if err != nil {
		return d.operator(err)
	}
	if !f.Admin {
		return d.unusable("the user is not an administrator, or is one with a filtered token",
			"Use a member of Administrators; for a local one other than Administrator set LocalAccountTokenFilterPolicy to 1", nil)
	}
	if _, ok := machines[f.Arch]; !ok {
		return d.unusable("there is no agent for a machine of the kind "+f.Arch, "Use a 64-bit guest", nil)
	}
	return nil
}

func (d *Driver) unusable(cause, do string, err error) error {
	return &drivers.Operator{
		Cause:  fmt.Sprintf("%s: WinRM as %s at %s: %s", d.env.ID, d.cfg.User, d.cfg.Address, cause),
		Impact: "The guest cannot be observed, so no claim about it can be judged", Do: do, Err: err,
	}
}

// operator explains a failed call.
func (d *Driver) operator(err error) error {
	var own *scriptError
	if errors.As(err, &own) {
		return d.unusable("a simple script fails", "Run it by hand; the guest's disk may be broken from an earlier run: reset it", err)
	}
	var e *callError
	if !errors.As(err, &e) {
		return d.unusable("it fails", "Log in by hand with the same user", err)
	}
	var cert *tlstrust.Untrusted
	switch {
	case errors.As(err, &cert) && cert.Pinned:
		return d.unusable("the certificate is not the pinned one", "Make sure that the address is the guest's; if its certificate was renewed, put the new SHA-256 into thumbprint", err)
	case errors.As(err, &cert):
		return d.unusable("the certificate is not trusted",
			"Make sure that the address is the guest's, then give ca_file, or thumbprint with the SHA-256 that was shown", err)
	case errors.Is(err, errUnauthorized):
		return d.unusable("the service refuses the credentials",
			"Check user, password_file or password_env; for auth: basic the service needs Auth/Basic = true", err)
	case e.stage == stageTCP && e.way == byRefusal:
		return d.unusable("nothing listens there", "Start the guest, run `winrm quickconfig -transport:https` in it, or correct the port in address", err)
	case e.stage == stageTCP && e.way == byTimeout:
		return d.unusable("no answer from that address", "Power the guest on, check the address and the firewalls between", err)
	case e.stage == stageTLS && e.way == byFailure:
		return d.unusable("the other side does not speak TLS", "Use the port of the HTTPS listener (5986), or see http in the documentation", err)
	case e.way == byTimeout:
		return d.unusable("the service accepts the connection and then is silent",
			"The guest's disk may be away or broken from an earlier run: see its console, mend the storage, reset the guest", err)
	}
	return d.unusable("it fails at the stage "+e.stage, "Log in by hand with the same user and read the guest's log of Windows Remote Management", err)
}
