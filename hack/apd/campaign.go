// This file is apd campaign: it does one trial many times, each by the suites' binary in a run of its own, and judges the statements
// about how often something happens on the counts.

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign/stats"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// campaignFlags are what was typed.
type campaignFlags struct {
	holds, assume list
	dryRun        bool
	child         childFlags
}

func cmdCampaign(ctx context.Context, args []string) error {
	f := flags("campaign")
	var in campaignFlags
	id := f.String("claim", "", "which campaign, e.g. windows.bsod-rate")
	file := f.String("lab", "", "the lab file")
	f.Var(&in.holds, "hold", "how long the fault is held, e.g. 15m,20m (default: what the claims speak of)")
	trials := f.Int("trials", 0, "how many trials of each hold (default: what no event in any of them must be for its rate to be below the limit)")
	confidence := f.Float64("confidence", 0.95, "of each one-sided statement")
	limit := f.Float64("limit", 0, "the rate below which an event counts as one that does not come (default: the campaign's own)")
	seed := f.Uint64("seed", 0, "of the trials' order (default: one of its own)")
	out := f.String("out", "", "the campaign's folder (default out/campaigns/CLAIM-LAB); the same one goes on with it")
	f.Var(&in.assume, "assume", "true rates to reckon with, one for each hold, e.g. 0,0.2")
	f.BoolVar(&in.dryRun, "dry-run", false, "say what the plan can decide and how long it takes, and do nothing")
	f.StringVar(&in.child.profile, "profile", "", "quick or documented")
	f.BoolVar(&in.child.allow, "allow-outage", false, "allow cutting off the storage of a real lab")
	f.BoolVar(&in.child.keep, "keep", false, "leave a lab in a box up afterwards")
	if _, err := parse(f, args, 0, 0, "flags only"); err != nil {
		return err
	}
	c, err := claim.FindCampaign(*id)
	if err != nil {
		return err
	}
	if *file == "" {
		return errors.New("no lab was given: say --lab FILE; hack/labs has examples")
	}
	l, err := lab.Load(*file)
	if err != nil {
		return err
	}
	p, err := planOf(c, l, in, campaign.Plan{Trials: *trials, Confidence: *confidence, Limit: *limit, Seed: *seed})
	if err != nil {
		return err
	}
	in.child.profile = p.Profile
	assumed, err := rates(in.assume, len(p.Holds))
	if err != nil {
		return err
	}
	lasts := func(hold time.Duration) time.Duration { return c.Trial(hold).In.Lasts(p.Profile) + around }
	sayPlan(c, l, p, assumed, lasts)
	if in.dryRun {
		if err := able(c, l, true); err != nil {
			sayLine("  but " + err.Error())
		}
		return nil
	}
	if err := able(c, l, in.child.allow); err != nil {
		return err
	}
	dir := *out
	if dir == "" {
		dir = filepath.Join("out", "campaigns", c.ID+"-"+l.Name)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("finding the campaign's folder: %w", err)
	}
	bin, err := suitesBinary()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGHUP) // as its children, which a closed terminal ends, too
	defer stop()
	run, err := campaign.Open(dir, p, campaign.Options{Say: sayLine, Lasts: lasts, Word: c.Event})
	if err != nil {
		return err
	}
	defer run.Close()
	runErr := run.Run(ctx, &suitesTrial{campaign: c, lab: l, bin: bin, flags: in.child})
	return concludeCampaign(c, run, runErr)
}

// around is what a trial takes besides its scenario: a box comes up and goes, guests boot. Measured are 15 to 40 s for a box; the
// estimate is replaced by what the first trials took.
const around = time.Minute

// planOf fills in what was not said.
func planOf(c *claim.Campaign, l *lab.File, in campaignFlags, p campaign.Plan) (campaign.Plan, error) {
	p.Claim, p.Lab, p.Holds = c.ID, l.Name, c.Holds
	var err error
	if p.Profile, err = l.ProfileFor(in.child.profile); err != nil {
		return p, err
	}
	if len(in.holds) > 0 {
		p.Holds = nil
		for _, s := range in.holds {
			d, err := time.ParseDuration(s)
			if err != nil {
				return p, fmt.Errorf("the hold %q is no length of time such as 15m", s)
			}
			p.Holds = append(p.Holds, d)
		}
	}
	if p.Limit == 0 {
		p.Limit = c.Limit
	}
	if p.Trials == 0 && p.Limit > 0 && p.Limit < 1 && p.Confidence > 0 && p.Confidence < 1 {
		p.Trials = stats.ForLimit(p.Limit, p.Confidence)
	}
	return p, p.Check()
}

// rates reads the rates of --assume.
func rates(in []string, holds int) ([]float64, error) {
	var out []float64
	for _, s := range in {
		r, err := strconv.ParseFloat(s, 64)
		if err != nil || !(r >= 0 && r <= 1) {
			return nil, fmt.Errorf("the rate %q is not between 0 and 1", s)
		}
		out = append(out, r)
	}
	if len(out) != 0 && len(out) != holds {
		return nil, fmt.Errorf("--assume takes a rate for each of the %d holds, the shortest first", holds)
	}
	return out, nil
}

// able tells, before weeks go by, why a lab cannot do the campaign.
func able(c *claim.Campaign, l *lab.File, allow bool) error {
	skip := c.Trial(c.Holds[0]).Skip(l.Powers(), l.HostKind())
	if skip == "" && c.Guest != "" && len(l.Powers()[drivers.Power(c.Guest)]) == 0 {
		skip = "it has no guest of the kind " + c.Guest
	}
	if skip != "" {
		return &drivers.Operator{Cause: fmt.Sprintf("the lab %q cannot do the campaign %s: %s", l.Name, c.ID, skip), Impact: "nothing was started", Do: "give a lab that can; apd list LAB says what a lab has"}
	}
	if l.Embedded == nil && !allow {
		return &drivers.Operator{Cause: fmt.Sprintf("the lab %q is a real one", l.Name), Impact: "its storage would be cut off many times; nothing was started",
			Do: "say --allow-outage if that is what you want"}
	}
	return nil
}

// sayPlan says what is going to be done, what it can decide, and how long it takes.
func sayPlan(c *claim.Campaign, l *lab.File, p campaign.Plan, assumed []float64, lasts func(time.Duration) time.Duration) {
	var total time.Duration
	var holds []string
	for _, h := range p.Holds {
		total += time.Duration(p.Trials) * lasts(h)
		holds = append(holds, h.String())
	}
	sayLine(fmt.Sprintf("campaign %s on the lab %s: %d trials each of %s, mixed in blocks", c.ID, l.Name, p.Trials, strings.Join(holds, " and ")))
	for _, r := range c.Rates {
		for _, line := range r.Able(p, assumed) {
			sayLine("  " + line)
		}
	}
	sayLine("  all trials take " + campaign.About(total))
}

// sayLine says something to people: with --json on standard error.
func sayLine(s string) {
	w := os.Stdout
	if jsonOut {
		w = os.Stderr
	}
	printing.Lock()
	defer printing.Unlock()
	fmt.Fprintln(w, s)
}

// suitesTrial does a trial with the suites' binary.
type suitesTrial struct {
	campaign *claim.Campaign
	lab      *lab.File
	bin      string
	flags    childFlags
}

// Trial runs the binary once and judges the record that it leaves.
func (t *suitesTrial) Trial(ctx context.Context, hold time.Duration, dir string) (campaign.Outcome, error) {
	if err := t.awaitLab(ctx); err != nil {
		return campaign.Outcome{}, err
	}
	c := newChild(t.bin, t.lab, filepath.Dir(dir), filepath.Base(dir), t.flags, "--campaign="+t.campaign.ID, "--hold="+hold.String())
	runAll([]*child{c})
	rec, err := record.Read(dir)
	if err != nil {
		return campaign.Outcome{}, fmt.Errorf("%w; %s says more", errors.Join(err, c.err), filepath.Join(dir, "ginkgo.log"))
	}
	return t.campaign.Outcome(rec, hold), nil
}

// labFree is how long a lab may be in use by the guard of a process that died, which has 10 minutes to mend it.
const labFree, labLook = 11 * time.Minute, 2 * time.Second

// awaitLab waits until the lab is free: after a process was killed its guard still mends what the last trial broke.
func (t *suitesTrial) awaitLab(ctx context.Context) error {
	deadline := time.Now().Add(labFree)
	for {
		lock, err := t.lab.Lock()
		if err == nil {
			return lock.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(labLook):
		}
	}
}

// concludeCampaign judges the counts, writes the reports, and makes the exit code.
func concludeCampaign(c *claim.Campaign, run *campaign.Campaign, runErr error) error {
	r := campaignReport(c, run.State())
	files, err := reports.WriteCampaign(r, run.Dir)
	if err != nil {
		return errors.Join(runErr, err)
	}
	if jsonOut {
		printJSON(r)
	} else {
		fmt.Println()
		for _, v := range r.Verdicts {
			fmt.Printf("%-4s %-46s %s\n     %s\n", v.Source.Code, v.Claim, v.Outcome, v.Why)
		}
		fmt.Println("reports: " + strings.Join(files, " "))
	}
	if runErr != nil {
		fmt.Fprintln(os.Stderr, "apd: "+runErr.Error())
	}
	switch code := r.ExitCode(); {
	case code == reports.ExitRefuted:
		return errRefuted
	case code == reports.ExitUndecided || runErr != nil:
		return errNotRun
	}
	return nil
}

// campaignReport puts counts, bounds and verdicts together.
func campaignReport(c *claim.Campaign, s campaign.State) reports.Campaign {
	counts := claim.CountsOf(s)
	p := s.Plan
	r := reports.Campaign{ID: c.ID, Event: c.Event, Lab: p.Lab, Profile: p.Profile, Began: s.Began, Complete: counts.Complete, Seed: p.Seed, Confidence: p.Confidence, Limit: p.Limit}
	var ps []drivers.Provenance
	for _, a := range counts.Arms {
		ps = append(ps, a.Provenances...)
		r.Arms = append(r.Arms, reports.Arm{Hold: a.Hold.Seconds(), Planned: a.Planned, Trials: a.N, Events: a.Events, Undecided: a.Undecided, Void: a.Void, Discarded: a.Discarded,
			Lower: stats.Lower(a.Events, a.N, p.Confidence), Upper: stats.Upper(a.Events, a.N, p.Confidence), Records: a.EventDirs})
	}
	r.Provenance = claim.Weakest(ps...)
	for _, rate := range c.Rates {
		r.Verdicts = append(r.Verdicts, reports.CampaignVerdict{Claim: rate.ID, Title: rate.Title, Source: rate.Source, Verdict: rate.Verdict(counts)})
	}
	return r
}
