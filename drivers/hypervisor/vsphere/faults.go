// This file puts errors into words: a short cause for observations, and cause, impact and remedy for the operator.

package vsphere

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"reflect"
	"syscall"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// silence is a call that got no answer in time.
type silence struct{ limit time.Duration }

func (e *silence) Error() string { return "did not answer within " + e.limit.String() }

// cause names what is wrong in a few words that stay the same while it is.
func cause(err error) string {
	var quiet *silence
	var cert *tlstrust.Untrusted
	var name *net.DNSError
	var at *url.Error
	switch {
	case errors.As(err, &quiet):
		return quiet.Error()
	case errors.As(err, &cert):
		return "certificate not trusted"
	case errors.As(err, &name):
		return "its name is not known"
	case notAuthenticated(err):
		return "session expired"
	case fault.Is(err, &types.InvalidLogin{}):
		return "login refused"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	case errors.As(err, &at):
		return at.Err.Error() // without the URL
	}
	return err.Error()
}

// unreachable tells an API that does not answer from one that answers with a fault.
func unreachable(err error) bool {
	var quiet *silence
	var at *url.Error
	return errors.As(err, &quiet) || errors.As(err, &at) || errors.Is(err, context.DeadlineExceeded)
}

// gone tells that an object no longer exists, and which.
func gone(err error) (types.ManagedObjectReference, bool) {
	var f *types.ManagedObjectNotFound
	if _, ok := fault.As(err, &f); ok {
		return f.Obj, true
	}
	return types.ManagedObjectReference{}, false
}

// unsupported tells that a server does not have a method, or not this object or key.
func unsupported(err error) bool {
	if err == nil {
		return false
	}
	_, absent := gone(err)
	return absent || fault.Is(err, &types.MethodNotFound{}) || fault.Is(err, &types.NotSupported{}) || fault.Is(err, &types.NotImplemented{}) ||
		fault.Is(err, &types.InvalidArgument{}) || fault.Is(err, &types.InvalidName{}) || fault.Is(err, &types.NotFound{})
}

// faultText is what a fault says: its words, or the name of its class.
func faultText(f *types.LocalizedMethodFault) string {
	switch {
	case f == nil:
		return ""
	case f.LocalizedMessage != "":
		return f.LocalizedMessage
	case f.Fault == nil:
		return "no reason was given"
	}
	return className(f.Fault)
}

// className is the name that vSphere has for what v points to.
func className(v any) string {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Name()
}

const noHost = "The host can neither be watched nor driven, so nothing can be said about it"

// operator makes an error for the person who runs the lab.
func (d *Driver) operator(err error) error { return d.api.operator(d.env.ID, err) }

func (a *api) operator(id string, err error) error {
	var op *drivers.Operator
	if err == nil || errors.As(err, &op) {
		return err
	}
	say := func(cause, do string) error {
		return &drivers.Operator{Cause: id + ": " + cause, Impact: noHost, Do: do, Err: scrubbed{a.scrub(err.Error()), err}}
	}
	at := a.url.Host
	var cert *tlstrust.Untrusted
	if errors.As(err, &cert) {
		do := cert.Do("the host's", "on it: openssl x509 -in /etc/vmware/ssl/rui.crt -noout -fingerprint -sha256")
		if a.insecure {
			do += "; GOVC_INSECURE is refused here, since whoever answers would get the password"
		}
		return say("the certificate of "+at+" is not trusted", do)
	}
	var rights *types.NoPermission
	switch _, denied := fault.As(err, &rights); {
	case fault.Is(err, &types.InvalidLogin{}):
		return say("user or password is wrong for "+a.user+" at "+at, "Check user, and password_file or GOVC_PASSWORD; an ESXi locks an account for a while after a few failures (Security.AccountLockFailures)")
	case denied && rights.PrivilegeId != "":
		return say("the account "+a.user+" lacks the privilege "+rights.PrivilegeId, "Give its role that privilege on host, datastore and machines")
	case notAuthenticated(err):
		return say("the session at "+at+" does not last", "See in the host's hostd.log why it ends sessions")
	case cause(err) == "connection refused":
		return say("nobody takes connections at "+at, "Check url, and on the host: /etc/init.d/hostd status")
	case errors.Is(err, errClosed):
		return say("it is closed already", "Open it again")
	case unreachable(err), errors.Is(err, context.Canceled):
		return say("the API at "+at+" does not answer", "Check url and the management network, and on the host: /etc/init.d/hostd status")
	}
	return say("the API at "+at+" cannot be used", "See the host's hostd.log, or with a vCenter its vpxd.log")
}

// scrubbed is an error whose text has no secret in it.
type scrubbed struct {
	text string
	err  error
}

func (e scrubbed) Error() string { return e.text }
func (e scrubbed) Unwrap() error { return e.err }
