package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/reports"
)

// judgedRun writes a run of a lab in which one claim has a verdict, and returns its folder.
func judgedRun(t *testing.T, runs, id, kind, verdict string) string {
	t.Helper()
	dir := filepath.Join(runs, id)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lines := fmt.Sprintf(`{"k":"run","v":1,"id":"%s","t0":"2026-01-01T%s:00:00Z","lab":"l","lab_kind":"%s","profile":"quick"}
{"k":"plan","claim":"a.claim","title":"A claim","scenario":"brief-outage","src":{"doc":"S1","code":"E1","en":"so"}}
{"k":"claim","id":"a.claim","t":1,"lab":"l","verdict":"%s","why":"so it is","provenance":"%s","measured":{"lo":1,"hi":2},"window":{"max":10}}
{"k":"end","t":2,"why":"done"}
`, id, id[:2], kind, verdict, kind)
	if err := os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tape is the folder of a real record.
func tape(name string) string { return filepath.Join("..", "..", "suites", "testdata", name) }

func TestCompareTwoRuns(t *testing.T) {
	g := NewWithT(t)
	runs := t.TempDir()
	good, bad, open := judgedRun(t, runs, "01", "embedded", "confirmed"), judgedRun(t, runs, "02", "embedded", "refuted"), judgedRun(t, runs, "03", "embedded", "inconclusive")
	real := judgedRun(t, runs, "04", "real", "confirmed")
	g.Expect(os.Symlink("02", filepath.Join(runs, "latest"))).To(Succeed())
	broken := filepath.Join(runs, "broken")
	g.Expect(os.Mkdir(broken, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(broken, "run.jsonl"), []byte("no record\n"), 0o600)).To(Succeed())
	for _, c := range []struct {
		args     []string
		code     int
		out, err string
	}{
		{[]string{good, good}, 0, "0 worse, 0 better, 0 changed, 0 new, 0 gone, 0 moved, 1 same", ""},
		{[]string{good, bad}, 1, "confirmed -> refuted", ""},
		{[]string{good, open}, 1, "confirmed -> inconclusive", ""},
		{[]string{bad, good}, 0, "refuted -> confirmed", ""},
		{[]string{open, bad}, 0, "inconclusive -> refuted", ""},
		{[]string{good, filepath.Join(runs, "latest")}, 1, "B  02", ""},
		{[]string{good, real}, 2, "", "the two runs must not be compared"},
		{[]string{real, bad}, 2, "", "the two runs must not be compared"},
		{[]string{"--force", good, real}, 0, "[embedded beside real] A  01", ""},
		{[]string{real, bad, "--force"}, 1, "[real beside embedded] worse", ""},
		{[]string{good, broken}, 2, "", "reading the record"},
		{[]string{broken, good}, 2, "", "reading the record"},
		{[]string{good, filepath.Join(runs, "nowhere")}, 2, "", "finding the run"},
		{[]string{good}, 2, "", "takes the folders of an earlier and a later run"},
	} {
		t.Run(strings.ReplaceAll(strings.Join(c.args, " "), runs, ""), func(t *testing.T) {
			g := NewWithT(t)
			s := apd(t, append([]string{"compare"}, c.args...)...)
			g.Expect(s.code).To(Equal(c.code), s.out+s.err)
			g.Expect(s.out).To(ContainSubstring(c.out))
			g.Expect(s.err).To(ContainSubstring(c.err))
			if c.err != "" {
				g.Expect(s.out).To(BeEmpty())
			}
		})
	}
	entries, err := os.ReadDir(runs)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(6), "nothing is written without --out")

	out := filepath.Join(t.TempDir(), "made", "for", "it")
	s := apd(t, "compare", good, bad, "--out", out, "--json")
	g.Expect(s.code).To(Equal(1))
	var c reports.Comparison
	g.Expect(json.Unmarshal([]byte(s.out), &c)).To(Succeed())
	g.Expect(c.Changes[0].Turn).To(Equal(reports.Worse))
	for _, name := range []string{"compare.md", "compare.svg", "compare.json"} {
		g.Expect(filepath.Join(out, name)).To(BeARegularFile())
	}
}

func TestRejudgeRuns(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "rejudge", tape("esxi"), tape("ceph"))
	g.Expect(s.code).To(Equal(0), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("0 changed, 54 the same"))
	g.Expect(s.out).To(ContainSubstring("0 changed, 113 the same"))

	b, err := os.ReadFile(filepath.Join(tape("esxi"), "run.jsonl"))
	g.Expect(err).NotTo(HaveOccurred())
	const was, is = `"id":"esxi.loss-noticed-at-once","t":25485,"lab":"box-esxi","verdict":"confirmed"`, `"id":"esxi.loss-noticed-at-once","t":25485,"lab":"box-esxi","verdict":"refuted"`
	altered := strings.Replace(string(b), was, is, 1)
	g.Expect(altered).NotTo(Equal(string(b)))
	dir := filepath.Join(t.TempDir(), "altered")
	g.Expect(os.MkdirAll(filepath.Join(dir, "evidence"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "evidence", "a.log"), []byte("seen"), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte(altered), 0o600)).To(Succeed())
	out := filepath.Join(t.TempDir(), "again")
	s = apd(t, "rejudge", dir, "--out", out)
	g.Expect(s.code).To(Equal(1), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("1 changed, 53 the same"))
	g.Expect(s.out).To(MatchRegexp(`better +esxi.loss-noticed-at-once +refuted -> confirmed`))
	same, err := os.ReadFile(filepath.Join(dir, "run.jsonl"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(same)).To(Equal(altered), "the record is as it was")
	to := filepath.Join(out, "altered")
	for _, name := range []string{"run.jsonl", "junit.xml", "summary.md", "rejudged.md", "rejudged.json", filepath.Join("evidence", "a.log")} {
		g.Expect(filepath.Join(to, name)).To(BeARegularFile())
	}
	made, err := os.ReadFile(filepath.Join(to, "run.jsonl"))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(made)).To(HavePrefix(altered), "what is new stands behind it")
	g.Expect(apd(t, "rejudge", to).code).To(Equal(0), "its last verdicts are those of today")
	g.Expect(apd(t, "report", to).code).To(Equal(0))
	s = apd(t, "compare", dir, to)
	g.Expect(s.code).To(Equal(0))
	g.Expect(s.out).To(ContainSubstring("0 worse, 1 better"))

	s = apd(t, "rejudge", dir, "--out", out)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("is there already"))
	s = apd(t, "rejudge", filepath.Join(dir, "nowhere"), dir, "--json")
	g.Expect(s.code).To(Equal(2), "one that cannot be read weighs more than one that changed")
	var all []reports.Rejudgement
	g.Expect(json.Unmarshal([]byte(s.out), &all)).To(Succeed())
	g.Expect(all).To(HaveLen(1))
	g.Expect(all[0].Changed).To(HaveLen(1))

	newer := filepath.Join(t.TempDir(), "newer")
	g.Expect(os.MkdirAll(newer, 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(newer, "run.jsonl"), []byte(strings.Replace(string(b), `"v":1`, `"v":99`, 1)), 0o600)).To(Succeed())
	s = apd(t, "rejudge", newer)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("the record has version 99"))
	lost := judgedRun(t, t.TempDir(), "01", "embedded", "confirmed")
	s = apd(t, "rejudge", lost)
	g.Expect(s.code).To(Equal(0), "its verdict stands")
	g.Expect(s.out).To(MatchRegexp(`unasked +a.claim +no claim has this id today`))
}

func TestHistoryOfRuns(t *testing.T) {
	g := NewWithT(t)
	runs := t.TempDir()
	for i := range 6 {
		judgedRun(t, filepath.Join(runs, "deep"), fmt.Sprintf("%02d", i), "embedded", "confirmed")
	}
	g.Expect(os.Symlink("deep/05", filepath.Join(runs, "latest"))).To(Succeed())
	g.Expect(os.Mkdir(filepath.Join(runs, "broken"), 0o755)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(runs, "broken", "run.jsonl"), []byte("no record\n"), 0o600)).To(Succeed())
	s := apd(t, "history", runs)
	g.Expect(s.code).To(Equal(0), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("6 runs, 1 that could not be read"))
	g.Expect(s.out).To(ContainSubstring("could not be read: broken: "))
	g.Expect(s.out).To(ContainSubstring("6 confirmed of 6 runs; P50 2 s, P95 2 s, P99 2 s; newest 2 s  ▁▁▁▁▁▁"))
	first := map[string]string{}
	for _, name := range []string{"history.md", "history.json", "history.html"} {
		b, err := os.ReadFile(filepath.Join(runs, name))
		g.Expect(err).NotTo(HaveOccurred())
		first[name] = string(b)
	}
	out := t.TempDir()
	g.Expect(apd(t, "history", runs, "--out", out).code).To(Equal(0))
	for name, want := range first {
		b, err := os.ReadFile(filepath.Join(out, name))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b)).To(Equal(want), "the same runs give the same bytes")
	}
	s = apd(t, "history", runs, "--json")
	var h reports.History
	g.Expect(json.Unmarshal([]byte(s.out), &h)).To(Succeed())
	g.Expect(h.Runs).To(Equal(6))

	s = apd(t, "history", filepath.Join(runs, "broken"))
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("there is no record that can be read"))
	s = apd(t, "history", filepath.Join(runs, "nowhere"))
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("finding the folder of the runs"))
}

func TestOverlayOfTwoRuns(t *testing.T) {
	g := NewWithT(t)
	out := filepath.Join(t.TempDir(), "over")
	s := apd(t, "overlay", "integrity.acknowledged-writes.disk-stalls", tape("ceph"), tape("ceph"), "--out", out)
	g.Expect(s.code).To(Equal(0), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("confirmed (embedded)"))
	for _, name := range []string{"overlay.md", "overlay.svg", "overlay.json"} {
		g.Expect(filepath.Join(out, name)).To(BeARegularFile())
	}
	s = apd(t, "overlay", "integrity.acknowledged-writes.disk-stalls", tape("ceph"), tape("esxi"), "--out", out, "--json")
	g.Expect(s.code).To(Equal(0))
	var o reports.Overlay
	g.Expect(json.Unmarshal([]byte(s.out), &o)).To(Succeed())
	g.Expect(o.Rows[0].Not).To(BeEmpty())
	g.Expect(o.Rows[1].Not).To(Equal("this run has no verdict on the claim"))
	s = apd(t, "overlay", "nobody.knows", tape("ceph"), "--out", filepath.Join(out, "not made"))
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring(`has a verdict on the claim "nobody.knows"`))
	g.Expect(filepath.Join(out, "not made")).NotTo(BeAnExistingFile())
	s = apd(t, "overlay", "nobody.knows")
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring("takes a claim's id and the folders of runs"))
}

// TestListNamesWhatSeveralRunsDecide: neither E10 nor X1 can be judged by a single run.
func TestListNamesWhatSeveralRunsDecide(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "list")
	g.Expect(s.code).To(Equal(0), s.err)
	g.Expect(s.out).To(MatchRegexp(`several runs \(apd beside RUN RUN...\)\nE10 +targets.behave-alike\n`))
	g.Expect(s.out).To(MatchRegexp(`several runs \(apd contrast RUN RUN...\)\nX1 +cluster.same-fault-restarts-vms-on-vsan-only\n`))
}
