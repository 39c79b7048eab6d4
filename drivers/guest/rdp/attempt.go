// This file makes one new connection, as far as it gets.

package rdp

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/rdp/wire"
)

// Stage is how far a connection came.
type Stage string

// The stages, in order.
const (
	Refused Stage = "refused" // no TCP connection: refused, or no answer at all, which the Text tells apart
	Silent  Stage = "silent"  // TCP only: nothing came that is RDP
	X224    Stage = "x224"    // the X.224 connection was confirmed, or its negotiation answered with a failure
	TLS     Stage = "tls"     // the TLS handshake is done and the certificate is the right one
	Logon   Stage = "logon"   // see Depth
)

// The ways in which a stage is not reached.
const (
	wayRefused     = "refused"
	wayTimeout     = "timeout"
	wayClosed      = "closed"
	wayFailed      = "failed"
	wayCertificate = "certificate"     // it is not the one that was expected
	wayNegotiation = "negotiation"     // the server chose a failure, or security without TLS
	wayNoCredSSP   = "without CredSSP" // the depth Credentials needs it
	wayOurs        = "client broken"   // our own client, so nothing about the guest
)

// refusedPause is how long nobody logs on after credentials were refused. Windows 11 22H2 locks an account after 10 wrong
// passwords in 10 minutes by default (mem); this makes 5 of them.
const refusedPause = 2 * time.Minute

// Attempt is what became of one connection.
type Attempt struct {
	Stage       Stage
	Missing     string // what the client was waiting for: tcp, x224, tls, credssp, logon; empty when nothing is missing
	Way         string // what became of that
	Protocol    string // that the server chose: rdp, tls, credssp
	CredSSP     string // challenge: whatever checks credentials in the guest answers
	Certificate string // SHA-256, lower-case hex with colons
	Trust       string // pinned, verified, first use
	Depth       Depth  // that a logon reached
	Paused      bool   // the credentials were refused a short time ago, so nobody tried them now
	Begun       time.Duration
	Ended       time.Duration
	Err         error
}

// words are what was missing, as observations carry it.
func (a Attempt) words() string {
	switch {
	case a.Way == "":
		return ""
	case a.Way == wayNegotiation:
		return fmt.Sprintf("negotiation %v", a.Err)
	}
	return a.Missing + " " + a.Way
}

// fail notes where it ended. over tells that the time was up, whatever error that led to.
func (a *Attempt) fail(missing string, err error, over bool) {
	var timeout net.Error
	a.Missing, a.Err, a.Way = missing, err, wayFailed
	switch {
	case over, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		a.Way = wayTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		a.Way = wayRefused
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		a.Way = wayClosed
	}
}

// Try makes one connection, to that depth.
func (p *Prober) Try(ctx context.Context, d Depth) (a Attempt) {
	a.Begun = p.clock.Now()
	defer func() { a.Ended = p.clock.Now() }()
	p.reach(ctx, &a)
	if a.Way != "" || d == None {
		return a
	}
	p.mu.Lock()
	paused := !p.refused.IsZero() && time.Since(p.refused) < refusedPause
	p.mu.Unlock()
	switch {
	case d == Credentials && a.CredSSP == "":
		a.Missing, a.Way = "logon", wayNoCredSSP
		a.Err = errors.New("the server checks credentials only in a session")
		return a
	case paused:
		a.Missing, a.Way, a.Paused, a.Err = "logon", wayRefused, true, fmt.Errorf("the credentials were refused less than %v ago", refusedPause)
		return a
	}
	lctx, cancel := context.WithTimeout(ctx, p.cfg.LogonLimit)
	defer cancel()
	err := p.cfg.Client.Logon(lctx, p.target(a.Certificate), d)
	var le *LogonError
	switch {
	case err == nil:
		a.Stage, a.Depth = Logon, d
	case errors.As(err, &le):
		a.Missing, a.Way, a.Err = "logon", le.Way, le.Err
	default:
		a.Missing, a.Way, a.Err = "client", wayOurs, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil:
		p.refused = time.Time{}
	case le != nil && le.Way == wayRefused:
		p.refused = time.Now()
	}
	return a
}

// target is the guest as a client is to meet it.
func (p *Prober) target(fingerprint string) Target {
	return Target{Address: p.cfg.Address, Dial: p.dial, Fingerprint: fingerprint, User: p.cfg.User, Domain: p.cfg.Domain, Password: p.password}
}

// reach connects up to the challenge of CredSSP, and hangs up.
func (p *Prober) reach(ctx context.Context, a *Attempt) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limit)
	defer cancel()
	over := func() bool { return ctx.Err() != nil }
	a.Stage = Refused
	conn, err := p.dial(ctx, "tcp", p.cfg.Address)
	if err != nil {
		a.fail("tcp", err, over())
		return
	}
	// The raw connection is closed, never the TLS one: that one would first try to say goodbye to a guest that may be deaf.
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}

	a.Stage = Silent
	if _, err := conn.Write(wire.ConnectionRequest(wire.SSL | wire.Hybrid)); err != nil {
		a.fail("x224", err, over())
		return
	}
	chosen, err := wire.ReadConfirm(conn)
	var no wire.Failure
	switch {
	case errors.As(err, &no):
		a.Stage, a.Missing, a.Way, a.Err = X224, "tls", wayNegotiation, no
		return
	case err != nil:
		a.fail("x224", err, over())
		return
	}
	a.Stage, a.Protocol = X224, chosen.String()
	if chosen != wire.SSL && chosen != wire.Hybrid {
		a.Missing, a.Way, a.Err = "tls", wayNegotiation, fmt.Errorf("the server chose the protocol %v", chosen)
		return
	}

	host, _, _ := net.SplitHostPort(p.cfg.Address)
	var refused error // of the certificate
	secure := tls.Client(conn, &tls.Config{
		ServerName: host, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, // RDP's certificates are self-signed: VerifyConnection checks them
		VerifyConnection: func(s tls.ConnectionState) error {
			a.Certificate = Fingerprint(s.PeerCertificates[0].Raw)
			a.Trust, refused = p.check(host, s.PeerCertificates, a.Certificate)
			return refused
		},
	})
	if err := secure.HandshakeContext(ctx); err != nil {
		a.fail("tls", err, over())
		if refused != nil {
			a.Missing, a.Way, a.Err = "tls", wayCertificate, refused
		}
		return
	}
	a.Stage = TLS
	if chosen != wire.Hybrid {
		return
	}

	if _, err := secure.Write(wire.Offer()); err != nil {
		a.fail("credssp", err, over())
		return
	}
	answer, err := wire.ReadTSRequest(secure)
	switch {
	case err != nil:
		a.fail("credssp", err, over())
	case answer.IsChallenge():
		a.CredSSP = "challenge"
	default:
		a.Missing, a.Way = "credssp", wayFailed
		a.Err = fmt.Errorf("the guest answers without a challenge, with the status 0x%08x", answer.ErrorCode)
	}
}

// check tells whether a certificate is the right one, and why. Where nothing is configured the first one seen becomes it.
func (p *Prober) check(host string, chain []*x509.Certificate, fingerprint string) (trust string, err error) {
	if p.pool != nil {
		opt := x509.VerifyOptions{Roots: p.pool, DNSName: host, Intermediates: x509.NewCertPool()}
		for _, c := range chain[1:] {
			opt.Intermediates.AddCert(c)
		}
		if _, err := chain[0].Verify(opt); err != nil {
			return "", err
		}
		return "verified", nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	trust = "pinned"
	if p.cfg.Fingerprint == "" {
		trust = "first use"
		if p.pin == "" {
			p.pin = fingerprint
		}
	}
	if p.pin != fingerprint {
		return "", fmt.Errorf("the certificate's SHA-256 is %s and not %s", fingerprint, p.pin)
	}
	return trust, nil
}

// Fingerprint is the SHA-256 of a certificate in DER: lower-case hex with colons, as FreeRDP and OpenSSL have it.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ReplaceAll(fmt.Sprintf("% x", sum[:]), " ", ":")
}

// parseFingerprint reads what a person wrote.
func parseFingerprint(s string) (string, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(s))
	if err != nil {
		return "", err
	}
	if len(b) != sha256.Size {
		return "", fmt.Errorf("it has %d bytes instead of %d", len(b), sha256.Size)
	}
	return strings.ReplaceAll(fmt.Sprintf("% x", b), " ", ":"), nil
}
