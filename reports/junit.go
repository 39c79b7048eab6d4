// This file writes JUnit XML: one testcase a claim. There is one document, and each dialect leaves out of it what its readers
// or their schema do not take.

package reports

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Dialect is a kind of JUnit XML.
type Dialect string

// The dialects.
const (
	Jenkins10 Dialect = "jenkins10" // valid by Jenkins' junit-10.xsd, and what GitHub, GitLab, Jenkins and Azure DevOps all take
	DTKit4    Dialect = "dtkit4"    // valid by dtkit's junit-4.xsd too, which knows no file of a suite: GitHub's readers lose the line
	Full      Dialect = "full"      // with properties, a file and a start for each testcase, which no common schema allows
)

// Dialects are those that junit.xml can be written in; Full has a file of its own.
var Dialects = []Dialect{Jenkins10, DTKit4}

type xmlSuites struct {
	XMLName  xml.Name   `xml:"testsuites"`
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Time     string     `xml:"time,attr"`
	Suites   []xmlSuite `xml:"testsuite"`
}

type xmlSuite struct {
	Name       string        `xml:"name,attr"`
	Tests      int           `xml:"tests,attr"`
	Failures   int           `xml:"failures,attr"`
	Errors     int           `xml:"errors,attr"`
	Skipped    int           `xml:"skipped,attr"`
	Time       string        `xml:"time,attr"`
	Timestamp  string        `xml:"timestamp,attr"`
	Hostname   string        `xml:"hostname,attr,omitempty"`
	ID         int           `xml:"id,attr"`
	File       string        `xml:"file,attr,omitempty"`
	URL        string        `xml:"url,attr,omitempty"`
	Log        string        `xml:"log,attr,omitempty"`
	Properties xmlProperties `xml:"properties,omitempty"`
	Cases      []xmlCase     `xml:"testcase"`
}

// xmlProperties is an element only when it has some: the schemas want no empty one.
type xmlProperties []xmlProperty

// MarshalXML writes the element.
func (ps xmlProperties) MarshalXML(e *xml.Encoder, start xml.StartElement) error {
	return e.EncodeElement(struct {
		List []xmlProperty `xml:"property"`
	}{ps}, start)
}

type xmlProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type xmlCase struct {
	Name       string        `xml:"name,attr"`
	Classname  string        `xml:"classname,attr"`
	Time       string        `xml:"time,attr"`
	Timestamp  string        `xml:"timestamp,attr,omitempty"`
	File       string        `xml:"file,attr,omitempty"`
	Properties xmlProperties `xml:"properties,omitempty"`
	Skipped    *xmlResult    `xml:"skipped"`
	Failure    *xmlResult    `xml:"failure"`
	Error      *xmlResult    `xml:"error"`
	Out        string        `xml:"system-out,omitempty"`
}

type xmlResult struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// trim makes the document fit a dialect.
func (s *xmlSuites) trim(d Dialect) {
	if d == Jenkins10 {
		var suites []xmlSuite
		for _, one := range s.Suites {
			suites = append(suites, one.byFile()...)
		}
		s.Suites = suites
	}
	for i := range s.Suites {
		suite := &s.Suites[i]
		if d == DTKit4 {
			suite.URL, suite.Log = "", ""
		}
		for j := range suite.Cases {
			c := &suite.Cases[j]
			if d != Full {
				c.Properties, c.File, c.Timestamp = nil, "", ""
			}
			if d == DTKit4 && c.Skipped != nil {
				c.Skipped.Message = "" // it is the text, too
			}
		}
	}
}

// byFile takes a suite apart so that all that failed in one is of one file: where a testcase has none, one of GitHub's readers
// finds the place of a failure in the suite's alone. What did not fail, the properties and the time stay with the first.
func (s xmlSuite) byFile() []xmlSuite {
	first := s
	first.Cases, first.Tests, first.Failures, first.Errors, first.Skipped = nil, 0, 0, 0, 0
	out := []xmlSuite{first}
	at := map[string]int{}
	for _, c := range s.Cases {
		i := 0
		if c.Failure != nil || c.Error != nil {
			var known bool
			if i, known = at[c.File]; !known {
				if i = len(at); i > 0 {
					out = append(out, xmlSuite{Name: s.Name, Time: seconds(0), Timestamp: s.Timestamp, Hostname: s.Hostname, URL: s.URL, Log: s.Log})
				}
				out[i].File, at[c.File] = c.File, i
			}
		}
		out[i].add(c)
	}
	return out
}

// sum counts the document's cases and numbers its suites.
func (s *xmlSuites) sum() {
	for i := range s.Suites {
		one := &s.Suites[i]
		one.ID = i
		s.Tests += one.Tests
		s.Failures += one.Failures
		s.Errors += one.Errors
	}
}

// JUnit returns the record as JUnit XML in the dialect that Options.JUnit names: a flat testsuite a scenario (or several, see
// byFile), a testcase a claim. A claim's time is that of its scenario until it was judged, for that is what the claim costs when
// it is run alone; a suite's time is the scenario's, not the sum. A run that proves nothing although no claim says so (cut off
// after the last verdict, or nothing judged) gets one more testcase, an error, so that the file is never green when the exit code
// is not.
func JUnit(r *record.Record, o Options) ([]byte, error) {
	d := o.JUnit
	if d == "" {
		d = Jenkins10
	}
	if !slices.Contains(Dialects, d) {
		return nil, fmt.Errorf("there is no dialect %q of JUnit XML, so it was not written: choose one of %v", string(d), Dialects)
	}
	return junitXML(r, o, d)
}

// FullJUnit returns the record in the dialect Full.
func FullJUnit(r *record.Record, o Options) ([]byte, error) { return junitXML(r, o, Full) }

func junitXML(r *record.Record, o Options, d Dialect) ([]byte, error) {
	if r == nil {
		return nil, errors.New("making JUnit XML: there is no record")
	}
	all := document(r, o)
	all.trim(d)
	all.sum()
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.Encode(all); err != nil {
		return nil, fmt.Errorf("making JUnit XML: %w", err)
	}
	b.WriteByte('\n')
	// Attributes hold single lines only, so these stand in texts, where people want to read them as they are.
	text := bytes.ReplaceAll(b.Bytes(), []byte("&#xA;"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("&#x9;"), []byte("\t")), nil
}

// document is everything that any dialect has.
func document(r *record.Record, o Options) xmlSuites {
	rows := Rows(r)
	files := evidence(o)
	all := xmlSuites{Name: "storage-failure claims", Time: seconds(r.EndT)}
	names := map[string]bool{}
	for _, name := range scenarios(rows) {
		s := suite(r, o, name)
		for _, row := range rows {
			if row.Plan.Scenario != name {
				continue
			}
			c := testcase(r, o, row, files)
			base := c.Name
			for n := 2; names[c.Classname+" "+c.Name]; n++ { // GitLab drops the second of a name
				c.Name = base + " (" + strconv.Itoa(n) + ")"
			}
			names[c.Classname+" "+c.Name] = true
			s.add(c)
			s.Properties = append(s.Properties, xmlProperty{"claim/" + oneLine(row.Plan.Claim), inShort(r, row)})
		}
		all.Suites = append(all.Suites, s)
	}
	if why := silent(r, Count(rows)); why != "" {
		s := suite(r, o, "run")
		c := xmlCase{Name: runName, Classname: classname(provenance(r, record.Row{}), r.Header.Lab, "run"), Time: seconds(r.EndT), Timestamp: s.Timestamp}
		c.Error = &xmlResult{Type: errorType(r, false), Message: cut(why, messageLimit), Text: cut(why, textLimit)}
		s.add(c)
		all.Suites = append(all.Suites, s)
	}
	return all
}

// scenarios lists the rows' scenarios in the order of the plan.
func scenarios(rows []record.Row) []string {
	var out []string
	for _, row := range rows {
		if !slices.Contains(out, row.Plan.Scenario) {
			out = append(out, row.Plan.Scenario)
		}
	}
	return out
}

func (s *xmlSuite) add(c xmlCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func suite(r *record.Record, o Options, scenario string) xmlSuite {
	h := r.Header
	s := xmlSuite{Name: scenarioName(scenario), Time: seconds(span(r, scenario)), Timestamp: began(r, scenario),
		Hostname: oneLine(h.On), Log: "run.jsonl", URL: oneLine(o.HTML)}
	for _, p := range [][2]string{{"run.id", h.ID}, {"lab", h.Lab}, {"lab.kind", string(h.LabKind)}, {"host", h.Host},
		{"profile", h.Profile}, {"filter", h.Filter}, {"git", h.Git}} {
		if p[1] != "" {
			s.Properties = append(s.Properties, xmlProperty{p[0], cut(oneLine(p[1]), messageLimit)})
		}
	}
	return s
}

func scenarioName(s string) string {
	if s = oneLine(s); s == "" {
		return "no scenario"
	}
	return s
}

// began is a scenario's start; that of the run when it did not begin.
func began(r *record.Record, scenario string) string {
	v, _ := r.Run(scenario)
	return stamp(r.Header.T0, v.From)
}

// span is a scenario's length in ms, 0 when it did not begin.
func span(r *record.Record, scenario string) int64 {
	v, ok := r.Run(scenario)
	if !ok {
		return 0
	}
	return v.To - v.From
}
