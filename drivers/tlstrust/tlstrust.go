// Package tlstrust decides whether a certificate is the one of a system of the lab: by a pinned thumbprint, or by authorities. There is
// no way around it, since whoever answers gets the password.
package tlstrust

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Thumbprint is the SHA-256 of a certificate, or its SHA-1, by which vSphere's own tools pin.
type Thumbprint []byte

// Parse reads a SHA-256 thumbprint: 64 hexadecimal digits, with or without colons and spaces.
func Parse(text string) (Thumbprint, error) {
	t, err := digits(text)
	if err == nil && len(t) != sha256.Size {
		err = fmt.Errorf("a thumbprint has %d bytes (SHA-256), and this one has %d", sha256.Size, len(t))
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// ParseEither reads one of SHA-256 or of SHA-1.
func ParseEither(text string) (Thumbprint, error) {
	t, err := digits(text)
	if err == nil && len(t) != sha1.Size && len(t) != sha256.Size {
		err = fmt.Errorf("a thumbprint has %d (SHA-1) or %d (SHA-256) bytes, and this one has %d", sha1.Size, sha256.Size, len(t))
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func digits(text string) (Thumbprint, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(text)))
	if err != nil {
		return nil, errors.New("a thumbprint is hexadecimal digits, with or without colons")
	}
	return b, nil
}

// Of is the SHA-256 thumbprint of a certificate (DER).
func Of(raw []byte) Thumbprint {
	sum := sha256.Sum256(raw)
	return sum[:]
}

// String writes it as openssl and vSphere do: "AB:01:...".
func (t Thumbprint) String() string {
	parts := make([]string, len(t))
	for i, b := range t {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// fits tells whether it is the thumbprint of a certificate.
func (t Thumbprint) fits(raw []byte) bool {
	if len(t) == sha1.Size {
		sum := sha1.Sum(raw)
		return bytes.Equal(t, sum[:])
	}
	return bytes.Equal(t, Of(raw))
}

// Config says what to trust. A pin goes before authorities: these systems sign their certificates themselves.
type Config struct {
	Thumbprint string                // the certificate's SHA-256
	SHA1       bool                  // a SHA-1 will do too
	Known      map[string]Thumbprint // further pins by host:port, where Thumbprint is empty; see ReadKnown
	CAFile     string                // authorities, PEM; several files are separated as in PATH; empty: this machine's own
}

// Trust is what certificates are checked against.
type Trust struct {
	pin   Thumbprint
	known map[string]Thumbprint
	roots *x509.CertPool // nil: this machine's
}

// New reads the configuration and its files.
func New(c Config) (Trust, error) {
	t := Trust{known: c.Known}
	if c.Thumbprint != "" {
		parse := Parse
		if c.SHA1 {
			parse = ParseEither
		}
		var err error
		if t.pin, err = parse(c.Thumbprint); err != nil {
			return Trust{}, err
		}
	}
	for _, file := range filepath.SplitList(c.CAFile) {
		b, err := os.ReadFile(file)
		if err != nil {
			return Trust{}, fmt.Errorf("reading ca_file: %w", err)
		}
		if t.roots == nil {
			t.roots = x509.NewCertPool()
		}
		if !t.roots.AppendCertsFromPEM(b) {
			return Trust{}, fmt.Errorf("ca_file %s has no certificate in PEM", file)
		}
	}
	return t, nil
}

// ReadKnown reads lines "host:port thumbprint", as GOVC_TLS_KNOWN_HOSTS names files of. Without a port it is 443. Lines that are none
// are left out, as govc does.
func ReadKnown(b []byte, into map[string]Thumbprint) {
	for line := range strings.Lines(string(b)) {
		host, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		p, err := ParseEither(text)
		if err != nil || host == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), "443")
		}
		into[host] = p
	}
}

// Pinned tells whether one certificate alone is trusted, whoever has signed it.
func (t Trust) Pinned() bool { return t.pin != nil }

// Untrusted says that a system showed a certificate that is not trusted.
type Untrusted struct {
	Address string
	Shown   Thumbprint // SHA-256
	Pinned  bool       // another one is pinned
	Err     error
}

func (e *Untrusted) Error() string {
	if e.Pinned {
		return fmt.Sprintf("the certificate of %s is not the pinned one: the server showed %s", e.Address, e.Shown)
	}
	return fmt.Sprintf("the certificate of %s is not trusted: the server showed %s: %v", e.Address, e.Shown, e.Err)
}

// Unwrap returns what the check said.
func (e *Untrusted) Unwrap() error { return e.Err }

// Do is what an operator can do about it: whose is "the host's", and where says how to see on the system itself which one it has.
func (e *Untrusted) Do(whose, where string) string {
	return fmt.Sprintf("If this is %s certificate (%s), write thumbprint: %q", whose, where, e.Shown)
}

var errOtherPin = errors.New("another thumbprint is pinned")

// Over makes a connection secure: it returns one whose other end has shown the right certificate, or an *Untrusted. address is host:port,
// of which authorities have to vouch for the host. The raw connection is the caller's to close when there is an error.
func (t Trust) Over(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("agreeing on TLS: %w", err)
	}
	pin := t.pin
	if pin == nil {
		pin = t.known[address]
	}
	cfg := &tls.Config{ServerName: host, RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	var shown []byte
	if pin != nil { // the pin is the check
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			shown = s.PeerCertificates[0].Raw
			if !pin.fits(shown) {
				return errOtherPin
			}
			return nil
		}
	}
	conn := tls.Client(raw, cfg)
	if err = conn.HandshakeContext(ctx); err == nil {
		return conn, nil
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		shown = bad.UnverifiedCertificates[0].Raw
	}
	if bad != nil || errors.Is(err, errOtherPin) {
		return nil, &Untrusted{Address: address, Shown: Of(shown), Pinned: pin != nil, Err: err}
	}
	return nil, fmt.Errorf("agreeing on TLS: %w", err)
}
