// This file writes run.json: the run in the Common Test Report Format, with what only this project knows under "extra".
//
// Readers of CTRF know five statuses, and those that fail a build (CTRF's own action for GitHub among them) look at "failed"
// alone. So a claim that is refuted or inconclusive is failed, for a run that exits with another code than 0 must not look
// green; a refutation that is known for the platform was run and is neither a success nor a failure, which is "other"; a claim
// that does not apply is skipped. The verdict's own word stands in rawStatus.

package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// tool is this project's name in files of others' formats.
const tool = "All Paths Down"

type ctrf struct {
	Format  string      `json:"reportFormat"`
	Version string      `json:"specVersion"`
	Report  string      `json:"reportId"` // made of the record's digest: the same record is the same report
	Run     string      `json:"runId,omitempty"`
	By      string      `json:"generatedBy"`
	Results ctrfResults `json:"results"`
}

type ctrfResults struct {
	Tool struct {
		Name string `json:"name"`
	} `json:"tool"`
	Summary     ctrfSummary `json:"summary"`
	Tests       []ctrfTest  `json:"tests"`
	Environment struct {
		Commit  string `json:"commit,omitempty"`
		Lab     string `json:"testEnvironment,omitempty"`
		Healthy bool   `json:"healthy"`
	} `json:"environment"`
	Extra ctrfExtra `json:"extra"`
}

// ctrfSummary counts tests by status; times are in ms, of the wall clock where they are points.
type ctrfSummary struct {
	Tests    int   `json:"tests"`
	Passed   int   `json:"passed"`
	Failed   int   `json:"failed"`
	Skipped  int   `json:"skipped"`
	Pending  int   `json:"pending"`
	Other    int   `json:"other"`
	Suites   int   `json:"suites"`
	Start    int64 `json:"start"`
	Stop     int64 `json:"stop"`
	Duration int64 `json:"duration"`
}

type ctrfTest struct {
	ID       string     `json:"testId,omitempty"`
	Name     string     `json:"name"`
	Status   string     `json:"status"`
	Raw      string     `json:"rawStatus"`
	Duration int64      `json:"duration"`
	Start    int64      `json:"start"`
	Stop     int64      `json:"stop"`
	Suite    []string   `json:"suite"`
	Message  string     `json:"message,omitempty"`
	Trace    string     `json:"trace,omitempty"`
	File     string     `json:"filePath,omitempty"`
	Line     int        `json:"line,omitempty"`
	Tags     []string   `json:"tags,omitempty"`
	Extra    *ctrfClaim `json:"extra,omitempty"` // nil for the run's own test
}

// ctrfExtra is what is told of the run as a whole.
type ctrfExtra struct {
	Run      record.Header `json:"run"`
	Verdicts map[word]int  `json:"verdicts"`
	Stale    int           `json:"no_longer_deviating"` // of the confirmed ones
	Exit     int           `json:"exit"`
	Trouble  string        `json:"trouble,omitempty"` // why the run does not pass although no claim says so
	Torn     bool          `json:"torn"`              // the record's last line was cut off
	Unknown  int           `json:"unknown_lines"`
	SHA256   string        `json:"record_sha256"`
}

// ctrfClaim is what is told of a claim; the shapes are the record's.
type ctrfClaim struct {
	Claim      string            `json:"claim"`
	Provenance string            `json:"provenance"`
	Lab        string            `json:"lab"`
	Verdict    word              `json:"verdict"`
	Why        string            `json:"why"`
	Measured   *record.Interval  `json:"measured,omitempty"`
	Unit       string            `json:"unit,omitempty"` // of measured and window
	Window     *record.Window    `json:"window,omitempty"`
	Margin     *float64          `json:"margin,omitempty"` // a part of the window's width; negative outside
	N          int               `json:"n,omitempty"`
	Known      *record.Deviation `json:"known,omitempty"`
	Source     record.Source     `json:"source"`
	Evidence   []record.Pointer  `json:"evidence,omitempty"`
	Link       string            `json:"link,omitempty"` // into the HTML report
}

// CTRF returns the record as a report in the Common Test Report Format.
func CTRF(r *record.Record, o Options) ([]byte, error) {
	rows := Rows(r)
	h := r.Header
	c := Count(rows)
	out := ctrf{Format: "CTRF", Version: "0.0.0", Report: uuid.NewSHA1(uuid.NameSpaceOID, []byte(r.SHA256)).String(), Run: oneLine(h.ID), By: tool}
	res := &out.Results
	res.Tool.Name = tool
	res.Tests = []ctrfTest{}
	for _, row := range rows {
		res.Tests = append(res.Tests, ctrfCase(r, o, row))
	}
	suites := len(scenarios(rows))
	if why := silent(r, c); why != "" {
		suites++
		res.Tests = append(res.Tests, ctrfTest{Name: runName, Status: "failed", Raw: string(inconclusive), Duration: r.EndT, Start: wall(h.T0, 0), Stop: wall(h.T0, r.EndT),
			Suite: []string{"run"}, Message: cut(why, messageLimit)})
	}
	res.Summary = ctrfSummary{Tests: len(res.Tests), Suites: suites, Start: wall(h.T0, 0), Stop: wall(h.T0, r.EndT), Duration: r.EndT}
	for _, t := range res.Tests {
		*map[string]*int{"passed": &res.Summary.Passed, "failed": &res.Summary.Failed, "skipped": &res.Summary.Skipped, "other": &res.Summary.Other}[t.Status]++
	}
	res.Environment.Commit, res.Environment.Lab, res.Environment.Healthy = oneLine(h.Git), oneLine(h.Lab), ExitCode(r) == ExitHolds
	res.Extra = ctrfExtra{Run: cleanHeader(h), Verdicts: map[word]int{}, Stale: c.Stale, Exit: ExitCode(r), Trouble: trouble(r, c), Torn: r.Torn, Unknown: r.Unknown, SHA256: r.SHA256}
	for _, w := range order {
		res.Extra.Verdicts[w] = c.of(w)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	if err := e.Encode(out); err != nil {
		return nil, fmt.Errorf("making run.json: %w", err)
	}
	return b.Bytes(), nil
}

// ctrfStatus is a verdict's status, for the reasons above.
var ctrfStatus = map[word]string{refuted: "failed", inconclusive: "failed", known: "other", confirmed: "passed", notApplicable: "skipped"}

func ctrfCase(r *record.Record, o Options, row record.Row) ctrfTest {
	w := wordOf(row)
	v, _ := r.Run(row.Plan.Scenario)
	t := ctrfTest{ID: oneLine(row.Plan.Claim), Name: caseName(row), Status: ctrfStatus[w], Raw: string(w), Duration: cost(r, row), Start: wall(r.Header.T0, v.From),
		Suite: []string{scenarioName(row.Plan.Scenario)}, Message: message(row), Extra: ctrfExtraOf(r, o, row)}
	t.Stop = t.Start + t.Duration
	if w == refuted || w == inconclusive {
		t.Trace = story(r, o, row)
	}
	t.File, t.Line, _ = spec(row.Plan)
	for _, l := range row.Plan.Labels {
		t.Tags = append(t.Tags, oneLine(l))
	}
	return t
}

func ctrfExtraOf(r *record.Record, o Options, row record.Row) *ctrfClaim {
	src := row.Plan.Source
	c := &ctrfClaim{Claim: oneLine(row.Plan.Claim), Provenance: oneLine(provenance(r, row)), Lab: oneLine(row.Lab), Verdict: wordOf(row), Why: clean(row.Why),
		Measured: row.Measured, Margin: margin(row.Verdict), N: row.N,
		Source: record.Source{Doc: clean(src.Doc), Code: clean(src.Code), JA: clean(src.JA), EN: clean(src.EN), Note: clean(src.Note)}}
	if c.Measured != nil || row.Window != nil {
		c.Unit = unit(row.Verdict)
	}
	if w := row.Window; w != nil {
		c.Window = &record.Window{Min: w.Min, Max: w.Max, From: clean(w.From)}
	}
	if d := row.Known; d != nil {
		c.Known = &record.Deviation{Claim: clean(d.Claim), Reason: clean(d.Reason), Link: clean(d.Link), Until: clean(d.Until), Sometimes: d.Sometimes}
	}
	for _, p := range row.Evidence {
		c.Evidence = append(c.Evidence, record.Pointer{T: p.T, Lane: clean(p.Lane), What: clean(p.What)})
	}
	if o.HTML != "" {
		c.Link = oneLine(o.HTML) + "#" + oneLine(row.Plan.Claim)
	}
	return c
}

// cleanHeader is the record's first line without what a reader's terminal would obey.
func cleanHeader(h record.Header) record.Header {
	for _, s := range []*string{&h.K, &h.ID, &h.Lab, &h.LabFile, &h.Host, &h.Profile, &h.Filter, &h.Git, &h.On} {
		*s = clean(*s)
	}
	h.LabKind = drivers.Provenance(clean(string(h.LabKind)))
	facts := map[string]string{}
	for k, v := range h.Facts {
		facts[clean(k)] = clean(v)
	}
	h.Facts = facts
	return h
}

// wall is a time of the run as milliseconds of the wall clock.
func wall(t0 time.Time, ms int64) int64 { return t0.UnixMilli() + ms }
