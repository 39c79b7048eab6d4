package reports

import (
	"os"
	"path/filepath"
	"regexp"
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
	o.Dir = dir
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
