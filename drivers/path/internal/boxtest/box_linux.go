// This file has the machine.

package boxtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The addresses of a box: the one under which SSH reaches it and that of the storage, each on a pair of veth.
const (
	ManagementNIC = "m0"
	Management    = "192.0.2.2" // RFC 5737; the SSH client has .1
	StorageNIC    = "s0"
	Storage       = "198.51.100.2"
)

// Box is the machine.
type Box struct {
	t   testing.TB
	pid int
	bin string // a folder first in its shells' path, for programs that a test puts there
}

// setup gives the machine a /run and a /sys of its own, and two interfaces. The other end of the management's is in it too; that of
// the storage's is in a network of its own, where the initiator is.
const setup = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
ip link set lo up
ip link add m0 type veth peer name m1
ip netns add initiator
ip link add s0 type veth peer name s1 netns initiator
ip addr add 192.0.2.2/24 dev m0
ip addr add 198.51.100.2/24 dev s0
for i in m0 m1 s0; do ip link set $i up; done
ip -n initiator addr add 198.51.100.1/24 dev s1
ip -n initiator link set s1 up
echo ready
exec cat >/dev/null
`

// New makes a machine, or skips the test where that cannot be done.
func New(t testing.TB) *Box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	for _, p := range []string{"ip", "nsenter", "ps", "mount"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("the test needs %s: %v", p, err)
		}
	}
	b := &Box{t: t, bin: Scratch(t)}
	cmd := exec.Command("/bin/sh", "-c", setup)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Skipf("a machine of namespaces cannot be made here: %v", err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Skip("a machine of namespaces cannot be set up here; what it said stands above")
	}
	b.pid = cmd.Process.Pid
	return b
}

// Command is a program of the machine. It is not to outlive the machine, and cannot.
func (b *Box) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(b.pid), "--net", "--mount", "--pid", "--"}, args...)...)
	cmd.Env = []string{"HOME=/", "PATH=" + b.bin + ":/usr/sbin:/usr/bin:/sbin:/bin"}
	return cmd
}

// Sh runs a shell script in the machine and returns what it said.
func (b *Box) Sh(script string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := b.Command(ctx, "/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		b.t.Errorf("%s: %v: %s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Program puts a shell script into the machine's path.
func (b *Box) Program(name, script string) {
	b.t.Helper()
	if err := os.WriteFile(b.bin+"/"+name, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		b.t.Fatal(err)
	}
}

// In runs f in the machine's network. Sockets that f makes stay there; f must make them itself, in no other goroutine.
func (b *Box) In(f func() error) error { return b.in("ns/net", f) }

func (b *Box) in(namespace string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespace with it
		ns, err := os.Open(fmt.Sprintf("/proc/%d/%s", b.pid, namespace))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Dial connects to the machine: to its storage as the initiator does, over the cable, and else from within. address has to be a number.
func (b *Box) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	namespace := "ns/net"
	if strings.HasPrefix(address, Storage+":") {
		namespace = "root/run/netns/initiator"
	}
	err = b.in(namespace, func() error {
		var d net.Dialer
		c, err := d.DialContext(ctx, network, address)
		conn = c
		return err
	})
	return conn, err
}

// Up tells whether an interface of the machine is administratively up, as "up" or "down".
func (b *Box) Up(nic string) string {
	state := "down"
	err := b.In(func() error {
		i, err := net.InterfaceByName(nic)
		if err == nil && i.Flags&net.FlagUp != 0 {
			state = "up"
		}
		return err
	})
	if err != nil {
		return err.Error()
	}
	return state
}

// Leftovers lists the timers' files and processes in the machine.
func (b *Box) Leftovers() string {
	return b.Sh(`ls /var/run 2>/dev/null | grep apd- ; ps -ww -A -o args= | grep "[ /]apd-[a-z]*-[0-9a-f]" | grep -v grep; :`)
}
