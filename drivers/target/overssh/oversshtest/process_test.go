package oversshtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

const victim = "APD_OVERSSHTEST_VICTIM"

// TestKilled kills a test that has a daemon and a command running, and finds that nothing of them stays.
func TestKilled(t *testing.T) {
	if os.Getenv(victim) != "" {
		beKilled(t)
		return
	}
	g := NewWithT(t)
	if _, err := localproc.LookPath("tgtd"); err != nil {
		t.Skipf("%v (Debian package tgt)", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), victim+"=1")
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(Start(cmd)).To(Succeed())
	var daemon, command int
	var dirs string
	for s := bufio.NewScanner(out); s.Scan(); {
		if _, err := fmt.Sscanf(s.Text(), "victim %d %d", &daemon, &command); err == nil {
			dirs = s.Text()[strings.Index(s.Text(), "/"):]
			break
		}
	}
	g.Expect(daemon).NotTo(BeZero())
	g.Expect(command).NotTo(BeZero())
	a, err := localproc.Find(daemon)
	g.Expect(err).NotTo(HaveOccurred())
	b, err := localproc.Find(command)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Process.Kill()).To(Succeed())
	_ = cmd.Wait()
	g.Eventually(a.Alive, "5s").Should(BeFalse())
	g.Eventually(b.Alive, "5s").Should(BeFalse())
	for _, dir := range strings.Fields(dirs) {
		g.Eventually(func() bool { _, err := os.Stat(dir); return os.IsNotExist(err) }, "5s").Should(BeTrue(), dir)
	}
}

func beKilled(t *testing.T) {
	tgt, box := NewTgtd(t), New(t)
	sh, err := sshell.New(box.SSH(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	go func() {
		_, _ = sh.Run(ctx, "echo $$ >$BOX/pid.new; mv $BOX/pid.new $BOX/pid; read -r nothing; while :; do sleep 1; done", nil)
	}()
	var pid []byte
	Await(t, "the command", func() bool { pid, err = os.ReadFile(box.Dir + "/pid"); return err == nil })
	fmt.Printf("victim %d %s %s %s\n", tgt.cmd.Process.Pid, strings.TrimSpace(string(pid)), tgt.Dir, box.Dir)
	<-ctx.Done()
}
