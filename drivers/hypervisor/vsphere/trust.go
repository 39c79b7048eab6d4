// This file decides whether a certificate is the host's: by a pinned thumbprint, or by authorities.

package vsphere

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

// thumbprint is the SHA-1 or the SHA-256 of a certificate.
type thumbprint []byte

// parseThumbprint reads hexadecimal digits, with or without colons.
func parseThumbprint(text string) (thumbprint, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), ":", ""))
	if err != nil {
		return nil, errors.New("a thumbprint is hexadecimal digits, with or without colons")
	}
	if len(b) != sha1.Size && len(b) != sha256.Size {
		return nil, fmt.Errorf("a thumbprint has %d (SHA-1) or %d (SHA-256) bytes, and this one has %d", sha1.Size, sha256.Size, len(b))
	}
	return b, nil
}

// String writes it as vSphere does.
func (t thumbprint) String() string {
	parts := make([]string, len(t))
	for i, b := range t {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

// fits tells whether it is the thumbprint of a certificate.
func (t thumbprint) fits(raw []byte) bool {
	s1, s256 := sha1.Sum(raw), sha256.Sum256(raw)
	return bytes.Equal(t, s1[:]) || bytes.Equal(t, s256[:])
}

// untrusted says that the server showed a certificate that is not trusted.
type untrusted struct {
	address string
	shown   thumbprint // SHA-256
	pinned  bool       // another one is pinned
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
	pin      thumbprint
	known    map[string]thumbprint // by host:port, from GOVC_TLS_KNOWN_HOSTS
	roots    *x509.CertPool        // nil: the system's
	insecure bool                  // GOVC_INSECURE is set, which is not heeded
}

func trustOf(cfg Config, env func(string) string) (trust, error) {
	t := trust{known: map[string]thumbprint{}, insecure: env("GOVC_INSECURE") == "1" || strings.EqualFold(env("GOVC_INSECURE"), "true")}
	var err error
	if cfg.Thumbprint != "" {
		if t.pin, err = parseThumbprint(cfg.Thumbprint); err != nil {
			return t, err
		}
	}
	for _, file := range filepath.SplitList(env("GOVC_TLS_KNOWN_HOSTS")) {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return t, fmt.Errorf("reading GOVC_TLS_KNOWN_HOSTS: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			host, text, _ := strings.Cut(strings.TrimSpace(line), " ")
			if p, err := parseThumbprint(text); err == nil {
				t.known[withPort(host)] = p
			}
		}
	}
	files := cfg.CAFile
	if files == "" {
		files = env("GOVC_TLS_CA_CERTS")
	}
	for _, file := range filepath.SplitList(files) {
		b, err := os.ReadFile(file)
		if err != nil {
			return t, fmt.Errorf("reading ca_file: %w", err)
		}
		if t.roots == nil {
			t.roots = x509.NewCertPool()
		}
		if !t.roots.AppendCertsFromPEM(b) {
			return t, fmt.Errorf("%s has no certificate in PEM", file)
		}
	}
	return t, nil
}

func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err != nil {
		return net.JoinHostPort(strings.Trim(host, "[]"), "443")
	}
	return host
}

// over makes a connection secure: it returns one whose other end has shown the right certificate.
func (t trust) over(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	pin := t.pin
	if pin == nil {
		pin = t.known[address]
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the API: %w", err)
	}
	cfg := &tls.Config{ServerName: host, RootCAs: t.roots, MinVersion: tls.VersionTLS12}
	var shown []byte
	if pin != nil { // the pin is the check: nobody signs a standalone host's certificate
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
	err = conn.HandshakeContext(ctx)
	if err == nil {
		return conn, nil
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		shown = bad.UnverifiedCertificates[0].Raw
	}
	if bad != nil || errors.Is(err, errOtherPin) {
		sum := sha256.Sum256(shown)
		return nil, &untrusted{address: address, shown: sum[:], pinned: pin != nil, err: err}
	}
	return nil, fmt.Errorf("agreeing on TLS: %w", err)
}
