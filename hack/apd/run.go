// This file is apd run: it starts the suites' binary for each lab, hands on the signals, and turns the records into one
// exit code.

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, strings.Split(s, ",")...); return nil }

// child is the run of one lab.
type child struct {
	lab *lab.File
	dir string
	cmd *exec.Cmd
	err error

	marks int // how many annotations it may make on GitHub
}

// marksOfAStep is how many annotations of a kind GitHub shows of one step, in which all labs run.
const marksOfAStep = 10

func cmdRun(_ context.Context, args []string) error {
	f := flags("run")
	var labs list
	f.Var(&labs, "lab", "a lab file; several run side by side")
	labels := f.String("labels", "", "which claims: a Ginkgo label filter, e.g. 'apd && !slow'")
	profile := f.String("profile", "", "quick or documented")
	out := f.String("out", "out", "the folder of the runs")
	noFault := f.Bool("no-fault", false, "inject nothing: a control in which nothing may be confirmed")
	allow := f.Bool("allow-outage", false, "allow cutting off the storage of a real lab")
	inTurn := f.Bool("in-turn", false, "one lab after the other, not side by side")
	keep := f.Bool("keep", false, "leave a lab in a box up afterwards")
	if _, err := parse(f, args, 0, 0, "flags only"); err != nil {
		return err
	}
	if len(labs) == 0 {
		return errors.New("no lab was given: say --lab FILE; hack/labs has examples")
	}
	bin, err := suitesBinary()
	if err != nil {
		return err
	}
	outDir, err := filepath.Abs(*out)
	if err != nil {
		return fmt.Errorf("finding the folder of the runs: %w", err)
	}
	var children []*child
	names := map[string]bool{}
	for _, file := range labs {
		l, err := lab.Load(file)
		if err != nil {
			return err
		}
		if names[l.Name] {
			return fmt.Errorf("two lab files have the name %q", l.Name)
		}
		names[l.Name] = true
		id := time.Now().UTC().Format("20060102-150405") + "-" + l.Name
		children = append(children, newChild(bin, l, outDir, id, childFlags{*profile, *allow, *keep}, "--ginkgo.label-filter="+*labels, fmt.Sprintf("--no-fault=%t", *noFault)))
	}
	for _, c := range children {
		c.marks = max(marksOfAStep/len(children), 1)
	}
	if *inTurn {
		interrupted := false
		for _, c := range children {
			if interrupted {
				c.err = errors.New("interrupted before it began")
				continue
			}
			interrupted = runAll([]*child{c})
		}
	} else {
		runAll(children)
	}
	return errors.Join(conclude(children), besideAll(children, outDir))
}

// childFlags are the flags that every run of the suites' binary is given.
type childFlags struct {
	profile     string
	allow, keep bool
}

// newChild makes the run of one lab, whose record goes to outDir/id.
func newChild(bin string, l *lab.File, outDir, id string, f childFlags, more ...string) *child {
	c := &child{lab: l, dir: filepath.Join(outDir, id)}
	args := []string{"--lab=" + l.FilePath(), "--run-id=" + id, "-test.run=^TestSuites$", "-test.timeout=0", "--ginkgo.no-color", "--ginkgo.succinct",
		"--profile=" + f.profile, "--out=" + outDir, fmt.Sprintf("--allow-outage=%t", f.allow), fmt.Sprintf("--keep=%t", f.keep)}
	c.cmd = exec.Command(bin, append(args, more...)...)
	// A process group of its own, so that a signal to the terminal reaches it once, through this process; and the
	// kernel kills it when this process is killed, so that its guard takes over at once.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return c
}

// suitesBinary finds suites.test beside this program.
func suitesBinary() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this program: %w", err)
	}
	bin := filepath.Join(filepath.Dir(exe), "suites.test")
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("the suites' binary is not beside this program (make build makes it): %w", err)
	}
	return bin, nil
}

// runAll runs the children side by side and hands on every signal until they have ended. It tells whether there was one.
func runAll(children []*child) (interrupted bool) {
	sig := make(chan os.Signal, 8)
	signal.Notify(sig, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(sig)
	runtime.LockOSThread() // the children's death signal is tied to the thread that starts them
	var wg sync.WaitGroup
	for i, c := range children {
		if i > 0 && !staggered(sig) {
			c.err = errors.New("interrupted before it began")
			continue
		}
		lines, err := c.begin(len(children) > 1)
		if c.err = err; err != nil {
			continue
		}
		wg.Go(func() {
			copyLines(lines)
			c.err = c.cmd.Wait()
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for {
		select {
		case <-done:
			return interrupted
		case s := <-sig:
			interrupted = true
			for _, c := range children {
				if c.cmd.Process != nil {
					syscall.Kill(-c.cmd.Process.Pid, s.(syscall.Signal))
				}
			}
		}
	}
}

// stagger is the pause between two labs' starts: booting is what keeps this machine's cores busy (some 5 s a guest, measured).
const stagger = 10 * time.Second

// staggered waits that long, and returns false when a signal came instead, which it leaves for the children that run.
func staggered(sig chan os.Signal) bool {
	select {
	case s := <-sig:
		sig <- s
		return false
	case <-time.After(stagger):
		return true
	}
}

// begin starts the child. What Ginkgo prints goes into a file of the run; the lines for people come through file
// descriptor 3: of several children through a pipe, while a single one may have the terminal.
func (c *child) begin(several bool) (io.Reader, error) {
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the run's folder: %w", err)
	}
	log, err := os.Create(filepath.Join(c.dir, "ginkgo.log"))
	if err != nil {
		return nil, fmt.Errorf("making Ginkgo's log: %w", err)
	}
	defer log.Close()
	c.cmd.Stdout, c.cmd.Stderr = log, os.Stderr
	c.cmd.Env = append(os.Environ(), "APD_CONSOLE_FD=3", fmt.Sprintf("APD_MARKS=%d", c.marks))
	if !several && !jsonOut {
		c.cmd.ExtraFiles = []*os.File{os.Stdout}
		return strings.NewReader(""), c.cmd.Start()
	}
	c.cmd.Env = append(c.cmd.Env, "APD_PREFIX="+c.lab.Name)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the pipe for the lines: %w", err)
	}
	defer w.Close()
	c.cmd.ExtraFiles = []*os.File{w}
	return r, c.cmd.Start()
}

// besideAll makes the report of all runs side by side, where they were on the same kind of host and differ in their target.
func besideAll(children []*child, outDir string) error {
	var runs []*record.Record
	targets := map[string]bool{}
	for _, c := range children {
		r, err := record.Read(c.dir)
		if err != nil || len(runs) > 0 && (r.Header.Host != runs[0].Header.Host || r.Header.Profile != runs[0].Header.Profile) {
			return nil // conclude says what is wrong with a run
		}
		runs = append(runs, r)
		targets[targetOf(r)] = true
	}
	if len(targets) < 2 || jsonOut {
		return nil
	}
	fmt.Println()
	return beside(runs, filepath.Join(outDir, filepath.Base(children[0].dir)+"-beside"))
}

var printing sync.Mutex

// copyLines copies whole lines, so that those of several labs do not mix. With --json they go to standard error.
func copyLines(r io.Reader) {
	w := os.Stdout
	if jsonOut {
		w = os.Stderr
	}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		printing.Lock()
		fmt.Fprintln(w, sc.Text())
		printing.Unlock()
	}
	io.Copy(io.Discard, r)
}

// result is one lab's part of apd run --json.
type result struct {
	Lab    string         `json:"lab"`
	Run    string         `json:"run"`
	Exit   int            `json:"exit"`
	Counts reports.Counts `json:"counts"`
	Claims []record.Row   `json:"claims"`
	Error  string         `json:"error,omitempty"`
}

// conclude reads the records and makes the exit code: a refutation weighs more than an undecided claim.
func conclude(children []*child) error {
	worst := 0
	var results []result
	for _, c := range children {
		res := result{Lab: c.lab.Name, Run: c.dir, Exit: exitNotRun}
		rec, err := record.Read(c.dir)
		switch {
		case err == nil:
			res.Exit = reports.ExitCode(rec)
			res.Claims = reports.Rows(rec)
			res.Counts = reports.Count(res.Claims)
		case c.err != nil:
			res.Error = fmt.Sprintf("%v; %s says more", c.err, filepath.Join(c.dir, "ginkgo.log"))
		default:
			res.Error = err.Error()
		}
		if res.Error != "" && !jsonOut {
			fmt.Fprintln(os.Stderr, c.lab.Name+": "+res.Error)
		}
		if worst == 0 || res.Exit == exitRefuted {
			worst = res.Exit
		}
		results = append(results, res)
	}
	if jsonOut {
		printJSON(results)
	} else if len(children) > 1 {
		fmt.Println()
		for _, r := range results {
			fmt.Printf("%-18s %s\n%-18s reports in %s\n", r.Lab, r.Counts, "", r.Run)
		}
	}
	switch worst {
	case 0:
		return nil
	case exitRefuted:
		return errRefuted
	}
	return errNotRun
}
