package reports

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// envPlay makes this program the run on a terminal: it plays one step a line of the pipe with that name.
const envPlay = "APD_TEST_PLAY"

// TestPlayOnATerminal is that run, and no test of itself.
func TestPlayOnATerminal(t *testing.T) {
	pipe := os.Getenv(envPlay)
	if pipe == "" {
		t.Skip("it runs within TestWhatATerminalShows")
	}
	in, err := os.Open(pipe)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	_, r, _ := small(t, "日本語 "+strings.Repeat("and a long text ", 20))
	now := time.Duration(0)
	o := ConsoleFor(os.Stdout, os.Getenv)
	o.Clock = func() time.Duration { return now }
	c := NewConsole(os.Stdout, o)
	tick := func() {
		now += time.Second
		c.Tick(now)
	}
	for i := range 20 { // what a terminal shows already; at its very top tmux loses the cursor when it is resized
		c.Say(fmt.Sprint("before ", i))
	}
	for i := range 4 {
		c.Observation(drivers.Observation{Lane: drivers.Lane{Role: drivers.Guest, Name: fmt.Sprint("ゲスト", i)}, Kind: drivers.State, Topic: "disk", Value: "ok"})
	}
	for sc := bufio.NewScanner(in); sc.Scan(); {
		switch sc.Text() {
		case "tick":
			tick()
		case "fault":
			c.Fault("f1", record.EdgeBegin, drivers.Blackhole, now, "", "")
			tick()
		case "change":
			c.Observation(drivers.Observation{Hi: now, Lane: drivers.Lane{Role: drivers.Guest, Name: "ゲスト0"}, Kind: drivers.State, Topic: "disk", Value: "blocked",
				Text: strings.Repeat("書き込みが待っている", 10)})
			tick()
		case "end":
			c.Table(Rows(r))
			c.Done(Count(Rows(r)), "out/r1/junit.xml")
			time.Sleep(time.Minute) // the screen is looked at; the terminal ends this
		}
	}
}

// terminal is a screen that is not ours.
type terminal struct {
	*testing.T
	socket string
	steps  *os.File
}

func openTerminal(t *testing.T, columns int) *terminal {
	t.Helper()
	dir := t.TempDir()
	term := &terminal{T: t, socket: filepath.Join(dir, "s")}
	pipe := filepath.Join(dir, "steps")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", fmt.Sprint(columns), "-y", "50",
		"env -u CI -u GITHUB_ACTIONS -u NO_COLOR COLUMNS=200 "+envPlay+"="+pipe+" "+os.Args[0]+" -test.run=^TestPlayOnATerminal$")
	t.Cleanup(func() { term.tmux("kill-server") }) // and the run with it
	steps, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { steps.Close() })
	term.steps = steps
	return term
}

func (t *terminal) tmux(args ...string) string {
	t.Helper()
	cmd := exec.Command("tmux", append([]string{"-u", "-S", t.socket}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TERM=xterm-256color")
	b, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("tmux %v (hack/setup.sh test installs it): %v: %s", args, err, b)
	}
	return string(b)
}

func (t *terminal) step(s string) {
	t.Helper()
	if _, err := fmt.Fprintln(t.steps, s); err != nil {
		t.Fatal(err)
	}
}

// lines is what the screen shows; joined, with what the terminal has broken put together again.
func (t *terminal) lines(joined bool) []string {
	t.Helper()
	args := []string{"capture-pane", "-p", "-S", "-"} // with what has gone above the screen
	if joined {
		args = append(args, "-J")
	}
	var out []string
	for l := range strings.Lines(t.tmux(args...)) {
		if l = strings.TrimRight(l, " \n"); l != "" {
			out = append(out, l)
		}
	}
	return out
}

// TestWhatATerminalShows plays a run on a terminal of 40 columns, and on one that is made narrower and wider meanwhile. COLUMNS
// says something else all the time.
func TestWhatATerminalShows(t *testing.T) {
	for name, sizes := range map[string][3]int{"40 columns": {40, 40, 40}, "made narrower": {100, 40, 40}, "made wider": {40, 120, 120}, "both": {100, 40, 130}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			term := openTerminal(t, sizes[0])
			sees := func(what string) {
				t.Helper()
				g.Eventually(func() string { return strings.Join(term.lines(false), "\n") }).WithTimeout(30 * time.Second).Should(ContainSubstring(what))
			}
			status := func() (n int) {
				for _, l := range term.lines(false) {
					if strings.Contains(l, "OUTAGE") || strings.Contains(l, "ゲスト") && !strings.Contains(l, "->") {
						n++
					}
				}
				return n
			}
			term.step("fault")
			sees("T+00:01 OUTAGE")
			g.Expect(status()).To(Equal(1))
			for i, columns := range sizes[1:] {
				term.tmux("resize-window", "-x", fmt.Sprint(columns), "-y", "50")
				term.step("tick")
				sees(fmt.Sprintf("T+00:0%d OUTAGE", i+2))
				g.Expect(status()).To(Equal(1), "the line that was there is gone, wherever the terminal broke it")
			}
			term.step("change")
			sees("T+00:04 OUTAGE")
			g.Expect(status()).To(Equal(1))
			term.step("end")
			sees("- out/r1/junit.xml")
			g.Expect(status()).To(BeZero())
			g.Expect(term.lines(true)).To(Equal(term.lines(false)), "no line is broken")
			g.Expect(term.lines(false)[19]).To(Equal("before 19"))
			g.Expect(term.lines(false)[20]).To(HavePrefix("T+00:00 fault f1"))
		})
	}
}
