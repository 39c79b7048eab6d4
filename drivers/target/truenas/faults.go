// This file puts errors into words: a short cause for observations, and cause, impact and remedy for the operator.

package truenas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

const noNAS = "The target can neither be broken nor watched through its API, so nothing can be said about an outage of it"

// wireOf says what the portal did. A login that is rejected, or a LUN that answers badly, is not a path that is gone: hosts
// take it for a device that is lost.
func wireOf(err error) wireState {
	var login *iscsi.LoginError
	var scsi *iscsi.StatusError
	switch {
	case err == nil:
		return serving
	case errors.As(err, &login), errors.As(err, &scsi):
		return rejects
	}
	return gone
}

// cause names what is wrong in a few words that stay the same while it is.
func (d *Driver) cause(err error) string {
	var quiet *silence
	var cert *tlstrust.Untrusted
	var name *net.DNSError
	var denied *accessError
	s := status(err)
	switch {
	case errors.As(err, &quiet):
		return quiet.Error()
	case errors.As(err, &cert):
		return "certificate not trusted"
	case errors.As(err, &name):
		return "its name is not known"
	case errors.As(err, &denied), s == http.StatusUnauthorized:
		return "login refused"
	case s != 0:
		return fmt.Sprintf("HTTP %d %s", s, http.StatusText(s))
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no route"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, errBroken):
		return "connection closed"
	case errors.Is(err, context.DeadlineExceeded):
		return "did not answer in time"
	}
	return d.login.quote(err.Error())
}

// answers tells an API that answered, with an error maybe, from one that did not.
func answers(err error) bool {
	var r *rpcError
	s := status(err)
	return err == nil || errors.Is(err, errNotTold) || errors.Is(err, errForm) || errors.Is(err, errAccess) || errors.As(err, &r) || s != 0 && s < 500
}

// scrubbed is an error whose text has no secret in it.
type scrubbed struct {
	text string
	err  error
}

func (e scrubbed) Error() string { return e.text }
func (e scrubbed) Unwrap() error { return e.err }

// operator makes an error for the person who runs the lab.
func (d *Driver) operator(err error) error {
	var op *drivers.Operator
	if err == nil || errors.As(err, &op) {
		return err
	}
	say := func(cause, do string) error {
		return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: noNAS, Do: do, Err: scrubbed{d.login.scrub(err.Error()), err}}
	}
	at := d.login.url.Host
	var cert *tlstrust.Untrusted
	var gen *otherGeneration
	var denied *accessError
	var call *rpcError
	_ = errors.As(err, &denied)
	_ = errors.As(err, &call)
	s := status(err)
	switch {
	case errors.As(err, &cert):
		return say("the certificate of "+at+" is not trusted", cert.Do("the system's", "its web interface shows it, or openssl x509 -noout -fingerprint -sha256"))
	case errors.As(err, &gen):
		return say("the system has another API than the lab file says", "Leave api out, or write api: "+strings.Join(gen.version.apis(), " or api: "))
	case denied != nil:
		return d.refusal(denied.word, say)
	case s == http.StatusUnauthorized:
		return d.unauthorized(err, say)
	case s == http.StatusForbidden, call != nil && (call.Data.Name == "EACCES" || call.Data.Name == "EPERM" || call.Data.Errno == int(syscall.EACCES)):
		return say("the account lacks the right to do this at "+at, "Use an account that is full administrator: starting and stopping services and a reboot need it")
	case s/100 == 3:
		return say("the web server at "+at+" sends elsewhere", "Write url: with https and the address where the API itself is")
	case s == http.StatusUnprocessableEntity, s == http.StatusBadRequest, call != nil && call.Code == codeBadParams:
		return say("the system refused the call as not valid", "See the reason; if it is a version that this driver does not know, report it")
	case call != nil && call.Code == codeTooMany:
		return say("too many calls at once at "+at, "End other clients of the API that use this account")
	case call != nil:
		return say("the system could not do what it was asked for", "See the reason, and on the system /var/log/middlewared.log")
	case errors.Is(err, errNoAPI):
		return say("no FreeNAS or TrueNAS API at "+at, "Check url: it has to name the system's web interface")
	case s >= 500:
		return say("the API at "+at+" is not ready or broken", "Wait until the system has booted; else see on it /var/log/middlewared.log")
	case d.cause(err) == "connection refused":
		return say("nobody takes connections at "+at, "Check url, and that the system's web service listens there")
	case errors.Is(err, errClosed):
		return say("it is closed already", "Open it again")
	case !answers(err):
		return say("the API at "+at+" does not answer", "Check url and the management network, and whether the system is up")
	}
	return say("the API at "+at+" cannot be used", "See on the system /var/log/middlewared.log")
}

// unauthorized is HTTP 401. With second factors on, the middleware refuses Basic whatever the password (tag TS-25.10.0,
// restful.py), and older ones do not say why.
func (d *Driver) unauthorized(err error, say func(cause, do string) error) error {
	at := d.login.url.Host
	var s *statusError
	switch {
	case errors.As(err, &s) && strings.Contains(s.text, "OTP"):
		return say("the system wants a second factor, and refuses a password alone", "Make an API key in its web interface, and name its file as api_key_file")
	case d.login.key != "" && d.login.password == "":
		return say("the API key is wrong, revoked or expired at "+at, "Make a new one in the web interface; FreeNAS up to 11.3 has none and wants user root and password_file")
	}
	return say("user or password is wrong for "+d.login.user+" at "+at, "Check user (root on FreeNAS) and password_file or TRUENAS_PASSWORD; where two-factor authentication is on, Basic is refused: use api_key_file")
}

// refusal is the answer of a login by JSON-RPC (tag TS-25.04.0, plugins/auth.py, AuthResp).
func (d *Driver) refusal(word string, say func(cause, do string) error) error {
	at := d.login.url.Host
	switch {
	case strings.HasPrefix(word, "EXPIRED"):
		return say("the API key or the account is revoked or expired at "+at, "Make a new API key in the web interface; the system revokes each one that is shown to it without TLS")
	case strings.HasPrefix(word, "OTP_REQUIRED"):
		return say("the system wants a second factor, and refuses a password alone", "Make an API key in its web interface, and name its file as api_key_file")
	case strings.HasPrefix(word, "REDIRECT"):
		return say("this is the standby node of a pair", "Write url: with the address of the active node")
	case strings.HasPrefix(word, "EOPNOTSUPP"), strings.HasPrefix(word, "ENOTSUP"):
		return say("the system's security level refuses this kind of login", "Allow API keys or passwords in its security settings")
	case strings.HasPrefix(word, "EBUSY"):
		return say("the system refuses further logins for a while", "Wait a minute, and end clients that try again and again")
	case d.login.key != "":
		return say("the API key is wrong for "+d.login.user+" at "+at, "Check api_key_file or TRUENAS_API_KEY, and that user is the key's owner")
	}
	return say("user or password is wrong for "+d.login.user+" at "+at, "Check user, and password_file or TRUENAS_PASSWORD")
}

// notServed says why the portal does not serve the target, before anything was broken.
func (d *Driver) notServed(svc service, w wireState, err error) error {
	op := &drivers.Operator{Impact: "There is nothing to break", Err: err}
	var login *iscsi.LoginError
	switch {
	case errors.As(err, &login) && (login.Class == 2 && login.Detail == 3):
		op.Cause = d.env.ID + ": the portal " + d.portal + " knows no target " + d.cfg.Target
		op.Do = "Check target (the whole name, base name included) and that the target uses this portal"
	case errors.As(err, &login) && login.Class == 2:
		op.Cause = d.env.ID + ": the target " + d.cfg.Target + " refuses this initiator"
		op.Do = "Allow the initiator " + initiator + " on the target, without CHAP, to look at LUN " + fmt.Sprint(d.cfg.LUN)
	case w == rejects:
		op.Cause = fmt.Sprintf("%s: the portal %s answers, and does not serve LUN %d of %s", d.env.ID, d.portal, d.cfg.LUN, d.cfg.Target)
		op.Do = "Check lun, and that its extent is enabled"
	case svc.state == stopped:
		op.Cause = d.env.ID + ": the iSCSI service is stopped"
		op.Do = "Start it in the system's web interface"
	default:
		op.Cause = d.env.ID + ": the service is " + svc.state + ", and the portal " + d.portal + " does not answer"
		op.Do = "Check portal, and that this machine reaches the storage network"
	}
	return op
}
