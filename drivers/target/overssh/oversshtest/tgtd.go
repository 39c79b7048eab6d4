// This file is the storage: Debian's tgtd.

package oversshtest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// TargetName is the one target of a Tgtd.
const TargetName = "iqn.2026-11.allpathsdown.test:nas"

// Tgtd is a real tgtd with LUN 1 of 1 MiB.
type Tgtd struct {
	Portal  string
	Control int
	Socket  string // TGT_IPC_SOCKET
	Dir     string
	t       testing.TB

	mu  sync.Mutex
	cmd *exec.Cmd
}

// NewTgtd starts one. The test is skipped where tgtd is not installed.
func NewTgtd(t testing.TB) *Tgtd {
	t.Helper()
	for _, bin := range []string{"tgtd", "tgtadm"} {
		if _, err := localproc.LookPath(bin); err != nil {
			t.Skipf("%v (Debian package tgt)", err)
		}
	}
	dir := Dir(t)
	g := &Tgtd{Portal: iscsitest.FreeAddr(t), Control: 1 + rand.IntN(30000), Socket: filepath.Join(dir, "ipc"), Dir: dir, t: t}
	if err := os.WriteFile(g.File(), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	g.Up()
	return g
}

// File is what LUN 1 is made of.
func (g *Tgtd) File() string { return filepath.Join(g.Dir, "lun1") }

// Up starts the daemon, unless it runs, with its target and LUN.
func (g *Tgtd) Up() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		return
	}
	bin, _ := localproc.LookPath("tgtd")
	g.cmd = exec.Command(bin, "-f", "-C", strconv.Itoa(g.Control), "--iscsi", "portal="+g.Portal)
	g.cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+g.Socket)
	if err := Start(g.cmd); err != nil {
		g.t.Error(err)
		g.cmd = nil
		return
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := g.Adm("--mode", "sys", "--op", "show"); err == nil {
			break
		} else if time.Now().After(end) {
			g.t.Errorf("tgtd does not come up: %v", err)
			return
		}
	}
	for _, args := range []string{"target --op new --tid 1 --targetname " + TargetName, "logicalunit --op new --tid 1 --lun 1 -b " + g.File(), "target --op bind --tid 1 -I ALL"} {
		if out, err := g.Adm(strings.Fields("--mode " + args)...); err != nil {
			g.t.Errorf("%s: %v: %s", args, err, out)
		}
	}
}

// Kill ends the daemon, if it runs.
func (g *Tgtd) Kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		_ = g.cmd.Wait()
		g.cmd = nil
	}
}

// Signal sends the daemon a signal.
func (g *Tgtd) Signal(s os.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cmd != nil {
		_ = g.cmd.Process.Signal(s)
	}
}

// Adm asks the daemon.
func (g *Tgtd) Adm(args ...string) (string, error) {
	bin, err := localproc.LookPath("tgtadm")
	if err != nil {
		return "", err
	}
	cmd := exec.Command(bin, append([]string{"-C", strconv.Itoa(g.Control), "--lld", "iscsi"}, args...)...)
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+g.Socket)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Unit puts LUN 1 there, or takes it away.
func (g *Tgtd) Unit(there bool) error {
	args := "--mode logicalunit --op delete --tid 1 --lun 1"
	if there {
		args = "--mode logicalunit --op new --tid 1 --lun 1 -b " + g.File()
	}
	out, err := g.Adm(strings.Fields(args)...)
	if err != nil {
		return fmt.Errorf("%s: %w: %s", args, err, out)
	}
	return nil
}
