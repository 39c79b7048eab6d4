// This file writes JUnit XML: one testcase a claim, in the dialect that validates against Jenkins' junit-10.xsd and that
// the readers of GitHub, GitLab, Jenkins and Azure DevOps all take.

package reports

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// outputLimit is what Jenkins keeps of a passing case's system-out: a longer one loses its middle.
const outputLimit = 1000

// How long one text of a stranger may be within an attribute and within an element.
const (
	messageLimit = 300
	textLimit    = 2000
)

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
	Log        string        `xml:"log,attr"`
	Properties []xmlProperty `xml:"properties>property"`
	Cases      []xmlCase     `xml:"testcase"`
}

type xmlProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type xmlCase struct {
	Name      string     `xml:"name,attr"`
	Classname string     `xml:"classname,attr"`
	Time      string     `xml:"time,attr"`
	Skipped   *xmlResult `xml:"skipped"`
	Failure   *xmlResult `xml:"failure"`
	Error     *xmlResult `xml:"error"`
	Out       string     `xml:"system-out,omitempty"`
}

type xmlResult struct {
	Type    string `xml:"type,attr,omitempty"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// JUnit returns the record as JUnit XML: a flat testsuite a scenario, a testcase a claim. A claim's time is that of its
// scenario until it was judged, for that is what the claim costs when it is run alone; a suite's time is the scenario's,
// not the sum. A run that proves nothing although no claim says so (cut off after the last verdict, or nothing judged)
// gets one more testcase, an error, so that the file is never green when the exit code is not.
func JUnit(r *record.Record, o Options) ([]byte, error) {
	if r == nil {
		return nil, errors.New("making junit.xml: there is no record")
	}
	rows := Rows(r)
	files := evidence(o)
	all := xmlSuites{Name: "storage-failure claims", Time: seconds(r.EndT)}
	for _, name := range scenarios(rows) {
		s := suite(r, o, name)
		specs := map[string]map[string]bool{}
		for _, row := range rows {
			if row.Plan.Scenario != name {
				continue
			}
			s.add(testcase(r, o, row, files))
			s.Properties = append(s.Properties, xmlProperty{"claim/" + oneLine(row.Plan.Claim), inShort(r, row)})
			if file, _, ok := spec(row.Plan); ok {
				for _, k := range []string{"any", string(wordOf(row))} {
					if specs[k] == nil {
						specs[k] = map[string]bool{}
					}
					specs[k][file] = true
				}
			}
		}
		s.File = oneOf(specs[string(refuted)])
		if len(specs[string(refuted)]) == 0 {
			s.File = oneOf(specs["any"])
		}
		all.Suites = append(all.Suites, s)
	}
	if why := trouble(r, Count(rows)); why != "" && !all.red() {
		s := suite(r, o, "run")
		c := xmlCase{Name: "The run comes to its end and decides something [run]", Classname: classname(string(r.Header.LabKind), r.Header.Lab, "run"), Time: seconds(r.EndT)}
		c.Error = &xmlResult{Type: errorType(r, false), Message: cut(why, messageLimit), Text: cut(why, textLimit)}
		s.add(c)
		all.Suites = append(all.Suites, s)
	}
	for i := range all.Suites {
		s := &all.Suites[i]
		s.ID = i
		all.Tests += s.Tests
		all.Failures += s.Failures
		all.Errors += s.Errors
	}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.Encode(all); err != nil {
		return nil, fmt.Errorf("making junit.xml: %w", err)
	}
	b.WriteByte('\n')
	// Attributes hold single lines only, so these stand in texts, where people want to read them as they are.
	text := bytes.ReplaceAll(b.Bytes(), []byte("&#xA;"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("&#x9;"), []byte("\t")), nil
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

func oneOf(set map[string]bool) string {
	if len(set) == 1 {
		for s := range set {
			return s
		}
	}
	return ""
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

func (s *xmlSuites) red() bool {
	return slices.ContainsFunc(s.Suites, func(s xmlSuite) bool { return s.Failures+s.Errors > 0 })
}

func suite(r *record.Record, o Options, scenario string) xmlSuite {
	h := r.Header
	v, _ := r.Run(scenario)
	s := xmlSuite{Name: scenarioName(scenario), Time: seconds(span(r, scenario)), Timestamp: stamp(h.T0, v.From),
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

// span is a scenario's length in ms, 0 when it did not begin.
func span(r *record.Record, scenario string) int64 {
	v, ok := r.Run(scenario)
	if !ok {
		return 0
	}
	return v.To - v.From
}

func testcase(r *record.Record, o Options, row record.Row, files []string) xmlCase {
	id := oneLine(row.Plan.Claim)
	lab := row.Lab
	if lab == "" {
		lab = r.Header.Lab
	}
	c := xmlCase{Name: strings.TrimSpace(oneLine(row.Plan.Title) + " [" + id + "]"), Classname: classname(provenance(r, row), lab, row.Plan.Scenario)}
	if v, ok := r.Run(row.Plan.Scenario); ok && row.K != "" {
		c.Time = seconds(min(max(row.T-v.From, 0), v.To-v.From))
	} else {
		c.Time = seconds(span(r, row.Plan.Scenario))
	}
	switch why := markers.Replace(oneLine(row.Why)); wordOf(row) {
	case refuted:
		msg := id + ": " + why
		if m := measured(row.Verdict); m != "" {
			msg = id + ": measured " + m
			if a := allowed(row.Verdict); a != "" {
				msg += ", allowed " + a
			}
		}
		c.Failure = &xmlResult{"claim", cut(msg, messageLimit), story(r, o, row)}
	case inconclusive:
		cutOff := row.K == ""
		if !cutOff {
			if v, ok := r.Run(row.Plan.Scenario); ok {
				done, _ := v.Complete()
				cutOff = !done
			}
		}
		c.Error = &xmlResult{errorType(r, !cutOff), cut(id+": inconclusive: "+why, messageLimit), story(r, o, row)}
	case known:
		s := "refuted, known: " + markers.Replace(because(row.Known))
		c.Skipped = &xmlResult{Message: cut(s, messageLimit), Text: cut(s, textLimit)}
	case notApplicable:
		c.Skipped = &xmlResult{Message: cut(why, messageLimit), Text: cut(why, textLimit)}
	}
	c.Out = output(r, o, row, files)
	return c
}

// errorType tells a run that was broken off from a lab that did not do what was needed.
func errorType(r *record.Record, decided bool) string {
	if !decided && stopped(r) {
		return "interrupted"
	}
	return "lab"
}

// classname begins with the provenance and the lab, so that no reader compares an embedded run with a real one.
func classname(prov, lab, scenario string) string {
	return part(prov) + "." + part(lab) + "." + part(scenario)
}

// part keeps letters, digits, dashes and underscores: dots would make one more level of what is one name.
func part(s string) string {
	s = strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || c == '-' || c == '_' {
			return c
		}
		return '-'
	}, oneLine(s))
	if s == "" {
		return "unknown"
	}
	return cut(s, 100)
}

func inShort(r *record.Record, row record.Row) string {
	s := "verdict=" + string(wordOf(row))
	if m := measured(row.Verdict); m != "" {
		s += " measured=" + m
	}
	if a := allowed(row.Verdict); a != "" {
		s += " allowed=" + a
	}
	return s + " provenance=" + provenance(r, row)
}

// story is the text of a failure or error: what was found, what was allowed, why, who says so, and where to look.
func story(r *record.Record, o Options, row record.Row) string {
	var b strings.Builder
	say := func(label, s string) {
		if s != "" {
			b.WriteString(label + cut(markers.Replace(oneLine(s)), textLimit) + "\n")
		}
	}
	say("", row.Plan.Title)
	say("measured: ", measured(row.Verdict))
	if a := allowed(row.Verdict); a != "" {
		if f := follows(row.Verdict); f != "" {
			a += ", following " + f
		}
		say("allowed: ", a)
	}
	say("why: ", row.Why)
	if src := row.Plan.Source; src != (record.Source{}) {
		b.WriteString("source: " + strings.TrimSpace(oneLine(src.Doc)+" "+oneLine(src.Code)) + "\n")
		say("  says: ", src.EN)
		say("  original: ", src.JA)
		say("  read as: ", src.Note)
	}
	say("provenance: ", provenance(r, row))
	if file, line, ok := spec(row.Plan); ok {
		dir, base := path.Split(file)
		fmt.Fprintf(&b, "In [It] at %s:%d\n\tat %sClaim(%s:%d)\n", file, line, strings.ReplaceAll(dir, "/", "."), base, line)
	}
	for i, p := range row.Evidence {
		if i == 20 {
			fmt.Fprintf(&b, "evidence: %d more in run.jsonl\n", len(row.Evidence)-i)
			break
		}
		b.WriteString("evidence: " + clock(p.T) + " " + cut(markers.Replace(oneLine(p.Lane+" "+p.What)), messageLimit) + "\n")
	}
	if o.HTML != "" {
		b.WriteString("evidence: " + oneLine(o.HTML) + "#" + oneLine(row.Plan.Claim) + "\n")
	}
	return b.String()
}

// output is the one system-out: attachments first, then properties, whole lines only, within outputLimit.
func output(r *record.Record, o Options, row record.Row, files []string) string {
	var lines []string
	left := outputLimit
	add := func(line string, keep int) bool {
		n := utf8.RuneCountInString(line) + 1
		if n > left-keep {
			return false
		}
		left -= n
		lines = append(lines, line)
		return true
	}
	for _, f := range attachments(o, row, files) {
		add("[[ATTACHMENT|"+f+"]]", 500) // half is kept for the properties
	}
	prop := func(k, v string, n int) {
		if v = cut(brackets.Replace(oneLine(v)), n); v != "" {
			add("[[PROPERTY|"+k+"="+v+"]]", 0)
		}
	}
	prop("claim.id", row.Plan.Claim, 100)
	prop("verdict", string(row.Outcome), 40)
	prop("measured", measured(row.Verdict), 60)
	prop("allowed", allowed(row.Verdict), 60)
	prop("provenance", provenance(r, row), 20)
	prop("lab", r.Header.Lab, 60)
	if row.Known != nil {
		if stale(row) {
			prop("deviation", "listed, but no longer true", 40)
		}
		prop("known", because(row.Known), 120)
	}
	prop("follows", follows(row.Verdict), 100)
	prop("why", row.Why, 150)
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\n") + "\n"
}

// No text of a guest can attach a file: brackets are taken out of values, and the markers out of all other texts.
var (
	brackets = strings.NewReplacer("[", "(", "]", ")")
	markers  = strings.NewReplacer("ATTACHMENT|", "ATTACHMENT ", "PROPERTY|", "PROPERTY ")
)

// attachments lists the files to attach to a claim, as paths from the project's root: those named after the claim, those
// named after its scenario, the record. Names of files are unique, for Jenkins drops the second of a name.
func attachments(o Options, row record.Row, files []string) []string {
	if o.Dir == "" {
		return nil
	}
	var mine, shared, out []string
	for _, f := range files {
		switch {
		case concerns(f, row.Plan.Claim):
			mine = append(mine, f)
		case concerns(f, row.Plan.Scenario):
			shared = append(shared, f)
		}
	}
	names := map[string]bool{}
	for _, f := range slices.Concat(mine, shared, []string{"run.jsonl"}) {
		p, ok := fromRoot(o, f)
		if !ok || names[path.Base(p)] || p != oneLine(p) || strings.ContainsAny(p, "[]|") || !exists(o, f) {
			continue
		}
		names[path.Base(p)] = true
		out = append(out, p)
	}
	return out
}
