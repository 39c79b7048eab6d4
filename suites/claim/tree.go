// This file makes a Ginkgo tree of the registry: one ordered container a scenario, one It a claim. The scenario runs
// before its first It and never fails or skips there: each It decides for itself what the record says.

package claim

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/embedded"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
	"github.com/allpathsdown/allpathsdown/reports"
)

// The flags of a suite's binary, after "--" when Ginkgo's own command starts it.
var (
	flagLab     = flag.String("lab", "", "the lab file")
	flagProfile = flag.String("profile", "", "quick (default) or documented")
	flagOut     = flag.String("out", "", "the folder of the runs, default out/ in the project")
	flagID      = flag.String("run-id", "", "the run's name, default made from the time")
	flagNoFault = flag.Bool("no-fault", false, "inject nothing: a control in which nothing may be confirmed")
	flagKeep    = flag.Bool("keep", false, "leave a lab in a box up afterwards")
	flagAllow   = flag.Bool("allow-outage", false, "allow cutting off the storage of a real lab")

	flagCampaign = flag.String("campaign", "", "do one trial of this campaign instead of judging claims")
	flagHold     = flag.Duration("hold", 0, "how long the trial's fault is held")
)

// undoGrace bounds the end of a run: undoing, taking a box down.
const undoGrace = 3 * time.Minute

// Suite is what a suite's test calls before RunSpecs, which it hands the two configurations: it makes the tree of every
// registered claim for the lab of --lab. It is also where this program becomes a guard or a supervisor when it was started
// as one. Without a lab the test is skipped under go test, and fails under Ginkgo's command.
func Suite(t *testing.T) (types.SuiteConfig, types.ReporterConfig) {
	undo.RunGuardIfAsked(lab.OpenForUndo)
	embedded.RunSupervisorIfAsked()
	suiteConf, reporterConf := ginkgo.GinkgoConfiguration()
	if *flagLab == "" {
		if ginkgoCommand() {
			t.Fatal("no lab was given: say -- --lab=FILE; hack/labs has examples")
		}
		t.Skip("no lab was given (--lab=FILE): nothing is broken, nothing is judged")
	}
	dieWithParent()
	if suiteConf.Timeout <= time.Hour { // the default, after which Ginkgo would end a 20-minute outage's suite
		suiteConf.Timeout = 24 * time.Hour
	}
	suiteConf.GracePeriod = max(suiteConf.GracePeriod, undoGrace)
	suiteConf.FailFast = false
	suiteConf.RandomizeAllSpecs = false // the last scenario checks what all before it wrote
	gomega.RegisterFailHandler(ginkgo.Fail)
	r, err := newRunner(suiteConf)
	if err != nil {
		t.Fatal(err)
	}
	r.tree()
	return suiteConf, reporterConf
}

// ginkgoCommand tells whether Ginkgo's own command started this binary: it always passes a seed.
func ginkgoCommand() bool {
	for _, a := range os.Args[1:] {
		if strings.HasPrefix(strings.TrimLeft(a, "-"), "ginkgo.") {
			return true
		}
	}
	return false
}

// dieWithParent has the kernel kill this process when the one that started it dies: Ginkgo's command does not hand its
// signals on, and a killed one must not leave a run without anybody to end it. SIGKILL, for the guard mends the lab then;
// a gentler signal would come once for each thread of the parent, and Ginkgo takes the third for "exit at once".
func dieWithParent() {
	const prSetPdeathsig = 1 // prctl(2)
	syscall.RawSyscall(syscall.SYS_PRCTL, prSetPdeathsig, uintptr(syscall.SIGKILL), 0)
}

// runner is one run of the tree.
type runner struct {
	file       *lab.File
	claims     []*Claim
	profile    string
	opts       scenario.Options
	deviations []record.Deviation
	skips      map[string]string
	console    *reports.Console
	root       string

	once    sync.Once
	session *scenario.Session
	err     error // why the session could not begin
	judged  int
}

func newRunner(conf types.SuiteConfig) (*runner, error) {
	root := projectRoot()
	*flagLab = findLab(*flagLab, root)
	f, err := lab.Load(*flagLab)
	if err != nil {
		return nil, err
	}
	r := &runner{file: f, skips: map[string]string{}, root: root}
	if r.profile, err = f.ProfileFor(*flagProfile); err != nil {
		return nil, err
	}
	if r.deviations, err = f.Deviations(); err != nil {
		return nil, err
	}
	if r.claims, err = chosen(*flagCampaign, *flagHold); err != nil {
		return nil, err
	}
	match, err := types.ParseLabelFilter(conf.LabelFilter)
	if err != nil {
		return nil, fmt.Errorf("the label filter: %w", err)
	}
	out := *flagOut
	if out == "" {
		out = filepath.Join(r.root, "out")
	}
	id := *flagID
	if id == "" {
		id = time.Now().UTC().Format("20060102-150405") + "-" + f.Name
	}
	r.console = newConsole()
	r.opts = scenario.Options{LabFile: *flagLab, Profile: r.profile, OutDir: out, ID: id, Filter: conf.LabelFilter, NoFault: *flagNoFault,
		Keep: *flagKeep, Allow: *flagAllow, Say: r.console.Say, Console: r.console}
	powers, host := f.Powers(), f.HostKind()
	for _, c := range r.claims {
		if !match(c.LabelsFor(r.profile)) {
			continue
		}
		skip := c.Skip(powers, host)
		r.skips[c.ID] = skip
		r.opts.Plan = append(r.opts.Plan, c.Plan(r.profile, skip))
	}
	if len(conf.FocusStrings)+len(conf.SkipStrings)+len(conf.FocusFiles)+len(conf.SkipFiles) > 0 {
		return nil, errors.New("claims are chosen with --label-filter (each has the label claim:ID), not with --focus or --skip: the plan in the record must say what will be judged")
	}
	return r, nil
}

// chosen are the claims of a run: all, or the one of a campaign's trial.
func chosen(id string, hold time.Duration) ([]*Claim, error) {
	if id == "" {
		if hold != 0 {
			return nil, errors.New("--hold is for a campaign's trial: say which, with --campaign")
		}
		return All(), nil
	}
	c, err := FindCampaign(id)
	if err != nil {
		return nil, err
	}
	if hold < time.Second {
		return nil, fmt.Errorf("a trial of %s needs --hold of at least a second", id)
	}
	return []*Claim{c.Trial(hold)}, nil
}

// findLab finds a lab file that was named relative to the folder in which a command was typed: Ginkgo's command runs the
// suite in the suite's own folder.
func findLab(path, root string) string {
	if filepath.IsAbs(path) {
		return path
	}
	for _, dir := range []string{".", os.Getenv("PWD"), root} {
		if p := filepath.Join(dir, path); dir != "" {
			if _, err := os.Stat(p); err == nil {
				return p
			}
		}
	}
	return path
}

// projectRoot is the folder with go.mod above the working directory, or the working directory.
func projectRoot() string {
	wd, err := os.Getwd()
	if err != nil {
		return "."
	}
	for dir := wd; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			return wd
		}
	}
}

// tree registers the containers. It is called before RunSpecs, once the flags are known.
func (r *runner) tree() {
	var byScenario [][]*Claim
	for _, c := range r.claims {
		if n := len(byScenario); n > 0 && byScenario[n-1][0].In.Name == c.In.Name {
			byScenario[n-1] = append(byScenario[n-1], c)
			continue
		}
		byScenario = append(byScenario, []*Claim{c})
	}
	// The order of the scenarios matters. Ginkgo shuffles the outermost containers, so there is one around all; those in it
	// it sorts by their place in the source, so each is given one.
	ginkgo.Describe(r.file.Name, ginkgo.Serial, func() {
		for i, claims := range byScenario {
			r.container(claims, types.CodeLocation{FileName: "fixtures/scenario/catalogue.go", LineNumber: i + 1})
		}
	})
	ginkgo.AfterSuite(func(ctx ginkgo.SpecContext) { r.end(ctx) }, ginkgo.NodeTimeout(undoGrace))
	ginkgo.ReportAfterSuite("reports", func(report ginkgo.Report) {
		if !report.SuiteConfig.DryRun {
			r.report(report)
		}
	})
}

func (r *runner) container(claims []*Claim, at types.CodeLocation) {
	spec := claims[0].In
	ginkgo.Describe(spec.Title, at, ginkgo.Ordered, ginkgo.ContinueOnFailure, func() {
		ginkgo.BeforeAll(func(ctx ginkgo.SpecContext) { r.run(ctx, spec) })
		for _, c := range claims {
			ginkgo.It(c.Title+" ["+c.ID+"]", ginkgo.Label(c.LabelsFor(r.profile)...), c.at, func(ctx ginkgo.SpecContext) { r.judge(c) })
		}
	})
}

// run begins the session, once, and runs the scenario when the plan has a claim in it that is not skipped.
func (r *runner) run(ctx context.Context, spec scenario.Spec) {
	wanted := slices.ContainsFunc(r.opts.Plan, func(p record.Plan) bool { return p.Scenario == spec.Name && p.Skip == "" })
	if !wanted {
		return
	}
	r.once.Do(func() {
		if r.session, r.err = scenario.Begin(ctx, r.opts); r.err != nil {
			r.console.Say("could not run: " + r.err.Error())
		}
	})
	if r.err != nil || ctx.Err() != nil {
		return
	}
	if err := r.session.Run(ctx, spec); err != nil {
		r.console.Say(fmt.Sprintf("scenario %s: %v", spec.Name, err))
	}
}

// judge judges a claim on the record so far, notes the verdict in it, and tells Ginkgo.
func (r *runner) judge(c *Claim) {
	ginkgo.GinkgoHelper()
	if skip := r.skips[c.ID]; skip != "" {
		ginkgo.Skip(skip)
	}
	if r.err != nil {
		ginkgo.Fail("inconclusive: could not run: " + r.err.Error())
	}
	r.session.Record.Sync()
	rec, err := record.Read(r.session.Dir)
	if err != nil {
		ginkgo.Fail("inconclusive: " + err.Error())
	}
	v := c.Verdict(rec)
	j := record.Judged{Claim: c.ID, Lab: r.file.Name, Verdict: v, Known: r.known(c.ID)}
	r.session.Record.Judge(j)
	r.judged++
	ginkgo.AddReportEntry("verdict", string(v.Outcome), ginkgo.ReportEntryVisibilityFailureOrVerbose)
	switch {
	case v.Outcome == record.NotApplicable:
		ginkgo.Skip(v.Why)
	case v.Outcome == record.Refuted && j.Known != nil:
		ginkgo.AddReportEntry("known deviation", j.Known.Reason, ginkgo.ReportEntryVisibilityAlways)
	case v.Outcome != record.Confirmed:
		ginkgo.Fail(string(v.Outcome) + ": " + v.Why)
	}
}

// known returns the listed deviation of a claim that has not expired.
func (r *runner) known(id string) *record.Deviation {
	for i, d := range r.deviations {
		if d.Claim == id && !lab.Expired(d, time.Now()) {
			return &r.deviations[i]
		}
	}
	return nil
}

// end ends the session; what is undone here is undone whether or not ctx still lives.
func (r *runner) end(ctx context.Context) {
	if r.session == nil {
		return
	}
	why := "done"
	if ctx.Err() != nil || r.interrupted() {
		why = "interrupted"
	}
	ectx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoGrace)
	defer cancel()
	if err := r.session.End(ectx, why); err != nil {
		r.console.Say("ending the run: " + err.Error())
		ginkgo.Fail("the run did not end well: " + err.Error())
	}
}

// interrupted tells whether some planned claim was never judged.
func (r *runner) interrupted() bool {
	want := 0
	for _, p := range r.opts.Plan {
		if p.Skip == "" {
			want++
		}
	}
	return r.judged < want
}

// report makes the reports from the record. Where the run did not get as far as a record, it writes one that says so.
func (r *runner) report(report ginkgo.Report) {
	if len(r.opts.Plan) == 0 || (r.session == nil && r.err == nil && !r.allSkipped()) {
		r.console.Say("no claim was selected")
		return
	}
	dir := filepath.Join(r.opts.OutDir, r.opts.ID)
	if r.session == nil {
		if err := r.emptyRecord(dir); err != nil {
			r.console.Say(err.Error())
			return
		}
	}
	rec, err := record.Read(dir)
	if err != nil {
		r.console.Say("no reports: " + err.Error())
		return
	}
	files, err := reports.Write(rec, dir, reports.Options{Root: r.root, Dir: dir, Previous: record.Before(dir, rec.Header)})
	if err != nil {
		r.console.Say("the reports could not be written: " + err.Error())
	}
	latest := filepath.Join(r.opts.OutDir, "latest")
	tmp := latest + "." + r.opts.ID
	if err := errors.Join(os.Symlink(r.opts.ID, tmp), os.Rename(tmp, latest)); err != nil {
		r.console.Say("out/latest could not be set: " + err.Error())
	}
	rows := reports.Rows(rec)
	if r.session != nil { // otherwise there is one cause for all, which was said
		fmt.Println() // Ginkgo's row of dots has no end
		r.console.Table(rows)
	}
	r.console.Done(reports.Count(rows), files...)
}

func (r *runner) allSkipped() bool {
	return !slices.ContainsFunc(r.opts.Plan, func(p record.Plan) bool { return p.Skip == "" })
}

// emptyRecord is the record of a run that could not begin.
func (r *runner) emptyRecord(dir string) error {
	kind := drivers.Real
	if r.file.Embedded != nil {
		kind = drivers.Embedded
	}
	os.Remove(filepath.Join(dir, "run.jsonl"))
	clock := drivers.Clock{Zero: time.Now()}
	w, err := record.Create(dir, clock, record.Header{ID: r.opts.ID, T0: clock.Zero.UTC(), Lab: r.file.Name, LabKind: kind, LabFile: filepath.Base(*flagLab),
		Host: r.file.HostKind(), Profile: r.profile, Filter: r.opts.Filter})
	if err != nil {
		return err
	}
	for _, p := range r.opts.Plan {
		w.Plan(p)
	}
	why := "done"
	if r.err != nil {
		why = "could not run: " + r.err.Error()
	}
	return w.Close(why)
}
