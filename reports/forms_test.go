package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// readers read every form back. Each returns an error for what is not valid in its format, and counts the claims of each verdict
// (Stale stays 0).
var readers = map[string]func(b []byte) (Counts, error){
	"junit.xml":      readJUnit,
	"junit-full.xml": readJUnit,
	"summary.md":     readSummary,
	"metrics.txt":    readMetrics,
	"run.json":       readCTRF,
	"trace.json":     readTrace,
	"report.html":    readHTML,
}

// spoilt are changes that make a form invalid, or of another run: the reader must see each.
var spoilt = map[string]map[string]func(string) string{
	"junit.xml":      junitSpoilt,
	"junit-full.xml": junitSpoilt,
	"summary.md": {
		"a cell too many": replaced("| guest/a |", "| guest/a | x |"), "another verdict": replaced("| confirmed |", "| inconclusive |"),
		"another count": replaced("1 inconclusive", "2 inconclusive"), "too long": func(s string) string { return s + strings.Repeat("x", 1<<20) },
	},
	"metrics.txt": {
		"no end": replaced("# EOF\n", ""), "an open quote": replaced(`"} 1`, `} 1`), "a series twice": doubled("apd_run_exit_code 1\n"),
		"no type": replaced("# TYPE apd_claims gauge\n", ""), "another unit": replaced("# UNIT apd_run_duration_seconds seconds", "# UNIT apd_run_duration_seconds s"),
		"another count": replaced(`apd_claims{verdict="confirmed"} 2`, `apd_claims{verdict="confirmed"} 3`),
	},
	"run.json": {
		"cut off": func(s string) string { return s[:len(s)/2] }, "a status of its own": replaced(`"status": "passed"`, `"status": "fine"`),
		"another count": replaced(`"failed": 2`, `"failed": 3`), "a field of its own": replaced(`"duration"`, `"lasted"`),
	},
	"trace.json": {
		"cut off": func(s string) string { return s[:len(s)/2] }, "an overlap": replaced(`"ts":0,"dur":4000000`, `"ts":0,"dur":4000001`),
		"a nameless thread": replaced(`"name":"thread_name"`, `"name":"thread"`), "an unknown phase": replaced(`"ph":"X"`, `"ph":"Y"`), "a negative time": replaced(`"ts":2000000`, `"ts":-1`),
	},
	"report.html": {
		"cut off": func(s string) string { return s[:len(s)/2] }, "an open element": replaced("</section>", ""), "a text as it is": replaced("<dt>lab</dt>", "<dt>a < b</dt>"),
		"another count": replaced("<b>2</b> <span>confirmed", "<b>3</b> <span>confirmed"), "another verdict": replaced("claim is-confirmed", "claim is-inconclusive"),
		"a link to nowhere": replaced(`id="log"`, `id="lag"`), "another's script": replaced(`"use strict";`, `"use sloppy";`),
	},
}

var junitSpoilt = map[string]func(string) string{
	"cut off": func(s string) string { return s[:len(s)/2] }, "a verdict less": replaced("<failure ", "<fail "),
	"a case twice": replaced("Claim stale [stale]", "Claim bad [bad]"), "another count": replaced(`failures="1"`, `failures="2"`),
}

func replaced(what, by string) func(string) string {
	return func(s string) string { return strings.Replace(s, what, by, 1) }
}

func doubled(what string) func(string) string { return replaced(what, what+what) }

// made makes every form of a record.
func made(t *testing.T, r *record.Record, o Options) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, f := range forms {
		b, err := f.make(r, o)
		NewWithT(t).Expect(err).NotTo(HaveOccurred(), f.name)
		out[f.name] = string(b)
	}
	return out
}

// sound expects every form of a record to be valid and to count what want says.
func sound(t *testing.T, r *record.Record, o Options, want Counts, about string) {
	t.Helper()
	g := NewWithT(t)
	for name, text := range made(t, r, o) {
		got, err := readers[name]([]byte(text))
		g.Expect(err).NotTo(HaveOccurred(), "%s %s", about, name)
		g.Expect(got).To(Equal(want), "%s %s", about, name)
	}
}

// rawLine is what the tests read of a record's line, apart from the code that reports read records with.
type rawLine struct {
	K, Claim, ID, Verdict, Skip, Edge string
	Known                             *struct{}
}

func linesOf(t *testing.T, b []byte) []rawLine {
	t.Helper()
	var out []rawLine
	for b := range bytes.Lines(b) {
		if bytes.HasSuffix(b, []byte("\n")) {
			var l rawLine
			NewWithT(t).Expect(json.Unmarshal(b, &l)).To(Succeed())
			out = append(out, l)
		}
	}
	return out
}

// counted counts the verdicts in a record's own lines.
func counted(t *testing.T, b []byte) Counts {
	t.Helper()
	last := map[string]rawLine{}
	for _, l := range linesOf(t, b) {
		switch {
		case l.K == "plan" && l.Skip != "":
			last[l.Claim] = rawLine{Verdict: "not applicable"}
		case l.K == "plan":
			last[l.Claim] = rawLine{}
		case l.K == "claim":
			last[l.ID] = l
		}
	}
	var c Counts
	for _, l := range last {
		switch {
		case l.Verdict == "refuted" && l.Known != nil:
			c.Known++
		case l.Verdict == "refuted":
			c.Refuted++
		case l.Verdict == "confirmed":
			c.Confirmed++
		case l.Verdict == "not applicable":
			c.NotApplicable++
		default:
			c.Inconclusive++
		}
	}
	return c
}

// tapes are records of whole runs: one with a host, one with a cluster, one without a verdict.
func tapes(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"esxi", "ceph", "windows"} {
		b, err := os.ReadFile(filepath.Join("..", "suites", "testdata", name, "run.jsonl"))
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		out[name] = b
	}
	return out
}

func TestEveryFormCountsTheSame(t *testing.T) {
	all := tapes(t)
	dir, _, o := small(t, "plain")
	all["small"] = lines(t, dir)
	dir, _, _ = small(t, hostile)
	all["hostile"] = lines(t, dir)
	NewWithT(t).Expect(counted(t, all["small"])).To(Equal(Counts{Refuted: 1, Known: 1, Inconclusive: 1, Confirmed: 2, NotApplicable: 1}))
	for name, b := range all {
		sound(t, parse(t, b), o, counted(t, b), name)
	}
}

func TestEveryFormIsReadBackAndSpoilt(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	all := made(t, r, o)
	g.Expect(readers).To(HaveLen(len(all)))
	g.Expect(spoilt).To(HaveLen(len(all)))
	for name, text := range all {
		good, err := readers[name]([]byte(text))
		g.Expect(err).NotTo(HaveOccurred(), name)
		for how, change := range spoilt[name] {
			bad := change(text)
			g.Expect(bad).NotTo(Equal(text), "%s: %s", name, how)
			got, err := readers[name]([]byte(bad))
			g.Expect(err != nil || got != good).To(BeTrue(), "%s: %s was not seen", name, how)
		}
	}
}

func TestEveryFormIsTheSameTwice(t *testing.T) {
	g := NewWithT(t)
	all := tapes(t)
	dir, _, o := small(t, hostile)
	all["hostile"] = lines(t, dir)
	for name, b := range all {
		first := made(t, parse(t, b), o)
		for range 2 {
			for form, text := range made(t, parse(t, b), o) {
				g.Expect(text == first[form]).To(BeTrue(), "%s %s", name, form)
			}
		}
	}
}

// A record cut off anywhere gives every form, valid, with what is there.
func TestEveryFormOfACutRecord(t *testing.T) {
	dir, _, o := small(t, hostile)
	whole := lines(t, dir)
	first := bytes.IndexByte(whole, '\n') + 1
	for n := first; n <= len(whole); n++ {
		// within a line every cut reads the same, but for the digest
		if n == first || whole[n-1] == '\n' || whole[n-2] == '\n' || n == len(whole)-1 {
			sound(t, parse(t, whole[:n]), o, counted(t, whole[:n]), fmt.Sprintf("cut at %d", n))
		}
	}
	for name, b := range tapes(t) {
		for i := 1; i <= 6; i++ {
			n := len(b) * i / 7
			sound(t, parse(t, b[:n]), o, counted(t, b[:n]), fmt.Sprintf("%s cut at %d", name, n))
		}
	}
}

// strange are lines that a later version, a broken disk or somebody with bad intentions could have written.
var strange = []string{
	`{"k":"weather","t":5000,"l":1,"sky":"grey"}`, `{"k":"weather","t":"soon"}`, `{"k":"","t":-4}`,
	`{"k":"lane","l":2,"kind":"satellite","name":"","prov":"imagined"}`, `{"k":"s","t":3000,"l":2,"topic":"","s":""}`, `{"k":"e","t":3000,"l":77,"topic":"x","type":""}`,
	`{"k":"s","t":-9000000,"lo":9000000,"l":2,"topic":"early","s":"before all"}`, `{"k":"s","t":3000,"l":2,"topic":"early","s":"later"}`,
	`{"k":"e","t":4611686018427387904,"l":2,"topic":"late","type":"after all"}`, `{"k":"s","t":4611686018427387904,"l":2,"topic":"late","s":"after all"}`,
	`{"k":"phase","t":100,"name":"","scenario":"","edge":"begin"}`, `{"k":"phase","t":100,"name":"a","edge":"begin"}`, `{"k":"phase","t":200,"name":"b","edge":"begin"}`,
	`{"k":"phase","t":90,"name":"a","edge":"sideways"}`, `{"k":"fault","t":10,"f":"","edge":"begin","type":""}`, `{"k":"fault","t":11,"f":"f#9\"","edge":"begin","type":"gremlin"}`,
	`{"k":"fault","t":12,"f":"f#9'","edge":"begin","type":"gremlin"}`, `{"k":"fault","t":5,"f":"","edge":"end","type":""}`, `{"k":"fault","t":5,"f":"nobody","edge":"undo"}`,
	`{"k":"b","t":5,"to":1,"l":2,"topic":"t","n":0}`, `{"k":"setting","l":99,"key":"|","value":"<b>"}`,
	`{"k":"claim","id":"a\u0000","t":1,"verdict":"refuted","measured":{"lo":1e308,"hi":-1e308},"window":{"min":-1e308,"max":1e308}}`,
	`{"k":"claim","id":"a\u0007","t":-1,"verdict":"plausible","measured":{"lo":0,"hi":0},"unit":"\"}\n# EOF\n","window":{"min":0,"max":0}}`,
	`{"k":"claim","id":"b]","t":99999999,"verdict":"confirmed","window":{},"measured":{"lo":1e-300,"hi":1e300}}`,
}

func TestEveryFormOfAStrangeRecord(t *testing.T) {
	dir, _, o := small(t, hostile)
	whole := lines(t, dir)
	for i := range strange {
		one := append(bytes.Clone(whole), strange[i]+"\n"...)
		sound(t, parse(t, one), o, counted(t, one), strange[i])
	}
	all := append(bytes.Clone(whole), strings.Join(strange, "\n")+"\n"...)
	sound(t, parse(t, all), o, counted(t, all), "all of them")
}

// FuzzForms cuts a record at any byte and adds lines with any text: every form is made, and is valid.
func FuzzForms(f *testing.F) {
	f.Add(uint(0), "weather", "on fire", "plain")
	f.Add(uint(400), "\x00", "|`<b>\n", hostile)
	f.Add(uint(1<<20), "# EOF\n", `\"}`, "]]>&#0;")
	var whole []byte
	f.Fuzz(func(t *testing.T, at uint, kind, state, text string) {
		if whole == nil {
			dir := filepath.Join(t.TempDir(), "r")
			write(t, dir, hostile, "done")
			whole = lines(t, dir)
		}
		head := bytes.IndexByte(whole, '\n') + 1
		cut := whole[:head+int(at%uint(len(whole)-head+1))]
		end := bytes.LastIndexByte(cut, '\n') + 1
		record := bytes.Clone(cut[:end])
		for _, l := range []map[string]any{
			{"k": "x" + kind, "t": 2500, "l": 1, "text": text},
			{"k": "s", "t": 2500, "l": 1, "topic": kind, "s": state, "why": text},
			{"k": "e", "t": 2500, "l": 9, "topic": text, "type": kind, "why": state},
			{"k": "phase", "t": 2500, "name": kind, "scenario": text, "edge": state},
			{"k": "fault", "t": 2500, "f": kind, "edge": "begin", "type": state, "title": text},
			{"k": "claim", "t": 2500, "id": "x" + text, "lab": kind, "verdict": "refuted", "why": text, "unit": state, "measured": map[string]any{"lo": 1, "hi": 2.5}, "provenance": kind},
		} {
			b, err := json.Marshal(l)
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
			record = append(append(record, b...), '\n')
		}
		record = append(record, cut[end:]...)
		sound(t, parse(t, record), Options{HTML: "report.html"}, counted(t, record), "fuzzed")
	})
}
