// Package iscsitest starts a real iSCSI target (tgtd of the Debian package tgt) for tests: as an
// unprivileged child on a loopback port of its own, killed with SIGKILL because tgtd ignores SIGTERM.
package iscsitest

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// TargetName is the iSCSI name of the one target that Tgt offers.
const TargetName = "iqn.2026-11.allpathsdown.test:t1"

// Tgt is a running tgtd with LUNs 1 to n.
type Tgt struct {
	Portal string // host:port
	t      testing.TB
	dir    string
	sizes  []int64
	ctl    string
	opts   [][2]string
	cmd    *exec.Cmd
}

// Start runs tgtd with one LUN a size (bytes), numbered from 1, kept in memory when /dev/shm is there.
// It skips the test when tgtd is not installed. The target dies with the test.
func Start(t testing.TB, sizes ...int64) *Tgt { return StartWith(t, nil, sizes...) }

// StartWith sets target parameters too, by their tgtadm names.
func StartWith(t testing.TB, opts [][2]string, sizes ...int64) *Tgt {
	t.Helper()
	for _, bin := range []string{"tgtd", "tgtadm"} {
		if _, err := exec.LookPath(bin); err != nil {
			t.Skipf("%s is not installed (Debian package tgt)", bin)
		}
	}
	base := "/dev/shm"
	if _, err := os.Stat(base); errors.Is(err, fs.ErrNotExist) {
		base = ""
	}
	dir, err := os.MkdirTemp(base, "tgt")
	if err != nil {
		t.Fatalf("making a directory for tgtd: %v", err)
	}
	g := &Tgt{Portal: FreeAddr(t), t: t, dir: dir, sizes: sizes, opts: opts, ctl: strconv.Itoa(1 + rand.IntN(30000))}
	t.Cleanup(func() {
		g.Kill()
		_ = os.RemoveAll(dir)
	})
	for i, n := range sizes {
		f, err := os.Create(g.File(i + 1))
		if err == nil {
			err = errors.Join(f.Truncate(n), f.Close())
		}
		if err != nil {
			t.Fatalf("making backing file: %v", err)
		}
	}
	g.Up()
	return g
}

// FreeAddr is a loopback address with a port that was free a moment ago. It is below those that Linux gives to outgoing
// connections (from 32768 on): one of these may sit on a port while a test's daemon is down, and the daemon could not come back.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(20000+rand.IntN(12000)))); err == nil {
			defer func() { _ = l.Close() }()
			return l.Addr().String()
		}
	}
	t.Fatalf("looking for a free port: %v", err)
	return ""
}

// File is the backing file of a LUN: what is really on the disk.
func (g *Tgt) File(lun int) string { return filepath.Join(g.dir, fmt.Sprintf("lun%d", lun)) }

// Pid of tgtd, to stop it (SIGSTOP) for instance; 0 when it is down.
func (g *Tgt) Pid() int {
	if g.cmd == nil {
		return 0
	}
	return g.cmd.Process.Pid
}

// Kill ends tgtd at once: its connections are reset by the kernel. It may be called again.
func (g *Tgt) Kill() {
	if g.cmd == nil {
		return
	}
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
	g.cmd = nil
}

// Up starts tgtd, again with the same backing files and portal.
func (g *Tgt) Up() {
	g.t.Helper()
	sock := filepath.Join(g.dir, "ipc")
	_ = os.Remove(sock + "." + g.ctl)
	_ = os.Remove(sock + "." + g.ctl + ".lock")
	g.cmd = exec.Command("tgtd", "-f", "-C", g.ctl, "--iscsi", "portal="+g.Portal)
	g.cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+sock)
	if err := g.cmd.Start(); err != nil {
		g.t.Fatalf("starting tgtd: %v", err)
	}
	end := time.Now().Add(10 * time.Second)
	for { // tgtd tells nobody that it is ready
		if err := g.admin("--op", "show", "--mode", "target"); err == nil {
			break
		} else if time.Now().After(end) {
			g.t.Fatalf("tgtd is not ready: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	g.must("--op", "new", "--mode", "target", "--tid", "1", "-T", TargetName)
	for _, o := range g.opts {
		g.must("--op", "update", "--mode", "target", "--tid", "1", "-n", o[0], "-v", o[1])
	}
	for i := range g.sizes {
		g.must("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", strconv.Itoa(i+1), "-b", g.File(i+1))
	}
	g.must("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")
}

func (g *Tgt) admin(args ...string) error {
	cmd := exec.Command("tgtadm", append([]string{"-C", g.ctl, "--lld", "iscsi"}, args...)...)
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+filepath.Join(g.dir, "ipc"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tgtadm %v: %w: %s", args, err, out)
	}
	return nil
}

func (g *Tgt) must(args ...string) {
	g.t.Helper()
	if err := g.admin(args...); err != nil {
		g.t.Fatal(err)
	}
}
