// This file decides whether a certificate is the controller's.

package power

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

	"github.com/allpathsdown/allpathsdown/drivers"
)

// trust is a pinned certificate, or authorities.
type trust struct {
	pin   []byte         // SHA-256 of the certificate; nil: the authorities decide
	roots *x509.CertPool // nil: the system's
}

func trustOf(print, caFile string) (trust, error) {
	var t trust
	if print != "" && caFile != "" {
		return t, errors.New("thumbprint and ca_file are both given")
	}
	if print != "" {
		pin, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(print))
		if err != nil || len(pin) != sha256.Size {
			return t, fmt.Errorf("a thumbprint is the %d bytes of SHA-256 in hexadecimal digits", sha256.Size)
		}
		t.pin = pin
	}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return t, fmt.Errorf("reading ca_file: %w", err)
		}
		if t.roots = x509.NewCertPool(); !t.roots.AppendCertsFromPEM(pem) {
			return t, fmt.Errorf("ca_file %s has no certificate in PEM", caFile)
		}
	}
	return t, nil
}

// untrusted says that a certificate was shown that is not trusted; print is its SHA-256.
type untrusted struct {
	print string
	why   error
}

func (e *untrusted) Error() string {
	return fmt.Sprintf("it showed the certificate %s: %v", e.print, e.why)
}
func (e *untrusted) Unwrap() error { return e.why }

var errOtherPin = errors.New("another thumbprint is pinned")

// connect dials and makes sure of the other end. All checks are made here, so that what was shown can be told in any case.
func (t trust) connect(ctx context.Context, dial drivers.Dial, address string) (net.Conn, error) {
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(address)
	conn := tls.Client(raw, &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error { return t.check(s, host) }})
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// check is what InsecureSkipVerify leaves to us: the pin, or the chain and the name (as crypto/tls would itself).
func (t trust) check(s tls.ConnectionState, host string) error {
	leaf := s.PeerCertificates[0]
	sum := sha256.Sum256(leaf.Raw)
	if t.pin != nil {
		if subtle.ConstantTimeCompare(sum[:], t.pin) != 1 {
			return &untrusted{hex.EncodeToString(sum[:]), errOtherPin}
		}
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: t.roots, Intermediates: between}); err != nil {
		return &untrusted{hex.EncodeToString(sum[:]), err}
	}
	return nil
}
