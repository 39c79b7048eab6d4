// This file drives a tgtd through Debian's own SSH server.

package tgtssh

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

// sshd starts OpenSSH's server on a port of its own, with keys of its own.
func sshd(t *testing.T, r *rig) sshell.Config {
	t.Helper()
	bin, err := localproc.LookPath("sshd")
	if err != nil {
		t.Skipf("%v (Debian package openssh-server)", err)
	}
	if os.Getuid() == 0 {
		if _, err := user.Lookup("sshd"); err != nil {
			t.Skipf("sshd as root needs its user: %v (Debian package openssh-server)", err)
		}
		if _, err := os.Stat("/run/sshd"); err != nil {
			t.Skipf("sshd as root needs /run/sshd, which its service makes: %v", err)
		}
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := oversshtest.Dir(t), iscsitest.FreeAddr(t)
	hostFile, host := oversshtest.Key(t, dir, "host")
	keyFile, key := oversshtest.Key(t, dir, "key")
	conf := fmt.Sprintf(`ListenAddress %s
HostKey %s
PidFile none
AuthorizedKeysFile %s/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
SetEnv TGT_IPC_SOCKET=%s PATH=%s/bin:/usr/sbin:/usr/bin:/sbin:/bin
`, addr, hostFile, dir, r.tgt.Socket, r.box.Dir)
	for name, text := range map[string]string{"conf": conf, "authorized": string(ssh.MarshalAuthorizedKey(key))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(bin, "-D", "-e", "-f", filepath.Join(dir, "conf"))
	var said strings.Builder
	cmd.Stderr = &said
	if err := oversshtest.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	oversshtest.Await(t, "sshd", func() bool { return oversshtest.Answers(addr) == "listens" })
	return sshell.Config{Address: addr, User: me.Username, KeyFile: keyFile, HostKey: string(ssh.MarshalAuthorizedKey(host))}
}

func TestThroughOpenSSH(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	cfg := Config{Control: r.tgt.Control}
	cfg.SSH, cfg.Target, cfg.LUN = sshd(t, r), oversshtest.TargetName, 1
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: r.clock, Portal: r.tgt.Portal}, cfg)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	g.Expect(d.Probe(ctx)).To(Succeed())
	var u drivers.Undo
	g.Expect(d.(drivers.ServiceStopper).StopService(ctx, func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(oversshtest.Answers(r.tgt.Portal)).To(Equal("refuses"))
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.Undone))
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.NothingLeft))

	other, _ := oversshtest.Key(t, oversshtest.Dir(t), "other")
	bad := cfg
	bad.SSH.KeyFile = other
	d, err = open(drivers.Env{Portal: r.tgt.Portal}, bad)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.Probe(ctx)).To(MatchError(sshell.ErrLogin))
	bad = cfg
	bad.SSH.HostKey = r.box.SSH().HostKey
	d, err = open(drivers.Env{Portal: r.tgt.Portal}, bad)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.Probe(ctx)).To(MatchError(sshell.ErrHostKey))
}
