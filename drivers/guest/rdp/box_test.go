package rdp_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
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

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// What the box's only user is called. It exists in the box alone.
const (
	boxUser     = "apdguest"
	boxPassword = "correct horse 7!"
	boxAddress  = "127.0.0.1:3389"
)

// box is a machine with an RDP server: a process with namespaces of its own for the network, the mounts and the processes. It has
// its own copies of /etc/passwd, /etc/shadow and /etc/xrdp, so that nothing of this machine is touched; and all of it ends with the
// first process, which ends with the test's end of a pipe.
type box struct {
	t   testing.TB
	pid int
}

// boxSetup has what both servers need. The session of xrdp's user is a program that waits.
const boxSetup = `set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/log
chmod 1777 /tmp
ip link set lo up
mkdir -p /run/e/xrdp /run/e/pam.d /run/xrdp/sockdir /tmp/home
chmod 1777 /run/xrdp/sockdir
cp -a /etc/passwd /etc/shadow /etc/group /run/e/
cp -a /etc/pam.d/. /run/e/pam.d/
if [ -d /etc/xrdp ]; then cp -a /etc/xrdp/. /run/e/xrdp/; mount --bind /run/e/xrdp /etc/xrdp; fi
for f in passwd shadow group pam.d; do mount --bind /run/e/$f /etc/$f; done
printf 'auth required pam_unix.so\naccount required pam_permit.so\nsession required pam_permit.so\n' >/etc/pam.d/xrdp-sesman
echo "$USER_NAME:x:23456:23456::/tmp/home:/bin/sh" >>/etc/passwd
echo "$USER_NAME:x:23456:" >>/etc/group
echo "$USER_NAME:$(printf %s "$USER_PASSWORD" | openssl passwd -6 -stdin):19000:0:99999:7:::" >>/etc/shadow
chown 23456:23456 /tmp/home
openssl req -x509 -newkey rsa:2048 -nodes -keyout /run/key.pem -out /run/cert.pem -subj /CN=guest -days 2 2>/dev/null
echo ready
exec cat >/dev/null
`

// newBox makes a machine, or skips the test where that cannot be done.
func newBox(t testing.TB, programs ...string) *box {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can make a machine of namespaces")
	}
	for _, p := range append([]string{"ip", "mount", "nsenter", "openssl", "setsid", "xfreerdp", "Xvfb"}, programs...) {
		if _, err := localproc.LookPath(p); err != nil {
			t.Skipf("the test needs a program: %v", err)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", boxSetup)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "USER_NAME=" + boxUser, "USER_PASSWORD=" + boxPassword}
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
	b := &box{t, cmd.Process.Pid}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("the machine could not be set up: %q, %v; what it said stands above", line, err)
	}
	return b
}

// sh runs a script in the box. What it starts in the background goes on.
func (b *box) sh(script string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(b.pid), "--net", "--mount", "--pid", "--", "/bin/sh", "-ec", script)
	cmd.Env = []string{"HOME=/tmp", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.t.Errorf("%s: %v: %s", script, err, out)
	}
	return string(out)
}

// Dial connects to the box from within.
func (b *box) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		c   net.Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespace with it
		var r result
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", b.pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if r.err = err; err == nil {
			r.c, r.err = (&net.Dialer{KeepAlive: -1}).DialContext(ctx, network, address)
		}
		done <- r
	}()
	r := <-done
	return r.c, r.err
}

// xrdp writes xrdp's configuration with that security layer.
func (b *box) xrdp(security string) {
	b.t.Helper()
	b.sh(`cd /etc/xrdp
cat >startwm.sh <<'X'
#!/bin/sh
exec sleep 100000
X
chmod 755 startwm.sh
sed -i 's|^certificate=.*|certificate=/run/cert.pem|;s|^key_file=.*|key_file=/run/key.pem|;s|^port=3389|port=tcp://127.0.0.1:3389|;s|^EnableSyslog=.*|EnableSyslog=false|;s|^LogFile=.*|LogFile=/run/xrdp.log|;s|^security_layer=.*|security_layer=` + security + `|' xrdp.ini
sed -i 's|^LogFile=.*|LogFile=/run/sesman.log|;s|^EnableSyslog=.*|EnableSyslog=false|' sesman.ini`)
}

// up starts a server as the leader of a group of its own, and down ends that group; signal sends it something.
func (b *box) up(name, command string) {
	b.t.Helper()
	b.sh("setsid " + command + " >>/run/" + name + ".out 2>&1 </dev/null & echo $! >/run/" + name + ".pid")
}

func (b *box) signal(name, sig string) {
	b.t.Helper()
	b.sh("kill -s " + sig + " -- -$(cat /run/" + name + ".pid)")
}

// listening waits until somebody listens at a port.
func (b *box) listening(port string) {
	b.t.Helper()
	b.sh(`for i in $(seq 150); do ss -Hltn "sport = :` + port + `" | grep -q . && exit 0; sleep 0.1; done; echo "nobody listens"; exit 1`)
}

func (b *box) startXrdp() {
	b.t.Helper()
	b.up("sesman", "xrdp-sesman -n")
	b.listening("3350")
	b.up("xrdp", "xrdp -n")
	b.listening("3389")
}

// logs are what a failed test is to show.
func (b *box) logs(files ...string) {
	if b.t.Failed() {
		for _, f := range files {
			if in, err := os.Open(fmt.Sprintf("/proc/%d/root%s", b.pid, f)); err == nil {
				all, _ := io.ReadAll(in)
				_ = in.Close()
				b.t.Logf("%s:\n%s", f, all[max(0, len(all)-4000):])
			}
		}
	}
}
