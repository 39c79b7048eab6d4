// This file puts errors into words: a short cause for observations, and cause, impact and remedy for the operator.

package nutanix

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

const noCluster = "The cluster can neither be broken nor watched, so nothing can be said about a fault of it"

// cause names what is wrong in a few words that stay the same while it is.
func (d *Driver) cause(err error) string {
	var quiet *silence
	var cert *tlstrust.Untrusted
	switch s := status(err); {
	case errors.As(err, &quiet):
		return quiet.Error()
	case errors.As(err, &cert):
		return "certificate not trusted"
	case s != 0:
		return fmt.Sprintf("HTTP %d %s", s, http.StatusText(s))
	case errors.Is(err, errForm):
		return d.prism.quote(err.Error())
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, sshell.ErrCut):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	}
	return d.prism.quote(err.Error())
}

// answered tells a Prism that answered, if only with an error, from one that did not.
func answered(err error) bool {
	s := status(err)
	return err == nil || errors.Is(err, errForm) || s != 0 && s < 500
}

// refused tells a machine on which nobody listens, or that is not there, from one that says nothing.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// operator makes an error for the person who runs the lab.
func (d *Driver) operator(err error) error {
	var op *drivers.Operator
	if err == nil {
		return nil
	}
	if errors.As(err, &op) {
		return err
	}
	say := func(cause, do string) error {
		return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: noCluster, Do: do, Err: err}
	}
	at := d.prism.host
	var cert *tlstrust.Untrusted
	var on *machineError
	switch s := status(err); {
	case errors.As(err, &cert):
		return say("the certificate of "+at+" is not trusted", cert.Do("Prism's", "openssl x509 -noout -fingerprint -sha256 on a CVM shows it"))
	case errors.As(err, &on):
		return d.machine(on, say)
	case s == http.StatusUnauthorized:
		return say("user or password is wrong for "+d.prism.user+" at "+at, "Check user, and password_file or NUTANIX_PASSWORD; Prism locks an account after some tries")
	case s == http.StatusForbidden:
		return say("the account "+d.prism.user+" may not look at the cluster", "Use one with the role of a cluster viewer at the least")
	case s == http.StatusNotFound:
		return say("there is no Prism Element at "+at, "Check address: it has to be a CVM's or the cluster's own, and not Prism Central's")
	case errors.Is(err, errForm):
		return say("Prism answers otherwise than this driver knows it", "See the reason; if this is a version of AOS that is not known, report it")
	case s/100 == 5:
		return say("Prism cannot answer", "Wait until its services run: cluster status on a CVM shows them")
	}
	return say("Prism cannot be reached at "+at, "Check address, and that this machine reaches it")
}

// machine is an error of a machine that is reached over SSH.
func (d *Driver) machine(on *machineError, say func(cause, do string) error) error {
	var exit *sshell.ExitError
	switch {
	case errors.Is(on.err, sshell.ErrHostKey):
		return say(on.machine+" has another host key than known_hosts says", "If it was installed anew, write its key there; else find out who answers in its place")
	case errors.Is(on.err, sshell.ErrLogin):
		return say(on.machine+" does not let the user in", "Put the public key there: Prism's cluster lockdown for CVMs, authorized_keys for hosts")
	case errors.As(on.err, &exit):
		return say(on.machine+" could not do what it was asked for ("+on.script+")", "See the reason, and whether the user may do so there (sudo -n)")
	}
	return say(on.machine+" cannot be reached over SSH", "Check known_hosts and the keys of cvm_ssh and host_ssh, and that this machine reaches it")
}
