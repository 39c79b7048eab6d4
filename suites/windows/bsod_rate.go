// Claims W11 and W12: how often a blue screen comes, by the counts of a campaign.

package windows

import (
	"fmt"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign/stats"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// Claims W11 and W12: how often a blue screen comes after an outage of 15 and of about 20 minutes.
var _ = claim.RegisterCampaign(claim.Campaign{
	ID: "windows.bsod-rate", Event: "blue screen", Title: "No blue screen after an outage", Guest: "windows",
	In: scenario.Spec{Name: "bsod-rate", Title: "The target's service stops once",
		Fault: drivers.ServiceStop, Watch: watch},
	Holds: []time.Duration{15 * time.Minute, 20 * time.Minute}, Limit: 0.05,
	Judge: trial,
	Rates: []claim.Rate{{
		ID: "guest.windows.no-bsod-within-15-minutes", Title: "Recovery within 15 minutes: there was no blue screen",
		Source: record.Source{Doc: "S1", Code: "W11", JA: "15分以内での回復だとブルスクはなかったです",
			EN: "With recovery within 15 minutes there was no blue screen.",
			Note: "confirmed by none in all trials of the plan, when so many bound its rate below the campaign's limit; refuted by one blue screen that was seen in a trial whose storage was back in time, " +
				"which says that there is one, and nothing of its rate but the bounds; the limit is this project's, for the document names none"},
		Judge: noneWithin15, Able: ableNone,
	}, {
		ID: "guest.windows.bsod-rate-rises-at-20-minutes", Title: "At about 20 minutes the rate of blue screens goes up",
		Source: record.Source{Doc: "S1", Code: "W12", JA: "20分ほどiSCSIが切断されるとブルスク率は上がる模様",
			EN: "When iSCSI is cut for about 20 minutes the rate of blue screens seems to go up.",
			Note: "confirmed by Fisher's exact test, one-sided, against the trials of 15 minutes; refuted when the same test says that the rate goes down, or when so few came at 20 minutes " +
				"that their rate is shown to be below the limit for what does not come; a rate that is only not shown to be higher decides nothing"},
		Judge: higherAt20, Able: ableRise,
	}},
})

const (
	// watch is for how long a guest is watched at the least after its storage is back. The document's blue screen comes "right after"
	// (直後); the number is this project's.
	watch = 5 * time.Minute
	// late is by how much an outage may be longer than its hold, for the target to take its service down and up again: the fault is
	// proven within 15 s and its end within 60 s, and the two arms are 300 s apart.
	late = 90 * time.Second

	at15, about20 = 15 * time.Minute, 25 * time.Minute // what counts as "within 15" and, above that, as "about 20" minutes
)

// trial judges one outage: refuted by a blue screen of a Windows guest after it began, confirmed when every one of them runs on in the
// boot from before and is well when it was watched long enough.
func trial(run record.Run, hold time.Duration) record.Verdict {
	f := run.Fault()
	away := record.From(claim.Cut(f)).To(f.End)
	if away.Lo < hold.Seconds()-1 || away.Hi > (hold+late).Seconds() {
		return claim.Unsure(fmt.Sprintf("the storage was away for %.0f to %.0f s, which is no trial of %s", away.Lo, away.Hi, hold), f.Begin, f.End)
	}
	var vs []record.Verdict
	for _, g := range run.Guests() {
		if kind, _ := run.Setting(g, "os"); kind != "windows" {
			continue
		}
		v := blueScreen(run, f, g)
		v.Why = "guest " + g.Name + ": " + v.Why
		vs = append(vs, v)
	}
	if len(vs) == 0 {
		return claim.Unsure("the record has no Windows guest")
	}
	return claim.Join(vs...)
}

// blueScreen judges one guest.
func blueScreen(run record.Run, f record.Fault, g drivers.Lane) record.Verdict {
	before, since := run.Before(f.Begin), run.After(f.Begin)
	for _, vm := range claim.MachinesOf(run, g) {
		if s, ok := before.Last(vm, "screen"); ok && s.Value == "blue" {
			return claim.Unsure("its console was blue before the fault", s.Since)
		}
		if m, was := since.Ever(vm, "screen", "blue"); was {
			return claim.Refute("a blue screen is on its console", m)
		}
	}
	same := claim.SameBoot(run, g)
	if m, was := newBugcheck(before, since, g); was {
		if same.Outcome != record.Refuted {
			return claim.Unsure("it logged a bug check, and nobody saw it boot", m)
		}
		return claim.Refute("it logged "+m.What+" "+m.Attrs["name"], m)
	}
	switch last, seen := run.Last(g, "alive"); {
	case same.Outcome == record.Refuted:
		same.Outcome, same.Why = record.Inconclusive, "it was rebooted, and nobody saw a blue screen"
		return same
	case same.Outcome != record.Confirmed:
		return same
	case !seen || last.Value != "beating":
		return claim.Unsure("it was neither blue nor alive in the end")
	}
	if disk, ok := run.Last(g, "disk"); !ok || disk.Value != "ok" {
		return claim.Unsure("its disk was not well in the end")
	}
	if watched := time.Duration(run.To-f.End.Hi) * time.Millisecond; watched < watch {
		return claim.Unsure(fmt.Sprintf("it was watched for %s after its storage was back, and what comes may take longer", watched.Round(time.Second)), f.End)
	}
	same.Why = "it ran on, and is well"
	return same
}

// newBugcheck returns the first bug check in a guest's log that was not in it before the fault: a log that is read anew after a boot
// has the old ones, too.
func newBugcheck(before, since record.Run, g drivers.Lane) (record.Moment, bool) {
	old := map[string]bool{}
	for _, m := range before.Events(g, "bugcheck", "") {
		old[m.What+m.Attrs["logged"]] = true
	}
	for _, m := range since.Events(g, "bugcheck", "") {
		if !old[m.What+m.Attrs["logged"]] {
			return m, true
		}
	}
	return record.Moment{}, false
}

// noneWithin15 judges W11.
func noneWithin15(c claim.Counts) record.Verdict {
	a, ok := c.Arm(0, at15)
	if !ok {
		return claim.Unsure("the campaign has no hold of at most 15 minutes")
	}
	conf, limit := c.Plan.Confidence, c.Plan.Limit
	upper := stats.Upper(a.Events, a.N, conf)
	v := record.Verdict{Outcome: record.Inconclusive, N: a.N, Measured: &record.Interval{Lo: 100 * stats.Lower(a.Events, a.N, conf), Hi: 100 * upper}, Unit: "% of trials",
		Window: new(claim.AtMost(100*limit, fmt.Sprintf("the campaign's limit, at a confidence of %s", percent(conf))))}
	counted := fmt.Sprintf("%d of %d trials of %s%s had a blue screen", a.Events, a.N, a.Hold, soFar(a))
	bound := fmt.Sprintf("with a confidence of %s its rate is at most %s", percent(conf), percent(upper))
	worst := stats.Upper(a.Undecided, a.N+a.Undecided, conf)
	switch {
	case a.Events > 0: // one that was seen is enough, however many trials there were: it does not take all of them to know that there is one
		v.Outcome = record.Refuted
		v.Measured, v.Unit = &record.Interval{Lo: float64(a.Events), Hi: float64(a.Events)}, "blue screens"
		v.Window = new(claim.AtMost(0, "there was none"))
		v.Why = fmt.Sprintf("%s: that there is none is refuted, and no more than that; with a confidence of %s each its rate is at least %s and at most %s", counted, percent(conf),
			percent(stats.Lower(a.Events, a.N, conf)), percent(upper))
	case !complete(a):
		v.Why = fmt.Sprintf("%s, and %d were planned: where a campaign ends is not for its counts to say", counted, a.Planned)
	case upper >= limit:
		v.Why = fmt.Sprintf("%s: %s, and it takes %d without one for a rate below %s", counted, bound, stats.ForLimit(limit, conf), percent(limit))
	case worst >= limit:
		v.Why = fmt.Sprintf("%s: %s; but %d more ended with nobody having seen what became of the guest, and had each of them been one it would be %s", counted, bound, a.Undecided, percent(worst))
	default:
		v.Outcome, v.Why = record.Confirmed, counted+": "+bound+", which is not to say that it never comes"
	}
	return v
}

func complete(a campaign.Arm) bool { return a.N >= a.Planned }

func soFar(a campaign.Arm) string {
	if complete(a) {
		return ""
	}
	return " so far"
}

// higherAt20 judges W12.
func higherAt20(c claim.Counts) record.Verdict {
	a, okA := c.Arm(0, at15)
	b, okB := c.Arm(at15, about20)
	if !okA || !okB {
		return claim.Unsure("the campaign needs a hold of at most 15 minutes and one of more, of at most 25")
	}
	conf, limit := c.Plan.Confidence, c.Plan.Limit
	alpha := 1 - conf
	rise, fall := stats.Rise(a.Events, a.N, b.Events, b.N), stats.Rise(b.Events, b.N, a.Events, a.N)
	// The same where every trial whose end nobody saw had come out against it.
	riseWorst := stats.Rise(a.Events+a.Undecided, a.N+a.Undecided, b.Events, b.N+b.Undecided)
	fallWorst := stats.Rise(b.Events+b.Undecided, b.N+b.Undecided, a.Events, a.N+a.Undecided)
	upper := stats.Upper(b.Events+b.Undecided, b.N+b.Undecided, conf)

	v := record.Verdict{Outcome: record.Inconclusive, N: a.N + b.N, Measured: &record.Interval{Lo: rise, Hi: rise}, Unit: "p",
		Window: new(claim.AtMost(alpha, fmt.Sprintf("Fisher's exact test, one-sided, at a confidence of %s", percent(conf))))}
	counted := fmt.Sprintf("%d of %d trials of %s had a blue screen, and %d of %d of %s", b.Events, b.N, b.Hold, a.Events, a.N, a.Hold)
	switch {
	case !complete(a) || !complete(b):
		v.Why = fmt.Sprintf("%s, and %d each were planned: where a campaign ends is not for its counts to say", counted, a.Planned)
	case rise <= alpha+rounding && riseWorst <= alpha+rounding:
		v.Outcome, v.Why = record.Confirmed, fmt.Sprintf("%s: were the rates one, so much would come by chance with p = %.2g", counted, rise)
	case rise <= alpha+rounding:
		v.Why = fmt.Sprintf("%s, p = %.2g; but %d more ended with nobody having seen what became of the guest, and had each of them come out against it p would be %.2g",
			counted, rise, a.Undecided+b.Undecided, riseWorst)
	case fallWorst <= alpha+rounding:
		v.Outcome, v.Why = record.Refuted, fmt.Sprintf("%s: the rate goes down, p = %.2g the other way", counted, fall)
	case upper < limit:
		v.Outcome, v.Unit, v.Measured = record.Refuted, "% of trials", &record.Interval{Lo: 100 * stats.Lower(b.Events, b.N, conf), Hi: 100 * upper}
		v.Window = new(claim.AtLeast(100*limit, fmt.Sprintf("the campaign's limit for what does not come, at a confidence of %s", percent(conf))))
		v.Why = fmt.Sprintf("%s: at %s, too, its rate is at most %s", counted, b.Hold, percent(upper))
	default:
		v.Why = fmt.Sprintf("%s: were the rates one, so much would come by chance with p = %.2g, which does not say that they are one", counted, rise)
	}
	return v
}

// rounding is what a p-value may be off by in its last digits: 0.05 itself is not above 0.05.
const rounding = 1e-12

// ableNone says what the plan can decide of W11.
func ableNone(p campaign.Plan, _ []float64) []string {
	need := stats.ForLimit(p.Limit, p.Confidence)
	lines := []string{fmt.Sprintf("W11: %d trials without a blue screen bound its rate at %s (confidence %s); below the limit of %s it takes %d, and one that is seen refutes it",
		p.Trials, percent(stats.Upper(0, p.Trials, p.Confidence)), percent(p.Confidence), percent(p.Limit), need)}
	if p.Trials < need {
		lines = append(lines, fmt.Sprintf("W11: with %d trials it cannot be confirmed", p.Trials))
	}
	return lines
}

// mostNeeded bounds the search for how many trials it takes: more than that nobody does, and reckoning takes seconds there.
const mostNeeded = 300

// ableRise says what the plan can decide of W12.
func ableRise(p campaign.Plan, assumed []float64) []string {
	pairs := [][2]float64{{0, 0.1}, {0, 0.2}, {0, 0.4}}
	if len(assumed) == 2 {
		pairs = [][2]float64{{assumed[0], assumed[1]}}
	}
	var lines []string
	for _, r := range pairs {
		lines = append(lines, fmt.Sprintf("W12: if the rates are %s at 15 and %s at 20 minutes, %d trials each find that it goes up with a chance of %s; a chance of 80 %% takes %s",
			percent(r[0]), percent(r[1]), p.Trials, chance(stats.Power(r[0], r[1], p.Trials, 1-p.Confidence)), trialsFor(r, 1-p.Confidence)))
	}
	return lines
}

func trialsFor(r [2]float64, alpha float64) string {
	n, ok := stats.ForPower(r[0], r[1], alpha, 0.8, mostNeeded)
	if !ok {
		return fmt.Sprintf("more than %d", n)
	}
	return fmt.Sprint(n)
}

// chance says a power, of which there is never all.
func chance(p float64) string {
	if p > 0.995 {
		return "more than 99 %"
	}
	return fmt.Sprintf("%.0f %%", 100*p)
}

// percent says a rate with as many digits as tell it apart from its neighbours.
func percent(rate float64) string { return fmt.Sprintf("%.3g %%", 100*rate) }
