package reports

import (
	"encoding/xml"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// beside is a comparison of two targets with a row that differs, one that does not, and one that is not counted.
func beside() Beside {
	cell := func(o record.Outcome, p drivers.Provenance) record.Row {
		return record.Row{Judged: record.Judged{K: "verdict", Verdict: record.Verdict{Outcome: o, Provenance: p}}}
	}
	return Beside{Claim: "targets.behave-alike", Title: "Alike", Source: record.Source{Doc: "S1", Code: "E10", EN: "There was no difference."},
		Verdict: record.Verdict{Outcome: record.Refuted, Why: "1 of 2 claims differ: b|c", Provenance: drivers.Embedded, N: 2},
		Columns: []Column{{Run: "r1", Lab: "one", Of: "target/tgt"}, {Run: "r2", Lab: "two", Of: "target/lio"}},
		Rows: []BesideRow{
			{Claim: "a", Cells: []record.Row{cell(record.Confirmed, drivers.Embedded), cell(record.Confirmed, drivers.Embedded)}},
			{Claim: "b|c", Cells: []record.Row{cell(record.Confirmed, drivers.Embedded), cell(record.Refuted, drivers.Embedded)}},
			{Claim: "d", Not: "it rests on our own stand-in", Cells: []record.Row{cell(record.Confirmed, drivers.Modelled), {}}},
		}}
}

func TestBesideShowsWhatDiffersFirst(t *testing.T) {
	g := NewWithT(t)
	s := string(beside().Markdown())
	g.Expect(strings.Index(s, `b\|c`)).To(BeNumerically("<", strings.Index(s, "| a |")), "%s", s)
	g.Expect(s).To(ContainSubstring("target/tgt<br>one | target/lio<br>two"))
	g.Expect(s).To(ContainSubstring("not counted: it rests on our own stand-in"))
	g.Expect(strings.Count(s, "**no**")).To(Equal(1))
}

func TestBesideAsJUnit(t *testing.T) {
	g := NewWithT(t)
	for o, want := range map[record.Outcome][2]int{record.Refuted: {1, 0}, record.Inconclusive: {0, 1}, record.Confirmed: {0, 0}} {
		b := beside()
		b.Verdict.Outcome = o
		x, err := b.JUnit()
		g.Expect(err).NotTo(HaveOccurred())
		var back xmlSuites
		g.Expect(xml.Unmarshal(x, &back)).To(Succeed())
		g.Expect([2]int{back.Failures, back.Errors}).To(Equal(want), string(o))
		g.Expect(back.Tests).To(Equal(1))
	}
}

func TestBesideWritesItsFiles(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	files, err := beside().Write(dir, []byte("{}"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(ConsistOf(filepath.Join(dir, "beside.md"), filepath.Join(dir, "junit-beside.xml"), filepath.Join(dir, "beside.json")))
	if _, err := exec.LookPath("xmllint"); err != nil {
		t.Skip("xmllint is not installed (Debian package libxml2-utils)")
	}
	out, err := exec.Command("xmllint", "--noout", "--schema", filepath.Join("testdata", "junit-10.xsd"), filepath.Join(dir, "junit-beside.xml")).CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
}
