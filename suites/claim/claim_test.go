// Package claim_test tests the words of judging on records of a few lines.
package claim_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// fine is a claim without a mistake.
func fine(id string) claim.Claim {
	return claim.Claim{ID: id, Title: "It is so", Source: record.Source{Doc: "S1", Code: "X1", EN: "It is so."}, Labels: []string{"apd"},
		In: scenario.BriefOutage, Judge: func(record.Run) record.Verdict { return claim.Confirm("it is so") }}
}

func TestRegisterTakesAClaimOnce(t *testing.T) {
	g := NewWithT(t)
	c := claim.Register(fine("test.once"))
	g.Expect(claim.All()).To(ContainElement(c))
	g.Expect(func() { claim.Register(fine("test.once")) }).To(PanicWith(ContainSubstring("already registered at suites/claim/claim_test.go:")))
}

func TestRegisterPanicsAtAMistakeAndSaysWhere(t *testing.T) {
	with := func(change func(c *claim.Claim)) claim.Claim {
		c := fine("test.mistake")
		change(&c)
		return c
	}
	for name, c := range map[string]claim.Claim{
		"no id":            with(func(c *claim.Claim) { c.ID = "" }),
		"a capital":        with(func(c *claim.Claim) { c.ID = "Guest.survives" }),
		"a blank":          with(func(c *claim.Claim) { c.ID = "guest survives" }),
		"an underscore":    with(func(c *claim.Claim) { c.ID = "guest_survives" }),
		"an empty word":    with(func(c *claim.Claim) { c.ID = "guest..survives" }),
		"a dot at the end": with(func(c *claim.Claim) { c.ID = "guest." }),
		"no title":         with(func(c *claim.Claim) { c.Title = "" }),
		"no source":        with(func(c *claim.Claim) { c.Source.EN = "" }),
		"no scenario":      with(func(c *claim.Claim) { c.In = scenario.Spec{} }),
		"no judge":         with(func(c *claim.Claim) { c.Judge = nil }),
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			before := len(claim.All())
			g.Expect(func() { claim.Register(c) }).To(PanicWith(HavePrefix("suites/claim/claim_test.go:")))
			g.Expect(claim.All()).To(HaveLen(before))
		})
	}
}

func TestTwoScenariosMustNotShareAName(t *testing.T) {
	g := NewWithT(t)
	one := fine("test.spec.one")
	one.In = scenario.Spec{Name: "test-spec", Fault: drivers.Reset, Hold: scenario.Blink}
	claim.Register(one)
	same := fine("test.spec.same")
	same.In = one.In
	claim.Register(same)
	other := fine("test.spec.other")
	other.In = one.In
	other.In.Hold = scenario.DropOutLength
	g.Expect(func() { claim.Register(other) }).To(PanicWith(And(ContainSubstring(`two different scenarios are called "test-spec"`), ContainSubstring("test.spec.one"))))
}

func TestAllIsInTheOrderOfTheCatalogue(t *testing.T) {
	g := NewWithT(t)
	for _, in := range []scenario.Spec{scenario.Repeated, scenario.BriefOutage, {Name: "a-scenario-of-ones-own"}, scenario.DropOut} {
		for _, id := range []string{"test.order.b.", "test.order.a."} {
			c := fine(id + in.Name)
			c.In = in
			claim.Register(c)
		}
	}
	var got []string
	for _, c := range claim.All() {
		if len(c.ID) > 11 && c.ID[:11] == "test.order." {
			got = append(got, c.ID)
		}
	}
	g.Expect(got).To(Equal([]string{"test.order.a.brief-outage", "test.order.b.brief-outage", "test.order.a.drop-out", "test.order.b.drop-out",
		"test.order.a.repeated", "test.order.b.repeated", "test.order.a.a-scenario-of-ones-own", "test.order.b.a-scenario-of-ones-own"}))
}

func TestSkip(t *testing.T) {
	can := map[drivers.Power][]string{}
	for _, p := range append(scenario.LongOutage.Powers(), drivers.CanLoad) {
		can[p] = []string{"somebody"}
	}
	c := fine("test.skip")
	c.In = scenario.LongOutage
	g := NewWithT(t)
	g.Expect(c.Skip(can, "esxi")).To(BeEmpty())

	c.Where.Hosts = []string{"esxi", "vsphere"}
	g.Expect(c.Skip(can, "esxi")).To(BeEmpty())
	g.Expect(c.Skip(can, "qemu")).To(Equal("it speaks of esxi, vsphere, and this lab's host is qemu"))

	c.Where = claim.Platform{}
	c.Needs = []drivers.Power{drivers.CanLoad, drivers.CanHalt, drivers.CanSwitchVMs}
	g.Expect(c.Skip(can, "esxi")).To(Equal("the lab lacks " + string(drivers.CanHalt)))
	delete(can, drivers.CanSwitchVMs) // the scenario and the claim both need it
	g.Expect(c.Skip(can, "esxi")).To(Equal("the lab lacks " + string(drivers.CanSwitchVMs) + ", " + string(drivers.CanHalt)))
	can[drivers.CanHalt] = []string{}
	g.Expect(c.Skip(can, "esxi")).To(ContainSubstring(string(drivers.CanHalt)), "a power that nobody has")
}

func TestLabels(t *testing.T) {
	g := NewWithT(t)
	c := fine("test.labels")
	g.Expect(c.LabelsFor("quick")).To(Equal([]string{"apd", "claim:test.labels", "scenario:brief-outage", "code:X1"}))
	g.Expect(c.LabelsFor("documented")).NotTo(ContainElement("slow"), "48 s are not slow")
	c.In = scenario.LongOutage
	g.Expect(c.LabelsFor("quick")).NotTo(ContainElement("slow"))
	g.Expect(c.LabelsFor("documented")).To(ContainElement("slow"))
	c.In = scenario.Spec{Name: "often", Hold: scenario.Blink, Repeat: scenario.Repeat{Quick: 5, Documented: 40}}
	g.Expect(c.LabelsFor("quick")).NotTo(ContainElement("slow"))
	g.Expect(c.LabelsFor("documented")).To(ContainElement("slow"))
	c.Source.Code = ""
	g.Expect(c.LabelsFor("quick")).NotTo(ContainElement(HavePrefix("code:")))
	g.Expect(c.Labels).To(Equal([]string{"apd"}), "its own labels stay as they are")
}

func TestPlan(t *testing.T) {
	g := NewWithT(t)
	c := claim.Register(fine("test.plan"))
	p := c.Plan("quick", "the lab lacks something")
	g.Expect(p.Claim).To(Equal("test.plan"))
	g.Expect(p.Scenario).To(Equal("brief-outage"))
	g.Expect(p.Skip).To(Equal("the lab lacks something"))
	g.Expect(p.Spec).To(MatchRegexp(`^suites/claim/claim_test\.go:\d+$`), "no path of a machine")
	g.Expect(p.Labels).To(Equal(c.LabelsFor("quick")))
}
