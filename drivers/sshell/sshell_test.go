package sshell_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

func shell(t *testing.T, c sshell.Config) *sshell.Shell {
	t.Helper()
	s, err := sshell.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRun(t *testing.T) {
	g := NewWithT(t)
	s := shell(t, oversshtest.New(t).SSH())
	both, err := s.Run(t.Context(), "cat; echo two >&2", strings.NewReader("one\n"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Split(both, "\n")).To(ConsistOf("one", "two")) // SSH has no order between the two outputs
	out, err := s.Run(t.Context(), "echo no way; exit 3", nil)
	var exit *sshell.ExitError
	g.Expect(errors.As(err, &exit)).To(BeTrue())
	g.Expect(exit.Status).To(Equal(3))
	g.Expect(out).To(Equal("no way"))
	g.Expect(err).To(MatchError("it ended with status 3: no way"))
}

// TestOutputIsBounded runs a command that never stops talking.
func TestOutputIsBounded(t *testing.T) {
	g := NewWithT(t)
	s := shell(t, oversshtest.New(t).SSH())
	out, err := s.Run(t.Context(), "yes | head -c 3000000", nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(out)).To(And(BeNumerically("<=", 1<<20), BeNumerically(">", 1<<19)))
}

func TestRunEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	b := oversshtest.New(t)
	s := shell(t, b.SSH())
	for _, silent := range []bool{false, true} {
		b.Silence(silent)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		_, err := s.Run(ctx, "sleep 20", nil)
		cancel()
		g.Expect(err).To(MatchError(context.DeadlineExceeded))
		g.Expect(time.Since(start)).To(BeNumerically("<", 3*time.Second))
	}
}

func TestCut(t *testing.T) {
	g := NewWithT(t)
	b := oversshtest.New(t)
	done := make(chan error, 1)
	go func() {
		_, err := shell(t, b.SSH()).Run(t.Context(), "touch $BOX/here; sleep 20", nil)
		done <- err
	}()
	oversshtest.Await(t, "the command", func() bool { _, err := os.Stat(filepath.Join(b.Dir, "here")); return err == nil })
	b.Silence(true)
	g.Eventually(done, "5s").Should(Receive(MatchError(sshell.ErrCut)))
}

// TestHostKeys shows another key than the configuration has, given in both ways: the error names both.
func TestHostKeys(t *testing.T) {
	g := NewWithT(t)
	b := oversshtest.New(t)
	byKey := b.SSH()
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(byKey.HostKey))
	g.Expect(err).NotTo(HaveOccurred())
	byFile := byKey
	byFile.HostKey, byFile.KnownHosts = "", b.Write("known_hosts", knownhosts.Line([]string{b.Addr}, key)+"\n")
	for _, c := range []sshell.Config{byKey, byFile} {
		g.Expect(shell(t, c).Run(t.Context(), "echo hello", nil)).To(Equal("hello"))
	}
	b.Rekey()
	now, _, _, _, err := ssh.ParseAuthorizedKey([]byte(b.SSH().HostKey))
	g.Expect(err).NotTo(HaveOccurred())
	for _, c := range []sshell.Config{byKey, byFile} {
		_, err := shell(t, c).Run(t.Context(), "echo hello", nil)
		g.Expect(err).To(MatchError(sshell.ErrHostKey))
		g.Expect(err).To(MatchError(ContainSubstring("it shows " + ssh.FingerprintSHA256(now) + " and should show " + ssh.FingerprintSHA256(key))))
	}
}

func TestLogin(t *testing.T) {
	g := NewWithT(t)
	b := oversshtest.New(t)
	c := b.SSH()
	c.KeyFile, _ = oversshtest.Key(t, b.Dir, "other")
	_, err := shell(t, c).Run(t.Context(), "true", nil)
	g.Expect(err).To(MatchError(sshell.ErrLogin))
	c.Address = iscsitest.FreeAddr(t)
	_, err = shell(t, c).Run(t.Context(), "true", nil)
	g.Expect(err).To(MatchError(ContainSubstring("connecting: ")))
}

func TestNew(t *testing.T) {
	g := NewWithT(t)
	good := oversshtest.New(t).SSH()
	for want, change := range map[string]func(*sshell.Config){
		"address is not host:port":        func(c *sshell.Config) { c.Address = "nas" },
		"are both given":                  func(c *sshell.Config) { c.KnownHosts = "x" },
		"neither host_key nor":            func(c *sshell.Config) { c.HostKey = "" },
		"reading host_key: it is neither": func(c *sshell.Config) { c.HostKey = "ssh-nothing AAAA" },
		"reading key_file":                func(c *sshell.Config) { c.KeyFile = "/nonexistent" },
		"reading known_hosts":             func(c *sshell.Config) { c.HostKey, c.KnownHosts = "", "/nonexistent" },
		"has no key for":                  func(c *sshell.Config) { c.HostKey, c.KnownHosts = "", os.DevNull },
	} {
		c := good
		change(&c)
		_, err := sshell.New(c, nil)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
	dialled := false
	s, err := sshell.New(good, func(context.Context, string, string) (net.Conn, error) { dialled = true; return nil, net.ErrClosed })
	g.Expect(err).NotTo(HaveOccurred())
	_, err = s.Run(t.Context(), "true", nil)
	g.Expect(err).To(MatchError(net.ErrClosed))
	g.Expect(dialled).To(BeTrue())
}

func FuzzParseHostKey(f *testing.F) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHCl5tCWGJzFl6pBSnGKbE0sWjX4lmhlS0y6HxBjqiJq"
	for _, s := range []string{key, key + " root@nas", "nas,10.0.0.1 " + key, "[nas]:2222 " + key, "@revoked nas " + key, "", "x", "|1|a|b " + key} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := sshell.ParseHostKey(text)
		if (k == nil) == (err == nil) {
			t.Errorf("%q gave %v and %v", text, k, err)
		}
	})
}
