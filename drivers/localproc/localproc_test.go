package localproc

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// sleeper starts a process that does nothing and is gone when the test ends.
func sleeper(t *testing.T, file string) ID {
	t.Helper()
	id, err := Start(exec.Command("sleep", "1000"), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := id.Kill(ctx); err != nil {
			t.Error(err)
		}
	})
	return id
}

func TestSelf(t *testing.T) {
	g := NewWithT(t)
	id := Self()
	g.Expect(id.PID).To(Equal(os.Getpid()))
	g.Expect(id.Start).NotTo(BeZero())
	g.Expect(id.Alive()).To(BeTrue())
}

func TestStartAndKill(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	id := sleeper(t, file)
	g.Expect(id.Alive()).To(BeTrue())
	g.Expect(Load(file)).To(Equal(id))
	sid, err := syscall.Getpgid(id.PID)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sid).To(Equal(id.PID), "a session of its own: no signal of ours reaches it")
	g.Expect(id.Kill(t.Context())).To(Succeed())
	g.Expect(id.Alive()).To(BeFalse())
	g.Expect(id.Kill(t.Context())).To(Succeed(), "once more")
	g.Eventually(func() error { _, err := os.Stat("/proc/" + strconv.Itoa(id.PID)); return err }, "5s").Should(MatchError(os.ErrNotExist), "it is reaped")
}

// TestStrangerWithTheSamePID has an ID whose pid somebody else got: that process is not ours to kill.
func TestStrangerWithTheSamePID(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	stranger := sleeper(t, "")
	old := ID{PID: stranger.PID, Start: stranger.Start - 1}
	g.Expect(old.Alive()).To(BeFalse())
	g.Expect(old.Kill(t.Context())).To(Succeed())
	g.Expect(Save(file, old)).To(Succeed())
	g.Expect(KillFile(t.Context(), file)).To(BeFalse())
	g.Expect(file).NotTo(BeAnExistingFile())
	g.Expect(stranger.Alive()).To(BeTrue())
}

// TestZombieIsDead has a process that ended and that nobody has waited for.
func TestZombieIsDead(t *testing.T) {
	g := NewWithT(t)
	cmd := exec.Command("sh", "-c", "echo up; read x")
	in, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	defer func() { _ = cmd.Wait() }()
	_, err = bufio.NewReader(out).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	id, err := Find(cmd.Process.Pid)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(id.Alive()).To(BeTrue())
	g.Expect(in.Close()).To(Succeed())
	g.Eventually(id.Alive, "5s", "1ms").Should(BeFalse())
	g.Expect("/proc/" + strconv.Itoa(id.PID)).To(BeAnExistingFile())
	g.Expect(id.Kill(t.Context())).To(Succeed(), "at once, although it will never be gone from /proc")
}

// envLeader makes a process of this program whose first thread ends while the others go on.
const envLeader = "LOCALPROC_TEST_LEADER"

func init() {
	if os.Getenv(envLeader) == "" {
		return
	}
	runtime.LockOSThread() // an init runs on the first thread
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1))
		os.Exit(0)
	}()
	_, _, _ = syscall.Syscall(syscall.SYS_EXIT, 0, 0, 0)
}

// TestNotDeadWhileAThreadLives has a process of which /proc says that it is a zombie although other threads of it still
// hold its files, ports and locks, as it is for a moment whenever a process with threads is killed.
func TestNotDeadWhileAThreadLives(t *testing.T) {
	g := NewWithT(t)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), envLeader+"=1")
	in, err := cmd.StdinPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	id, err := Find(cmd.Process.Pid)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() string { b, _ := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/stat"); return string(b) }, "5s", "1ms").Should(ContainSubstring(") Z "))
	g.Consistently(done, "20ms").ShouldNot(Receive())
	g.Expect(id.Alive()).To(BeTrue())
	g.Expect(in.Close()).To(Succeed())
	g.Eventually(done, "5s").Should(Receive())
	g.Expect(id.Alive()).To(BeFalse())
}

// TestNamesDoNotConfuse has a process whose name looks like the rest of its line in /proc.
func TestNamesDoNotConfuse(t *testing.T) {
	g := NewWithT(t)
	real, err := exec.LookPath("sleep")
	g.Expect(err).NotTo(HaveOccurred())
	name := filepath.Join(t.TempDir(), "a) Z 1 2 (b")
	g.Expect(os.Symlink(real, name)).To(Succeed())
	id, err := Start(exec.Command(name, "1000"), "")
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() string { b, _ := os.ReadFile("/proc/" + strconv.Itoa(id.PID) + "/comm"); return string(b) }, "5s").Should(Equal("a) Z 1 2 (b\n"))
	g.Expect(id.Alive()).To(BeTrue())
	g.Expect(id.Kill(t.Context())).To(Succeed())
}

func TestZeroIDIsNobody(t *testing.T) {
	g := NewWithT(t)
	for _, id := range []ID{{}, {PID: -1}, {PID: 1 << 30}} {
		g.Expect(id.Alive()).To(BeFalse())
		g.Expect(id.Kill(t.Context())).To(Succeed())
	}
}

func TestKillFile(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	id := sleeper(t, file)
	g.Expect(KillFile(t.Context(), file)).To(BeTrue())
	g.Expect(id.Alive()).To(BeFalse())
	g.Expect(file).NotTo(BeAnExistingFile())
	g.Expect(KillFile(t.Context(), file)).To(BeFalse(), "once more")
}

// TestKillFileOfADeadProcess has a process that ended by itself.
func TestKillFileOfADeadProcess(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	id, err := Start(exec.Command("sleep", "1000"), file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(syscall.Kill(id.PID, syscall.SIGKILL)).To(Succeed())
	g.Eventually(id.Alive, "5s", "1ms").Should(BeFalse())
	g.Expect(KillFile(t.Context(), file)).To(BeFalse())
	g.Expect(file).NotTo(BeAnExistingFile())
}

func TestLoad(t *testing.T) {
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "pid")
	g.Expect(Load(file)).To(Equal(ID{}))
	g.Expect(Save(file, ID{12, 1 << 60})).To(Succeed())
	g.Expect(Load(file)).To(Equal(ID{12, 1 << 60}))
	for _, bad := range []string{"12", "x y", "12 -1"} {
		g.Expect(os.WriteFile(file, []byte(bad), 0o600)).To(Succeed())
		_, err := Load(file)
		g.Expect(err).To(MatchError(ContainSubstring(file)), bad)
		_, err = KillFile(t.Context(), file)
		g.Expect(err).To(HaveOccurred(), bad)
		g.Expect(file).To(BeAnExistingFile(), "what cannot be read is kept")
	}
}

func TestStartFails(t *testing.T) {
	g := NewWithT(t)
	_, err := Start(exec.Command(filepath.Join(t.TempDir(), "none")), "")
	g.Expect(err).To(MatchError(os.ErrNotExist))
	cmd := exec.Command("sleep", "1000")
	_, err = Start(cmd, filepath.Join(t.TempDir(), "no", "folder", "pid"))
	g.Expect(err).To(MatchError(ContainSubstring("keeping the id")))
	g.Eventually(func() error { _, err := Find(cmd.Process.Pid); return err }, "5s", "1ms").ShouldNot(Succeed(), "a process that cannot be found again does not stay")
}

func TestLookPath(t *testing.T) {
	g := NewWithT(t)
	t.Setenv("PATH", "/bin:/usr/bin")
	g.Expect(LookPath("sh")).NotTo(BeEmpty())
	_, err := LookPath("no-such-program")
	g.Expect(err).To(MatchError("the program no-such-program is not installed"))
}
