// Package sshell runs single commands on a system of the lab over SSH: with a checked host key, one deadline for all of it, and
// the command's own words in every error. Drivers of systems that have no better interface are built on it.
package sshell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Config says how to log in. The system's key is given by host_key or known_hosts: without one of them nothing is believed.
type Config struct {
	Address    string `yaml:"address" json:"address"`         // host:port
	User       string `yaml:"user" json:"user"`               // root when empty
	KeyFile    string `yaml:"key_file" json:"key_file"`       // a private key without a passphrase
	HostKey    string `yaml:"host_key" json:"host_key"`       // the system's public key, or its line of known_hosts
	KnownHosts string `yaml:"known_hosts" json:"known_hosts"` // a known_hosts file that has it
}

// Shell logs in anew for every command, so that it works again as soon as the system does. It holds nothing to be closed.
type Shell struct {
	address string
	dial    drivers.Dial
	config  ssh.ClientConfig
}

// ErrHostKey says that the system showed another key than the configuration has.
var ErrHostKey = errors.New("the system has another host key than the configuration says")

// ErrLogin says that the system does not let this user in with this key.
var ErrLogin = errors.New("the system does not accept the user with this key")

// ErrCut says that the connection ended before the command had.
var ErrCut = errors.New("the connection ended")

// ExitError is a command that ran and failed.
type ExitError struct {
	Status int
	Out    string // what it said on both its outputs
}

func (e *ExitError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("it ended with status %d: %s", e.Status, e.Out), ": ")
}

// New reads the configuration and the keys; nobody is called yet. dial nil is the network's own way.
func New(c Config, dial drivers.Dial) (*Shell, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("address is not host:port: %w", err)
	}
	check, algorithms, err := c.HostKeyCheck()
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(c.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading key_file: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		return nil, fmt.Errorf("reading key_file %s: %w", c.KeyFile, err)
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	user := c.User
	if user == "" {
		user = "root"
	}
	return &Shell{address: c.Address, dial: dial, config: ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: check, HostKeyAlgorithms: algorithms}}, nil
}

// HostKeyCheck returns the check of the system's key, and the algorithms to ask for so that the system shows that very key.
func (c Config) HostKeyCheck() (ssh.HostKeyCallback, []string, error) {
	switch {
	case c.HostKey != "" && c.KnownHosts != "":
		return nil, nil, errors.New("host_key and known_hosts are both given")
	case c.KnownHosts != "":
		return knownKeys(c.KnownHosts, c.Address)
	case c.HostKey == "":
		return nil, nil, errors.New("neither host_key nor known_hosts is given")
	}
	want, err := ParseHostKey(c.HostKey)
	if err != nil {
		return nil, nil, fmt.Errorf("reading host_key: %w", err)
	}
	check := func(_ string, _ net.Addr, got ssh.PublicKey) error {
		if !bytes.Equal(got.Marshal(), want.Marshal()) {
			return changed(got, want)
		}
		return nil
	}
	return check, algorithmsOf(want.Type()), nil
}

func knownKeys(file, address string) (ssh.HostKeyCallback, []string, error) {
	known, err := knownhosts.New(file)
	if err != nil {
		return nil, nil, fmt.Errorf("reading known_hosts: %w", err)
	}
	var listed *knownhosts.KeyError // no key is known as this one, so the answer lists those that are
	if err := known(address, &net.TCPAddr{}, noKey{}); !errors.As(err, &listed) || len(listed.Want) == 0 {
		return nil, nil, fmt.Errorf("known_hosts %s has no key for %s", file, address)
	}
	var algorithms []string
	var want []ssh.PublicKey
	for _, k := range listed.Want {
		want = append(want, k.Key)
		algorithms = append(algorithms, algorithmsOf(k.Key.Type())...)
	}
	check := func(host string, remote net.Addr, got ssh.PublicKey) error {
		if err := known(host, remote, got); err != nil {
			return changed(got, want...)
		}
		return nil
	}
	return check, algorithms, nil
}

// changed is ErrHostKey with the fingerprints of the key that was shown and of those that were expected.
func changed(got ssh.PublicKey, want ...ssh.PublicKey) error {
	var known []string
	for _, k := range want {
		known = append(known, ssh.FingerprintSHA256(k))
	}
	return fmt.Errorf("%w: it shows %s and should show %s", ErrHostKey, ssh.FingerprintSHA256(got), strings.Join(known, " or "))
}

// noKey is a key that no system has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("not a key") }

// algorithmsOf returns the signature algorithms of a type of key.
func algorithmsOf(kind string) []string {
	if kind == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return []string{kind}
}

// ParseHostKey reads a public key, or a line of known_hosts, which is the same with the system's names before it.
func ParseHostKey(text string) (ssh.PublicKey, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("it is not given")
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("it is more than one line")
	}
	if first := strings.Fields(text)[0]; strings.HasPrefix(first, "@") {
		return nil, fmt.Errorf("a line marked %s is no system's key", first)
	}
	if key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(text)); err == nil && len(options) == 0 {
		return key, nil
	}
	_, _, key, _, _, err := ssh.ParseKnownHosts([]byte(text))
	if err != nil {
		return nil, errors.New("it is neither a public key nor a line of known_hosts")
	}
	return key, nil
}

// Run runs one command and returns what it said on both its outputs, without the space around it. ctx bounds the login and the
// command; it has to have a deadline. A command that failed is an *ExitError, one whose connection went is ErrCut.
func (s *Shell) Run(ctx context.Context, line string, in io.Reader) (string, error) {
	raw, err := s.dial(ctx, "tcp", s.address)
	if err != nil {
		return "", fmt.Errorf("connecting: %w", err)
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })() // also in the middle of the key exchange
	out, err := s.command(raw, line, in)
	if ctx.Err() != nil && err != nil {
		err = fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	}
	return out, err
}

func (s *Shell) command(raw net.Conn, line string, in io.Reader) (string, error) {
	conn, channels, requests, err := ssh.NewClientConn(raw, s.address, &s.config)
	if err != nil {
		if strings.Contains(err.Error(), "unable to authenticate") { // golang.org/x/crypto/ssh has no error value for it
			err = fmt.Errorf("%w: %w", ErrLogin, err)
		}
		return "", fmt.Errorf("logging in: %w", err)
	}
	session, err := ssh.NewClient(conn, channels, requests).NewSession()
	if err != nil {
		return "", fmt.Errorf("opening a session: %w", err)
	}
	said := &limited{}
	session.Stdin, session.Stdout, session.Stderr = in, said, said
	err = session.Run(line)
	out := said.text()
	var exit *ssh.ExitError
	var missing *ssh.ExitMissingError
	switch {
	case err == nil:
		return out, nil
	case errors.As(err, &exit):
		return out, &ExitError{exit.ExitStatus(), out}
	case errors.As(err, &missing), errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed):
		return out, ErrCut
	}
	return out, fmt.Errorf("running the command: %w", err)
}

// maxOutput bounds what is kept of a command's words, bytes: a system that never stops talking must not fill this machine.
const maxOutput = 1 << 20

// limited keeps the beginning of what a command says on its two outputs.
type limited struct {
	mu sync.Mutex
	b  []byte
}

func (l *limited) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, b[:min(len(b), maxOutput-len(l.b))]...)
	return len(b), nil
}

func (l *limited) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(string(l.b))
}
