package reports

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// hung is a run in which a guest's disk hung while a fault was there, at the second time; the verdict points to that.
const hung = `{"k":"run","v":1,"id":"r1","lab":"box","lab_kind":"embedded","host":"esxi","profile":"quick","facts":{"target":"target/tgt"}}
{"k":"plan","claim":"c","title":"It hangs","scenario":"s","src":{"doc":"S1","code":"C1","en":"The disk hangs."}}
{"k":"lane","l":1,"kind":"guest","name":"a","prov":"embedded"}
{"k":"lane","l":2,"kind":"path","name":"wire","prov":"embedded"}
{"k":"lane","l":3,"kind":"guest","name":"b","prov":"embedded"}
{"k":"s","t":1000,"l":1,"topic":"disk","s":"ok"}
{"k":"s","t":1000,"l":3,"topic":"disk","s":"never pointed to"}
{"k":"phase","t":1000,"name":"scenario","scenario":"s","edge":"begin"}
{"k":"fault","t":10000,"f":"f1","edge":"begin","type":"blackhole"}
{"k":"fault","t":11000,"f":"f1","edge":"active","type":"blackhole"}
{"k":"fault","t":20000,"f":"f1","edge":"undo","type":"blackhole"}
{"k":"fault","t":21000,"f":"f1","edge":"end","type":"blackhole"}
{"k":"fault","t":40000,"f":"f2","edge":"begin","type":"stall"}
{"k":"fault","t":41000,"f":"f2","edge":"active","type":"stall"}
{"k":"s","t":44000,"lo":43000,"l":1,"topic":"disk","s":"blocked"}
{"k":"e","t":45000,"l":1,"topic":"kmsg","type":"abort"}
{"k":"b","t":42000,"to":46000,"l":1,"topic":"write","n":3,"min":0.1,"sum":4,"max":3,"max_t":45000}
{"k":"fault","t":50000,"f":"f2","edge":"undo","type":"stall"}
{"k":"fault","t":51000,"f":"f2","edge":"end","type":"stall"}
{"k":"s","t":52000,"l":1,"topic":"disk","s":"ok"}
{"k":"phase","t":90000,"name":"scenario","scenario":"s","edge":"end"}
{"k":"claim","id":"c","t":90000,"lab":"box","verdict":"confirmed","why":"it hung","measured":{"lo":2,"hi":4},"window":{"max":10},"provenance":"embedded","ev":[{"t":41000,"lane":"path/wire","what":"fault stall active"},{"t":44000,"lane":"guest/a","what":"disk blocked"},{"t":45000,"lane":"guest/a","what":"kmsg abort"},{"t":45000,"lane":"guest/a","what":"write"}]}
{"k":"end","t":90001,"why":"done"}
`

// other makes another run of it.
func other(t *testing.T, pairs ...string) *record.Record {
	t.Helper()
	text := strings.NewReplacer(pairs...).Replace(hung)
	if len(pairs) > 0 && text == hung {
		t.Fatal("nothing was replaced")
	}
	return parse(t, []byte(text))
}

func over(t *testing.T, runs ...*record.Record) Overlay {
	t.Helper()
	o, err := Over(runs, record.Plan{Claim: "c"})
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return o
}

func TestOverlayIsAlignedAtTheFaultThatTheVerdictSpeaksOf(t *testing.T) {
	g := NewWithT(t)
	o := over(t, other(t))
	g.Expect(o.Title).To(Equal("It hangs"))
	r := o.Rows[0]
	g.Expect(r.Fault).To(Equal(drivers.FaultKind("stall")))
	g.Expect(r.Held).To(Equal([]record.Interval{{Lo: 0, Hi: 11}}), "from its begin until it was seen to be gone")
	g.Expect(r.Platform).To(Equal("esxi tgt"))
	g.Expect(r.Reach).To(BeNumerically("~", 13.2, 1e-9), "a fifth longer than the fault")
	g.Expect(r.Tracks).To(HaveLen(3))
	g.Expect(r.Tracks[0].Lane+" "+r.Tracks[0].Topic).To(Equal("guest/a disk"), "not the fault, and not what nothing points to")
	g.Expect(r.Tracks[0].States).To(Equal([]OverSpan{{What: "ok", May: -0.66, From: -0.66, To: 4}, {What: "blocked", May: 3, From: 4, To: 12}, {What: "ok", May: 12, From: 12, To: 13.2}}))
	g.Expect(r.Tracks[0].Evidence).To(Equal([]float64{4}))
	g.Expect(r.Tracks[1].Events).To(Equal([]OverSpan{{What: "abort", May: 5, From: 5, To: 5}}))
	g.Expect(r.Tracks[2].Samples).To(Equal([]OverSpan{{May: 2, From: 2, To: 6, Max: 3}}))
	first := over(t, other(t, `{"t":41000,"lane":"path/wire","what":"fault stall active"}`, `{"t":11000,"lane":"path/wire","what":"fault blackhole active"}`)).Rows[0]
	g.Expect(first.Fault).To(Equal(drivers.FaultKind("blackhole")))
	g.Expect(first.Held).To(Equal([]record.Interval{{Lo: 0, Hi: 11}, {Lo: 30, Hi: 41}}))
}

func TestOverlayOfRunsThatLackSomething(t *testing.T) {
	g := NewWithT(t)
	whole := other(t)
	for name, c := range map[string]struct {
		run *record.Record
		not string
	}{
		"the claim":    {other(t, `"claim":"c"`, `"claim":"d"`, `"id":"c"`, `"id":"d"`), "this run has no verdict on the claim"},
		"the scenario": {other(t, `"name":"scenario","scenario":"s"`, `"name":"scenario","scenario":"z"`), "its scenario did not begin"},
		"a fault":      {other(t, `"edge":"begin","type"`, `"edge":"x","type"`), "no fault was injected"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			o := over(t, whole, c.run)
			g.Expect(o.Rows[1].Not).To(Equal(c.not))
			said, _ := texts(t, o.SVG())
			g.Expect(said).To(ContainElement(c.not))
			g.Expect(string(o.Markdown())).To(ContainSubstring("nothing is drawn: " + c.not))
			g.Expect(o.Text()).To(ContainSubstring("nothing is drawn: " + c.not))
		})
	}
	_, err := Over([]*record.Record{whole}, record.Plan{Claim: "nobody.knows"})
	var operator *drivers.Operator
	g.Expect(errors.As(err, &operator)).To(BeTrue())
	g.Expect(err).To(MatchError(ContainSubstring(`none of the 1 runs has a verdict on the claim "nobody.knows"`)))
}

func TestOverlayTakesTodaysPlanWhereTheRunHasNone(t *testing.T) {
	g := NewWithT(t)
	run := other(t, `{"k":"plan"`, `{"k":"strange"`)
	o, err := Over([]*record.Record{run}, record.Plan{Claim: "c", Title: "Today", Scenario: "s"})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Title).To(Equal("Today"))
	g.Expect(o.Rows[0].Tracks).To(HaveLen(3))
}

func TestOverlayAsAPicture(t *testing.T) {
	g := NewWithT(t)
	o := over(t, other(t), other(t, `"id":"r1"`, `"id":"r2"`, `"max":10}`, `"max":3}`))
	said, elements := texts(t, o.SVG())
	g.Expect(said).To(ContainElements("esxi tgt · box · r1 · embedded", "guest/a disk", "blocked", "greatest 3", "abort", "2..4 s, allowed at most 10 s", "2..4 s, allowed at most 3 s"))
	g.Expect(elements).NotTo(ContainElement("script"))
	g.Expect(string(o.SVG())).NotTo(MatchRegexp(`(?i)(href|url\(|@import|\son[a-z]+=)`), "it needs nothing from elsewhere")
	g.Expect(strings.Count(string(o.SVG()), `class="fault"`)).To(Equal(2))
}

func TestOverlayOfRealBesideEmbedded(t *testing.T) {
	g := NewWithT(t)
	o := over(t, other(t), other(t))
	g.Expect(o.Mixed).To(BeFalse())
	g.Expect(string(o.Markdown())).NotTo(ContainSubstring(mixedWords))
	o = over(t, other(t), other(t, `"embedded"`, `"real"`))
	g.Expect(o.Mixed).To(BeTrue())
	g.Expect(string(o.Markdown())).To(ContainSubstring(mixedWords))
	g.Expect(string(o.SVG())).To(ContainSubstring(mixedWords))
	g.Expect(o.Text()).To(ContainSubstring(mixedWords))
	g.Expect(o.Rows[1].kind()).To(Equal("real"))
	g.Expect(over(t, other(t, `"why":"it hung","measured":{"lo":2,"hi":4},"window":{"max":10},"provenance":"embedded"`, `"why":"so","provenance":"modelled"`)).Rows[0].kind()).To(Equal("modelled, in a lab that is embedded"))
}

func TestOverlayOfHostileAndOddRuns(t *testing.T) {
	g := NewWithT(t)
	evil, err := json.Marshal(hostile)
	g.Expect(err).NotTo(HaveOccurred())
	o := over(t, other(t, `"box"`, string(evil), `"id":"r1"`, `"id":`+string(evil), `"esxi"`, string(evil), `"It hangs"`, string(evil), `"blocked"`, string(evil), `"abort"`, string(evil), `"it hung"`, string(evil)))
	_, elements := texts(t, o.SVG())
	g.Expect(elements).NotTo(ContainElement("b"))
	g.Expect(string(o.Markdown())).NotTo(ContainSubstring("<b>"))
	g.Expect(o.Text()).NotTo(MatchRegexp("[\x00-\x09\x0b-\x1f]"))
	for _, odd := range []string{`"measured":{"lo":-1e308,"hi":1e308}`, `"measured":{"lo":4,"hi":2}`, `"measured":{"lo":2,"hi":2}`} {
		texts(t, over(t, other(t, `"measured":{"lo":2,"hi":4}`, odd)).SVG())
	}
	texts(t, over(t, other(t, `"window":{"max":10}`, `"window":{"min":1e308,"max":-1e308}`)).SVG())
	texts(t, over(t, other(t, `"t":51000`, `"t":9000000000000000`)).SVG())
	texts(t, Overlay{}.SVG())
	texts(t, Overlay{Rows: []OverRow{{Tracks: []OverTrack{{States: []OverSpan{{From: 5, To: 1}}}}}}}.SVG())
}

// TestOverlayOfCutRecords cuts a record everywhere: what is there is drawn, and the same bytes come of the same record.
func TestOverlayOfCutRecords(t *testing.T) {
	g := NewWithT(t)
	for n := strings.Index(hung, `{"k":"lane"`); n < len(hung); n += 9 {
		cut := parse(t, []byte(hung[:n]))
		o := over(t, cut)
		texts(t, o.SVG())
		if n%10 == 0 {
			g.Expect(over(t, cut).SVG()).To(Equal(o.SVG()))
			g.Expect(over(t, cut).Markdown()).To(Equal(o.Markdown()))
		}
	}
}

func TestOverlayOfARealRecord(t *testing.T) {
	g := NewWithT(t)
	r, err := record.Read(filepath.Join("..", "suites", "testdata", "esxi"))
	g.Expect(err).NotTo(HaveOccurred())
	for _, row := range Rows(r) {
		in := r.Scenarios()[0]
		for _, s := range r.Scenarios() { // the scenario of the verdict: the tape has no plans
			if run, ok := r.Run(s); ok && row.T >= run.To {
				in = s
			}
		}
		o, err := Over([]*record.Record{r, r}, record.Plan{Claim: row.Claim, Scenario: in})
		g.Expect(err).NotTo(HaveOccurred())
		texts(t, o.SVG())
		g.Expect(o.Rows[0].Not).To(BeEmpty(), row.Claim)
	}
}

func TestOverlayWritesItsFiles(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	o := over(t, other(t))
	files, err := o.Write(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "overlay.md"), filepath.Join(dir, "overlay.svg"), filepath.Join(dir, "overlay.json")}))
	b, err := os.ReadFile(files[2])
	g.Expect(err).NotTo(HaveOccurred())
	var back Overlay
	g.Expect(json.Unmarshal(b, &back)).To(Succeed())
	g.Expect(back).To(Equal(o))
}
