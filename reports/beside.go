// This file makes one report of several runs, system beside system: beside.md, and junit-beside.xml for CI.

package reports

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Beside is a comparison: its columns are runs, its rows claims, and over all stands one verdict.
type Beside struct {
	Claim   string         `json:"claim"`
	Title   string         `json:"title"`
	Source  record.Source  `json:"source"`
	Verdict record.Verdict `json:"verdict"`
	Columns []Column       `json:"columns"`
	Rows    []BesideRow    `json:"rows"`
}

// Column is one run.
type Column struct {
	Run    string `json:"run"`
	Lab    string `json:"lab"`
	Of     string `json:"of"` // what it is compared by: "target/tgt"
	Detail string `json:"detail,omitempty"`
}

// BesideRow is one claim.
type BesideRow struct {
	Claim string       `json:"claim"`
	Title string       `json:"title"`
	Not   string       `json:"not,omitempty"` // why it is not counted
	Cells []record.Row `json:"cells"`
}

// differs tells whether a row has two different verdicts.
func (r BesideRow) differs() bool {
	seen := map[record.Outcome]bool{}
	for _, c := range r.Cells {
		if c.Outcome == record.Confirmed || c.Outcome == record.Refuted {
			seen[c.Outcome] = true
		}
	}
	return len(seen) > 1
}

// cell is a claim's verdict in one run, with the measured value and whose word it is.
func cell(row record.Row) string {
	if row.K == "" {
		if row.Plan.Skip != "" {
			return "not applicable"
		}
		return ""
	}
	s := string(wordOf(row))
	if m := measured(row.Verdict); m != "" {
		s += ", " + m
	}
	if row.Provenance != "" {
		s += " (" + string(row.Provenance) + ")"
	}
	return s
}

// Markdown is the comparison as a page; rows that differ come first.
func (b Beside) Markdown() []byte {
	m := &page{}
	m.say("# %s\n", markdown(b.Title, cellLimit))
	m.say("> %s\n", markdown(b.Source.EN, cellLimit))
	v := b.Verdict
	m.say("**%s** (%s %s, %s): %s.\n", v.Outcome, markdown(b.Source.Doc, 80), b.Source.Code, or(string(v.Provenance)), markdown(v.Why, 4*cellLimit))
	m.say("Claims that rest on a stand-in are shown and not counted: it is the same in every column.\n")
	head := []string{"Claim"}
	for _, c := range b.Columns {
		head = append(head, markdown(c.Of, cellLimit)+"<br>"+markdown(c.Lab, cellLimit))
	}
	m.table(append(head, "Alike")...)
	for _, differing := range []bool{true, false} {
		for _, r := range b.Rows {
			if r.differs() != differing {
				continue
			}
			cells := []string{markdown(r.Claim, cellLimit)}
			for _, c := range r.Cells {
				cells = append(cells, markdown(cell(c), cellLimit))
			}
			word := "yes"
			switch {
			case r.Not != "":
				word = "not counted: " + r.Not
			case differing:
				word = "**no**"
			}
			m.row(append(cells, word)...)
		}
	}
	m.say("\n## Runs\n")
	m.table("Run", "Lab", "Target", "Detail")
	for _, c := range b.Columns {
		m.row(markdown(c.Run, cellLimit), markdown(c.Lab, cellLimit), markdown(c.Of, cellLimit), markdown(c.Detail, cellLimit))
	}
	return []byte(m.String())
}

// JUnit is the comparison as one testcase.
func (b Beside) JUnit() ([]byte, error) {
	var runs []string
	for _, c := range b.Columns {
		runs = append(runs, c.Run)
	}
	c := xmlCase{Name: oneLine(b.Title) + " [" + b.Claim + "]", Classname: classname(string(b.Verdict.Provenance), "several", "beside"), Time: seconds(0),
		Out: cut(string(b.Verdict.Outcome)+": "+oneLine(b.Verdict.Why)+"\nruns: "+strings.Join(runs, ", "), outputLimit)}
	msg := cut(oneLine(b.Verdict.Why), messageLimit)
	switch b.Verdict.Outcome {
	case record.Refuted:
		c.Failure = &xmlResult{Type: "refuted", Message: msg, Text: cut(clean(b.Verdict.Why), textLimit)}
	case record.Confirmed:
	default:
		c.Error = &xmlResult{Type: "inconclusive", Message: msg, Text: cut(clean(b.Verdict.Why), textLimit)}
	}
	s := xmlSuite{Name: "beside", Time: seconds(0), Log: "beside.json"}
	s.add(c)
	all := xmlSuites{Name: "storage-failure claims", Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Time: seconds(0), Suites: []xmlSuite{s}}
	var out bytes.Buffer
	out.WriteString(xml.Header)
	e := xml.NewEncoder(&out)
	e.Indent("", " ")
	if err := e.Encode(all); err != nil {
		return nil, fmt.Errorf("making junit-beside.xml: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Write makes the files in dir and returns their paths.
func (b Beside) Write(dir string, json []byte) ([]string, error) {
	x, err := b.JUnit()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, f := range []struct {
		name string
		data []byte
	}{{"beside.md", b.Markdown()}, {"junit-beside.xml", x}, {"beside.json", json}} {
		p := filepath.Join(dir, f.name)
		if err := replace(p, f.data); err != nil {
			return paths, fmt.Errorf("writing %s: %w", f.name, err)
		}
		paths = append(paths, p)
	}
	return paths, nil
}
