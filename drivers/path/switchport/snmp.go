// This file talks SNMP: one association for each call, bounded by its own deadline, and errors that never have a secret in them.

package switchport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// login is who the switch is told that we are.
type login struct {
	community        string // v2c
	user, auth, priv string // v3: the name and the passwords
	hash             gosnmp.SnmpV3AuthProtocol
}

func loginOf(c Config) (login, error) {
	var l login
	var err error
	switch c.Version {
	case "2c":
		if c.User != "" || c.AuthPasswordFile != "" || c.PrivPasswordFile != "" {
			return l, errors.New("user and passwords belong to version 3")
		}
		l.community, err = secret("community_file", c.CommunityFile, "SNMP_COMMUNITY")
		if err == nil && l.community == "" {
			err = errors.New("there is neither community_file nor SNMP_COMMUNITY")
		}
		return l, err
	case "3":
	default:
		return l, fmt.Errorf("the version is %q, and has to be 2c or 3", c.Version)
	}
	switch c.Auth {
	case "sha":
		l.hash = gosnmp.SHA
	case "sha256", "":
		l.hash = gosnmp.SHA256
	default:
		return l, fmt.Errorf("auth is %q, and has to be sha or sha256", c.Auth)
	}
	if c.Priv != "" && c.Priv != "aes" {
		return l, fmt.Errorf("priv is %q, and has to be aes", c.Priv)
	}
	if l.user = c.User; l.user == "" {
		return l, errors.New("version 3 needs a user")
	}
	if l.auth, err = secret("auth_password_file", c.AuthPasswordFile, "SNMP_AUTH_PASSWORD"); err != nil {
		return l, err
	}
	if l.priv, err = secret("priv_password_file", c.PrivPasswordFile, "SNMP_PRIV_PASSWORD"); err != nil {
		return l, err
	}
	const least = 8 // RFC 3414 section 11.2
	if len(l.auth) < least || l.priv != "" && len(l.priv) < least {
		return l, fmt.Errorf("version 3 needs a password of at least %d bytes to sign with, and one to encrypt with", least)
	}
	return l, nil
}

// secret reads a secret from the file, else from the environment.
func secret(key, file, variable string) (string, error) {
	if file == "" {
		return os.Getenv(variable), nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", key, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s %s is empty", key, file)
	}
	return s, nil
}

var errSilent = errors.New("it did not answer")

// errSignature says that an answer was not signed with our key. An agent that knows no such user, or holds another password, says so in
// a report that nobody signed (RFC 3414 section 3.2), which the library does not believe: the two cannot be told apart.
var errSignature = errors.New("its answer is not signed with that password")

// with opens an association, and closes it when f has returned or ctx has ended. bound limits all of it; each request is sent a second
// time when the first has no answer, for datagrams get lost.
func (d *Driver) with(ctx context.Context, bound time.Duration, f func(*gosnmp.GoSNMP) error) error {
	in, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	host, text, _ := net.SplitHostPort(d.c.Address)
	number, _ := strconv.ParseUint(text, 10, 16)
	g := &gosnmp.GoSNMP{Target: host, Port: uint16(number), Version: gosnmp.Version2c, Community: d.login.community, Context: in,
		Timeout: d.pace.answer / 2, Retries: 1, MaxOids: gosnmp.MaxOids, MaxRepetitions: 25}
	if d.login.community == "" {
		g.Version, g.SecurityModel, g.MsgFlags = gosnmp.Version3, gosnmp.UserSecurityModel, gosnmp.AuthNoPriv
		usm := &gosnmp.UsmSecurityParameters{UserName: d.login.user, AuthenticationProtocol: d.login.hash, AuthenticationPassphrase: d.login.auth,
			PrivacyProtocol: gosnmp.NoPriv}
		if d.login.priv != "" {
			g.MsgFlags = gosnmp.AuthPriv
			usm.PrivacyProtocol, usm.PrivacyPassphrase = gosnmp.AES, d.login.priv
		}
		g.SecurityParameters = usm
	}
	if err := g.Connect(); err != nil {
		return d.clean(ctx, in, bound, err)
	}
	conn := g.Conn
	defer conn.Close()
	defer context.AfterFunc(in, func() { conn.Close() })() // the library itself only looks at ctx between requests
	return d.clean(ctx, in, bound, f(g))
}

// clean takes secrets out of an error (the library's can have a dump of the memory in it), and tells silence from a caller who gave up.
func (d *Driver) clean(ctx, in context.Context, bound time.Duration, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case in.Err() != nil:
		return fmt.Errorf("%w within %v", errSilent, bound)
	}
	for _, known := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, gosnmp.ErrUnknownUsername, gosnmp.ErrWrongDigest,
		gosnmp.ErrDecryption, gosnmp.ErrUnknownSecurityLevel, gosnmp.ErrNotInTimeWindow} {
		if errors.Is(err, known) {
			return known
		}
	}
	var refused *refusal
	var ambiguous *notOne
	if errors.As(err, &refused) || errors.As(err, &ambiguous) {
		return err
	}
	s, _, _ := strings.Cut(err.Error(), "Stack:")
	for _, w := range []string{d.login.community, d.login.auth, d.login.priv} {
		if w != "" {
			s = strings.ReplaceAll(s, w, "***")
		}
	}
	if strings.Contains(s, "not authentic") {
		return errSignature
	}
	if strings.Contains(s, "timeout") {
		return fmt.Errorf("%w within %v", errSilent, d.pace.answer)
	}
	return errors.New(strings.TrimSpace(s))
}

// refusal is an answer that says no.
type refusal struct{ status gosnmp.SNMPError }

func (e *refusal) Error() string { return "the switch answered " + e.status.String() }

// check tells an answer from a refusal.
func check(p *gosnmp.SnmpPacket, err error) (*gosnmp.SnmpPacket, error) {
	if err == nil && p.Error != gosnmp.NoError {
		err = &refusal{p.Error}
	}
	return p, err
}

// blame makes an error one for the person who runs the lab.
func (d *Driver) blame(err error) error {
	cause, do := "the switch at "+d.c.Address+" cannot be worked with over SNMP", "Try by hand with snmpget"
	var refused *refusal
	var op *drivers.Operator
	var which *notOne
	switch {
	case errors.As(err, &op):
		return err
	case errors.As(err, &which):
		cause, do = which.Error(), "Write the ifIndex or the ifName of one port"
		if len(which.all) == 0 {
			do += "; they are listed by: snmpwalk ... IF-MIB::ifName"
		}
		err = nil
	case errors.As(err, &refused):
		cause, do = "the switch does not let this login do that", "Give it a community or a user that may write IF-MIB::ifAdminStatus"
	case errors.Is(err, errSignature), errors.Is(err, gosnmp.ErrUnknownUsername), errors.Is(err, gosnmp.ErrWrongDigest):
		cause, do = fmt.Sprintf("the switch does not know the user %q with that password", d.login.user), "Correct user, auth or auth_password_file"
	case errors.Is(err, gosnmp.ErrDecryption):
		cause, do = "the switch cannot decrypt what it gets", "Correct priv_password_file or priv"
	case errors.Is(err, gosnmp.ErrUnknownSecurityLevel):
		cause, do = "the switch wants this user to sign or encrypt otherwise", "Give priv_password_file, or leave it out, as the user is set up there"
	case errors.Is(err, syscall.ECONNREFUSED):
		cause, do = "no SNMP agent listens at "+d.c.Address, "Switch SNMP on, or correct address"
	case errors.Is(err, errSilent), errors.Is(err, context.DeadlineExceeded):
		cause, do = "the switch at "+d.c.Address+" does not answer", "See that it is reached, that it lets this machine ask, and that the password is right: many agents are silent to a wrong one"
		if d.login.community != "" {
			do = "See that it is reached, that it lets this machine ask, and that the community is right: an agent is silent to a wrong one"
		}
	}
	return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: impact, Do: do, Err: err}
}

func (d *Driver) refuse(cause, do string) error {
	return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: impact, Do: do}
}

// short is the text of an observation about a switch that did not answer.
func short(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ToValidUTF8(s[:min(len(s), 200)], "")
}
