package vsphere

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// hostShell is an SSH server that notes its commands. It answers each with a status, or cuts the connection.
type hostShell struct {
	key    ssh.Signer
	status uint32
	cut    bool

	mu  sync.Mutex
	did []string
}

func newKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// dial connects over the loopback: both sides of SSH speak first, which a pipe without a buffer does not take.
func (h *hostShell) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			h.serve(conn)
		}
	}()
	var d net.Dialer
	return d.DialContext(ctx, network, l.Addr().String())
}

func (h *hostShell) serve(conn net.Conn) {
	defer conn.Close()
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	cfg.AddHostKey(h.key)
	_, channels, requests, err := ssh.NewServerConn(conn, cfg)
	if err != nil {
		return
	}
	go ssh.DiscardRequests(requests)
	for c := range channels {
		ch, rs, err := c.Accept()
		if err != nil {
			return
		}
		for r := range rs {
			if r.Type != "exec" {
				continue
			}
			h.mu.Lock()
			h.did = append(h.did, string(r.Payload[4:]))
			h.mu.Unlock()
			if h.cut {
				return
			}
			_ = r.Reply(true, nil)
			_, _ = ch.Write([]byte("said so\n"))
			_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, h.status))
			_ = ch.Close()
		}
	}
}

func (h *hostShell) commands() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string{}, h.did...)
}

// withShell gives the driver an SSH server beside the API's.
func withShell(t *testing.T, h *hostShell, hostKey string, crash bool) func(*Config, *drivers.Env) {
	_, private := newKey(t)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, private, 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *Config, e *drivers.Env) {
		c.SSH, c.AllowHostCrash = &sshell.Config{Address: "esx1:22", KeyFile: file, HostKey: hostKey}, crash
		api := e.Dial
		e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if address == "esx1:22" {
				return h.dial(ctx, network, address)
			}
			return api(ctx, network, address)
		}
	}
}

func TestShell(t *testing.T) {
	s := esxi(t)
	s.addOption("Misc.BlueScreenTimeout", int64(0))
	key, _ := newKey(t)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	none := func(context.Context, drivers.Undo) error { return nil }

	t.Run("restart", func(t *testing.T) {
		g := NewWithT(t)
		h := &hostShell{key: key}
		g.Expect(s.driver(withShell(t, h, line, false)).RestartManagement(t.Context())).To(Succeed())
		g.Expect(h.commands()).To(Equal([]string{"/etc/init.d/hostd restart"}))
		h = &hostShell{key: key, status: 3}
		g.Expect(s.driver(withShell(t, h, "esx1,192.0.2.10 "+line, false)).RestartManagement(t.Context())).To(MatchError(ContainSubstring("status 3: said so")))
		g.Expect(s.driver().RestartManagement(t.Context())).To(MatchError(ContainSubstring("no ssh")))
	})
	t.Run("another host key", func(t *testing.T) {
		g := NewWithT(t)
		other, _ := newKey(t)
		h := &hostShell{key: other}
		err := s.driver(withShell(t, h, line, false)).RestartManagement(t.Context())
		g.Expect(err).To(MatchError(ContainSubstring(ssh.FingerprintSHA256(other.PublicKey()))))
		g.Expect(h.commands()).To(BeEmpty())
	})
	t.Run("no host key", func(t *testing.T) {
		_, err := s.open(withShell(t, &hostShell{}, "", false))
		operatorSays(NewWithT(t), err, "host_key")
	})
	t.Run("crash", func(t *testing.T) {
		g := NewWithT(t)
		h := &hostShell{key: key, cut: true}
		d := s.driver(withShell(t, h, line, true))
		var us []drivers.Undo
		g.Expect(d.CrashHost(t.Context(), func(_ context.Context, u drivers.Undo) error {
			g.Expect(h.commands()).To(BeEmpty())
			us = append(us, u)
			return nil
		})).To(Succeed())
		g.Expect(h.commands()).To(Equal([]string{"vsish -e set /reliability/crashMe/Panic 1"}))
		g.Expect(s.look()).To(ContainSubstring("Misc.BlueScreenTimeout=120"))
		g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
		g.Expect(s.look()).To(ContainSubstring("Misc.BlueScreenTimeout=0"))
	})
	t.Run("crash without consent", func(t *testing.T) {
		g := NewWithT(t)
		h := &hostShell{key: key}
		g.Expect(s.driver(withShell(t, h, line, false)).CrashHost(t.Context(), none)).To(MatchError(ContainSubstring("allow_host_crash")))
		g.Expect(h.commands()).To(BeEmpty())
		g.Expect(s.driver(func(c *Config, _ *drivers.Env) { c.AllowHostCrash = true }).CrashHost(t.Context(), none)).To(MatchError(ContainSubstring("no ssh")))
	})
	t.Run("crash refused", func(t *testing.T) {
		h := &hostShell{key: key, status: 1}
		d := s.driver(withShell(t, h, line, true))
		NewWithT(t).Expect(d.CrashHost(t.Context(), none)).To(MatchError(ContainSubstring("status 1")))
	})
}

func FuzzHostKey(f *testing.F) {
	key, _ := newKey(f)
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.PublicKey())))
	for _, s := range []string{"", line, "esx1 " + line, "esx1,192.0.2.1 " + line + " comment", "|1|c2FsdA==|aGFzaA== " + line, "@revoked * " + line, "ssh-rsa AAAA", "# " + line, line + "\n" + line} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := sshell.ParseHostKey(s)
		if (k == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", s, k, err)
		}
		if err == nil && strings.HasPrefix(strings.TrimSpace(s), "@") {
			t.Errorf("%q was taken", s)
		}
	})
}
