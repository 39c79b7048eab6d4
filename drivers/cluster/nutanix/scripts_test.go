package nutanix

import (
	"context"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// box runs scripts in a real shell on this machine, with programs of the test's own first in its path.
type box struct {
	t   *testing.T
	dir string
}

func newBox(t *testing.T) *box {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	b := &box{t, t.TempDir()}
	b.program("sudo", `shift; exec "$@"`)
	b.program("curl", "exit ${CURL:-0}")
	b.program("dmesg", `echo "[1.0] sd 2:0:1:0: [sda] task abort"`)
	b.program("lsblk", `cat "$BOX/lsblk"`)
	return b
}

func (b *box) write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *box) program(name, body string) { b.write("bin/"+name, "#!/bin/sh\n"+body+"\n") }

// run runs a script with the machine's folders replaced by the box's.
func (b *box) run(s script, args ...string) answers {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-s")
	cmd.Env = []string{"PATH=" + b.dir + "/bin:/usr/sbin:/usr/bin:/sbin:/bin", "BOX=" + b.dir, "HOME=" + b.dir, "APD_TMP=" + b.dir, "APD_CGROUP=" + b.dir + "/none"}
	text := s.text(args...)
	for _, dir := range []string{"/sys/block", "/sys/class", "/dev/$d"} {
		text = strings.ReplaceAll(text, dir, b.dir+dir)
	}
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		b.t.Logf("%s: %v", s.name, err)
	}
	return readAnswers(string(out))
}

// TestLookCVM reads disks that are a file, a pipe that nobody writes to, a folder, and nothing.
func TestLookCVM(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.write("lsblk", "sda S1\nsdb S2\nsdc S3\n")
	b.write("dev/sda", strings.Repeat("x", 8192))
	if err := syscall.Mkfifo(filepath.Join(b.dir, "dev/sdb"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // the pipe's other end lets the reader go
		w, err := os.OpenFile(filepath.Join(b.dir, "dev/sdb"), os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer w.Close()
		if _, err := w.Write(make([]byte, 8192)); err != nil {
			t.Error(err)
		}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if b, err := os.ReadFile(filepath.Join(b.dir, "apd-read-S2.rc")); err == nil && len(b) > 0 { // the last that it writes
				return
			}
		}
		t.Error("the reader is still there")
	})
	if err := os.Mkdir(filepath.Join(b.dir, "dev/sdc"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.write("data/logs/stargate.INFO", "fine\nW disk S2 not responding, marking it offline\n")
	look := lookCVM
	look.body = strings.NewReplacer(" iflag=direct", "", "RANDOM * 32768 + RANDOM", "0").Replace(look.body) // a file may not be read so
	for range 2 {                                                                                           // the second look does not begin another read of the one that is stuck
		a := b.run(look, "5", "S1", "S2", "S3", "S4")
		for serial, want := range map[string]string{"S1": "serves", "S2": "hangs", "S3": "fails", "S4": "gone"} {
			if got := a.of("medium", serial); got != want {
				t.Errorf("%s %s, want %s: %v", serial, got, want, a)
			}
		}
		if daemon(a.one("stargate")) != "up" || a.one("boot") == "" || len(a["abort"]) != 1 || len(a["log"]) != 1 || a.of("device", "S2") != "sdb" {
			t.Errorf("it says %v", a)
		}
	}
}

func TestDiskScripts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.write("lsblk", "sda S1\n")
	state := b.write("sys/block/sda/device/state", "running\n")
	b.write("sys/block/sda/device/timeout", "30\n")
	b.write("sys/block/sda/dev", "8:0\n")
	a := b.run(lookDisk, "S1")
	if a.one("device") != "sda" || a.one("state") != running || a.one("timeout") != "30" || a.one("number") != "8:0" {
		t.Errorf("it says %v", a)
	}
	if a := b.run(lookDisk, "S9"); a.one("gone") != "yes" {
		t.Errorf("of a disk that is not there it says %v", a)
	}
	for _, step := range []struct{ to, word string }{{"offline", "done"}, {"offline", "same"}, {"running", "done"}, {"running", "same"}} {
		if a := b.run(setState, "sda", step.to); a.one(step.word) != "yes" {
			t.Errorf("to %s: %v", step.to, a)
		}
	}
	if got, _ := os.ReadFile(state); string(got) != "running\n" {
		t.Errorf("the state is %q", got)
	}
}

func TestEgroupScripts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	file := b.write("a group's file", strings.Repeat("good", 2048))
	undirect := func(s script) script {
		s.body = strings.NewReplacer(" iflag=direct", "", " oflag=direct", "").Replace(s.body)
		return s
	}
	old := b.run(undirect(lookEgroup), file).one("bytes")
	if raw, err := base64.StdEncoding.DecodeString(old); err != nil || len(raw) != rotBytes || rot(old) {
		t.Fatalf("it has %d bytes (%v)", len(raw), err)
	}
	if a := b.run(undirect(writeBack), file, old); a.one("same") != "yes" {
		t.Errorf("writing back over a good one: %v", a)
	}
	if a := b.run(undirect(overwrite), file); a.one("done") != "yes" || !rot(b.run(undirect(lookEgroup), file).one("bytes")) {
		t.Errorf("overwriting: %v", a)
	}
	for _, word := range []string{"done", "same"} {
		if a := b.run(undirect(writeBack), file, old); a.one(word) != "yes" {
			t.Errorf("writing back: %v, want %s", a, word)
		}
	}
	if got, _ := os.ReadFile(file); string(got) != strings.Repeat("good", 2048) {
		t.Error("the file is another than before")
	}
	if a := b.run(undirect(writeBack), file+".gone", old); a.one("same") != "yes" {
		t.Errorf("writing back what is gone: %v", a)
	}
}

func TestHostAndDaemonScripts(t *testing.T) {
	t.Parallel()
	b := newBox(t)
	b.program("virsh", `case "$1 $2" in
"domstate NTNX-a b-CVM") echo "shut off"; echo ;;
"dumpxml NTNX-a b-CVM") echo "<hostdev mode='subsystem' type='pci'>" ;;
"start NTNX-a b-CVM") echo started ;;
*) exit 1 ;;
esac`)
	b.program("netstat", "echo 'tcp 0 0 10.0.0.1:4000 192.168.5.254:3261 ESTABLISHED 7/qemu-kvm'; echo 'tcp 0 0 10.0.0.1:4001 10.9.1.12:3261 ESTABLISHED 8/frodo'; echo 'tcp 0 0 a:22 b:1 ESTABLISHED 9/sshd'")
	b.program("ps", "echo 'Mon Nov  2 10:11:12 2026 /usr/libexec/qemu-kvm -name x -uuid 01-ab -m 4'; echo 'Mon Nov  2 10:11:12 2026 bash'")
	b.program("esxcli", "echo '   Display Name: NTNX-a b-CVM'")
	b.program("esxcfg-route", "echo '192.168.5.0 255.255.255.0 Local vmk1'; echo '192.168.5.2 255.255.255.255 10.9.1.12 vmk0'")
	b.program("ncli", "echo '    Current Fault Tolerance   : 1'; echo '    Current Fault Tolerance   : 0'")
	b.program("genesis", `[ "$1 $2" = "stop stargate" ]`)
	const domain = "NTNX-a b-CVM"
	a := b.run(lookAHV, domain)
	if a.one("domain") != shutOff || strings.Join(a["peer"], " ") != "10.9.1.12:3261 192.168.5.254:3261" || a.one("vm") != "01-ab Mon Nov  2 10:11:12 2026" {
		t.Errorf("AHV says %v", a)
	}
	if a := b.run(lookESXi, domain); a.one("domain") != running || a.one("route") != "10.9.1.12" {
		t.Errorf("ESXi says %v", a)
	}
	if a := b.run(tolerates); strings.Join(a["tolerates"], " ") != "1 0" {
		t.Errorf("ncli says %v", a)
	}
	if b.run(start, domain).one("done") != "yes" || b.run(destroy, domain).one("done") == "yes" || b.run(passthrough, domain).one("hostdev") != "1" ||
		b.run(stopStargate).one("done") != "yes" || b.run(domainState, domain).one("domain") != shutOff {
		t.Error("a change, or one that failed, is told otherwise")
	}
}
