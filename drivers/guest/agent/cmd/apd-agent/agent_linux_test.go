package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

func TestAgentTellsWhatItSees(t *testing.T) {
	eachGuest(t, func(t *testing.T, guest *guest) {
		g := NewWithT(t)
		g.Expect(os.Mkdir(guest.host+"/seed", 0o755)).To(Succeed())
		data := bytes.Repeat([]byte("seed"), 50000)
		g.Expect(os.WriteFile(guest.host+"/seed/a", data, 0o600)).To(Succeed())
		g.Expect(os.WriteFile(guest.host+"/seed/SHA256SUMS", fmt.Appendf(nil, "%x  a\n", sha256.Sum256(data)), 0o600)).To(Succeed())
		c, h := guest.listen(t, guest.run).talk()
		g.Expect(h.Protocol).To(Equal(agent.Protocol))
		g.Expect(h.BootID).NotTo(BeEmpty())
		g.Expect(h.Kernel).NotTo(BeEmpty())
		g.Expect(h.Uptime).To(BeNumerically(">", 0))
		t.Logf("%+v", *h)

		var rounds uint64
		for range 3 {
			m := c.until("a beat", func(m agent.Message) bool { return m.Type == agent.TypeBeat && m.Beat.Rounds > rounds })
			rounds = m.Beat.Rounds
		}
		read := c.until("a read", done(agent.TypeRead))
		g.Expect(read.IO.Error).To(BeEmpty())
		w := c.until("record 3", acked(3))
		g.Expect(w.IO.Path).To(Equal(guest.join("log") + string(guest.join("log")[len(guest.dir)]) + "acklog-test-1-0"))
		g.Expect(c.ask(agent.Command{Type: agent.CmdPing}).Error).To(BeEmpty())
		p := c.ask(agent.Command{Type: agent.CmdSeed})
		g.Expect(p.Error).To(BeEmpty())
		g.Expect(p.Seed).To(Equal(agent.SeedOK))
		p = c.ask(agent.Command{Type: agent.CmdVerify, Files: []agent.LogFile{{Path: w.IO.Path, Instance: "test-1", Acked: w.IO.Seq}}})
		g.Expect(p.Files).To(HaveLen(1))
		g.Expect(p.Files[0].Found).To(Equal(w.IO.Seq))
		g.Expect(p.Files[0].Missing + p.Files[0].Corrupt + p.Files[0].Disorder).To(BeZero())
		if guest.name != "windows" {
			g.Expect(h.Without).To(BeEmpty())
			return
		}
		g.Expect(h.OSID).To(Equal("windows"))
		g.Expect(h.RootFS).To(Equal("NTFS"), "Wine calls it that")
		// Wine has no raw disk and no counters of disks. The agent says so, and reads a file of its own.
		g.Expect(h.RootDevice).To(Equal(guest.join(`log\read.dat`)))
		g.Expect(h.Without).To(And(HaveKey("disk"), HaveKey("busy")))
		f := c.until("a folder", done(agent.TypeFolder))
		g.Expect(f.IO.Error).To(BeEmpty())
		g.Expect(f.IO.Path).To(HavePrefix(`C:\Windows\WinSxS\`))
		// Wine cannot empty the caches of Windows either: that is an error, no silence.
		g.Expect(c.ask(agent.Command{Type: agent.CmdDropCaches}).Error).NotTo(BeEmpty())
	})
}

func TestAgentOutlivesItsStarter(t *testing.T) {
	eachGuest(t, func(t *testing.T, guest *guest) {
		g := NewWithT(t)
		r := guest.listen(t, guest.starter)
		c, h := r.talk()
		before := c.until("record 3", acked(3))
		r.kill() // the shell
		c.until("records after the starter's end", acked(before.IO.Seq+5))
		g.Expect(c.conn.Close()).To(Succeed())
		c, again := r.talk()
		g.Expect(again.BootID).To(Equal(h.BootID))
		c.until("records to the next client", acked(before.IO.Seq+8))
	})
}

// What was acknowledged is there when the agent is killed, and CheckLog sees what is not.
func TestLogHoldsWhatWasAcknowledged(t *testing.T) {
	eachGuest(t, func(t *testing.T, guest *guest) {
		g := NewWithT(t)
		r := guest.listen(t, guest.run)
		c, _ := r.talk()
		g.Expect(c.ask(agent.Command{Type: agent.CmdLoad, N: 2}).Error).To(BeEmpty())
		files := map[string]agent.LogFile{}
		note := func(m agent.Message) {
			switch {
			case acked(1)(m):
				files[m.IO.Path] = agent.LogFile{Path: m.IO.Path, Instance: "test-1", Acked: m.IO.Seq}
			case m.Type == agent.TypeLoad:
				for _, w := range m.Load.Writers {
					files[w.Path] = agent.LogFile{Path: w.Path, Instance: "test-1", Writer: w.Writer, Acked: w.Acked}
				}
			}
		}
		c.until("many records", func(m agent.Message) bool {
			note(m)
			n := 0
			for _, f := range files {
				if f.Acked > 10 {
					n++
				}
			}
			return n == 3
		})
		r.kill()
		for { // what was acknowledged before the end counts too
			m, err := c.next()
			if err != nil {
				break
			}
			note(m)
		}
		for path, f := range files {
			name := path[strings.LastIndexAny(path, `\/`)+1:]
			b, err := os.ReadFile(filepath.Join(guest.host, "log", name))
			g.Expect(err).NotTo(HaveOccurred())
			res, err := agent.CheckLog(bytes.NewReader(b), f)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Found).To(Equal(f.Acked), "%+v", res)
			g.Expect(res.Missing + res.Corrupt + res.Disorder).To(BeZero())
			f.Acked = uint64(len(b)/agent.RecordSize) + 1
			res, err = agent.CheckLog(bytes.NewReader(b), f)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(res.Missing).NotTo(BeZero(), "a record that was never written is not missed")
		}
	})
}

func TestNewerClientReplacesTheOlder(t *testing.T) {
	eachGuest(t, func(t *testing.T, guest *guest) {
		g := NewWithT(t)
		r := guest.listen(t, guest.run)
		one, _ := r.talk()
		one.until("record 1", acked(1))
		two, _ := r.talk()
		var err error
		for err == nil {
			_, err = one.next()
		}
		var slow net.Error
		g.Expect(errors.As(err, &slow) && slow.Timeout()).To(BeFalse(), "the older client was kept: %v", err)
		last := two.until("records", acked(1))
		two.until("more records", acked(last.IO.Seq+3))
	})
}

func TestAgentRefusesWhatItMustNotDo(t *testing.T) {
	eachGuest(t, func(t *testing.T, guest *guest) {
		for _, c := range []struct {
			arguments []string
			want      string
		}{
			{[]string{"-pace", "1000"}, "the pace 1000 Hz is not between 1 and 10"},
			{[]string{"-instance", "a/b"}, "letters, digits and dashes"},
			{[]string{"-identity", guest.join("none")}, "reading the identity"},
		} {
			out, err := guest.run(guest.program, c.arguments...).CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) || !strings.Contains(string(out), c.want) {
				t.Errorf("%q: %v, %q", c.arguments, err, out)
			}
		}
	})
}

// The parts of the agent that are Windows' own, and the agent that listens, in a test program under Wine.
func TestPartsUnderWine(t *testing.T) {
	g := underWine(t)
	program := put(t, build(t, "resident.test.exe", "windows", "test", "-c", "../../resident"))
	cmd := g.run(program, "-test.timeout=60s")
	cmd.Dir = g.host
	cmd.Env = append(cmd.Env, `TMP=`+g.dir, `TEMP=`+g.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestCost measures what the agent costs a guest at its ordinary pace and at its fastest: memory, which is bounded, and the
// processor's time, which is only told, because other work on this machine weighs in.
func TestCost(t *testing.T) {
	for _, pace := range []string{"4", "10"} {
		t.Run(pace+"Hz", func(t *testing.T) {
			g := NewWithT(t)
			guest := onLinux(t)
			r := guest.listen(t, guest.run, "-pace", pace)
			c, _ := r.talk()
			c.until("record 1", acked(1))
			before, begun := cpu(t, r.started.Process.Pid), time.Now()
			first := c.until("a beat", func(m agent.Message) bool { return m.Type == agent.TypeBeat })
			c.until("beats of four seconds", func(m agent.Message) bool {
				return m.Type == agent.TypeBeat && m.T-first.T > int64(4*time.Second)
			})
			used, took := cpu(t, r.started.Process.Pid)-before, time.Since(begun)
			rss := kib(t, r.started.Process.Pid, "VmRSS:")
			t.Logf("%.2f %% of a core over %v, %d KiB of memory, %d KiB at most",
				100*used.Seconds()/took.Seconds(), took.Round(time.Millisecond), rss, kib(t, r.started.Process.Pid, "VmHWM:"))
			g.Expect(rss).To(BeNumerically("<=", 20<<10))
		})
	}
}

// cpu is the processor's time that a process has used, from its threads' schedstat, in ns.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	var sum time.Duration
	for _, name := range threads {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread ended
		}
		ns, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(ns, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += time.Duration(n)
	}
	return sum
}

func kib(t *testing.T, pid int, key string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == key {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no ", key)
	return 0
}
