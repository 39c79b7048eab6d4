package reports

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var guestA = drivers.Lane{Role: drivers.Guest, Name: "a", Provenance: drivers.Embedded}

func ptr(x float64) *float64 { return &x }

// hostile is what a guest may print: control bytes, escapes, markup of every format that the reports are written in.
const hostile = "\x00\x07\x1b[31mred\x1b[0m ]]> <b>&amp;</b> | `code` ::error::no ##[add-mask]x ##vso[x]y [[[ATTACHMENT|/etc/passwd]]] \xff\xfe \u202egnp.exe @someone\r\n\ttail"

func plan(id, scenario string) record.Plan {
	return record.Plan{Claim: id, Title: "Claim " + id, Scenario: scenario, Spec: "suites/apd/" + id + ".go:12",
		Source: record.Source{Doc: "S1", Code: "E7", JA: "数分", EN: "within minutes", Note: "60 to 600 s"}}
}

// write makes a record with one row of each kind in dir; its times are exact, for its clock is a bubble's.
func write(t *testing.T, dir, text, end string) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		w, err := record.Create(dir, drivers.Clock{Zero: time.Now()}, record.Header{ID: "r1", T0: time.Date(2026, 11, 22, 7, 27, 7, 0, time.UTC),
			Lab: "lab.one", LabKind: drivers.Embedded, Profile: "quick", On: "ci-1", Facts: map[string]string{"kernel": "6.1"}})
		g.Expect(err).NotTo(HaveOccurred())
		for _, id := range []string{"bad", "known", "open", "good", "stale"} {
			w.Plan(plan(id, "stop 15m"))
		}
		skip := plan("skipped", "stall")
		skip.Skip = "lab lacks " + text
		w.Plan(skip)
		w.Setting(guestA, "scsi.timeout", "180")
		w.Phase("stop 15m", "scenario", record.EdgeBegin, "")
		w.Observe(drivers.Observation{Lane: guestA, Kind: drivers.State, Topic: "disk", Value: "ok"})
		time.Sleep(2 * time.Second)
		f := w.NewFault()
		w.Fault(f, record.EdgeBegin, drivers.ServiceStop, 0, "stop the service", "")
		time.Sleep(time.Second)
		w.Fault(f, record.EdgeActive, drivers.ServiceStop, 2500*time.Millisecond, "", "")
		w.Observe(drivers.Observation{Lo: 3 * time.Second, Hi: 4 * time.Second, Lane: guestA, Kind: drivers.State, Topic: "disk", Value: "blocked", Text: text})
		time.Sleep(7 * time.Second)
		w.Fault(f, record.EdgeUndo, drivers.ServiceStop, 0, "", "")
		w.Fault(f, record.EdgeEnd, drivers.ServiceStop, 0, "", "")
		window := &record.Window{Min: ptr(60), Max: ptr(600), From: "scsi.timeout=180"}
		dev := &record.Deviation{Reason: "kernel 6.1 waits for ever", Link: "https://example.org/1", Until: "6.2"}
		for _, j := range []record.Judged{
			{Claim: "bad", Verdict: record.Verdict{Outcome: record.Refuted, Why: "EIO came late " + text, Measured: &record.Interval{Lo: 700.2, Hi: 700.2}, Window: window,
				Provenance: drivers.Embedded, Evidence: []record.Pointer{{T: 4000, Lane: "guest/a", What: "disk blocked"}}}},
			{Claim: "known", Known: dev, Verdict: record.Verdict{Outcome: record.Refuted, Why: text, Provenance: drivers.Embedded}},
			{Claim: "open", Verdict: record.Verdict{Outcome: record.Inconclusive, Why: "the edge lies within the interval"}},
			{Claim: "good", Verdict: record.Verdict{Outcome: record.Confirmed, Why: "so it is", Measured: &record.Interval{Lo: 61, Hi: 62.5}, Window: window, N: 3, Provenance: drivers.Modelled}},
			{Claim: "stale", Known: dev, Verdict: record.Verdict{Outcome: record.Confirmed, Why: "so it is", Provenance: drivers.Embedded}},
		} {
			j.Lab = "lab.one"
			w.Judge(j)
		}
		w.Phase("stop 15m", "scenario", record.EdgeEnd, "")
		g.Expect(w.Close(end)).To(Succeed())
	})
}

func small(t *testing.T, text string) (string, *record.Record, Options) {
	t.Helper()
	g := NewWithT(t)
	root := t.TempDir()
	dir := filepath.Join(root, "out", "r1")
	write(t, dir, text, "done")
	for _, f := range []string{"bad.png", "stop 15m-console.log", "other.txt", "badly.txt", "bad[1].txt"} {
		g.Expect(os.WriteFile(filepath.Join(dir, "evidence", f), nil, 0o644)).To(Succeed())
	}
	r, err := record.Read(dir)
	g.Expect(err).NotTo(HaveOccurred())
	return dir, r, Options{Root: root, Dir: dir}
}

// lines reads a record's file; the tests cut it.
func lines(t *testing.T, dir string) []byte {
	b, err := os.ReadFile(filepath.Join(dir, "run.jsonl"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return b
}

func parse(t *testing.T, b []byte) *record.Record {
	r, err := record.Parse(bytes.NewReader(b))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return r
}
