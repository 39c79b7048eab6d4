package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// envApd makes this program apd itself.
const envApd = "APD_TEST_MAIN"

// suitesName is what the suites' binary is called; called so, this program is a stand-in for it.
const suitesName = "suites.test"

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == suitesName {
		os.Exit(fakeSuites(os.Args[1:]))
	}
	if dir := os.Getenv(envWriter); dir != "" {
		writeUntilKilled(dir)
	}
	if os.Getenv(envApd) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// said is what a call of apd came to.
type said struct {
	out, err string
	code     int
}

// apd calls the command, with a state folder of the test's own.
func apd(t *testing.T, args ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), envApd+"=1")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return said{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

// labFile writes a lab file and gives the test a state folder of its own.
func labFile(t *testing.T, text string) string {
	t.Helper()
	t.Setenv("APD_STATE_DIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	boxFile  = "name: box\nembedded:\n  host: qemu\n"
	realFile = "name: real\npath:\n  driver: iscsiproxy\n  control: /nowhere/path.sock\nwire:\n  portal: 127.0.0.1:1\n  target: iqn.x:nas\n"
)

func TestUsage(t *testing.T) {
	t.Setenv("APD_STATE_DIR", t.TempDir())
	for _, c := range []struct {
		args string
		code int
		err  string
	}{
		{"help", 0, "apd finds out"},
		{"--help", 0, "apd finds out"},
		{"nonsense", 2, `there is no command "nonsense"`},
		{"lab", 2, `there is no command "lab"`},
		{"lab sideways x.yaml", 2, `there is no command "lab sideways x.yaml"`},
		{"undoo x", 2, `there is no command "undoo x"`},
		{"doctor", 2, "apd doctor takes one lab file, and got []"},
		{"doctor a b", 2, `apd doctor takes one lab file, and got ["a" "b"]`},
		{"undo", 2, "takes one lab file"},
		{"lab status", 2, "apd lab status takes one lab file"},
		{"list a b", 2, "takes one lab file, or none"},
		{"list --bogus", 2, "flag provided but not defined: -bogus"},
		{"run", 2, "no lab was given: say --lab FILE"},
		{"run x.yaml", 2, "takes flags only"},
		{"report", 2, "takes the folder of one run"},
		{"beside one", 2, "apd beside takes the folders of two runs or more"},
		{"contrast one", 2, "apd contrast takes the folders of two runs or more"},
		{"contrast /nowhere/a /nowhere/b", 2, "finding the run"},
		{"report /nowhere/at/all", 2, "finding the run"},
		{"doctor /nowhere/lab.yaml", 2, "the lab file cannot be read"},
		{"lab stall --count many x.yaml", 2, `invalid value "many" for flag -count`},
	} {
		t.Run(c.args, func(t *testing.T) {
			g := NewWithT(t)
			s := apd(t, strings.Fields(c.args)...)
			g.Expect(s.code).To(Equal(c.code), s.err)
			g.Expect(s.err).To(ContainSubstring(c.err))
			g.Expect(s.out).To(BeEmpty())
		})
	}
}

// TestUsageNamesEveryCommand checks that what can be typed is told.
func TestUsageNamesEveryCommand(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "help")
	for _, c := range commands {
		g.Expect(s.err).To(ContainSubstring("apd " + c.name + " " + c.args))
		g.Expect(c.help).NotTo(BeEmpty())
	}
}

// TestCommandInOneWord types the two words of a command as one argument, as with a quote too much.
func TestCommandInOneWord(t *testing.T) {
	g := NewWithT(t)
	g.Expect(func() { _ = dispatch(t.Context(), []string{"lab status"}) }).NotTo(Panic())
}

func TestErrorsInJSON(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, "name: x\nembeded: {}\n")
	s := apd(t, "doctor", file, "--json")
	g.Expect(s.code).To(Equal(2))
	var m map[string]string
	g.Expect(json.Unmarshal([]byte(s.out), &m)).To(Succeed(), s.out)
	g.Expect(m["error"]).To(ContainSubstring(`lab.yaml:2: there is no key "embeded" here; did you mean "embedded"?`))
}

func TestList(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "list", "--json")
	g.Expect(s.code).To(BeZero(), s.err)
	var all []listed
	dec := json.NewDecoder(strings.NewReader(s.out))
	dec.DisallowUnknownFields()
	g.Expect(dec.Decode(&all)).To(Succeed())
	var ids, want []string
	for _, e := range all {
		ids = append(ids, e.ID)
		g.Expect(e.Title).NotTo(BeEmpty(), e.ID)
		g.Expect(e.Scenario).NotTo(BeEmpty(), e.ID)
		g.Expect(e.Source.EN).NotTo(BeEmpty(), e.ID)
		g.Expect(e.Labels).To(ContainElement("claim:"+e.ID), e.ID)
		g.Expect(e.Skip).To(BeEmpty(), "without a lab nothing is skipped")
	}
	for _, c := range claim.All() {
		want = append(want, c.ID)
	}
	g.Expect(ids).To(Equal(want))
	g.Expect(ids).NotTo(BeEmpty())

	text := apd(t, "list")
	g.Expect(text.code).To(BeZero())
	for _, id := range want {
		g.Expect(text.out).To(ContainSubstring(id))
	}
	g.Expect(text.out).To(And(ContainSubstring("campaign windows.bsod-rate"), ContainSubstring("W12  guest.windows.bsod-rate-rises-at-20-minutes")))
}

func TestListForALab(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, realFile)
	s := apd(t, "list", file, "--json")
	g.Expect(s.code).To(BeZero(), s.err)
	var all []listed
	g.Expect(json.Unmarshal([]byte(s.out), &all)).To(Succeed())
	for _, e := range all {
		g.Expect(e.Skip).NotTo(BeEmpty(), "%s: a lab of a path alone judges nothing", e.ID)
	}
	text := apd(t, "list", file)
	g.Expect(text.out).To(ContainSubstring("real skips it: "))
	g.Expect(text.out).NotTo(ContainSubstring("judges it"))
	box := apd(t, "list", labFile(t, boxFile))
	g.Expect(box.out).To(ContainSubstring("box judges it"))
}

func TestDoctor(t *testing.T) {
	g := NewWithT(t)
	bad := apd(t, "doctor", labFile(t, "name: x\nembedded:\n  host: qemu\n  gests: 2\n"))
	g.Expect(bad.code).To(Equal(2))
	g.Expect(bad.err).To(ContainSubstring(`lab.yaml:4: there is no key "gests" here; did you mean "guests"?`))
	g.Expect(bad.err).To(ContainSubstring("mend that line"))

	file := labFile(t, realFile)
	s := apd(t, "doctor", file, "--json")
	g.Expect(s.code).To(Equal(2), "its path cannot be reached")
	var checks []check
	g.Expect(json.Unmarshal([]byte(s.out), &checks)).To(Succeed(), s.out)
	oks := map[string]bool{}
	for _, c := range checks {
		oks[c.What] = c.OK
		g.Expect(c.OK || c.Say != "").To(BeTrue(), c.What)
	}
	g.Expect(oks).To(HaveKeyWithValue("the lab file is right", true))
	g.Expect(oks).To(HaveKeyWithValue("no run left anything undone", true))
	g.Expect(oks).To(HaveKeyWithValue("the lab is free", true))
	g.Expect(oks).To(HaveKeyWithValue("every driver reaches its system", false))
	text := apd(t, "doctor", file)
	g.Expect(text.code).To(Equal(2))
	g.Expect(text.out).To(And(ContainSubstring("ok  the lab is free"), ContainSubstring("BAD every driver reaches its system")))
}

func TestDoctorOfABoxThatIsDown(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "doctor", labFile(t, boxFile))
	g.Expect(s.out).To(ContainSubstring("ok  the box is down; a run brings it up"))
	g.Expect(s.out).NotTo(ContainSubstring("every driver"))
}

// leave makes a journal as a run that died leaves it.
func leave(t *testing.T, file string, us ...drivers.Undo) (journal string) {
	t.Helper()
	l, err := lab.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	path, err := l.JournalPath()
	if err != nil {
		t.Fatal(err)
	}
	j, err := undo.Create(path, undo.Header{Lab: l.Name, LabFile: l.FilePath(), Run: "dead-run"})
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range us {
		if _, err := j.Add(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUndo(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, realFile)
	for _, command := range [][]string{{"undo", file}, {"lab", "restore", file}} {
		s := apd(t, command...)
		g.Expect(s.code).To(BeZero(), s.err)
		g.Expect(s.out).To(Equal("nothing was left to undo\n"))
	}
	s := apd(t, "undo", "--json", file)
	g.Expect(s.code).To(BeZero())
	g.Expect(strings.TrimSpace(s.out)).To(Equal("[]"))

	journal := leave(t, file, drivers.Undo{Driver: "path", Op: "restore"}, drivers.Undo{Driver: "target", Op: "start-service"})
	s = apd(t, "doctor", file)
	g.Expect(s.out).To(And(ContainSubstring("BAD no run left anything undone"), ContainSubstring("apd undo "+file), ContainSubstring("dead-run")))
	s = apd(t, "undo", file)
	g.Expect(s.code).To(Equal(2), "the lab has no target any more")
	g.Expect(s.out).To(And(ContainSubstring("path restore: nothing left"), ContainSubstring("target start-service: ")))
	g.Expect(s.err).To(ContainSubstring("the lab file has no target any more"))
	_, left, err := undo.Pending(journal)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(HaveLen(1))
}

// TestUndoJSONOfAFailure is read by programs: one value, also when something could not be undone.
func TestUndoJSONOfAFailure(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, realFile)
	leave(t, file, drivers.Undo{Driver: "target", Op: "start-service"})
	s := apd(t, "undo", file, "--json")
	g.Expect(s.code).To(Equal(2))
	dec := json.NewDecoder(strings.NewReader(s.out))
	var all []undone
	g.Expect(dec.Decode(&all)).To(Succeed())
	g.Expect(all).To(HaveLen(1))
	g.Expect(all[0].Error).To(ContainSubstring("no target any more"))
	g.Expect(dec.Decode(new(any))).To(MatchError(io.EOF), "one JSON value, not two")
}

func TestUndoOfALabInUse(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, realFile)
	l, err := lab.Load(file)
	g.Expect(err).NotTo(HaveOccurred())
	lock, err := l.Lock()
	g.Expect(err).NotTo(HaveOccurred())
	defer lock.Close()
	s := apd(t, "undo", file)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring(`the lab "real" is in use by another run`))
	g.Expect(apd(t, "doctor", file).out).To(ContainSubstring("BAD the lab is free"))
}

func TestLabStatus(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, boxFile)
	s := apd(t, "lab", "status", file)
	g.Expect(s.code).To(BeZero(), s.err)
	g.Expect(s.out).To(Equal("box is not up\n"))
	s = apd(t, "lab", "status", "--json", file)
	g.Expect(s.out).To(MatchJSON(`{"up": false}`))
	s = apd(t, "lab", "down", file)
	g.Expect(s.code).To(BeZero(), s.err)
	g.Expect(s.out).To(Equal("box is not up\n"))
	for _, command := range [][]string{{"lab", "cut", file}, {"lab", "stall", file}} {
		s = apd(t, command...)
		g.Expect(s.code).To(Equal(2))
		g.Expect(s.err).To(And(ContainSubstring("is not up"), ContainSubstring("apd lab up "+file)))
	}
}

// TestLabIsForBoxes keeps hands off a real lab.
func TestLabIsForBoxes(t *testing.T) {
	file := labFile(t, realFile)
	for _, command := range []string{"up", "down", "cut", "stall"} {
		s := apd(t, "lab", command, file)
		g := NewWithT(t)
		g.Expect(s.code).To(Equal(2), command)
		g.Expect(s.err).To(ContainSubstring("is a real one"), command)
	}
}

func TestLabUpOfAnUnknownProfile(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "lab", "up", labFile(t, boxFile), "--profile", "fast")
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring(`there is no profile "fast"`))
}

// TestLabDownClosesTheJournal takes a box down whose undo cannot be done: it goes with the box.
func TestLabDownClosesTheJournal(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, boxFile)
	journal := leave(t, file, drivers.Undo{Driver: "cluster", Op: "none"})
	s := apd(t, "lab", "down", file)
	g.Expect(s.code).To(BeZero(), s.err)
	_, left, err := undo.Pending(journal)
	g.Expect(err).To(Or(Succeed(), MatchError(os.ErrNotExist)))
	g.Expect(left).To(BeEmpty())
}

// TestReportOfACutRecord builds the reports of a run that died in the middle of a line.
func TestReportOfACutRecord(t *testing.T) {
	g := NewWithT(t)
	dir := filepath.Join(t.TempDir(), "run")
	w, err := record.Create(dir, drivers.Clock{Zero: time.Now()}, record.Header{ID: "r1", Lab: "box", LabKind: drivers.Embedded, Profile: "quick"})
	g.Expect(err).NotTo(HaveOccurred())
	for i := range 3 {
		id := fmt.Sprintf("claim.%d", i)
		w.Plan(record.Plan{Claim: id, Title: "Claim " + id, Scenario: "one", Source: record.Source{Doc: "S1", Code: "E1", EN: "words"}})
	}
	w.Judge(record.Judged{Claim: "claim.0", Verdict: record.Verdict{Outcome: record.Confirmed, Why: "it holds", Provenance: drivers.Embedded}})
	w.Phase("one", "scenario", record.EdgeBegin, "")
	file := filepath.Join(dir, "run.jsonl")
	b, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	cut := b[:len(b)-7]
	g.Expect(os.WriteFile(file, cut, 0o600)).To(Succeed())
	link := filepath.Join(filepath.Dir(dir), "latest")
	g.Expect(os.Symlink(dir, link)).To(Succeed())

	s := apd(t, "report", link)
	g.Expect(s.code).To(Equal(2), s.err)
	g.Expect(s.out).To(ContainSubstring("claim.0"))
	x, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	g.Expect(err).NotTo(HaveOccurred())
	for dec := xml.NewDecoder(bytes.NewReader(x)); ; {
		if _, err := dec.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		g.Expect(string(x)).To(ContainSubstring(fmt.Sprintf("claim.%d", i)))
	}
	md, err := os.ReadFile(filepath.Join(dir, "summary.md"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(md)).To(ContainSubstring("cut off"))
	g.Expect(os.ReadFile(file)).To(Equal(cut), "the record is evidence: nobody mends it")

	s = apd(t, "report", "--json", dir)
	g.Expect(s.code).To(Equal(2))
	var out struct {
		Run    string
		Files  []string
		Claims []map[string]any
		Exit   int
	}
	g.Expect(json.Unmarshal([]byte(s.out), &out)).To(Succeed(), s.out)
	g.Expect(out.Run).To(Equal("r1"))
	g.Expect(out.Exit).To(Equal(2))
	g.Expect(out.Claims).To(HaveLen(3))
	for _, f := range out.Files {
		g.Expect(f).To(BeAnExistingFile())
	}

	g.Expect(string(x)).To(ContainSubstring(` log="run.jsonl"`))
	s = apd(t, "report", dir, "--junit", "dtkit4")
	g.Expect(s.code).To(Equal(2))
	x, err = os.ReadFile(filepath.Join(dir, "junit.xml"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(x)).NotTo(ContainSubstring(` log="run.jsonl"`), "dtkit's schema does not know it")
	s = apd(t, "report", dir, "--junit", "junit5")
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("[jenkins10 dtkit4]"))
}

func TestReportOfNoRecord(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	s := apd(t, "report", dir)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("reading the record"))
	g.Expect(os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte("{\"k\":\"run\""), 0o600)).To(Succeed())
	s = apd(t, "report", dir)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("not a record"))
	g.Expect(filepath.Join(dir, "junit.xml")).NotTo(BeAnExistingFile())
}

func TestRunWithoutItsSuites(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, boxFile)
	if _, err := suitesBinary(); err == nil {
		t.Skip("the suites' binary is beside this program: something would run")
	}
	s := apd(t, "run", "--lab", file)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("the suites' binary is not beside this program"))
}

func TestConclude(t *testing.T) {
	g := NewWithT(t)
	root := t.TempDir()
	make := func(name, end string, o record.Outcome) *child {
		t.Helper()
		dir := filepath.Join(root, name)
		w, err := record.Create(dir, drivers.Clock{Zero: time.Now()}, record.Header{ID: name, Lab: name})
		g.Expect(err).NotTo(HaveOccurred())
		w.Plan(record.Plan{Claim: "c"})
		w.Judge(record.Judged{Claim: "c", Verdict: record.Verdict{Outcome: o, Provenance: drivers.Embedded}})
		g.Expect(w.Close(end)).To(Succeed())
		return &child{lab: &lab.File{Name: name}, dir: dir}
	}
	good, refuted, open := make("good", "done", record.Confirmed), make("refuted", "done", record.Refuted), make("open", "done", record.Inconclusive)
	none := &child{lab: &lab.File{Name: "none"}, dir: filepath.Join(root, "none"), err: errors.New("it did not start")}
	g.Expect(conclude([]*child{good})).To(Succeed())
	g.Expect(conclude([]*child{good, open})).To(MatchError(errNotRun))
	g.Expect(conclude([]*child{none, good})).To(MatchError(errNotRun))
	g.Expect(conclude([]*child{open, refuted, good})).To(MatchError(errRefuted), "a refutation weighs more")
	g.Expect(conclude([]*child{refuted, none})).To(MatchError(errRefuted))
}
