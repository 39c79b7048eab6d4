// This file decides whether a certificate is the guest's: by a pinned thumbprint, or by authorities.

package windows

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
)

// trust is what a certificate is checked against: the pin, or else the roots; nil roots are the system's.
type trust struct {
	pin   []byte // SHA-256
	roots *x509.CertPool
}

// parseThumbprint reads the SHA-256 of a certificate: hexadecimal digits, with or without colons.
func parseThumbprint(text string) ([]byte, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(text))
	if err != nil {
		return nil, errors.New("a thumbprint is hexadecimal digits, with or without colons")
	}
	if len(b) != sha256.Size {
		return nil, fmt.Errorf("the thumbprint has %d bytes, and a SHA-256 has %d (Windows shows the SHA-1, which is not enough)", len(b), sha256.Size)
	}
	return b, nil
}

func thumbprintText(b []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("% X", b), " ", ":")
}

func trustOf(cfg Config) (trust, error) {
	var t trust
	var err error
	if cfg.Thumbprint != "" {
		if t.pin, err = parseThumbprint(cfg.Thumbprint); err != nil {
			return t, err
		}
	}
	if cfg.CAFile != "" {
		b, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return t, fmt.Errorf("reading ca_file: %w", err)
		}
		t.roots = x509.NewCertPool()
		if !t.roots.AppendCertsFromPEM(b) {
			return t, fmt.Errorf("%s has no certificate in PEM", cfg.CAFile)
		}
	}
	return t, nil
}

// untrusted says that the server showed a certificate that is not trusted.
type untrusted struct {
	shown  []byte // SHA-256
	pinned bool
	err    error
}

func (e *untrusted) Error() string {
	if e.pinned {
		return "the certificate is not the pinned one: the server showed " + thumbprintText(e.shown)
	}
	return fmt.Sprintf("the certificate is not trusted: the server showed %s: %v", thumbprintText(e.shown), e.err)
}
func (e *untrusted) Unwrap() error { return e.err }

var errOtherPin = errors.New("another thumbprint is pinned")

// over makes a connection secure: it returns one whose other end has shown the right certificate.
func (t trust) over(ctx context.Context, raw net.Conn, host string) (*tls.Conn, error) {
	cfg := &tls.Config{ServerName: host, RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	var shown []byte
	if t.pin != nil { // the pin is the check: nobody signs the certificate that Windows makes for itself
		cfg.InsecureSkipVerify = true
		cfg.VerifyConnection = func(s tls.ConnectionState) error {
			sum := sha256.Sum256(s.PeerCertificates[0].Raw)
			if shown = sum[:]; subtle.ConstantTimeCompare(shown, t.pin) != 1 {
				return errOtherPin
			}
			return nil
		}
	}
	conn := tls.Client(raw, cfg)
	err := conn.HandshakeContext(ctx)
	if err == nil {
		return conn, nil
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		sum := sha256.Sum256(bad.UnverifiedCertificates[0].Raw)
		shown = sum[:]
	}
	if bad != nil || errors.Is(err, errOtherPin) {
		return nil, &untrusted{shown: shown, pinned: t.pin != nil, err: err}
	}
	return nil, err
}
