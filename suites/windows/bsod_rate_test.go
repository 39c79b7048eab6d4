package windows_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
	_ "github.com/allpathsdown/allpathsdown/suites/windows"
)

const (
	w11 = "guest.windows.no-bsod-within-15-minutes"
	w12 = "guest.windows.bsod-rate-rises-at-20-minutes"
)

func bsodRate(t *testing.T) *claim.Campaign {
	t.Helper()
	c, err := claim.FindCampaign("windows.bsod-rate")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// line is one line of a record.
type line = map[string]any

// tape is the record of one trial, to be spoilt. Times are in seconds after the run's zero.
type tape struct{ lines []line }

// The lanes of the tape, and the moments of its fault: the service is stopped at 10 s, the target answers again at back.
const (
	wire, guest, screen = 1, 2, 3
	begun               = 10.0
)

// survived is a trial in which the guest ran on.
func survived(hold time.Duration) *tape {
	p := &tape{}
	back := begun + 1 + hold.Seconds() + 2
	end := back + 330
	at := func(t float64) float64 { return t * 1000 }
	add := func(l line) { p.lines = append(p.lines, l) }
	add(line{"k": "run", "v": 1, "id": "t", "t0": time.Unix(0, 0).UTC(), "lab": "real", "lab_kind": "real", "host": "esxi", "profile": "documented"})
	add(line{"k": "lane", "l": wire, "kind": "path", "name": "wire", "prov": "real"})
	add(line{"k": "lane", "l": guest, "kind": "guest", "name": "win", "prov": "real"})
	add(line{"k": "lane", "l": screen, "kind": "hypervisor", "name": "vm/win10", "prov": "real"})
	add(line{"k": "setting", "l": guest, "key": "os", "value": "windows"})
	add(line{"k": "setting", "l": guest, "key": "vm", "value": "win10"})
	for _, s := range [][2]string{{"boot", "one"}, {"alive", "beating"}, {"disk", "ok"}} {
		add(line{"k": "s", "t": at(1), "l": guest, "topic": s[0], "s": s[1]})
	}
	add(line{"k": "s", "t": at(1), "l": screen, "topic": "screen", "s": "moving"})
	add(line{"k": "phase", "t": at(2), "name": "scenario", "scenario": "bsod-rate", "edge": "begin"})
	for _, e := range []struct {
		edge string
		t    float64
	}{{"begin", begun}, {"active", begun + 1}, {"undo", begun + 1 + hold.Seconds()}, {"end", back}} {
		add(line{"k": "fault", "t": at(e.t), "f": "f1", "edge": e.edge, "type": "service-stop"})
	}
	add(line{"k": "s", "t": at(begun + 5), "l": guest, "topic": "disk", "s": "blocked"})
	add(line{"k": "s", "t": at(back + 3), "l": guest, "topic": "disk", "s": "ok"})
	add(line{"k": "phase", "t": at(end), "name": "scenario", "scenario": "bsod-rate", "edge": "end"})
	add(line{"k": "end", "t": at(end), "why": "done"})
	return p
}

// blue is one in which a blue screen came after the storage was back, and the guest booted and is well again.
func blue(hold time.Duration) *tape {
	p := survived(hold)
	back := begun + 3 + hold.Seconds()
	p.state(back+4, screen, "screen", "blue")
	p.state(back+40, screen, "screen", "moving")
	p.state(back+50, guest, "boot", "two")
	p.bugcheck(back+60, "2026-01-02T03:04:05Z")
	return p
}

func (p *tape) state(t float64, lane int, topic, value string) {
	p.lines = append(p.lines, line{"k": "s", "t": t * 1000, "l": lane, "topic": topic, "s": value})
}

func (p *tape) bugcheck(t float64, logged string) {
	p.lines = append(p.lines, line{"k": "e", "t": t * 1000, "l": guest, "topic": "bugcheck", "type": "0x000000EF", "a": line{"name": "CRITICAL_PROCESS_DIED", "logged": logged}})
}

// forget takes the lines off that a test wants gone.
func (p *tape) forget(gone func(l line) bool) { p.lines = slices.DeleteFunc(p.lines, gone) }

func (p *tape) outcome(t *testing.T, hold time.Duration) campaign.Outcome {
	t.Helper()
	var b bytes.Buffer
	for _, l := range p.lines {
		if err := json.NewEncoder(&b).Encode(l); err != nil {
			t.Fatal(err)
		}
	}
	r, err := record.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	return bsodRate(t).Outcome(r, hold)
}

const m15, m20 = 15 * time.Minute, 20 * time.Minute

func is(key string, value any) func(line) bool { return func(l line) bool { return l[key] == value } }

// TestTrial has the two trials that count, and every way in which one that looks like them does not.
func TestTrial(t *testing.T) {
	for name, c := range map[string]struct {
		tape    *tape
		spoil   func(p *tape)
		want    campaign.Result
		why     string
		exposed bool
	}{
		"the guest ran on":                 {survived(m15), func(*tape) {}, campaign.None, "it ran on", true},
		"a blue screen after the recovery": {blue(m15), func(*tape) {}, campaign.Event, "a blue screen is on its console", true},
		"a blue screen that only its log has": {blue(m15), func(p *tape) { p.forget(is("topic", "screen")) }, campaign.Event,
			"bugcheck 0x000000EF CRITICAL_PROCESS_DIED", true},
		"a blue screen in the outage": {survived(m15), func(p *tape) { p.state(begun+30, screen, "screen", "blue") }, campaign.Event, "on its console", true},
		"a blue screen from which it does not boot": {survived(m15), func(p *tape) {
			p.state(begun+920, screen, "screen", "blue")
			p.state(begun+921, guest, "alive", "silent")
		}, campaign.Event, "on its console", true},

		"blue before the fault": {survived(m15), func(p *tape) { p.state(5, screen, "screen", "blue") }, campaign.Inconclusive, "blue before the fault", true},
		"rebooted, and not blue": {survived(m15), func(p *tape) { p.state(begun+950, guest, "boot", "two") }, campaign.Inconclusive,
			"rebooted, and nobody saw a blue screen", true},
		"a bug check of a year ago in the log of a guest that was rebooted": {blue(m15), func(p *tape) { p.forget(is("topic", "screen")); p.bugcheck(5, "2026-01-02T03:04:05Z") },
			campaign.Inconclusive, "rebooted, and nobody saw", true},
		"a bug check without a boot": {survived(m15), func(p *tape) { p.bugcheck(begun+950, "now") }, campaign.Inconclusive, "nobody saw it boot", true},
		"hangs in the end":           {survived(m15), func(p *tape) { p.state(begun+950, guest, "alive", "silent") }, campaign.Inconclusive, "neither blue nor alive", true},
		"its disk is not back":       {survived(m15), func(p *tape) { p.state(begun+950, guest, "disk", "blocked") }, campaign.Inconclusive, "its disk was not well", true},
		"watched too briefly": {survived(m15), func(p *tape) {
			for _, l := range p.lines {
				if l["edge"] == "end" && l["k"] == "phase" {
					l["t"] = (begun + 3 + 900 + 299) * 1000
				}
			}
		}, campaign.Inconclusive, "what comes may take longer", true},
		"nobody saw its boots":                              {survived(m15), func(p *tape) { p.forget(is("topic", "boot")) }, campaign.Inconclusive, "its boot was never seen", true},
		"nobody saw it live":                                {survived(m15), func(p *tape) { p.forget(is("topic", "alive")) }, campaign.Inconclusive, "neither blue nor alive", true},
		"no Windows guest":                                  {survived(m15), func(p *tape) { p.forget(is("key", "os")) }, campaign.Inconclusive, "no Windows guest", true},
		"mended after five minutes":                         {survived(5 * time.Minute), func(*tape) {}, campaign.Inconclusive, "no trial of 15m0s", true},
		"a blue screen after 17 minutes says nothing of 15": {blue(17 * time.Minute), func(*tape) {}, campaign.Inconclusive, "no trial of 15m0s", true},
		"the fault was not proven":                          {blue(m15), func(p *tape) { p.forget(is("edge", "active")) }, campaign.Inconclusive, "not proven", false},
		"the fault failed": {survived(m15), func(p *tape) {
			p.forget(is("edge", "active"))
			p.lines = append(p.lines, line{"k": "fault", "t": begun*1000 + 1, "f": "f1", "edge": "failed", "type": "service-stop", "why": "it was not seen"})
		}, campaign.Inconclusive, "it was not seen", false},
		"nothing was injected": {survived(m15), func(p *tape) {
			for _, l := range p.lines {
				if l["k"] == "fault" {
					l["type"] = "none"
				}
			}
		}, campaign.Inconclusive, "this run is a control", true},
		"the run was cut off": {blue(m15), func(p *tape) {
			p.forget(func(l line) bool { return l["k"] == "phase" && l["edge"] == "end" || l["k"] == "end" })
		}, campaign.Inconclusive, "cut off", true},
		"the lab broke": {blue(m15), func(p *tape) {
			p.lines = append(p.lines, line{"k": "e", "t": begun*1000 + 1, "l": wire, "topic": drivers.LabFailure, "type": "died", "why": "the proxy ended"})
		}, campaign.Inconclusive, "the lab broke", true},
		"it never began": {survived(m15), func(p *tape) {
			p.forget(func(l line) bool { return l["k"] == "phase" || l["k"] == "fault" })
		}, campaign.Inconclusive, "its scenario did not begin", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c.spoil(c.tape)
			o := c.tape.outcome(t, m15)
			g.Expect(o.Result).To(Equal(c.want), o.Why)
			g.Expect(o.Why).To(ContainSubstring(c.why))
			g.Expect(o.Exposed).To(Equal(c.exposed))
			if c.want != campaign.Inconclusive {
				g.Expect(o.Provenance).To(Equal(drivers.Real))
			}
		})
	}
}

// TestTwoGuests: a trial has the event when one guest has it, and is without it only when none has.
func TestTwoGuests(t *testing.T) {
	second := func(p *tape, boots ...string) {
		p.lines = slices.Insert(p.lines, 1, line{"k": "lane", "l": 4, "kind": "guest", "name": "other", "prov": "real"})
		p.lines = append(p.lines, line{"k": "setting", "l": 4, "key": "os", "value": "windows"})
		for i, b := range boots {
			p.state(3+float64(i)*1000, 4, "boot", b)
		}
		p.state(3, 4, "alive", "beating")
		p.state(3, 4, "disk", "ok")
	}
	g := NewWithT(t)
	p := blue(m20)
	second(p, "x")
	g.Expect(p.outcome(t, m20).Result).To(Equal(campaign.Event))
	p = survived(m20)
	second(p, "x")
	g.Expect(p.outcome(t, m20).Result).To(Equal(campaign.None))
	p = survived(m20)
	second(p, "x", "y")
	o := p.outcome(t, m20)
	g.Expect(o.Result).To(Equal(campaign.Inconclusive))
	g.Expect(o.Why).To(HavePrefix("guest other: "))
	p = survived(m20)
	second(p, "x", "y")
	p.lines = append(p.lines, line{"k": "setting", "l": 4, "key": "os", "value": "linux"})
	g.Expect(p.outcome(t, m20).Result).To(Equal(campaign.None), "what a Linux guest does is nothing to this")
}

// counts are those of a campaign with n15 and n20 trials that counted, of planned ones each.
type counts struct {
	planned            int
	k15, n15, k20, n20 int
	undecided15        int
	undecided20        int
	confidence, limit  float64
}

func (c counts) counts() claim.Counts {
	if c.planned == 0 {
		c.planned = c.n15
	}
	if c.confidence == 0 {
		c.confidence = 0.95
	}
	if c.limit == 0 {
		c.limit = 0.05
	}
	real := []drivers.Provenance{drivers.Real}
	return claim.Counts{Plan: campaign.Plan{Trials: c.planned, Confidence: c.confidence, Limit: c.limit, Holds: []time.Duration{m20, m15}},
		Complete: c.n15 == c.planned && c.n20 == c.planned,
		Arms: []campaign.Arm{
			{Hold: m15, Planned: c.planned, N: c.n15, Events: c.k15, Undecided: c.undecided15, Provenances: real},
			{Hold: m20, Planned: c.planned, N: c.n20, Events: c.k20, Undecided: c.undecided20, Provenances: real}}}
}

func judge(t *testing.T, id string, c claim.Counts) record.Verdict {
	t.Helper()
	for _, r := range bsodRate(t).Rates {
		if r.ID == id {
			return r.Verdict(c)
		}
	}
	t.Fatalf("no statement %s", id)
	return record.Verdict{}
}

func each(k15, n15, k20, n20 int) counts { return counts{k15: k15, n15: n15, k20: k20, n20: n20} }

// TestRates has, for each statement, counts that carry it, the saboteurs next to them, and counts that decide nothing. All numbers are
// literal: whoever loosens a rule has to say so here too.
func TestRates(t *testing.T) {
	for _, c := range []struct {
		name     string
		in       counts
		w11, w12 record.Outcome
		why      string // of w11, then of w12 after a bar
	}{
		{"59 without, and ten at 20", each(0, 59, 10, 59), record.Confirmed, record.Confirmed, "at most 4.95 %, which is not to say that it never comes|p = 0.00"},
		{"58 without are one too few", each(0, 58, 10, 58), record.Inconclusive, record.Confirmed, "at most 5.03 %, and it takes 59 without one|"},
		{"one blue screen within 15 refutes that there was none, and says no more", each(1, 59, 10, 59), record.Refuted, record.Confirmed,
			"that there is none is refuted, and no more than that; with a confidence of 95 % each its rate is at least 0.0869 % and at most 7.79 %|"},
		{"one of a thousand as well, though it is rare", each(1, 1000, 30, 1000), record.Refuted, record.Confirmed, "at most 0.473 %|"},
		{"one blue screen in a campaign that was not ended is one, too", counts{planned: 59, k15: 1, n15: 2, k20: 0, n20: 1}, record.Refuted, record.Inconclusive, "1 of 2 trials of 15m0s so far had|59 each were planned"},
		{"none in a campaign that was not ended", counts{planned: 100, n15: 80, k20: 20, n20: 80}, record.Inconclusive, record.Inconclusive,
			"100 were planned: where a campaign ends is not for its counts to say|100 each were planned"},
		{"one trial each", each(0, 1, 1, 1), record.Inconclusive, record.Inconclusive, "at most 95 %|p = 0.5"},
		{"no trial at all", counts{planned: 59}, record.Inconclusive, record.Inconclusive, "0 of 0|0 of 0"},
		{"four more at 20 are not enough", each(0, 59, 4, 59), record.Confirmed, record.Inconclusive, "|p = 0.059, which does not say that they are one"},
		{"five more are", each(0, 59, 5, 59), record.Confirmed, record.Confirmed, "|p = 0.029"},
		{"as many at 20", each(6, 59, 6, 59), record.Refuted, record.Inconclusive, "6 of 59|"},
		{"none at 20 either: they do not come there", each(0, 59, 0, 59), record.Confirmed, record.Refuted, "|at 20m0s, too, its rate is at most 4.95 %"},
		{"none at 20 in few trials decides nothing", each(0, 20, 0, 20), record.Inconclusive, record.Inconclusive, "|p = 1"},
		{"fewer at 20", each(10, 59, 0, 59), record.Refuted, record.Refuted, "|the rate goes down, p = 0.0006"},
		{"a higher rate that is still one that does not come", each(0, 500, 15, 500), record.Confirmed, record.Confirmed, "|"},
		{"all of both", each(59, 59, 59, 59), record.Refuted, record.Inconclusive, "at most 100 %|p = 1"},

		{"trials whose end nobody saw at 15", counts{n15: 59, undecided15: 1, k20: 10, n20: 59}, record.Inconclusive, record.Confirmed, "had each of them been one it would be 7.66 %|"},
		{"the same in a longer campaign", counts{n15: 100, undecided15: 1, k20: 20, n20: 100}, record.Confirmed, record.Confirmed, "|"},
		{"so many that they hide a rise", counts{n15: 59, undecided15: 3, k20: 5, n20: 59}, record.Inconclusive, record.Inconclusive, "|3 more ended with nobody having seen"},
		{"and at 20", counts{n15: 59, k20: 5, n20: 59, undecided20: 40}, record.Confirmed, record.Inconclusive, "|40 more ended with nobody having seen"},
		{"nor does none at 20 decide when some were not seen", counts{n15: 59, n20: 59, undecided20: 1}, record.Confirmed, record.Inconclusive, "|"},
		{"nor fewer", counts{k15: 6, n15: 59, n20: 59, undecided20: 3}, record.Refuted, record.Inconclusive, "|"},

		{"another limit", counts{n15: 29, k20: 10, n20: 29, limit: 0.1}, record.Confirmed, record.Confirmed, "at most 9.81 %|"},
		{"another confidence", counts{n15: 59, k20: 5, n20: 59, confidence: 0.99}, record.Inconclusive, record.Inconclusive, "it takes 90 without one|p = 0.029"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			a, b := judge(t, w11, c.in.counts()), judge(t, w12, c.in.counts())
			why11, why12, _ := strings.Cut(c.why, "|")
			g.Expect(a.Outcome).To(Equal(c.w11), "W11: %s", a.Why)
			g.Expect(b.Outcome).To(Equal(c.w12), "W12: %s", b.Why)
			g.Expect(a.Why).To(ContainSubstring(why11))
			g.Expect(b.Why).To(ContainSubstring(why12))
			for _, v := range []record.Verdict{a, b} {
				g.Expect(v.Window).NotTo(BeNil())
				g.Expect(v.Measured).NotTo(BeNil())
				g.Expect(v.Provenance).To(Equal(drivers.Real))
				if v.Outcome == record.Confirmed {
					g.Expect(v.Why).NotTo(ContainSubstring("never-"))
				}
			}
			g.Expect(a.N).To(Equal(c.in.n15))
		})
	}
}

// TestWindowsSayWhatWasMeasured: what a reader sees beside the allowed window agrees with the verdict.
func TestWindowsSayWhatWasMeasured(t *testing.T) {
	g := NewWithT(t)
	v := judge(t, w11, each(0, 59, 10, 59).counts())
	g.Expect([]float64{v.Measured.Lo, v.Measured.Hi, *v.Window.Max}).To(HaveExactElements(BeZero(), BeNumerically("~", 4.95, 1e-2), BeNumerically("~", 5, 1e-9)))
	v = judge(t, w11, each(1, 59, 10, 59).counts())
	g.Expect(*v.Measured).To(Equal(record.Interval{Lo: 1, Hi: 1}))
	g.Expect(*v.Window.Max).To(BeZero())
	v = judge(t, w12, each(0, 59, 10, 59).counts())
	g.Expect(v.Unit).To(Equal("p"))
	g.Expect(v.Measured.Hi).To(BeNumerically("<", *v.Window.Max))
	v = judge(t, w12, each(0, 59, 0, 59).counts())
	g.Expect(v.Measured.Hi).To(BeNumerically("<", *v.Window.Min))
}

// TestArmsThatAreNotThere: a campaign of other holds says nothing of these statements.
func TestArmsThatAreNotThere(t *testing.T) {
	g := NewWithT(t)
	for _, holds := range [][]time.Duration{{m20}, {m15}, {m15, time.Hour}, {16 * time.Minute, m20}} {
		c := claim.Counts{Plan: campaign.Plan{Trials: 100, Confidence: 0.95, Limit: 0.05}, Complete: true}
		for _, h := range holds {
			c.Arms = append(c.Arms, campaign.Arm{Hold: h, Planned: 100, N: 100, Events: 50 * int(h/m20)})
		}
		g.Expect(judge(t, w12, c).Outcome).To(Equal(record.Inconclusive), "%v", holds)
	}
	c := claim.Counts{Plan: campaign.Plan{Trials: 100, Confidence: 0.95, Limit: 0.05}, Complete: true, Arms: []campaign.Arm{{Hold: m20, Planned: 100, N: 100}}}
	g.Expect(judge(t, w11, c).Outcome).To(Equal(record.Inconclusive))
	c.Arms = []campaign.Arm{{Hold: 5 * time.Minute, Planned: 100, N: 100, Events: 1}, {Hold: m15, Planned: 100, N: 100}, {Hold: m20, Planned: 100, N: 100, Events: 50}}
	g.Expect(judge(t, w11, c).Outcome).To(Equal(record.Confirmed), "the longest of them is the one that is judged")
}

// TestAble says before the first outage what the plan is good for.
func TestAble(t *testing.T) {
	g := NewWithT(t)
	say := func(n int, assumed ...float64) string {
		var all []string
		for _, r := range bsodRate(t).Rates {
			all = append(all, r.Able(campaign.Plan{Trials: n, Confidence: 0.95, Limit: 0.05, Holds: []time.Duration{m15, m20}}, assumed)...)
		}
		return strings.Join(all, "\n")
	}
	g.Expect(say(59)).To(And(ContainSubstring("W11: 59 trials without a blue screen bound its rate at 4.95 %"), ContainSubstring("it takes 59, and one"),
		ContainSubstring("if the rates are 0 % at 15 and 20 % at 20 minutes, 59 trials each"), Not(ContainSubstring("cannot"))))
	g.Expect(say(10)).To(ContainSubstring("with 10 trials it cannot be confirmed"))
	g.Expect(say(20, 0.5, 0.9)).To(ContainSubstring("if the rates are 50 % at 15 and 90 % at 20 minutes, 20 trials each find that it goes up with a chance of 84 %"))
	g.Expect(say(59, 0, 0.9)).To(ContainSubstring("a chance of more than 99 %;"))
	g.Expect(say(5, 0.2, 0.21)).To(ContainSubstring("a chance of 80 % takes more than 300"))
}
