package reports

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// day is a run on one of a row of days.
func day(n int, s *stated) *record.Record {
	r := runOf(fmt.Sprintf("r%03d", n), s)
	r.Header.T0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n)
	return r
}

// historyOf sums runs up and returns the lines of the claim "c".
func historyOf(runs ...*record.Record) (*History, []Line) {
	h := NewHistory()
	for _, r := range runs {
		h.Add(r, r.Header.ID)
	}
	h.Sum()
	var out []Line
	for _, l := range h.Lines {
		if l.Claim == "c" {
			out = append(out, l)
		}
	}
	return h, out
}

func took(s float64) *stated {
	return &stated{outcome: record.Confirmed, lo: s / 2, hi: s, max: ptr(1000), prov: drivers.Embedded}
}

// nearest is the percentile by its definition and not by a rank: the best value than which so many of a hundred are no worse.
func nearest(values []float64, p int, lessWorse bool) float64 {
	best, found := 0.0, false
	for _, x := range values {
		n := 0
		for _, y := range values {
			if !lessWorse && y <= x || lessWorse && y >= x {
				n++
			}
		}
		if 100*n >= p*len(values) && (!found || !lessWorse && x < best || lessWorse && x > best) {
			best, found = x, true
		}
	}
	return best
}

func TestPercentilesAreThoseOfTheirDefinition(t *testing.T) {
	g := NewWithT(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := 1; n <= 230; n++ {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(rnd.IntN(n)) // with some that are equal
		}
		for _, p := range []int{50, 95, 99} {
			for _, less := range []bool{false, true} {
				g.Expect(*percentile(values, p, less)).To(Equal(nearest(values, p, less)), "P%d of %d, less is worse: %t", p, n, less)
			}
		}
	}
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	g.Expect(*percentile(hundred, 50, false)).To(Equal(50.0))
	g.Expect(*percentile(hundred, 95, false)).To(Equal(95.0))
	g.Expect(*percentile(hundred, 99, false)).To(Equal(99.0))
	g.Expect(*percentile(hundred[:7], 99, false)).To(Equal(100.0), "of few it is the greatest")
}

func TestTheNewestIsHeldAgainstTheEarlierOnes(t *testing.T) {
	atLeast := func(s float64) *stated {
		return &stated{outcome: record.Confirmed, lo: s, hi: s + 5, min: ptr(1), prov: drivers.Embedded}
	}
	series := func(newest float64, of func(float64) *stated, earlier int) []*record.Record {
		var out []*record.Record
		for i := range earlier {
			out = append(out, day(i, of(float64(100+i))))
		}
		return append(out, day(earlier, of(newest)))
	}
	for name, c := range map[string]struct {
		runs  []*record.Record
		level Level
	}{
		"one value":                     {series(999, took, 0), TooFew},
		"four earlier":                  {series(999, took, 4), TooFew},
		"five earlier":                  {series(999, took, 5), Red},
		"the greatest once more":        {series(104, took, 5), Usual},
		"less than all":                 {series(1, took, 5), Usual},
		"beyond P95, not P99, of 200":   {series(290, took, 200), Yellow}, // P95 is 289, P99 297
		"P95 itself, of 200":            {series(289, took, 200), Usual},
		"P99 itself, of 200":            {series(297, took, 200), Yellow},
		"beyond P99 of 200":             {series(298, took, 200), Red},
		"at least: less is worse":       {series(99, atLeast, 5), Red},
		"at least: more is fine":        {series(999, atLeast, 5), Usual},
		"at least: the least once more": {series(100, atLeast, 5), Usual},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			_, lines := historyOf(c.runs...)
			g.Expect(lines).To(HaveLen(1))
			g.Expect(lines[0].Level).To(Equal(c.level))
			g.Expect(lines[0].N).To(Equal(len(c.runs)))
		})
	}
}

func TestHistoryGroups(t *testing.T) {
	g := NewWithT(t)
	change := func(r *record.Record, f func(*record.Record)) *record.Record { f(r); return r }
	in := func(prov drivers.Provenance, unit string) *stated {
		s := took(10)
		s.prov, s.unit = prov, unit
		return s
	}
	h, lines := historyOf(day(1, in(drivers.Embedded, "s")), day(2, in(drivers.Embedded, "")), day(3, in(drivers.Modelled, "s")), day(4, in(drivers.Embedded, "min")),
		day(5, &stated{outcome: record.Inconclusive}), // rests on nobody's word: counts with the newest that did
		day(6, &stated{skip: "lacks it"}),
		change(day(7, in(drivers.Real, "s")), func(r *record.Record) { r.Header.Lab, r.Header.LabKind = "real", drivers.Real }))
	type group struct {
		lab, prov, unit string
		n               int
	}
	var got []group
	for _, l := range lines {
		got = append(got, group{l.Lab, l.Provenance, l.Unit, l.N})
	}
	g.Expect(got).To(Equal([]group{{"l", "embedded", "min", 3}, {"l", "embedded", "s", 2}, {"l", "modelled", "s", 1}, {"real", "real", "s", 1}}))
	g.Expect(lines[0].Counts).To(Equal(Counts{Confirmed: 1, Inconclusive: 1, NotApplicable: 1}))
	g.Expect(lines[0].Word).To(Equal("not applicable"))
	g.Expect(h.Runs).To(Equal(7))
}

func TestHistoryLeavesCopiesOut(t *testing.T) {
	g := NewWithT(t)
	h := NewHistory()
	h.Add(day(1, took(1)), "one")
	h.Add(day(1, took(1)), "its copy")
	h.CannotRead("bad", errors.New("no record"))
	h.Sum()
	g.Expect(h.Runs).To(Equal(1))
	g.Expect(h.Copies).To(Equal([]string{"its copy"}))
	g.Expect(h.head()).To(Equal("1 run, 1 left out as copies, 1 that could not be read"))
}

func TestHistoryInAllItsForms(t *testing.T) {
	g := NewWithT(t)
	var runs []*record.Record
	for i, s := range []float64{3, 1, 2, 3, 2, 40} {
		runs = append(runs, day(i, took(s)))
	}
	runs[5].Judged[1].Outcome = record.Refuted
	h, _ := historyOf(runs[5], runs[0], runs[1], runs[4], runs[2], runs[3])
	want := "40 s: red, worse than P99 of 5 earlier, 3 s"
	g.Expect(h.Text()).To(MatchRegexp(`c +embedded +1 refuted, 5 confirmed of 6 runs; P50 2 s, P95 40 s, P99 40 s; newest ` + want + `  ▁▁▁▁▁█`))
	g.Expect(string(h.Markdown())).To(ContainSubstring("| l | embedded | c | 6 | 1 refuted, 5 confirmed | 2 s | 40 s | 40 s | **" + want + "** | ▁▁▁▁▁█ |"))
	page, err := h.HTML()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(ContainSubstring(`bgcolor="#f6d5d5"`))
	g.Expect(string(page)).To(ContainSubstring("<td>" + want + "</td>"))
	g.Expect(string(page)).NotTo(MatchRegexp(`(?i)(href=|src=|url\(|@import|<script)`), "it needs nothing from elsewhere")
	ordered, _ := historyOf(runs...)
	b, err := ordered.HTML()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(b).To(Equal(page), "whatever the order in which runs are read")
	dir := t.TempDir()
	files, err := h.Write(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "history.md"), filepath.Join(dir, "history.json"), filepath.Join(dir, "history.html")}))
	j, err := os.ReadFile(files[1])
	g.Expect(err).NotTo(HaveOccurred())
	var back History
	g.Expect(json.Unmarshal(j, &back)).To(Succeed())
	g.Expect(back.Lines[1].Values).To(HaveLen(6))
	g.Expect(back.Lines[1].Level).To(Equal(Red))
}

func TestSparks(t *testing.T) {
	g := NewWithT(t)
	curve := func(vs ...float64) string {
		l := Line{}
		for _, v := range vs {
			l.Values = append(l.Values, Value{Value: v})
		}
		return l.spark()
	}
	g.Expect(curve()).To(BeEmpty())
	g.Expect(curve(1)).To(BeEmpty())
	g.Expect(curve(0, 7, 3, 4)).To(Equal("▁█▄▅"))
	g.Expect(curve(5, 5)).To(Equal("▁▁"))
	g.Expect(curve(-1e308, 1e308)).To(Equal("▁█"))
	g.Expect([]rune(curve(make([]float64, 500)...))).To(HaveLen(sparkMost))
}

func TestHistoryOfHostileRuns(t *testing.T) {
	g := NewWithT(t)
	r := day(1, took(1))
	r.Header.ID, r.Header.Lab = hostile, hostile
	r.Plans[1].Title, r.Plans[1].Claim, r.Judged[1].Claim, r.Judged[1].Unit, r.Judged[1].Provenance = hostile, hostile, hostile, hostile, hostile
	h, _ := historyOf(r, day(2, took(2)))
	h.CannotRead(hostile, errors.New(hostile))
	h.Copies = []string{hostile}
	page, err := h.HTML()
	g.Expect(err).NotTo(HaveOccurred())
	d := xml.NewDecoder(strings.NewReader(string(page)))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		g.Expect(err).NotTo(HaveOccurred())
		if e, ok := tok.(xml.StartElement); ok {
			g.Expect(e.Name.Local).NotTo(Equal("b"))
		}
	}
	g.Expect(string(page)).NotTo(ContainSubstring("\x1b"))
	g.Expect(h.Text()).NotTo(MatchRegexp("[\x00-\x09\x0b-\x1f]"))
	g.Expect(string(h.Markdown())).NotTo(ContainSubstring("<b>"))
	_, err = json.Marshal(h)
	g.Expect(err).NotTo(HaveOccurred())
}
