package all_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// dropEdge forgets one edge of every fault.
func dropEdge(p *tape, edge string) {
	for _, l := range p.kind("fault") {
		if l["edge"] == edge {
			forget(l)
		}
	}
}

// unproven are records in which everything was seen that confirms the claims, but no fault was seen to have caused it.
var unproven = []struct {
	name  string
	spoil func(p *tape)
}{
	{"nothing was injected", func(p *tape) {
		for _, l := range p.kind("fault") {
			l["type"] = "none"
		}
	}},
	{"no fault is in the record", func(p *tape) { forget(p.kind("fault")...) }},
	{"no fault was seen to work", func(p *tape) { dropEdge(p, "active") }},
	{"no fault was seen to be gone", func(p *tape) { dropEdge(p, "end") }},
	{"each fault failed", func(p *tape) {
		for _, l := range p.kind("fault") {
			if l["edge"] == "active" {
				p.add(line{"k": "fault", "t": l["t"], "f": l["f"], "type": l["type"], "edge": "failed", "why": "it was not seen on the wire"})
			}
		}
	}},
	{"the last fault of each scenario failed", func(p *tape) {
		for _, s := range p.has {
			l := p.fault(s.Name).active
			l["edge"], l["why"] = "failed", "it was not seen on the wire"
		}
	}},
	{"each scenario was cut off", func(p *tape) {
		for _, l := range p.kind("phase") {
			if l["name"] == "scenario" && l["edge"] == "end" {
				forget(l)
			}
		}
	}},
	{"each scenario failed", func(p *tape) {
		for _, l := range p.kind("phase") {
			if l["name"] == "scenario" && l["edge"] == "end" {
				l["edge"], l["why"] = "failed", "a guest did not come back"
			}
		}
	}},
	{"the control was broken as well, from each fault on", func(p *tape) {
		for _, s := range p.has {
			in := p.scenario(s.Name)
			for _, l := range p.kind("fault") {
				switch {
				case when(l) < in.from || when(l) > in.to:
				case l["edge"] == "begin":
					p.state(when(l)+1, "path/control", "portal", "refuses")
				case l["edge"] == "end":
					p.state(when(l), "path/control", "portal", "answers")
				}
			}
		}
	}},
	{"the control never answered", func(p *tape) {
		for _, l := range p.seen(span{0, p.scenario(p.has[len(p.has)-1].Name).to}, "s", "path/control", "portal", "") {
			l["s"] = "silent"
		}
	}},
}

func TestNothingIsSaidOfAFaultThatWasNotProven(t *testing.T) {
	for _, c := range unproven {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			tapes := []*tape{load(t), loadWindows(t)}
			if !strings.Contains(c.name, "control") { // of a cluster the parts without the fault are the control
				tapes = append(tapes, loadCluster(t))
			}
			for _, p := range tapes {
				c.spoil(p)
				for id, v := range p.judge() {
					g.Expect(v.Outcome).To(Equal(record.Inconclusive), "%s: %s", id, v.Why)
					g.Expect(v.Why).NotTo(BeEmpty(), id)
				}
			}
		})
	}
}

func TestARecordCutOffInAScenarioSaysNothingOfItAndAllOfThoseBefore(t *testing.T) {
	whole := load(t)
	for i, s := range whole.has {
		t.Run(s.Name, func(t *testing.T) {
			g := NewWithT(t)
			var end []byte
			for _, l := range whole.kind("phase") {
				if l["scenario"] == s.Name && l["name"] == "scenario" && l["edge"] == "end" {
					one := tape{TB: t, lines: []line{l}}
					end = one.bytes()
				}
			}
			b := whole.bytes()
			at := bytes.Index(b, end)
			g.Expect(at).To(BeNumerically(">", 0))
			r, err := record.Parse(bytes.NewReader(b[:at+len(end)-1])) // a kill within the line that ends the scenario
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(r.Torn).To(BeTrue())
			done := map[string]bool{}
			for _, before := range whole.has[:i] {
				done[before.Name] = true
			}
			for _, c := range whole.claims() {
				want := record.Inconclusive
				if done[c.In.Name] {
					want = record.Confirmed
				}
				v := c.Verdict(r)
				g.Expect(v.Outcome).To(Equal(want), "%s: %s", c.ID, v.Why)
			}
		})
	}
}

// What nobody watched, nobody may judge: the absence of a report is not a report of absence, and not one of a failure either.
func TestWhatNobodyWatchedIsUndecided(t *testing.T) {
	blind := func(p *tape, lane string) {
		n := -1.0
		if lane != "" {
			n = p.lane(lane)
		}
		for _, l := range p.lines {
			if k := l["k"]; (k == "s" || k == "e" || k == "b") && (n < 0 || l["l"] == n) {
				forget(l)
			}
		}
	}
	all := map[string]bool{}
	guest := map[string]bool{}
	esxi := map[string]bool{"host.stays-up": true, "host.stuck-command-leaves-host-up": true, "host.hang-leaves-host-up": true} // a host that reports no path is judged by its guests alone
	for _, c := range load(t).claims() {
		all[c.ID] = true
		switch {
		case strings.HasPrefix(c.ID, "esxi."): // they do not speak of what a guest sees, and the following do not either
			esxi[c.ID] = true
		case slices.Contains([]string{"host.stays-up", "host.stuck-command-leaves-host-up", "host.hang-leaves-host-up", "host.abort-does-not-freeze", "storage.never-damaged", "storage.never-damaged.soak",
			"vm.power-off-without-datastore", "vm.fields-blank-while-off", "vm.console-frozen-while-off", "vm.shown-again-at-once"}, c.ID):
		default:
			guest[c.ID] = true
		}
	}
	first, other := map[string]bool{}, map[string]bool{}
	for id := range guest {
		if !strings.HasSuffix(id, "-spares-others") { // which speak of those that no command was lost of, b
			first[id] = true
		}
		if id != "vm.starts-as-usual-afterwards" && !strings.HasSuffix(id, "-command-is-repeated") { // which speak of the one machine that it was done to, a
			other[id] = true
		}
	}
	for lane, speakOfIt := range map[string]map[string]bool{
		"":                all,
		"guest/a":         first,
		"guest/b":         other,
		"hypervisor/esxi": esxi,
		"hypervisor/vm/a": {"host.leaves-vms-alone": true, "vm.power-off-without-datastore": true, "vm.starts-as-usual-afterwards": true,
			"vm.fields-blank-while-off": true, "vm.console-frozen-while-off": true, "vm.shown-again-at-once": true},
		"hypervisor/vm/b":  {"host.leaves-vms-alone": true},
		"hypervisor/box/a": {"host.leaves-vms-alone": true, "host.abort-does-not-freeze": true},
		"hypervisor/box/b": {"host.leaves-vms-alone": true, "host.abort-does-not-freeze": true},
		"target/nas":       {"storage.never-damaged": true, "storage.never-damaged.soak": true},
	} {
		t.Run("lane "+lane, func(t *testing.T) {
			p := load(t)
			blind(p, lane)
			for id, v := range p.judge() {
				if speakOfIt[id] {
					t.Run(id, func(t *testing.T) { NewWithT(t).Expect(v.Outcome).To(Equal(record.Inconclusive), v.Why) })
				}
			}
		})
	}
}

// A LUN that is whole, but that nobody could look into, is no LUN that is clean, and none that is damaged.
func TestALUNThatNobodyLookedIntoIsUndecided(t *testing.T) {
	for id, s := range map[string]string{"storage.never-damaged": repeated, "storage.never-damaged.soak": soak} {
		t.Run(id, func(t *testing.T) {
			g := NewWithT(t)
			p := load(t)
			clean := p.seen(p.scenario(s), "e", "target/nas", "image", "clean")
			clean[1]["type"] = "stored"
			clean[1]["a"] = map[string]any{"lun": "1", "contents": "not looked into: nothing here can check vmfs without changing it"}
			v := p.judge()[id]
			g.Expect(v.Outcome).To(Equal(record.Inconclusive))
			g.Expect(v.Why).To(Equal("LUN 1 is there and whole, but what is in it was not looked into: nothing here can check vmfs without changing it"))
			clean[0]["type"] = "damaged" // beside a damaged one it changes nothing
			g.Expect(p.judge()[id].Outcome).To(Equal(record.Refuted))
		})
	}
}

func TestWhatRestsOnAModelledLaneIsModelled(t *testing.T) {
	g := NewWithT(t)
	// In the baseline only the host is our own stand-in, as the lab file foretells (apd list).
	box, err := lab.Load(filepath.Join("..", "..", "hack", "labs", "esxi.yaml"))
	g.Expect(err).NotTo(HaveOccurred())
	verdicts := load(t).judge()
	for _, c := range load(t).claims() {
		var ps []drivers.Provenance
		for _, role := range c.RestsOn() {
			ps = append(ps, box.Provenance(role))
		}
		g.Expect(verdicts[c.ID].Provenance).To(Equal(claim.Weakest(ps...)), c.ID)
	}
	for _, prov := range []drivers.Provenance{drivers.Real, drivers.Embedded, drivers.Modelled} {
		p := load(t)
		p.provenance("", prov)
		for id, v := range p.judge() {
			g.Expect(v.Provenance).To(Equal(prov), id)
		}
	}
	// One modelled guest is enough for a verdict about all guests.
	p := load(t)
	p.provenance(drivers.Guest, drivers.Real)
	for _, l := range p.kind("lane") {
		if l["kind"] == "guest" && l["name"] == "b" {
			l["prov"] = "modelled"
		}
	}
	for id, v := range p.judge() {
		switch id {
		case "host.stuck-command-leaves-host-up", "host.hang-leaves-host-up", "guest.linux.lost-command-is-repeated", "guest.linux.stuck-command-is-repeated":
		case "host.stays-up", "host.abort-does-not-freeze", "storage.never-damaged", "storage.never-damaged.soak", "vm.power-off-without-datastore", "vm.starts-as-usual-afterwards":
		default:
			g.Expect(v.Provenance).To(Equal(drivers.Modelled), id)
		}
	}
}

// A refutation that rests on a modelled lane is modelled as well.
func TestARefutationByAModelledLaneIsModelled(t *testing.T) {
	for _, s := range saboteurs {
		t.Run(s.claim+"/"+s.name, func(t *testing.T) {
			t.Parallel()
			p := s.tape(t)
			p.provenance("", drivers.Modelled)
			s.spoil(p)
			NewWithT(t).Expect(p.ask(s.claim).Provenance).To(Equal(drivers.Modelled))
		})
	}
}
