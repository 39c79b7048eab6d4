package reports

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// stated is one claim's verdict, for a run.
type stated struct {
	outcome  record.Outcome
	known    *record.Deviation
	lo, hi   float64
	unit     string
	min, max *float64
	prov     drivers.Provenance
	skip     string
}

// runOf is a whole run of an embedded lab in which the claim "c" has a verdict, or none when it is nil.
func runOf(id string, s *stated) *record.Record {
	r := &record.Record{Header: record.Header{K: "run", V: 1, ID: id, Lab: "l", LabKind: drivers.Embedded, Profile: "quick"}, Ended: true, EndWhy: "done"}
	r.Plans = []record.Plan{{K: "plan", Claim: "always", Title: "Always there", Scenario: "s"}}
	r.Judged = []record.Judged{{K: "claim", Claim: "always", Verdict: record.Verdict{Outcome: record.Confirmed}}}
	if s == nil {
		return r
	}
	r.Plans = append(r.Plans, record.Plan{K: "plan", Claim: "c", Title: "Claim c", Scenario: "s", Skip: s.skip})
	if s.skip != "" {
		return r
	}
	v := record.Verdict{Outcome: s.outcome, Why: "so " + id, Unit: s.unit, Provenance: s.prov}
	if s.hi != 0 {
		v.Measured = &record.Interval{Lo: s.lo, Hi: s.hi}
	}
	if s.min != nil || s.max != nil {
		v.Window = &record.Window{Min: s.min, Max: s.max}
	}
	r.Judged = append(r.Judged, record.Judged{K: "claim", Claim: "c", Verdict: v, Known: s.known})
	return r
}

// of finds the claim "c" in a comparison.
func of(t *testing.T, c Comparison) Change {
	t.Helper()
	var found []Change
	for _, ch := range c.Changes {
		if ch.Claim == "c" {
			found = append(found, ch)
		}
	}
	if len(found) != 1 {
		t.Fatalf("the claim stands %d times in the comparison", len(found))
	}
	return found[0]
}

func TestTurns(t *testing.T) {
	dev, sometimes := &record.Deviation{Reason: "known for years"}, &record.Deviation{Reason: "now and then", Sometimes: true}
	var (
		good    = &stated{outcome: record.Confirmed}
		bad     = &stated{outcome: record.Refuted}
		listed  = &stated{outcome: record.Refuted, known: dev}
		stale   = &stated{outcome: record.Confirmed, known: dev}
		holds   = &stated{outcome: record.Confirmed, known: sometimes}
		open    = &stated{outcome: record.Inconclusive}
		skipped = &stated{skip: "lab lacks it"}
		strange = &stated{outcome: "splendid"}
	)
	for name, c := range map[string]struct {
		was, is *stated
		turn    Turn
		note    string
	}{
		"confirmed, refuted":        {good, bad, Worse, ""},
		"confirmed, undecided":      {good, open, Worse, ""},
		"confirmed, unknown word":   {good, strange, Worse, ""},
		"on the list, undecided":    {listed, open, Worse, ""},
		"off the list":              {listed, bad, Worse, "it is not on the list of deviations any more: known for years"},
		"refuted, confirmed":        {bad, good, Better, ""},
		"undecided, confirmed":      {open, good, Better, ""},
		"on the list, but true":     {listed, stale, Better, "listed as a deviation, but no longer true: known for years"},
		"on the list, true today":   {listed, holds, Better, ""},
		"confirmed, listed":         {good, listed, Other, ""},
		"put on the list":           {bad, listed, Other, "it was put on the list of deviations: known for years"},
		"refuted, undecided":        {bad, open, Other, ""},
		"undecided, refuted":        {open, bad, Other, ""},
		"confirmed, not asked":      {good, skipped, Other, ""},
		"not asked, confirmed":      {skipped, good, Other, ""},
		"not asked, refuted":        {skipped, bad, Other, ""},
		"on the list in both":       {listed, listed, Same, ""},
		"refuted in both":           {bad, bad, Same, ""},
		"confirmed in both":         {good, good, Same, ""},
		"stale in both":             {stale, stale, Same, "listed as a deviation, but no longer true: known for years"},
		"not planned at first":      {nil, bad, New, ""},
		"not planned in the second": {bad, nil, Gone, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cmp := Compare(runOf("a", c.was), runOf("b", c.is))
			ch := of(t, cmp)
			g.Expect(ch.Turn).To(Equal(c.turn))
			g.Expect(cmp.Regressed()).To(Equal(c.turn == Worse))
			g.Expect(cmp.NotComparable).To(BeEmpty())
			if c.note == "" {
				g.Expect(ch.Notes).To(BeEmpty())
			} else {
				g.Expect(ch.Notes).To(Equal([]string{c.note}))
			}
			g.Expect(ch.Was == nil).To(Equal(c.was == nil))
			g.Expect(ch.Is == nil).To(Equal(c.is == nil))
		})
	}
}

func TestMargins(t *testing.T) {
	for name, c := range map[string]struct {
		lo, hi   float64
		min, max *float64
		want     *float64
	}{
		"in the middle":                        {45, 55, ptr(0), ptr(100), ptr(0.45)},
		"nearer to the upper edge":             {70, 90, ptr(0), ptr(100), ptr(0.1)},
		"nearer to the lower edge":             {120, 130, ptr(100), ptr(300), ptr(0.1)},
		"on the edge":                          {100, 100, ptr(0), ptr(100), ptr(0)},
		"an edge within":                       {90, 110, ptr(0), ptr(100), ptr(0)},
		"both edges within":                    {-10, 110, ptr(0), ptr(100), ptr(0)},
		"above":                                {150, 170, ptr(0), ptr(100), ptr(-0.5)},
		"below":                                {-30, -20, ptr(0), ptr(100), ptr(-0.2)},
		"at most":                              {5, 6, nil, ptr(10), ptr(0.4)},
		"at most, beyond":                      {12, 13, nil, ptr(10), ptr(-0.2)},
		"at least":                             {15, 20, ptr(10), nil, ptr(0.5)},
		"at least a negative value":            {-5, 0, ptr(-10), nil, ptr(0.5)},
		"at most nothing":                      {0, 0, nil, ptr(0), ptr(0)},
		"at most nothing, and there were some": {3, 3, nil, ptr(0), ptr(-3)},
		"exactly":                              {10, 10, ptr(10), ptr(10), ptr(0)},
		"exactly, and beyond":                  {15, 15, ptr(10), ptr(10), ptr(-0.5)},
		"turned round":                         {55, 45, ptr(0), ptr(100), ptr(0.45)},
		"any":                                  {1, 2, nil, nil, nil},
		"no number":                            {math.Inf(1), math.Inf(1), ptr(0), ptr(1), nil},
		"too far for a number":                 {-math.MaxFloat64, -math.MaxFloat64, ptr(math.MaxFloat64), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := margin(record.Verdict{Measured: &record.Interval{Lo: c.lo, Hi: c.hi}, Window: &record.Window{Min: c.min, Max: c.max}})
			if c.want == nil {
				NewWithT(t).Expect(got).To(BeNil())
				return
			}
			NewWithT(t).Expect(got).To(HaveValue(BeNumerically("~", *c.want, 1e-12)))
		})
	}
	NewWithT(t).Expect(margin(record.Verdict{Window: &record.Window{Max: ptr(1)}})).To(BeNil(), "nothing was measured")
}

func TestValuesThatMove(t *testing.T) {
	at := func(lo, hi float64, max float64) *stated {
		return &stated{outcome: record.Confirmed, lo: lo, hi: hi, min: ptr(0), max: &max}
	}
	with := func(s *stated, change func(*stated)) *stated { change(s); return s }
	for name, c := range map[string]struct {
		was, is *stated
		turn    Turn
		shift   *float64
		far     bool
		apart   string
		note    string
	}{
		"a little":                   {at(50, 60, 100), at(50, 60.5, 100), Same, ptr(-0.005), false, "", ""},
		"some":                       {at(50, 60, 100), at(50, 70, 100), Moved, ptr(-0.1), false, "", ""},
		"by 20 points":               {at(50, 75, 100), at(50, 95, 100), Moved, ptr(-0.2), false, "", ""},
		"far":                        {at(50, 75, 100), at(50, 96, 100), Moved, ptr(-0.21), true, "", ""},
		"inwards":                    {at(50, 96, 100), at(50, 75, 100), Moved, ptr(0.21), true, "", ""},
		"not it, but its window":     {at(50, 60, 100), at(50, 60, 80), Moved, ptr(-0.15), false, "", "the window was 0..100 s, and is 0..80 s"},
		"in another unit":            {at(50, 60, 100), with(at(1, 2, 100), func(s *stated) { s.unit = "min" }), Same, nil, false, "it was measured in s, and is in min", "the window was 0..100 s, and is 0..100 min"},
		"on another's word":          {with(at(50, 60, 100), func(s *stated) { s.prov = drivers.Embedded }), with(at(50, 99, 100), func(s *stated) { s.prov = drivers.Modelled }), Same, nil, false, "it rested on what is embedded, and rests on what is modelled", ""},
		"a word in another unit too": {at(50, 60, 100), with(at(1, 2, 100), func(s *stated) { s.unit, s.outcome = "min", record.Refuted }), Worse, nil, false, "it was measured in s, and is in min", "the window was 0..100 s, and is 0..100 min"},
		"nothing measured any more":  {at(50, 60, 100), &stated{outcome: record.Confirmed}, Same, nil, false, "", "the window was 0..100 s, and is -"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			ch := of(t, Compare(runOf("a", c.was), runOf("b", c.is)))
			g.Expect(ch.Turn).To(Equal(c.turn))
			if c.shift == nil {
				g.Expect(ch.Shift).To(BeNil())
			} else {
				g.Expect(ch.Shift).To(HaveValue(BeNumerically("~", *c.shift, 1e-9)))
			}
			g.Expect(ch.Far()).To(Equal(c.far))
			g.Expect(ch.Apart).To(Equal(c.apart))
			if c.note == "" {
				g.Expect(ch.Notes).To(BeEmpty())
			} else {
				g.Expect(ch.Notes).To(Equal([]string{c.note}))
			}
		})
	}
}

// withClaims is a run with several claims, each planned for a scenario, and confirmed unless another outcome is given.
func withClaims(id string, claims map[string]record.Judged, order ...string) *record.Record {
	r := runOf(id, nil)
	for _, name := range order {
		r.Plans = append(r.Plans, record.Plan{K: "plan", Claim: name, Title: "Claim " + name, Scenario: "s"})
		j := claims[name]
		j.Claim = name
		if j.Outcome == "" {
			j.Outcome = record.Confirmed
		}
		r.Judged = append(r.Judged, j)
	}
	return r
}

func value(x float64) record.Judged {
	return record.Judged{Verdict: record.Verdict{Outcome: record.Confirmed, Measured: &record.Interval{Lo: x, Hi: x}, Window: &record.Window{Min: ptr(0), Max: ptr(100)}}}
}

func TestChangesComeInOrder(t *testing.T) {
	g := NewWithT(t)
	refuted := record.Judged{Verdict: record.Verdict{Outcome: record.Refuted}}
	open := record.Judged{Verdict: record.Verdict{Outcome: record.Inconclusive}}
	a := withClaims("a", map[string]record.Judged{"better": refuted, "other": refuted, "near": value(60), "far": value(60), "middle": value(60)},
		"near", "far", "middle", "gone", "other", "better", "worse", "worse too")
	b := withClaims("b", map[string]record.Judged{"worse": open, "worse too": refuted, "other": open, "near": value(63), "far": value(90), "middle": value(70)},
		"worse", "worse too", "other", "better", "new", "middle", "far", "near")
	var got []string
	for _, c := range Compare(a, b).Changes {
		got = append(got, string(c.Turn)+" "+c.Claim)
	}
	g.Expect(got).To(Equal([]string{"worse worse too", "worse worse", "better better", "changed other", "new new", "gone gone",
		"moved far", "moved middle", "moved near", "same always"}))
}

func TestAnotherScenarioIsAnotherClaim(t *testing.T) {
	g := NewWithT(t)
	a, b := runOf("a", &stated{outcome: record.Confirmed}), runOf("b", &stated{outcome: record.Refuted})
	b.Plans[1].Scenario = "another"
	c := Compare(a, b)
	g.Expect(c.Count(New)).To(Equal(1))
	g.Expect(c.Count(Gone)).To(Equal(1))
	g.Expect(c.Changes[0].Apart).To(Equal("it was about the scenario s"))
	b.Plans = b.Plans[:1] // nobody planned it: then it may be any
	g.Expect(of(t, Compare(a, b)).Turn).To(Equal(Worse))
	g.Expect(of(t, Compare(a, b)).Title).To(Equal("Claim c"), "the run that planned it knows")
}

func TestWhatMustNotBeCompared(t *testing.T) {
	confirmed := func(p drivers.Provenance) *stated { return &stated{outcome: record.Confirmed, prov: p} }
	in := func(kind drivers.Provenance, p drivers.Provenance) *record.Record {
		r := runOf("in "+string(kind), confirmed(p))
		r.Header.LabKind = kind
		return r
	}
	for name, c := range map[string]struct {
		a, b *record.Record
		why  string
	}{
		"embedded with real":             {in(drivers.Embedded, drivers.Embedded), in(drivers.Real, drivers.Real), "run in embedded is of a lab that is embedded, run in real of a lab that is real"},
		"real with embedded":             {in(drivers.Real, drivers.Real), in(drivers.Embedded, drivers.Embedded), "run in real is of a lab that is real, run in embedded of a lab that is embedded"},
		"a stand-in in a real lab":       {in(drivers.Real, drivers.Real), in(drivers.Real, drivers.Modelled), "in one run what is real was judged, in the other what is not: c"},
		"a lab of which nothing is told": {in("", drivers.Embedded), in(drivers.Real, drivers.Real), "run in  is of a lab of an unknown kind, run in real of a lab that is real"},
		"real with real":                 {in(drivers.Real, drivers.Real), in(drivers.Real, drivers.Real), ""},
		"real with no one's word":        {in(drivers.Real, drivers.Real), in(drivers.Real, ""), ""},
		"embedded with modelled":         {in(drivers.Embedded, drivers.Embedded), in(drivers.Embedded, drivers.Modelled), ""},
		"nothing in common":              {&record.Record{}, &record.Record{}, "they have no claim in common"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			got := Compare(c.a, c.b)
			g.Expect(got.NotComparable).To(Equal(strings.Join(strings.Fields(c.why), " ")))
			for line := range strings.Lines(got.Text()) {
				g.Expect(strings.HasPrefix(line, "[")).To(Equal(c.why != ""), "each line says so: %s", line)
			}
		})
	}
	g := NewWithT(t)
	b := in(drivers.Real, drivers.Real)
	b.Judged[1].Outcome = record.Refuted
	c := Compare(in(drivers.Embedded, drivers.Embedded), b)
	g.Expect(c.Text()).To(ContainSubstring("[embedded beside real] worse"))
	g.Expect(string(c.Markdown())).To(ContainSubstring(`\[embedded beside real\] **worse**`))
	g.Expect(string(c.SVG())).To(ContainSubstring("[embedded beside real]"))
}

// differing are the lines of two runs that differ in all that is told of a run.
const differing = `{"k":"run","v":1,"id":"a","lab":"l","lab_kind":"embedded","profile":"quick","filter":"apd","git":"1","on":"m","host":"esxi","lab_file":"l.yaml","facts":{"kernel":"6.1","target":"target/tgt"}}
{"k":"lane","l":1,"kind":"guest","name":"a","prov":"embedded"}
{"k":"setting","l":1,"key":"scsi_timeout","value":"30"}
{"k":"setting","l":1,"key":"scsi_timeout","value":"2"}
{"k":"setting","l":1,"key":"kept","value":"x"}
{"k":"end","t":1,"why":"done"}
`

func TestWhatIsDifferentAboutTheRuns(t *testing.T) {
	g := NewWithT(t)
	other := strings.NewReplacer(`"lab":"l"`, `"lab":"m"`, "quick", "documented", `"git":"1"`, `"git":"2"`, `"filter":"apd"`, `"filter":"pdl"`, `"on":"m"`, `"on":"n"`, "esxi", "qemu", "l.yaml", "m.yaml",
		`"kernel":"6.1",`, `"accel":"kvm",`, `"value":"2"`, `"value":"4"`, `{"k":"end","t":1,"why":"done"}`, `{"k":"setting","l":1,"key":"fresh","value":"y"}`).Replace(differing)
	a, b := parse(t, []byte(differing)), parse(t, []byte(other))
	g.Expect(Compare(a, a).Differences).To(BeEmpty())
	g.Expect(Compare(a, b).Differences).To(Equal([]Difference{
		{"end", "done", "the record was cut off"}, {"fact accel", "", "kvm"}, {"fact kernel", "6.1", ""}, {"filter", "apd", "pdl"}, {"git", "1", "2"}, {"hosts", "esxi", "qemu"}, {"lab", "l", "m"},
		{"lab file", "l.yaml", "m.yaml"}, {"machine", "m", "n"}, {"profile", "quick", "documented"}, {"setting guest/a fresh", "", "y"}, {"setting guest/a scsi_timeout", "2", "4"}}))
}

func TestComparisonOfHostileRuns(t *testing.T) {
	g := NewWithT(t)
	evil := func(id string, o record.Outcome, x float64) *record.Record {
		r := runOf(hostile+id, &stated{outcome: o, lo: x, hi: x, unit: hostile, max: ptr(10), prov: hostile, known: &record.Deviation{Reason: hostile, Link: hostile}})
		r.Header.Lab, r.Header.Git, r.EndWhy = hostile+id, hostile, hostile+id
		r.Header.Facts = map[string]string{hostile + id: hostile}
		r.Plans[1].Title, r.Judged[1].Why, r.Judged[1].Window.From = hostile, hostile+id, hostile+id
		r.Plans[1].Claim, r.Judged[1].Claim = hostile, hostile
		return r
	}
	for _, outcome := range []record.Outcome{record.Confirmed, record.Inconclusive} {
		c := Compare(evil("1", record.Confirmed, 2), evil("2", outcome, 9))
		_, elements := texts(t, c.SVG())
		g.Expect(elements).NotTo(ContainElement("b"))
		md := string(c.Markdown())
		g.Expect(md).NotTo(ContainSubstring("<b>"))
		g.Expect(md).NotTo(ContainSubstring("\n\ttail"))
		g.Expect(md).NotTo(ContainSubstring("@someone"))
		for line := range strings.Lines(md) {
			if strings.HasPrefix(line, "| ") && strings.Contains(line, "red") && strings.Contains(line, "->") {
				g.Expect(strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")).To(Equal(9), line)
			}
		}
		g.Expect(c.Text()).NotTo(MatchRegexp("[\x00-\x09\x0b-\x1f]|##\\[add|##vso\\["))
		j, err := json.Marshal(c)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(json.Valid(j)).To(BeTrue())
	}
}

func TestComparisonWritesItsFiles(t *testing.T) {
	g := NewWithT(t)
	a, b := withClaims("a", map[string]record.Judged{"x": value(10)}, "x"), withClaims("b", map[string]record.Judged{"x": value(45)}, "x")
	dir := t.TempDir()
	files, err := Compare(a, b).Write(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "compare.md"), filepath.Join(dir, "compare.svg"), filepath.Join(dir, "compare.json")}))
	var back Comparison
	j, err := os.ReadFile(files[2])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Unmarshal(j, &back)).To(Succeed())
	g.Expect(back.Changes[0].Turn).To(Equal(Moved))
	g.Expect(back.Changes[0].IsSpare).To(HaveValue(BeNumerically("~", 0.45, 1e-9)))
	md, err := os.ReadFile(files[0])
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(md)).To(ContainSubstring("| moved | x<br>Claim x | confirmed | 10 s -&gt; 45 s | 0..100 s | **10 % -&gt; 45 % (+35 points)** |"))
	said, elements := texts(t, Compare(a, b).SVG())
	g.Expect(said).To(ContainElements("x", "10 s, allowed 0..100 s", "45 s, allowed 0..100 s", "moved: margin 10 % -> 45 % (+35 points)"))
	g.Expect(elements).NotTo(ContainElement("script"))
	_, err = Compare(a, b).Write(filepath.Join(dir, "nowhere"))
	g.Expect(err).To(MatchError(ContainSubstring("writing compare.md")))
}

// TestComparisonOfCutRecords cuts a record everywhere: what is there is compared, and the same bytes come of the same records.
func TestComparisonOfCutRecords(t *testing.T) {
	g := NewWithT(t)
	dir, whole, _ := small(t, "text")
	b := lines(t, dir)
	for n := strings.IndexByte(string(b), '\n') + 1; n < len(b); n += 41 {
		cut := parse(t, b[:n])
		c := Compare(whole, cut)
		texts(t, c.SVG())
		g.Expect(c.Markdown()).To(Equal(Compare(whole, cut).Markdown()))
		g.Expect(c.Count(Better)).To(BeZero(), "less was seen")
	}
}
