package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func TestCampaignUsage(t *testing.T) {
	file := labFile(t, boxFile)
	t.Chdir(t.TempDir())
	for args, want := range map[string]string{
		"--lab " + file:                                                          `there is no campaign ""; there is windows.bsod-rate`,
		"--claim windows.bsod":                                                   `there is no campaign "windows.bsod"`,
		"--claim windows.bsod-rate":                                              "no lab was given: say --lab FILE",
		"--claim windows.bsod-rate x.yaml":                                       "takes flags only",
		"--claim windows.bsod-rate --lab /nowhere/x.yaml":                        "the lab file cannot be read",
		"--claim windows.bsod-rate --hold soon --lab " + file:                    `the hold "soon" is no length of time`,
		"--claim windows.bsod-rate --hold 15m,15m --lab " + file:                 "is there twice",
		"--claim windows.bsod-rate --trials -1 --lab " + file:                    "1 to 100000 trials",
		"--claim windows.bsod-rate --confidence 1 --lab " + file:                 "below 1",
		"--claim windows.bsod-rate --limit 2 --lab " + file:                      "between 0 and 1",
		"--claim windows.bsod-rate --assume x,1 --lab " + file:                   `the rate "x" is not between 0 and 1`,
		"--claim windows.bsod-rate --assume 0.5 --lab " + file:                   "a rate for each of the 2 holds",
		"--claim windows.bsod-rate --profile fast --lab " + file:                 `there is no profile "fast"`,
		"--claim windows.bsod-rate --lab " + file:                                "it has no guest of the kind windows",
		"--claim windows.bsod-rate --lab " + writeLab(t, realFile):               "cannot do the campaign windows.bsod-rate: the lab lacks",
		"--claim guest.windows.no-bsod-within-15-minutes --hold 1 --lab " + file: `the hold "1" is no length of time`,
	} {
		t.Run(args, func(t *testing.T) {
			g := NewWithT(t)
			s := apd(t, append([]string{"campaign"}, strings.Fields(args)...)...)
			g.Expect(s.code).To(Equal(2))
			g.Expect(s.err).To(ContainSubstring(want))
			g.Expect("out").NotTo(BeADirectory(), "nothing was begun")
		})
	}
}

// writeLab writes a lab file into a folder of its own.
func writeLab(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lab.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCampaignDryRun(t *testing.T) {
	g := NewWithT(t)
	file := labFile(t, boxFile)
	t.Chdir(t.TempDir())
	s := apd(t, "campaign", "--claim", "windows.bsod-rate", "--lab", file, "--dry-run", "--assume", "0.01,0.3")
	g.Expect(s.code).To(BeZero(), s.err)
	for _, want := range []string{"59 trials each of 15m0s and 20m0s", "W11: 59 trials without a blue screen bound its rate at 4.95 %",
		"if the rates are 1 % at 15 and 30 % at 20 minutes", "all trials take about 46.3 hours", "it has no guest of the kind windows"} {
		g.Expect(s.out).To(ContainSubstring(want))
	}
	g.Expect("out").NotTo(BeADirectory())
	s = apd(t, "campaign", "--claim", "windows.bsod-rate", "--lab", file, "--dry-run", "--trials", "10", "--json")
	g.Expect(s.code).To(BeZero())
	g.Expect(s.out).To(BeEmpty())
	g.Expect(s.err).To(ContainSubstring("with 10 trials it cannot be confirmed"))
}

func TestARealLabNeedsAllowOutage(t *testing.T) {
	g := NewWithT(t)
	l, err := lab.Load(labFile(t, realFile))
	g.Expect(err).NotTo(HaveOccurred())
	c := &claim.Campaign{ID: "c", Holds: []time.Duration{time.Minute}, Rates: make([]claim.Rate, 1)}
	c.In.Name = "x"
	skip := c.Trial(time.Minute).Skip(l.Powers(), l.HostKind())
	g.Expect(skip).To(ContainSubstring("guests"), "a trial rests on guests")
	err = able(c, l, true)
	g.Expect(err).To(MatchError(ContainSubstring(skip)))
	l.Guests = []lab.Role{{Driver: "guest/windows", Name: "win"}}
	c.Guest = "windows"
	g.Expect(able(c, l, false)).To(MatchError(ContainSubstring("say --allow-outage")))
	g.Expect(able(c, l, true)).To(Succeed())
	l.Guests[0].Driver = "guest/linux"
	g.Expect(able(c, l, true)).To(MatchError(ContainSubstring("no guest of the kind windows")))
}

// fakeSuites is what this program does as suites.test: it leaves the record of a trial in which a Windows guest ran on, or, of a hold of
// at least 20 minutes, had a blue screen. How the first trial is done is said in the file "first" beside it.
func fakeSuites(args []string) int {
	f := flag.NewFlagSet("suites", flag.ContinueOnError)
	for _, name := range []string{"lab", "profile", "test.run", "test.timeout", "campaign"} {
		f.String(name, "", "")
	}
	for _, name := range []string{"allow-outage", "keep", "ginkgo.no-color", "ginkgo.succinct"} {
		f.Bool(name, false, "")
	}
	out, id, hold := f.String("out", "", ""), f.String("run-id", "", ""), f.Duration("hold", 0, "")
	if err := f.Parse(args); err != nil {
		return 3
	}
	fmt.Fprintln(os.NewFile(3, "console"), "a line for people")
	dir := filepath.Join(*out, *id)
	record := trialRecord(*hold)
	first := filepath.Join(filepath.Dir(os.Args[0]), "first")
	if how, err := os.ReadFile(first); err == nil {
		os.Remove(first)
		switch string(how) {
		case "no record":
			return 1
		case "not proven":
			record = strings.ReplaceAll(record, `"edge":"active"`, `"edge":"failed","why":"it was not seen"`)
		case "interrupted":
			sig := make(chan os.Signal, 1)
			signal.Notify(sig, syscall.SIGINT)
			os.WriteFile(first+".ready", nil, 0o644)
			<-sig
			record = record[:strings.Index(record, `{"k":"phase","t":9000000`)]
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte(record), 0o644); err != nil {
		return 3
	}
	return 1 // a blue screen is a refuted claim
}

func trialRecord(hold time.Duration) string {
	undo := 2000 + hold.Milliseconds()
	lines := []string{
		`{"k":"run","v":1,"id":"t","lab":"box","lab_kind":"embedded","profile":"documented"}`,
		`{"k":"lane","l":1,"kind":"guest","name":"win","prov":"modelled"}`,
		`{"k":"lane","l":2,"kind":"hypervisor","name":"vm/win","prov":"modelled"}`,
		`{"k":"setting","l":1,"key":"os","value":"windows"}`,
		`{"k":"s","t":1,"l":1,"topic":"boot","s":"one"}`,
		`{"k":"s","t":1,"l":1,"topic":"alive","s":"beating"}`,
		`{"k":"s","t":1,"l":1,"topic":"disk","s":"ok"}`,
		`{"k":"phase","t":2,"name":"scenario","scenario":"bsod-rate","edge":"begin"}`,
		`{"k":"fault","t":1000,"f":"f1","edge":"begin","type":"service-stop"}`,
		`{"k":"fault","t":2000,"f":"f1","edge":"active","type":"service-stop"}`,
		fmt.Sprintf(`{"k":"fault","t":%d,"f":"f1","edge":"undo","type":"service-stop"}`, undo),
		fmt.Sprintf(`{"k":"fault","t":%d,"f":"f1","edge":"end","type":"service-stop"}`, undo+1000),
	}
	if hold >= 20*time.Minute {
		lines = append(lines, fmt.Sprintf(`{"k":"s","t":%d,"l":2,"topic":"screen","s":"blue"}`, undo+2000))
	}
	lines = append(lines, `{"k":"phase","t":9000000,"name":"scenario","scenario":"bsod-rate","edge":"end"}`, `{"k":"end","t":9000001,"why":"done"}`)
	return strings.Join(lines, "\n") + "\n"
}

// fakeTrial returns a trial done by fakeSuites, with how its first one is to go.
func fakeTrial(t *testing.T, first string) *suitesTrial {
	t.Helper()
	g := NewWithT(t)
	l, err := lab.Load(labFile(t, boxFile))
	g.Expect(err).NotTo(HaveOccurred())
	c, err := claim.FindCampaign("windows.bsod-rate")
	g.Expect(err).NotTo(HaveOccurred())
	exe, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	bin := filepath.Join(dir, suitesName)
	g.Expect(os.Symlink(exe, bin)).To(Succeed())
	if first != "" {
		g.Expect(os.WriteFile(filepath.Join(dir, "first"), []byte(first), 0o644)).To(Succeed())
	}
	return &suitesTrial{campaign: c, lab: l, bin: bin, flags: childFlags{profile: "documented"}}
}

func fakePlan(trials int) campaign.Plan {
	return campaign.Plan{Claim: "windows.bsod-rate", Lab: "box", Profile: "documented", Holds: []time.Duration{15 * time.Minute, 20 * time.Minute}, Trials: trials, Confidence: 0.8, Limit: 0.35, Seed: 3}
}

// quiet keeps what the children print away from the test's own lines.
func quiet(t *testing.T) {
	t.Helper()
	old := os.Stdout
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout = null
	t.Cleanup(func() { os.Stdout = old; null.Close() })
}

// TestACampaignOfRuns does every trial with a binary of its own, and comes to verdicts, reports and an exit code.
func TestACampaignOfRuns(t *testing.T) {
	g := NewWithT(t)
	quiet(t)
	dir := t.TempDir()
	trial := fakeTrial(t, "not proven")
	run, err := campaign.Open(dir, fakePlan(4), campaign.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	defer run.Close()
	err = run.Run(t.Context(), trial)
	g.Expect(concludeCampaign(trial.campaign, run, err)).To(Succeed())
	b, err := os.ReadFile(filepath.Join(dir, "campaign.json"))
	g.Expect(err).NotTo(HaveOccurred())
	var r reports.Campaign
	g.Expect(json.Unmarshal(b, &r)).To(Succeed())
	g.Expect(r.Complete).To(BeTrue())
	g.Expect([]int{r.Arms[0].Trials, r.Arms[0].Events, r.Arms[1].Trials, r.Arms[1].Events, r.Arms[0].Void + r.Arms[1].Void}).To(Equal([]int{4, 0, 4, 4, 1}))
	g.Expect(string(r.Provenance)).To(Equal("modelled"))
	for _, v := range r.Verdicts {
		g.Expect(string(v.Outcome)).To(Equal("confirmed"), v.Why)
	}
	for _, d := range r.Arms[1].Records {
		g.Expect(filepath.Join(dir, d, "run.jsonl")).To(BeAnExistingFile())
		g.Expect(filepath.Join(dir, d, "ginkgo.log")).To(BeAnExistingFile())
	}
	g.Expect(filepath.Join(dir, "summary.md")).To(BeAnExistingFile())
}

// TestATrialWithoutARecord is one that could not be done.
func TestATrialWithoutARecord(t *testing.T) {
	g := NewWithT(t)
	quiet(t)
	trial := fakeTrial(t, "no record")
	dir := filepath.Join(t.TempDir(), "0001-15m0s")
	_, err := trial.Trial(t.Context(), 15*time.Minute, dir)
	g.Expect(err).To(MatchError(And(ContainSubstring("reading the record"), ContainSubstring("exit status 1"), ContainSubstring("ginkgo.log says more"))))
}

// TestInterruptedCampaign hands ^C on to the trial, lets it end, and counts it as nothing; the same command goes on.
func TestInterruptedCampaign(t *testing.T) {
	g := NewWithT(t)
	quiet(t)
	dir := t.TempDir()
	trial := fakeTrial(t, "interrupted")
	ctx, stop := signal.NotifyContext(t.Context(), syscall.SIGINT)
	defer stop()
	ready := filepath.Join(filepath.Dir(trial.bin), "first.ready")
	go func() {
		for t.Context().Err() == nil {
			if _, err := os.Stat(ready); err == nil {
				syscall.Kill(os.Getpid(), syscall.SIGINT)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	run, err := campaign.Open(dir, fakePlan(1), campaign.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	err = run.Run(ctx, trial)
	g.Expect(err).To(MatchError(ContainSubstring("the campaign was stopped in trial 1")))
	g.Expect(concludeCampaign(trial.campaign, run, err)).To(MatchError(errNotRun))
	arms := run.State().Arms()
	g.Expect([]int{arms[0].N + arms[1].N, arms[0].Undecided + arms[1].Undecided, arms[0].Discarded + arms[1].Discarded}).To(Equal([]int{0, 0, 1}))
	g.Expect(run.Close()).To(Succeed())
	stop()

	run, err = campaign.Open(dir, fakePlan(1), campaign.Options{})
	g.Expect(err).NotTo(HaveOccurred())
	defer run.Close()
	g.Expect(run.Run(t.Context(), trial)).To(Succeed())
	g.Expect(run.State().Complete()).To(BeTrue())
	g.Expect(concludeCampaign(trial.campaign, run, nil)).To(MatchError(errNotRun), "one trial each decides nothing")
}

// TestAwaitLab waits for a guard that still has the lab, until nobody wants it any more.
func TestAwaitLab(t *testing.T) {
	g := NewWithT(t)
	trial := fakeTrial(t, "")
	lock, err := trial.lab.Lock()
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- trial.awaitLab(ctx) }()
	cancel()
	g.Expect(<-done).To(MatchError(context.Canceled))
	g.Expect(lock.Close()).To(Succeed())
	g.Expect(trial.awaitLab(t.Context())).To(Succeed())
	again, err := trial.lab.Lock()
	g.Expect(err).NotTo(HaveOccurred(), "it does not keep it")
	g.Expect(again.Close()).To(Succeed())
}
