// These tests have apd proxy between a real tgtd and a real initiator, libiscsi's.

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

// proxy is a running apd proxy.
type proxy struct {
	cmd             *exec.Cmd
	listen, control string
	said            chan string // its lines after the addresses
	ended           chan error
}

func startProxy(t *testing.T, args ...string) *proxy {
	t.Helper()
	p := &proxy{cmd: exec.Command(os.Args[0], append([]string{"proxy"}, args...)...), said: make(chan string, 1000), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), envApd+"=1", "TMPDIR="+t.TempDir())
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := oversshtest.Start(p.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.said })
	lines := bufio.NewScanner(out)
	for range 3 {
		lines.Scan()
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 2 && f[0] == "initiators":
			p.listen = f[1]
		case len(f) == 2 && f[0] == "control":
			p.control = f[1]
		}
	}
	go func() {
		for lines.Scan() {
			select {
			case p.said <- lines.Text():
			default:
			}
		}
		p.ended <- p.cmd.Wait()
		close(p.said)
	}()
	return p
}

// inquire has libiscsi log in at a portal and ask LUN 1 what it is.
func inquire(t *testing.T, portal string) error {
	t.Helper()
	bin, err := localproc.LookPath("iscsi-inq")
	if err != nil {
		t.Skipf("%v (Debian package libiscsi-bin)", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, bin, "iscsi://"+portal+"/"+oversshtest.TargetName+"/1").Run()
}

func TestProxy(t *testing.T) {
	for name, own := range map[string]bool{"a socket of its own": false, "a socket that is named": true} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tgt := oversshtest.NewTgtd(t)
			args := []string{"--listen", "127.0.0.1:0", "--target", tgt.Portal}
			if own {
				args = append(args, "--control", filepath.Join(oversshtest.Dir(t), "c"))
			}
			p := startProxy(t, args...)
			g.Expect(p.listen).NotTo(BeEmpty())
			g.Expect(p.control).NotTo(BeEmpty())
			g.Expect(inquire(t, p.listen)).To(Succeed())
			c := iscsiproxy.NewClient(p.control)
			defer c.Close()
			g.Eventually(func() error { _, err := c.State(t.Context()); return err }, "5s").Should(Succeed())
			info, err := os.Stat(p.control)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))

			_, err = c.Inject(t.Context(), "no-such-fault", nil)
			g.Expect(err).To(HaveOccurred())
			_, err = c.Inject(t.Context(), iscsiproxy.Reset, nil)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(inquire(t, p.listen)).NotTo(Succeed())
			g.Expect(inquire(t, tgt.Portal)).To(Succeed()) // the target itself is well
			g.Eventually(p.said, "5s").Should(Receive(ContainSubstring("reset (fault")))
			g.Expect(c.RestoreAll(t.Context())).To(Succeed())
			g.Expect(inquire(t, p.listen)).To(Succeed())

			_, err = c.Inject(t.Context(), iscsiproxy.Blackhole, nil) // ^C in the middle of a fault
			g.Expect(err).NotTo(HaveOccurred())
			held, err := net.Dial("tcp", p.listen)
			g.Expect(err).NotTo(HaveOccurred())
			defer held.Close()
			g.Expect(p.cmd.Process.Signal(syscall.SIGINT)).To(Succeed())
			var end error
			g.Eventually(p.ended, "10s").Should(Receive(&end))
			g.Expect(end).NotTo(HaveOccurred())
			_, err = os.Stat(p.control)
			g.Expect(os.IsNotExist(err)).To(BeTrue())
			if !own {
				_, err = os.Stat(filepath.Dir(p.control))
				g.Expect(os.IsNotExist(err)).To(BeTrue())
			}
			g.Expect(held.SetReadDeadline(time.Now().Add(5 * time.Second))).To(Succeed())
			_, err = held.Read(make([]byte, 1))
			g.Expect(err).NotTo(MatchError(os.ErrDeadlineExceeded)) // nothing is held any more
			g.Expect(oversshtest.Answers(p.listen)).To(Equal("refuses"))
			g.Expect(inquire(t, tgt.Portal)).To(Succeed())
		})
	}
}

func TestProxyJSON(t *testing.T) {
	g := NewWithT(t)
	tgt := oversshtest.NewTgtd(t)
	cmd := exec.Command(os.Args[0], "proxy", "--json", "--listen", "127.0.0.1:0", "--target", tgt.Portal)
	cmd.Env = append(os.Environ(), envApd+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(oversshtest.Start(cmd)).To(Succeed())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var at struct{ Listen, Target, Control string }
	g.Expect(json.NewDecoder(out).Decode(&at)).To(Succeed())
	g.Expect(at.Target).To(Equal(tgt.Portal))
	g.Expect(inquire(t, at.Listen)).To(Succeed())
	g.Expect(cmd.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(cmd.Wait()).To(Succeed())
}

func TestProxyFlags(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := oversshtest.Dir(t)
	used, err := net.Listen("unix", filepath.Join(dir, "used"))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	const fine = "--listen 127.0.0.1:0 --target 127.0.0.1:1 "
	for args, want := range map[string]string{
		"":                     "apd proxy needs --listen HOST:PORT and --target HOST:PORT",
		"--listen 127.0.0.1:0": "needs --listen HOST:PORT and --target HOST:PORT",
		"--target 127.0.0.1:1": "needs --listen HOST:PORT and --target HOST:PORT",
		fine + "more":          "takes only flags",
		fine + "--port 1":      "flag provided but not defined: -port",
		"--listen 127.0.0.1 --target 127.0.0.1:1":                   "--listen is not HOST:PORT",
		"--listen 127.0.0.1:0 --target nas":                         "--target is not HOST:PORT",
		fine + "--advertise nas":                                    "--advertise is not HOST:PORT",
		"--target 127.0.0.1:1 --listen " + taken.Addr().String():    "address already in use",
		fine + "--control " + filepath.Join(dir, "used"):            "is in use",
		fine + "--control " + filepath.Join(dir, "no", "such", "c"): "control socket",
	} {
		t.Run(args, func(t *testing.T) {
			g := NewWithT(t)
			s := apd(t, append([]string{"proxy"}, strings.Fields(args)...)...)
			g.Expect(s.code).To(Equal(2), s.err)
			g.Expect(s.err).To(ContainSubstring(want))
		})
	}
}
