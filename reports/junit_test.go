package reports

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The document as a reader sees it, written apart from the writer's types.
type gotSuites struct {
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Time     string     `xml:"time,attr"`
	Suites   []gotSuite `xml:"testsuite"`
}

type gotSuite struct {
	Name      string     `xml:"name,attr"`
	File      string     `xml:"file,attr"`
	Package   string     `xml:"package,attr"`
	Timestamp string     `xml:"timestamp,attr"`
	Time      string     `xml:"time,attr"`
	Skipped   int        `xml:"skipped,attr"`
	Nested    []gotSuite `xml:"testsuite"`
	Cases     []gotCase  `xml:"testcase"`
	Props     []struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	} `xml:"properties>property"`
}

type gotCase struct {
	Name    string      `xml:"name,attr"`
	Class   string      `xml:"classname,attr"`
	Time    string      `xml:"time,attr"`
	Skipped []gotResult `xml:"skipped"`
	Failure []gotResult `xml:"failure"`
	Error   []gotResult `xml:"error"`
	Out     []string    `xml:"system-out"`
}

type gotResult struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func read(t *testing.T, b []byte) (gotSuites, map[string]gotCase) {
	t.Helper()
	g := NewWithT(t)
	var doc gotSuites
	g.Expect(xml.Unmarshal(b, &doc)).To(Succeed(), "%s", b)
	cases := map[string]gotCase{}
	n, red := 0, 0
	for _, s := range doc.Suites {
		g.Expect(s.Nested).To(BeEmpty(), "suites are flat")
		g.Expect(s.Package).To(BeEmpty(), "Jenkins glues it to the name")
		g.Expect(s.Time).To(MatchRegexp(`^\d+\.\d{3}$`))
		g.Expect(s.Timestamp).To(HaveSuffix("Z"))
		for _, c := range s.Cases {
			n++
			red += len(c.Failure) + len(c.Error)
			g.Expect(len(c.Failure) + len(c.Error) + len(c.Skipped)).To(BeNumerically("<=", 1))
			g.Expect(len(c.Out)).To(BeNumerically("<=", 1))
			id := c.Name[strings.LastIndex(c.Name, "[")+1 : len(c.Name)-1]
			g.Expect(cases).NotTo(HaveKey(id))
			g.Expect(c.Time).To(MatchRegexp(`^\d+\.\d{3}$`))
			cases[id] = c
			for _, out := range c.Out {
				g.Expect(utf8.RuneCountInString(out)).To(BeNumerically("<=", 1000))
				past := false
				for line := range strings.SplitSeq(strings.TrimSuffix(out, "\n"), "\n") {
					g.Expect(line).To(MatchRegexp(`^\[\[(ATTACHMENT\|[^\[\]|]+|PROPERTY\|[^=]+=.+)\]\]$`))
					past = past || strings.HasPrefix(line, "[[PROPERTY")
					g.Expect(past && strings.HasPrefix(line, "[[ATTACHMENT")).To(BeFalse(), "attachments come first")
				}
			}
		}
	}
	g.Expect(doc.Tests).To(Equal(n))
	g.Expect(doc.Failures + doc.Errors).To(Equal(red))
	return doc, cases
}

func junit(t *testing.T, r *record.Record, o Options) []byte {
	t.Helper()
	b, err := JUnit(r, o)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return b
}

// valid holds files against junit-10.xsd.
func valid(t *testing.T, files ...string) ([]byte, error) {
	t.Helper()
	return validBy(t, "junit-10.xsd", files...)
}

// validBy runs xmllint; several files in one run, for the runs are what costs time.
func validBy(t *testing.T, schema string, files ...string) ([]byte, error) {
	t.Helper()
	tool, err := exec.LookPath("xmllint")
	if err != nil {
		t.Skip("xmllint is not installed: the schema is not checked (libxml2-utils)")
	}
	return exec.Command(tool, append([]string{"--noout", "--nonet", "--schema", "testdata/" + schema}, files...)...).CombinedOutput()
}

func TestJUnitOfEachVerdict(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	o.HTML = "report.html"
	doc, cases := read(t, junit(t, r, o))

	g.Expect(cases).To(HaveLen(6))
	g.Expect(doc.Suites).To(HaveLen(3), "the scenarios, and the error that is of another file than the failure")
	s := doc.Suites[0]
	g.Expect(s.Name).To(Equal("stop 15m"))
	g.Expect(s.Time).To(Equal("10.000"))
	g.Expect(s.Timestamp).To(Equal("2026-11-22T07:27:07Z"))
	g.Expect(s.File).To(Equal("suites/apd/bad.go"), "the file of what failed in it")
	g.Expect(doc.Suites[1].Name).To(Equal("stop 15m"))
	g.Expect(doc.Suites[1].File).To(Equal("suites/apd/open.go"))
	g.Expect(doc.Suites[1].Time).To(Equal("0.000"))
	g.Expect(doc.Suites[1].Cases).To(HaveLen(1))
	g.Expect(doc.Suites[2].File).To(BeEmpty(), "nothing failed")
	g.Expect(s.Skipped).To(Equal(1))

	bad := cases["bad"]
	g.Expect(bad.Name).To(Equal("Claim bad [bad]"))
	g.Expect(bad.Class).To(Equal("embedded.lab-one.stop-15m"))
	g.Expect(bad.Failure[0].Type).To(Equal("claim"))
	g.Expect(bad.Failure[0].Message).To(Equal("bad: measured 700.2 s, allowed 60..600 s"))
	g.Expect(bad.Failure[0].Text).To(And(ContainSubstring("measured: 700.2 s\n"), ContainSubstring("allowed: 60..600 s, following scsi.timeout=180\n"),
		ContainSubstring("why: EIO came late"), ContainSubstring("within minutes"), ContainSubstring("数分"), ContainSubstring("00:00:04.000 guest/a disk blocked"),
		ContainSubstring("\nIn [It] at suites/apd/bad.go:12\n\tat suites.apd.Claim(bad.go:12)\n"), ContainSubstring("report.html#bad")))
	g.Expect(strings.Split(bad.Out[0], "\n")[:3]).To(Equal([]string{"[[ATTACHMENT|out/r1/evidence/bad.png]]",
		"[[ATTACHMENT|out/r1/evidence/stop 15m-console.log]]", "[[ATTACHMENT|out/r1/run.jsonl]]"}))
	g.Expect(bad.Out[0]).To(ContainSubstring("[[PROPERTY|measured=700.2 s]]"))

	g.Expect(cases["known"].Skipped[0].Message).To(Equal("refuted, known: kernel 6.1 waits for ever (https://example.org/1)"))
	g.Expect(cases["known"].Skipped[0].Text).To(Equal(cases["known"].Skipped[0].Message))
	g.Expect(cases["known"].Out[0]).To(And(ContainSubstring("[[PROPERTY|verdict=refuted]]"), ContainSubstring("[[PROPERTY|known=kernel 6.1")))
	g.Expect(cases["open"].Error[0].Type).To(Equal("lab"))
	g.Expect(cases["good"].Class).To(HavePrefix("modelled."))
	g.Expect(cases["good"].Out[0]).To(ContainSubstring("[[PROPERTY|measured=61..62.5 s (n=3)]]"))
	g.Expect(cases["stale"].Out[0]).To(ContainSubstring("no longer true"))
	g.Expect(cases["skipped"].Skipped[0].Message).To(Equal("lab lacks plain"))
	g.Expect(cases["skipped"].Skipped[0].Text).To(Equal("lab lacks plain"))
	g.Expect(cases["skipped"].Class).To(Equal("embedded.lab-one.stall"), "without evidence the lab's kind counts")
}

func TestJUnitIsTheSameTwice(t *testing.T) {
	g := NewWithT(t)
	dir, r, o := small(t, hostile)
	first, md := junit(t, r, o), Summary(r, o)
	for range 5 {
		again, err := record.Read(dir)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(junit(t, again, o)).To(Equal(first))
		g.Expect(Summary(again, o)).To(Equal(md))
	}
}

func TestJUnitOfHostileTexts(t *testing.T) {
	g := NewWithT(t)
	for _, text := range []string{hostile, strings.Repeat("x", 10_000), strings.Repeat(hostile, 200), strings.Repeat("数", 10_000)} {
		_, r, o := small(t, text)
		b := junit(t, r, o)
		_, cases := read(t, b)
		g.Expect(cases).To(HaveLen(6))
		g.Expect(string(b)).NotTo(ContainSubstring("[ATTACHMENT|/etc"))
		g.Expect(string(b)).NotTo(ContainSubstring("&#x"), "the file reads well as it is")
		g.Expect(b).NotTo(ContainElement(BeElementOf(byte(0), byte(7), byte(0x1b))))
		g.Expect(len(cases["bad"].Failure[0].Text)).To(BeNumerically("<", 10_000))
		f := filepath.Join(t.TempDir(), "junit.xml")
		g.Expect(os.WriteFile(f, b, 0o644)).To(Succeed())
		out, err := valid(t, f)
		g.Expect(err).NotTo(HaveOccurred(), "%s", out)
	}
}

func TestSchemaRefusesWhatIsWrong(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	good := junit(t, r, o)
	for name, bad := range map[string][]byte{
		"properties in a testcase": bytes.Replace(good, []byte("<system-out>"), []byte("<properties></properties><system-out>"), 1),
		"nine decimals":            bytes.Replace(good, []byte(`time="10.000"`), []byte(`time="10.000000001"`), 1),
		"a file at a testcase":     bytes.Replace(good, []byte("<testcase "), []byte(`<testcase file="x" `), 1),
	} {
		g.Expect(bad).NotTo(Equal(good), name)
		f := filepath.Join(t.TempDir(), "junit.xml")
		g.Expect(os.WriteFile(f, bad, 0o644)).To(Succeed())
		_, err := valid(t, f)
		g.Expect(err).To(HaveOccurred(), name)
	}
}

// A record cut off anywhere still gives a JUnit file that is valid and not green.
func TestJUnitOfACutRecord(t *testing.T) {
	g := NewWithT(t)
	dir, _, o := small(t, "plain")
	whole := lines(t, dir)
	end := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	tmp := t.TempDir()
	var files []string
	seen := map[string]bool{}
	for n := range whole { // without the last newline the end is torn off too
		r, err := record.Parse(bytes.NewReader(whole[:n]))
		if n <= bytes.IndexByte(whole, '\n') {
			g.Expect(err).To(HaveOccurred(), "there is no record yet")
			continue
		}
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(ExitCode(r)).NotTo(Equal(ExitHolds))
		b := junit(t, r, o)
		if seen[string(b)] {
			continue
		}
		seen[string(b)] = true
		doc, cases := read(t, b)
		g.Expect(doc.Failures+doc.Errors).To(BeNumerically(">", 0), "cut at %d of %d", n, end)
		for _, p := range r.Plans {
			c, ok := cases[p.Claim]
			g.Expect(ok).To(BeTrue())
			if judged := bytes.Contains(whole[:bytes.LastIndexByte(whole[:n], '\n')+1], []byte(`"id":"`+p.Claim+`"`)); !judged && p.Skip == "" {
				g.Expect(c.Error).To(HaveLen(1))
				g.Expect(c.Error[0].Type).To(Equal("interrupted"))
			}
		}
		f := filepath.Join(tmp, "cut"+strconv.Itoa(n)+".xml")
		g.Expect(os.WriteFile(f, b, 0o644)).To(Succeed())
		files = append(files, f)
	}
	g.Expect(len(files)).To(BeNumerically(">", 10))
	out, err := valid(t, files...)
	g.Expect(err).NotTo(HaveOccurred(), "%s", out)
}

func TestJUnitIsRedWheneverTheExitCodeIs(t *testing.T) {
	g := NewWithT(t)
	for name, c := range exitCases {
		r := c.record()
		doc, _ := read(t, junit(t, r, Options{}))
		g.Expect(doc.Failures+doc.Errors > 0).To(Equal(ExitCode(r) != 0), name)
		g.Expect(doc.Failures > 0).To(Equal(ExitCode(r) == ExitRefuted), name)
	}
}

func TestManyAttachmentsLeaveRoomForTheVerdict(t *testing.T) {
	g := NewWithT(t)
	dir, r, o := small(t, "plain")
	for n := range 40 {
		g.Expect(os.MkdirAll(filepath.Join(dir, "evidence", "bad", strconv.Itoa(n%2)), 0o755)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, "evidence", "bad", strconv.Itoa(n%2), strings.Repeat("x", 60)+strconv.Itoa(n/2)), nil, 0o644)).To(Succeed())
	}
	_, cases := read(t, junit(t, r, o))
	out := cases["bad"].Out[0]
	g.Expect(strings.Count(out, "ATTACHMENT")).To(BeNumerically("~", 5, 2))
	g.Expect(strings.Count(out, "x0]]")).To(BeNumerically("<=", 1), "one file of a name")
	g.Expect(out).To(And(ContainSubstring("verdict=refuted"), ContainSubstring("measured=700.2 s"), ContainSubstring("allowed=60..600 s"), ContainSubstring("why=")))
}

func TestAttachmentsStayInTheProject(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	o.Root = t.TempDir()
	g.Expect(string(junit(t, r, o))).NotTo(ContainSubstring("ATTACHMENT"))
	row := record.Row{Plan: record.Plan{Spec: "/home/someone/x_test.go:3"}}
	g.Expect(story(r, o, row)).NotTo(ContainSubstring("someone"))
}
