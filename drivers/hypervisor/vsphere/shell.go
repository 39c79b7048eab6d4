// This file logs in to the host's own shell, for what the API cannot do: restart its management service, and crash it.

package vsphere

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const (
	shellBound = 60 * time.Second // restarting hostd waits for the old one to end
	crashBound = 15 * time.Second // a host that crashes does not answer
)

// shell is how to log in over SSH.
type shell struct {
	address string
	dial    drivers.Dial
	config  ssh.ClientConfig
}

func newShell(c SSH, dial drivers.Dial) (*shell, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("address is not host:port: %w", err)
	}
	key, err := parseHostKey(c.HostKey)
	if err != nil {
		return nil, fmt.Errorf("reading host_key: %w", err)
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
	algorithms := []string{key.Type()}
	if key.Type() == ssh.KeyAlgoRSA {
		algorithms = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA}
	}
	return &shell{address: c.Address, dial: dial, config: ssh.ClientConfig{User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: algorithms, HostKeyCallback: func(_ string, _ net.Addr, got ssh.PublicKey) error {
			if !bytes.Equal(got.Marshal(), key.Marshal()) {
				return fmt.Errorf("the host has another key than host_key says: it is %s", ssh.FingerprintSHA256(got))
			}
			return nil
		}}}, nil
}

// parseHostKey reads a public key, or a line of known_hosts, which is the same with the host's names before it.
func parseHostKey(text string) (ssh.PublicKey, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, errors.New("it is not given")
	}
	if strings.ContainsAny(text, "\r\n") {
		return nil, errors.New("it is more than one line")
	}
	fields := strings.Fields(text)
	if strings.HasPrefix(fields[0], "@") {
		return nil, fmt.Errorf("a line marked %s is no host's key", fields[0])
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

// errCut is a connection that ended before the command had.
var errCut = errors.New("the connection ended")

// run runs one command in the host's shell.
func (s *shell) run(ctx context.Context, limit time.Duration, line string) error {
	return within(ctx, limit, func(ctx context.Context) error {
		raw, err := s.dial(ctx, "tcp", s.address)
		if err != nil {
			return fmt.Errorf("connecting: %w", err)
		}
		defer raw.Close()
		defer context.AfterFunc(ctx, func() { raw.Close() })()
		conn, channels, requests, err := ssh.NewClientConn(raw, s.address, &s.config)
		if err != nil {
			return fmt.Errorf("logging in: %w", err)
		}
		client := ssh.NewClient(conn, channels, requests)
		session, err := client.NewSession()
		if err != nil {
			return fmt.Errorf("opening a session: %w", err)
		}
		out, err := session.CombinedOutput(line)
		var exit *ssh.ExitError
		var missing *ssh.ExitMissingError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &exit):
			return fmt.Errorf("it ended with status %d: %s", exit.ExitStatus(), strings.TrimSpace(string(out)))
		case errors.As(err, &missing), errors.Is(err, io.EOF):
			return errCut
		}
		return err
	})
}

var errNoShell = errors.New("the lab file gives no ssh to the host")

// RestartManagement restarts hostd, which leaves the machines alone.
func (d *Driver) RestartManagement(ctx context.Context) error {
	if d.shell == nil {
		return fmt.Errorf("restarting the management service: %w", errNoShell)
	}
	if err := d.shell.run(ctx, shellBound, "/etc/init.d/hostd restart"); err != nil {
		return fmt.Errorf("restarting the management service: %w", err)
	}
	return nil
}

// rebootAfter is how many seconds a crashed host shows its purple screen; with the default, 0, it would for ever.
const rebootAfter = "120"

// CrashHost makes the host's kernel panic, once it is sure that the host comes back by itself.
func (d *Driver) CrashHost(ctx context.Context, j drivers.Journal) error {
	if !d.cfg.AllowHostCrash {
		return errors.New("crashing the host: the lab file does not allow it: allow_host_crash")
	}
	if d.shell == nil {
		return fmt.Errorf("crashing the host: %w", errNoShell)
	}
	if err := d.Tune(ctx, "Misc.BlueScreenTimeout", rebootAfter, j); err != nil {
		return fmt.Errorf("making sure that the host comes back: %w", err)
	}
	err := d.shell.run(ctx, crashBound, "vsish -e set /reliability/crashMe/Panic 1")
	var quiet *silence
	if err == nil || errors.Is(err, errCut) || errors.As(err, &quiet) {
		return nil
	}
	return fmt.Errorf("crashing the host: %w", err)
}
