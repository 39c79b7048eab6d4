package claim_test

import (
	"bytes"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func TestMeasure(t *testing.T) {
	iv := func(lo, hi float64) record.Interval { return record.Interval{Lo: lo, Hi: hi} }
	for _, c := range []struct {
		name string
		got  record.Interval
		w    record.Window
		want record.Outcome
	}{
		{"below an upper edge", iv(1, 9.9), claim.AtMost(10, ""), record.Confirmed},
		{"on an upper edge", iv(10, 10), claim.AtMost(10, ""), record.Confirmed},
		{"across an upper edge", iv(9.9, 10.1), claim.AtMost(10, ""), record.Inconclusive},
		{"touching an upper edge from above", iv(10, 10.1), claim.AtMost(10, ""), record.Inconclusive},
		{"above an upper edge", iv(10.1, 11), claim.AtMost(10, ""), record.Refuted},
		{"above a lower edge", iv(10.1, 11), claim.AtLeast(10, ""), record.Confirmed},
		{"on a lower edge", iv(10, 10), claim.AtLeast(10, ""), record.Confirmed},
		{"across a lower edge", iv(9.9, 10.1), claim.AtLeast(10, ""), record.Inconclusive},
		{"below a lower edge", iv(1, 9.9), claim.AtLeast(10, ""), record.Refuted},
		{"between", iv(2, 3), claim.Within(2, 3, ""), record.Confirmed},
		{"across both edges", iv(1, 4), claim.Within(2, 3, ""), record.Inconclusive},
		{"below both", iv(1, 1.9), claim.Within(2, 3, ""), record.Refuted},
		{"above both", iv(3.1, 4), claim.Within(2, 3, ""), record.Refuted},
		{"no edge at all", iv(-5, 5), record.Window{}, record.Confirmed},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			v := claim.Measure("it", c.got, "s", c.w, record.Moment{Hi: 7, What: "seen"})
			g.Expect(v.Outcome).To(Equal(c.want))
			g.Expect(*v.Measured).To(Equal(c.got))
			g.Expect(v.Unit).To(Equal("s"))
			g.Expect(*v.Window).To(Equal(c.w))
			g.Expect(v.Evidence).To(HaveLen(1))
			g.Expect(v.Evidence[0].T).To(BeEquivalentTo(7))
		})
	}
}

func TestJoin(t *testing.T) {
	yes, no, unsure := claim.Confirm("yes"), claim.Refute("no"), claim.Unsure("unsure")
	for _, c := range []struct {
		name string
		vs   []record.Verdict
		want record.Outcome
		why  string
	}{
		{"one", []record.Verdict{yes}, record.Confirmed, "yes"},
		{"all confirmed", []record.Verdict{yes, claim.Confirm("indeed"), yes}, record.Confirmed, "yes; indeed"},
		{"one undecided", []record.Verdict{yes, unsure, yes}, record.Inconclusive, "unsure"},
		{"one refuted", []record.Verdict{yes, unsure, no, yes}, record.Refuted, "no"},
		{"two refuted", []record.Verdict{no, unsure, claim.Refute("never"), no}, record.Refuted, "no; never"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			v := claim.Join(c.vs...)
			g.Expect(v.Outcome).To(Equal(c.want))
			g.Expect(v.Why).To(Equal(c.why))
		})
	}
}

func TestJoinOfNothingConfirmsNothing(t *testing.T) {
	NewWithT(t).Expect(claim.Join().Outcome).NotTo(Equal(record.Confirmed))
}

func TestJoinKeepsWhatIsNearestToItsEdgeOfThoseThatDecide(t *testing.T) {
	g := NewWithT(t)
	at := func(s float64) record.Verdict {
		return claim.Measure("it", record.Interval{Lo: s, Hi: s}, "s", claim.AtMost(10, ""), record.Moment{Hi: int64(s)})
	}
	v := claim.Join(at(2), at(9), claim.Confirm("yes"), at(5))
	g.Expect(v.Outcome).To(Equal(record.Confirmed))
	g.Expect(v.Measured.Hi).To(Equal(9.0))
	g.Expect(v.Evidence).To(HaveLen(3))
	v = claim.Join(at(9), at(30), at(2))
	g.Expect(v.Outcome).To(Equal(record.Refuted))
	g.Expect(v.Measured.Hi).To(Equal(30.0), "not the value of a guest that was well")
	a, b := claim.Confirm("a"), claim.Confirm("b")
	a.N, b.N = 3, 4
	g.Expect(claim.Join(a, b).N).To(Equal(7))
}

var (
	nas   = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Real}
	host  = drivers.Lane{Role: drivers.Hypervisor, Name: "esxi", Provenance: drivers.Modelled}
	vmA   = drivers.Lane{Role: drivers.Hypervisor, Name: "vm/a", Provenance: drivers.Embedded}
	guest = drivers.Lane{Role: drivers.Guest, Name: "a", Provenance: drivers.Embedded}
)

// story is a record of the scenario "brief-outage", 0 to 100 s, with its fault from 20 to 60 s.
const story = `{"k":"run","v":1,"id":"x","t0":"2026-01-01T00:00:00Z","lab":"x","lab_kind":"embedded","profile":"quick"}
{"k":"lane","l":1,"kind":"target","name":"nas","prov":"real"}
{"k":"lane","l":2,"kind":"hypervisor","name":"esxi","prov":"modelled"}
{"k":"lane","l":3,"kind":"hypervisor","name":"vm/a","prov":"embedded"}
{"k":"lane","l":4,"kind":"guest","name":"a","prov":"embedded"}
{"k":"setting","l":4,"key":"scsi_timeout","value":"30"}
{"k":"phase","t":0,"name":"scenario","scenario":"brief-outage","edge":"begin"}
{"k":"fault","t":20000,"f":"f1","edge":"begin","type":"service-stop"}
{"k":"fault","t":20500,"lo":20200,"f":"f1","edge":"active","type":"service-stop"}
{"k":"fault","t":60000,"f":"f1","edge":"undo","type":"service-stop"}
{"k":"fault","t":60500,"lo":60200,"f":"f1","edge":"end","type":"service-stop"}
{"k":"phase","t":100000,"name":"scenario","scenario":"brief-outage","edge":"end"}
{"k":"end","t":100000,"why":"done"}
`

func parse(t *testing.T, lines string) *record.Record {
	t.Helper()
	r, err := record.Parse(bytes.NewReader([]byte(story + lines)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func view(t *testing.T, lines string) record.Run {
	t.Helper()
	run, ok := parse(t, lines).Run("brief-outage")
	if !ok {
		t.Fatal("the scenario is not in the record")
	}
	return run
}

const (
	diskOK      = `{"k":"s","t":5000,"l":4,"topic":"disk","s":"ok"}` + "\n"
	diskBlocked = `{"k":"s","t":21000,"l":4,"topic":"disk","s":"blocked","why":"no answer\nfor a while"}` + "\n"
	diskBack    = `{"k":"s","t":61000,"l":4,"topic":"disk","s":"ok"}` + "\n"
)

func TestNeverAgainAndEnds(t *testing.T) {
	never := func(r record.Run) record.Verdict { return claim.Never(r, guest, "disk", "blocked", "error") }
	again := func(r record.Run) record.Verdict { return claim.Again(r.After(r.Fault().End), guest, "disk", "ok") }
	ends := func(r record.Run) record.Verdict { return claim.Ends(r, guest, "disk", "ok") }
	for _, c := range []struct {
		name  string
		judge func(record.Run) record.Verdict
		lines string
		want  record.Outcome
		why   string
	}{
		{"never, nobody watched", never, "", record.Inconclusive, "nobody watched disk"},
		{"never, and so it was", never, diskOK, record.Confirmed, "disk was never blocked or error"},
		{"never, but it was", never, diskOK + diskBlocked + diskBack, record.Refuted, "disk blocked (no answer)"},
		{"never, but it began like that", never, `{"k":"s","t":0,"l":4,"topic":"disk","s":"error"}` + "\n" + diskOK, record.Refuted, "disk error"},
		{"again, nobody watched", again, "", record.Inconclusive, "nobody watched disk"},
		{"again, and so it is", again, diskOK + diskBlocked + diskBack, record.Confirmed, "disk is ok again"},
		{"again, but it is not", again, diskOK + diskBlocked, record.Refuted, "disk is not ok again but blocked (no answer)"},
		{"again, and slow afterwards", again, diskOK + diskBlocked + diskBack + `{"k":"s","t":70000,"l":4,"topic":"disk","s":"blocked"}` + "\n", record.Confirmed, "disk is ok again"},
		{"ends, nobody watched", ends, "", record.Inconclusive, "nobody watched disk"},
		{"ends, and so it does", ends, diskOK + diskBlocked + diskBack, record.Confirmed, "disk is ok in the end"},
		{"ends, but otherwise", ends, diskOK + diskBlocked, record.Refuted, "disk is blocked (no answer) in the end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			v := c.judge(view(t, c.lines))
			g.Expect(v.Outcome).To(Equal(c.want))
			g.Expect(v.Why).To(Equal(c.why))
			if v.Outcome != record.Inconclusive {
				g.Expect(v.Evidence).NotTo(BeEmpty())
				g.Expect(v.Evidence[0].Lane).To(Equal("guest/a"))
			}
		})
	}
}

func TestALaneThatIsNoGuestIsNamed(t *testing.T) {
	g := NewWithT(t)
	r := view(t, `{"k":"s","t":5000,"l":2,"topic":"manageable","s":"yes"}`+"\n")
	g.Expect(claim.Never(r, host, "manageable", "no").Why).To(Equal("esxi: manageable was never no"))
	g.Expect(claim.Never(r, vmA, "power", "off").Why).To(Equal("vm/a: nobody watched power"))
}

func TestNoEvents(t *testing.T) {
	g := NewWithT(t)
	r := view(t, `{"k":"s","t":20000,"l":3,"topic":"run","s":"running"}
{"k":"e","t":30000,"l":3,"topic":"qemu","type":"stop"}
`)
	g.Expect(claim.NoEvents(r, vmA, "qemu").Outcome).To(Equal(record.Refuted))
	g.Expect(claim.NoEvents(r, vmA, "qemu", "reset", "stop").Outcome).To(Equal(record.Refuted))
	g.Expect(claim.NoEvents(r, vmA, "qemu", "reset").Outcome).To(Equal(record.Confirmed))
	g.Expect(claim.NoEvents(r.Between(0, 29999), vmA, "qemu").Outcome).To(Equal(record.Confirmed))
	g.Expect(claim.NoEvents(r, guest, "qemu").Outcome).To(Equal(record.Inconclusive), "nothing at all was seen of it")
}

func TestEachGuestNamesTheGuestAndNeedsOne(t *testing.T) {
	g := NewWithT(t)
	v := claim.EachGuest(view(t, ""), func(drivers.Lane) record.Verdict { return claim.Refute("it is broken") })
	g.Expect(v.Why).To(Equal("guest a: it is broken"))
	r, err := record.Parse(bytes.NewReader([]byte(`{"k":"run","v":1}` + "\n")))
	g.Expect(err).NotTo(HaveOccurred())
	run, _ := r.Run("brief-outage")
	v = claim.EachGuest(run, func(drivers.Lane) record.Verdict { return claim.Confirm("fine") })
	g.Expect(v.Outcome).To(Equal(record.Inconclusive))
}

func TestSameBootAndTimeout(t *testing.T) {
	g := NewWithT(t)
	first := `{"k":"s","t":1000,"l":4,"topic":"boot","s":"one"}` + "\n"
	g.Expect(claim.SameBoot(view(t, ""), guest).Outcome).To(Equal(record.Inconclusive))
	g.Expect(claim.SameBoot(view(t, first), guest).Outcome).To(Equal(record.Confirmed))
	g.Expect(claim.SameBoot(view(t, first+`{"k":"s","t":9000,"l":4,"topic":"boot","s":"two"}`+"\n"), guest).Outcome).To(Equal(record.Refuted))
	seconds, ok := claim.SCSITimeout(view(t, ""), guest)
	g.Expect(ok).To(BeTrue())
	g.Expect(seconds).To(Equal(30.0))
	_, ok = claim.SCSITimeout(view(t, ""), host)
	g.Expect(ok).To(BeFalse())
}

func TestHostsAndMachines(t *testing.T) {
	g := NewWithT(t)
	r := view(t, "")
	g.Expect(claim.Hosts(r)).To(Equal([]drivers.Lane{host}))
	vm, ok := claim.VM(r, guest)
	g.Expect(ok).To(BeTrue())
	g.Expect(vm).To(Equal(vmA))
}

func TestCutLiesBetweenTheInjectionAndItsProof(t *testing.T) {
	g := NewWithT(t)
	m := claim.Cut(view(t, "").Fault())
	g.Expect(m.Lo).To(BeEquivalentTo(20000))
	g.Expect(m.Hi).To(BeEquivalentTo(20500))
}

func TestIntact(t *testing.T) {
	check := func(typ, acked, missing string) string {
		return `{"k":"e","t":70000,"l":4,"topic":"acklog","type":"` + typ + `","a":{"acked":"` + acked + `","missing":"` + missing + `"}}` + "\n"
	}
	for _, c := range []struct {
		name, lines string
		want        record.Outcome
	}{
		{"not read back", "", record.Inconclusive},
		{"read back", check("intact", "7", "0"), record.Confirmed},
		{"nothing to lose", check("intact", "0", "0"), record.Inconclusive},
		{"one missing", check("damaged", "7", "1"), record.Refuted},
		{"one missing, then content", check("damaged", "7", "1") + check("intact", "7", "0"), record.Refuted},
		{"unreadable", check("unreadable", "7", "0"), record.Inconclusive},
		{"another file damaged", check("intact", "7", "0") + `{"k":"e","t":70000,"l":4,"topic":"seed","type":"damaged"}` + "\n", record.Refuted},
	} {
		t.Run(c.name, func(t *testing.T) {
			NewWithT(t).Expect(claim.Intact(view(t, c.lines), guest).Outcome).To(Equal(c.want))
		})
	}
}

func TestProvenanceIsThatOfTheWeakestLane(t *testing.T) {
	verdict := func(judge func(record.Run) record.Verdict) record.Verdict {
		c := claim.Claim{ID: "x", In: scenario.BriefOutage, Judge: judge}
		return c.Verdict(parse(t, ""))
	}
	on := func(lanes ...drivers.Lane) record.Verdict {
		return verdict(func(record.Run) record.Verdict {
			var ms []record.Moment
			for _, l := range lanes {
				ms = append(ms, record.Moment{Lane: l})
			}
			return claim.Confirm("yes", ms...)
		})
	}
	g := NewWithT(t)
	g.Expect(on(nas).Provenance).To(Equal(drivers.Real))
	g.Expect(on(nas, guest).Provenance).To(Equal(drivers.Embedded))
	g.Expect(on(host, nas, guest).Provenance).To(Equal(drivers.Modelled))
	g.Expect(on(vmA, host).Provenance).To(Equal(drivers.Modelled))
	v := verdict(func(record.Run) record.Verdict {
		return record.Verdict{Outcome: record.Confirmed, Provenance: drivers.Modelled}
	})
	g.Expect(v.Provenance).To(Equal(drivers.Modelled), "a judge may say so itself")
}

func TestAVerdictNeedsAProvenFault(t *testing.T) {
	asked := 0
	c := claim.Claim{ID: "x", In: scenario.BriefOutage, Judge: func(record.Run) record.Verdict { asked++; return claim.Confirm("yes") }}
	g := NewWithT(t)
	g.Expect(c.Verdict(parse(t, "")).Outcome).To(Equal(record.Confirmed))
	g.Expect(asked).To(Equal(1))
	failed := c.Verdict(parse(t, `{"k":"fault","t":20600,"f":"f1","edge":"failed","type":"service-stop","why":"not seen on the wire"}`+"\n"))
	g.Expect(failed.Outcome).To(Equal(record.Inconclusive))
	g.Expect(failed.Why).To(Equal("the fault was not proven: not seen on the wire"))
	c.In = scenario.Repeated
	g.Expect(c.Verdict(parse(t, "")).Why).To(Equal("its scenario did not begin"))
	g.Expect(c.Verdict(parse(t, `{"k":"end","t":100001,"why":"interrupted"}`+"\n")).Why).To(Equal("its scenario did not begin: interrupted"))
	g.Expect(asked).To(Equal(1), "no judge is asked about what did not happen")
}

func TestTimesAreWholeMilliseconds(t *testing.T) {
	g := NewWithT(t)
	f := view(t, "").Fault()
	g.Expect(record.From(f.Active).To(f.Undo)).To(Equal(record.Interval{Lo: 39.5, Hi: 39.8}))
	g.Expect(f.Active.Hi).To(BeEquivalentTo((20*time.Second + 500*time.Millisecond).Milliseconds()))
}
