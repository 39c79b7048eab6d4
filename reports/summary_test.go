package reports

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var bar = regexp.MustCompile(`\\.|\|`)

// cells counts the cells of a table's line as a Markdown reader does.
func cells(line string) int {
	n := -1
	for _, m := range bar.FindAllString(line, -1) {
		if m == "|" {
			n++
		}
	}
	return n
}

var countLine = regexp.MustCompile(`(?m)^\*\*(\d+) refuted, (\d+) refuted \(known\), (\d+) inconclusive, (\d+) confirmed, (\d+) not applicable`)

// readSummary counts the claims in their table, and holds the sums and the tables against each other. A page that GitHub would
// not show is an error.
func readSummary(b []byte) (Counts, error) {
	if len(b) > 1<<20 {
		return Counts{}, fmt.Errorf("%d bytes are more than GitHub takes", len(b))
	}
	md := string(b)
	by, more := map[word]int{}, 0
	section, want := "", 0
	for line := range strings.SplitSeq(md, "\n") {
		n := cells(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			want = 0
			if strings.HasPrefix(line, "#") {
				section = line
			}
			if section == "## Claims" {
				fmt.Sscanf(line, "%d more claims", &more)
			}
			continue
		case want == 0:
			want = -n
		case n != max(want, -want):
			return Counts{}, fmt.Errorf("%d cells where the head has %d: %s", n, want, line)
		case want < 0:
			want = n
		case section == "## Claims":
			by[word(strings.ReplaceAll(strings.TrimSpace(strings.Split(line, "|")[1]), "**", ""))]++
		}
	}
	m := countLine.FindStringSubmatch(md)
	if m == nil {
		return Counts{}, errors.New("there are no sums")
	}
	said, sum := map[word]int{}, more
	for i, w := range []word{refuted, known, inconclusive, confirmed, notApplicable} {
		said[w], _ = strconv.Atoi(m[i+1])
		if said[w] < by[w] || (more == 0 && said[w] != by[w]) {
			return Counts{}, fmt.Errorf("%d claims are said to be %s, and %d are", said[w], w, by[w])
		}
		sum -= said[w] - by[w]
	}
	if sum != 0 {
		return Counts{}, fmt.Errorf("%d claims are left out, and other sums differ by %d", more, sum)
	}
	return countsOf(said), nil
}

// A page too long for GitHub is cut where claims are that hold, and says so.
func TestSummaryKeepsWithinWhatGitHubTakes(t *testing.T) {
	g := NewWithT(t)
	for name, c := range map[string]struct {
		n    int
		text string
		cut  bool
	}{"plain": {1000, "so it is", false}, "very many": {10_000, "so it is", true}, "long": {1000, strings.Repeat("&<|", 100), true}, "hostile": {1000, strings.Repeat(hostile, 5), true}} {
		b := Summary(many(c.n, c.text), Options{})
		got, err := readSummary(b)
		g.Expect(err).NotTo(HaveOccurred(), name)
		g.Expect(got).To(Equal(Counts{Refuted: (c.n + 15) / 16, Known: (c.n + 11) / 16, Inconclusive: (c.n + 7) / 16, Confirmed: c.n - (c.n+15)/16 - (c.n+11)/16 - (c.n+7)/16}), name)
		g.Expect(strings.Contains(string(b), "more claims are in run.json.\n")).To(Equal(c.cut), name)
		if c.cut {
			g.Expect(len(b)).To(BeNumerically(">", 1<<19), "the room is used")
		}
	}
}

// many is a record of n claims, every fourth of them refuted, refuted and known, or inconclusive, with a text in every field.
func many(n int, text string) *record.Record {
	r := &record.Record{Header: record.Header{K: "run", ID: text, Lab: text, Git: text, Facts: map[string]string{text: text}}, Ended: true, EndWhy: "done"}
	dev := &record.Deviation{Reason: text, Link: "https://example.org/" + strings.Repeat("x", 1000), Until: text}
	for i := range n {
		id := text + strconv.Itoa(i)
		j := record.Judged{K: "claim", Claim: id, Verdict: record.Verdict{Outcome: record.Confirmed, Why: text, Measured: &record.Interval{Hi: 1}, Unit: text,
			Window: &record.Window{Max: ptr(2), From: text}, Evidence: []record.Pointer{{Lane: text, What: text}, {Lane: text}}}}
		switch i % 16 {
		case 0:
			j.Outcome = record.Refuted
		case 4:
			j.Outcome, j.Known = record.Refuted, dev
		case 8:
			j.Outcome = record.Inconclusive
		case 12:
			j.Known = dev
		}
		r.Plans = append(r.Plans, record.Plan{Claim: id, Title: text, Scenario: text, Source: record.Source{Doc: text, Code: text}})
		r.Judged = append(r.Judged, j)
	}
	return r
}

func TestSummary(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	md := string(Summary(r, o))
	g.Expect(md).To(And(ContainSubstring("# Run r1"), ContainSubstring("real kernels, wire and daemons on this machine"), ContainSubstring("not evidence about ESXi"),
		ContainSubstring("1 refuted, 1 refuted (known), 1 inconclusive, 2 confirmed, 1 not applicable; 1 listed as deviating but confirmed"),
		ContainSubstring("60..600 s (following scsi.timeout=180)"), ContainSubstring("<https://example.org/1>"), ContainSubstring("no longer true"),
		ContainSubstring("| guest/a | scsi.timeout | 180 |"), ContainSubstring("| this run | kernel | 6.1 |"), ContainSubstring("In out/r1: run.jsonl"),
		ContainSubstring("| stop 15m | f1 service-stop | 00:00:02.000 | 00:00:02.500..00:00:03.000 | 00:00:10.000 | 00:00:10.000 | - |"), ContainSubstring("evidence/bad.png")))
	g.Expect(md).NotTo(ContainSubstring("does not pass: nothing"))
	var at []int
	for _, id := range []string{"E7 bad", "E7 known", "E7 open", "E7 good", "E7 stale", "E7 skipped"} {
		at = append(at, strings.Index(md, id))
	}
	g.Expect(at).To(HaveEach(BeNumerically(">", 0)))
	for i := 1; i < len(at); i++ {
		g.Expect(at[i]).To(BeNumerically(">", at[i-1]))
	}
}

func TestSummaryOfHostileTexts(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, hostile)
	md := string(Summary(r, o))
	g.Expect(md).NotTo(MatchRegexp(`[\x00-\x08\x0b-\x1f\x7f]`))
	g.Expect(md).NotTo(ContainSubstring("<b>"))
	g.Expect(md).NotTo(ContainSubstring("@someone"))
	want := 0
	for line := range strings.SplitSeq(md, "\n") {
		switch n := cells(line); {
		case !strings.HasPrefix(line, "|"):
			want = 0
		case want == 0:
			want = n
		default:
			g.Expect(n).To(Equal(want), line)
		}
	}
}

func TestSummaryOfACutRecord(t *testing.T) {
	g := NewWithT(t)
	dir, _, o := small(t, "plain")
	whole := lines(t, dir)
	md := string(Summary(parse(t, whole[:len(whole)-20]), o))
	g.Expect(md).To(And(ContainSubstring("does not pass: the run was cut off"), ContainSubstring("last line was cut off")))
	r := parse(t, whole[:strings.Index(string(whole), `"edge":"undo"`)])
	g.Expect(string(Summary(r, Options{}))).To(ContainSubstring("the scenario did not end: the run was cut off in this scenario"))
}

func TestWrite(t *testing.T) {
	g := NewWithT(t)
	dir, r, o := small(t, "plain")
	o.Dir = ""
	for range 2 { // the second time replaces
		paths, err := Write(r, dir, o)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(paths).To(HaveLen(len(forms)))
		g.Expect(paths).To(ContainElements(filepath.Join(dir, "junit.xml"), filepath.Join(dir, "summary.md")))
		for _, p := range paths {
			g.Expect(p).To(BeARegularFile())
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "junit.xml"))
	g.Expect(err).NotTo(HaveOccurred())
	o.Dir, o.HTML = dir, "report.html"
	g.Expect(b).To(Equal(junit(t, r, o)))
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(left).To(BeEmpty(), "no half-written file is left")
	_, err = Write(r, filepath.Join(dir, "missing"), o)
	g.Expect(err).To(HaveOccurred())
	_, err = Write(nil, dir, o)
	g.Expect(err).To(HaveOccurred())
}

func TestNumbers(t *testing.T) {
	g := NewWithT(t)
	for x, want := range map[float64]string{0: "0", -0.0001: "-0.0001", 700.2: "700.2", 600.04: "600.04", 60: "60", 1e20: "1e+20", 0.5: "0.5"} {
		g.Expect(number(x)).To(Equal(want))
	}
	for want, w := range map[string]*record.Window{"": nil, "any": {}, "at most 5 s": {Max: ptr(5)}, "at least 5 s": {Min: ptr(5)}, "exactly 0 s": {Min: ptr(0), Max: ptr(0)}} {
		g.Expect(allowed(record.Verdict{Window: w})).To(Equal(want))
	}
	g.Expect(measured(record.Verdict{Measured: &record.Interval{Lo: 1, Hi: 2}, Unit: "lost writes"})).To(Equal("1..2 lost writes"))
}
