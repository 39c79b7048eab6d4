package reports

import (
	"encoding/xml"
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

// readJUnit reads JUnit XML of any dialect and holds its sums against its testcases. The run's own testcase is no claim.
func readJUnit(b []byte) (Counts, error) {
	var doc gotSuites
	if err := xml.Unmarshal(b, &doc); err != nil {
		return Counts{}, err
	}
	by := map[word]int{}
	names := map[string]bool{}
	tests, failures, errs := 0, 0, 0
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			key := c.Class + " " + c.Name
			if names[key] {
				return Counts{}, fmt.Errorf("there are two of %s", key)
			}
			names[key] = true
			tests++
			failures += len(c.Failure)
			errs += len(c.Error)
			w := confirmed
			switch {
			case len(c.Failure)+len(c.Error)+len(c.Skipped) > 1:
				return Counts{}, fmt.Errorf("there are two verdicts of %s", key)
			case len(c.Failure) > 0:
				w = refuted
			case len(c.Error) > 0:
				w = inconclusive
			case len(c.Skipped) > 0 && strings.Contains(strings.Join(c.Out, ""), "[[PROPERTY|verdict=refuted]]"):
				w = known
			case len(c.Skipped) > 0:
				w = notApplicable
			}
			if c.Name != runName {
				by[w]++
			}
		}
	}
	if doc.Tests != tests || doc.Failures != failures || doc.Errors != errs {
		return Counts{}, fmt.Errorf("the sums say %d, %d and %d, and there are %d, %d and %d", doc.Tests, doc.Failures, doc.Errors, tests, failures, errs)
	}
	return countsOf(by), nil
}

func dialect(t *testing.T, r *record.Record, o Options, d Dialect) []byte {
	t.Helper()
	b, err := junitXML(r, o, d)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return b
}

// Each dialect is valid by the schemas that it is made for, and the others are not: so the schemas tell them apart.
func TestDialectsByTheirSchemas(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	all := tapes(t)
	for _, text := range []string{"plain", hostile} {
		d, _, _ := small(t, text)
		all[text] = lines(t, d)
	}
	_, _, o := small(t, "plain")
	o.HTML = "report.html"
	files := map[Dialect][]string{}
	for _, b := range all {
		for _, n := range []int{len(b), len(b) / 2, len(b) / 4} {
			for _, d := range []Dialect{Jenkins10, DTKit4, Full} {
				f := filepath.Join(dir, string(d)+strconv.Itoa(len(files[d]))+".xml")
				g.Expect(os.WriteFile(f, dialect(t, parse(t, b[:n]), o, d), 0o644)).To(Succeed())
				files[d] = append(files[d], f)
			}
		}
	}
	for _, c := range []struct {
		schema string
		d      Dialect
		valid  bool
	}{{"junit-10.xsd", Jenkins10, true}, {"junit-10.xsd", DTKit4, true}, {"dtkit-junit-4.xsd", DTKit4, true},
		{"dtkit-junit-4.xsd", Jenkins10, false}, {"junit-10.xsd", Full, false}, {"dtkit-junit-4.xsd", Full, false}} {
		if c.valid {
			out, err := validBy(t, c.schema, files[c.d]...)
			g.Expect(err).NotTo(HaveOccurred(), "%s by %s: %s", c.d, c.schema, out)
			continue
		}
		_, err := validBy(t, c.schema, files[c.d]...)
		g.Expect(err).To(HaveOccurred(), "%s by %s", c.d, c.schema)
	}
}

func TestDialectsDifferInLittle(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	o.HTML = "report.html"
	full := string(dialect(t, r, o, Full))
	g.Expect(full).To(And(ContainSubstring(`file="suites/apd/bad.go"`), ContainSubstring(`timestamp="2026-11-22T07:27:07Z"`)))
	g.Expect(full).NotTo(ContainSubstring(" line="), "one of GitHub's readers would prefer it to the place in the text")
	got := map[string]string{}
	var doc struct {
		Cases []struct {
			Name  string `xml:"name,attr"`
			Props []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"properties>property"`
		} `xml:"testsuite>testcase"`
	}
	g.Expect(xml.Unmarshal([]byte(full), &doc)).To(Succeed())
	for _, c := range doc.Cases {
		for _, p := range c.Props {
			got[c.Name+" "+p.Name] = p.Value
		}
	}
	for k, want := range map[string]string{"claim.id": "bad", "verdict": "refuted", "provenance": "embedded", "lab": "lab.one", "measured.lo": "700.2", "measured.hi": "700.2",
		"measured.unit": "s", "allowed.min": "60", "allowed.max": "600", "source": "S1 E7", "spec": "suites/apd/bad.go:12", "evidence": "00:00:04.000 guest/a disk blocked", "report": "report.html#bad"} {
		g.Expect(got).To(HaveKeyWithValue("Claim bad [bad] "+k, want))
	}
	g.Expect(got).To(And(HaveKeyWithValue("Claim known [known] verdict", "refuted (known)"), HaveKeyWithValue("Claim known [known] known", "kernel 6.1 waits for ever (https://example.org/1)"),
		HaveKeyWithValue("Claim good [good] measured.hi", "62.5"), Not(HaveKey("Claim open [open] measured.lo"))))

	o.JUnit = DTKit4
	b, err := JUnit(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(b)).To(ContainSubstring("<skipped>lab lacks plain</skipped>"))
	o.JUnit = "junit5"
	_, err = JUnit(r, o)
	g.Expect(err).To(MatchError(ContainSubstring(`no dialect "junit5"`)))
}

// One of GitHub's readers takes the last place in a failure's text that is in the claim's file, the other the first line that
// looks like Java's: a guest's text is neither.
func TestPlaceOfAFailure(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "see suites/apd/bad.go:99\n\tat suites.apd.Guest(bad.go:98)")
	for i := range r.Judged {
		r.Judged[i].Evidence = append(r.Judged[i].Evidence, record.Pointer{Lane: "guest/a", What: "at suites/apd/bad.go:97"})
	}
	doc, cases := read(t, junit(t, r, o))
	failed := 0
	for _, s := range doc.Suites {
		for _, c := range s.Cases {
			for _, f := range append(c.Failure, c.Error...) {
				failed++
				g.Expect(s.File).To(HavePrefix("suites/apd/"))
				g.Expect(f.Text).To(ContainSubstring("In [It] at "+s.File+":12"), "the reader knows the suite's file only")
			}
		}
	}
	g.Expect(failed).To(Equal(2))
	text := cases["bad"].Failure[0].Text
	last := regexp.MustCompile(` [^ ]*suites/apd/bad\.go.*?:(\d+)`).FindAllStringSubmatch(text, -1)
	g.Expect(len(last)).To(BeNumerically(">", 1))
	g.Expect(last[len(last)-1][1]).To(Equal("12"))
	g.Expect(regexp.MustCompile(`(?m)^\s*at (\S+)\((.*):(\d+)\)$`).FindStringSubmatch(text)[1:]).To(Equal([]string{"suites.apd.Claim", "bad.go", "12"}))
}
