// This file decides whether a certificate is the system's: by a pinned thumbprint, or by authorities. There is no way
// around it, since whoever answers gets the password.

package truenas

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// thumbprint is the SHA-256 of a certificate.
type thumbprint []byte

// parseThumbprint reads 64 hexadecimal digits, with or without colons.
func parseThumbprint(text string) (thumbprint, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil {
		return nil, errors.New("a thumbprint is hexadecimal digits, with or without colons")
	}
	if len(b) != sha256.Size {
		return nil, fmt.Errorf("a thumbprint has %d bytes (SHA-256), and this one has %d", sha256.Size, len(b))
	}
	return b, nil
}

// String writes it as openssl does.
func (t thumbprint) String() string {
	parts := make([]string, len(t))
	for i, b := range t {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// untrusted says that the server showed a certificate that is not trusted.
type untrusted struct {
	address string
	shown   thumbprint
	pinned  bool // another one is pinned
	err     error
}

func (e *untrusted) Error() string {
	if e.pinned {
		return fmt.Sprintf("the certificate of %s is not the pinned one: the server showed %s", e.address, e.shown)
	}
	return fmt.Sprintf("the certificate of %s is not trusted: the server showed %s", e.address, e.shown)
}
func (e *untrusted) Unwrap() error { return e.err }

var errOtherPin = errors.New("another thumbprint is pinned")

// trust is what a certificate is checked against.
type trust struct {
	pin   thumbprint
	roots *x509.CertPool // nil: this machine's
}

func trustOf(cfg Config) (trust, error) {
	var t trust
	var err error
	if cfg.Thumbprint != "" {
		if t.pin, err = parseThumbprint(cfg.Thumbprint); err != nil {
			return t, err
		}
	}
	if cfg.CAFile == "" {
		return t, nil
	}
	b, err := os.ReadFile(cfg.CAFile)
	if err != nil {
		return t, fmt.Errorf("reading ca_file: %w", err)
	}
	t.roots = x509.NewCertPool()
	if !t.roots.AppendCertsFromPEM(b) {
		return t, fmt.Errorf("%s has no certificate in PEM", cfg.CAFile)
	}
	return t, nil
}

// over makes a connection secure: it returns one whose other end has shown the right certificate, or an *untrusted.
func (t trust) over(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API: %w", err)
	}
	cfg := &tls.Config{ServerName: host, RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	var shown []byte
	if t.pin != nil { // the pin is the check: these systems sign their certificate themselves
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			shown = s.PeerCertificates[0].Raw
			if sum := sha256.Sum256(shown); !bytes.Equal(t.pin, sum[:]) {
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
		sum := sha256.Sum256(shown)
		return nil, &untrusted{address: address, shown: sum[:], pinned: t.pin != nil, err: err}
	}
	return nil, fmt.Errorf("agreeing on TLS: %w", err)
}
