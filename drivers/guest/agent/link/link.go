// Package link is the connection between a driver and an agent that outlives the session which started it: the agent
// listens, the driver dials, and each knows the other by a certificate made for this one run. Over it the lines of package
// agent go in both directions, the agent's hello first.
//
// Nobody who lacks the client's key gets as far as a byte of the protocol, and nothing is ever spoken outside TLS 1.3. The
// keys live as long as the run: the harness keeps its own in memory only, the agent is given the other in a file that it
// deletes once it is read.
package link

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// serverName is what the agent's certificate is made out to. An address would not do: the agent is reached by whatever
// address the lab file gives, through forwarded ports as well.
const serverName = "apd-agent"

// Identity is what an agent needs in order to listen. It holds a private key: it is written to the guest and nowhere else.
type Identity struct {
	Cert     string `json:"cert"`      // PEM
	Key      string `json:"key"`       // PEM, PKCS #8
	ClientCA string `json:"client_ca"` // PEM; who may connect
	Listen   string `json:"listen"`    // "host:port"
}

// String keeps the key out of logs and errors.
func (id Identity) String() string { return "the identity of an agent on " + id.Listen }

// GoString keeps the key out of logs and errors.
func (id Identity) GoString() string { return id.String() }

// MaxIdentity is the longest identity in bytes that Parse takes. One made by New has less than 3 KiB.
const MaxIdentity = 64 << 10

// Parse reads an identity from its JSON, strictly. Its errors show nothing of the text.
func Parse(text []byte) (Identity, error) {
	var id Identity
	if len(text) > MaxIdentity {
		return id, fmt.Errorf("the identity has %d bytes, more than %d", len(text), MaxIdentity)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&id); err != nil {
		return Identity{}, errors.New("the identity is not JSON of the keys cert, key, client_ca, listen")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return Identity{}, errors.New("something stands behind the identity's JSON")
	}
	if _, err := id.config(); err != nil {
		return Identity{}, err
	}
	if _, _, err := net.SplitHostPort(id.Listen); err != nil {
		return Identity{}, fmt.Errorf("the address to listen on: %w", err)
	}
	return id, nil
}

// config is the agent's side of TLS.
func (id Identity) config() (*tls.Config, error) {
	pair, err := tls.X509KeyPair([]byte(id.Cert), []byte(id.Key))
	if err != nil {
		return nil, fmt.Errorf("the agent's certificate: %w", err)
	}
	clients := x509.NewCertPool()
	if !clients.AppendCertsFromPEM([]byte(id.ClientCA)) {
		return nil, errors.New("the identity does not say whose certificates clients must have")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients,
		MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
	}, nil
}

// Client is the harness's side. It can dial any number of times, from several goroutines.
type Client struct{ config *tls.Config }

// New makes a pair for one run: the agent's identity, and the only client that it will take. listen is the address that the
// agent is to listen on. Nothing is written to disk, and the key that signed both certificates is forgotten.
func New(listen string) (Identity, *Client, error) {
	ca, caKey, err := certificate(nil, nil, 0)
	if err != nil {
		return Identity{}, nil, err
	}
	server, serverKey, err := certificate(ca, caKey, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return Identity{}, nil, err
	}
	client, clientKey, err := certificate(ca, caKey, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return Identity{}, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(serverKey)
	if err != nil {
		return Identity{}, nil, fmt.Errorf("encoding the agent's key: %w", err)
	}
	id := Identity{
		Cert: armour("CERTIFICATE", server.Raw), Key: armour("PRIVATE KEY", der), ClientCA: armour("CERTIFICATE", ca.Raw), Listen: listen,
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	return id, &Client{&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{client.Raw}, PrivateKey: clientKey, Leaf: client}},
		RootCAs:      roots, ServerName: serverName, MinVersion: tls.VersionTLS13,
	}}, nil
}

func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// The certificates say nothing about time: the guest's clock may be years off (a dead battery, a restored snapshot), and the
// keys end with the run anyhow.
var (
	notBefore = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	notAfter  = time.Date(2190, 1, 1, 0, 0, 0, 0, time.UTC)
)

// certificate makes a key and its certificate: an authority when ca is nil, else one that ca signs for one use.
func certificate(ca *x509.Certificate, caKey ed25519.PrivateKey, use x509.ExtKeyUsage) (*x509.Certificate, ed25519.PrivateKey, error) {
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	c := &x509.Certificate{SerialNumber: serial, NotBefore: notBefore, NotAfter: notAfter, BasicConstraintsValid: true}
	if ca == nil {
		c.Subject = pkix.Name{CommonName: "apd run"}
		c.IsCA, c.KeyUsage, c.MaxPathLenZero = true, x509.KeyUsageCertSign, true
		ca, caKey = c, key
	} else {
		c.Subject = pkix.Name{CommonName: serverName}
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{use}
		c.DNSNames = []string{serverName}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, public, caKey)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate: %w", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate just made: %w", err)
	}
	return made, key, nil
}

// Dial connects to the agent at address. dial says how; nil is the network's own way. That the agent refuses this client is
// learned at the first Read, as TLS 1.3 has it: until the hello has come nothing is proven but the agent's own identity.
func (c *Client) Dial(ctx context.Context, dial drivers.Dial, address string) (net.Conn, error) {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to the agent at %s: %w", address, err)
	}
	conn := tls.Client(raw, c.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("agreeing on TLS with the agent at %s: %w", address, err)
	}
	return conn, nil
}
