package reports

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var (
	sampleLine = regexp.MustCompile(`^([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"`)
)

// samples reads OpenMetrics text strictly: what each series is worth, by its line without the value.
func samples(b []byte) (map[string]float64, error) {
	out := map[string]float64{}
	text, whole := strings.CutSuffix(string(b), "# EOF\n")
	if !whole {
		return nil, fmt.Errorf("there is no end")
	}
	done := map[string]bool{}
	name, typed := "", false
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if f := strings.SplitN(line, " ", 4); f[0] == "#" {
			switch {
			case f[1] == "HELP" && !done[f[2]]:
				name, typed, done[f[2]] = f[2], false, true
			case f[1] == "TYPE" && f[2] == name && f[3] == "gauge":
				typed = true
			case f[1] == "UNIT" && f[2] == name && strings.HasSuffix(name, "_"+f[3]):
			default:
				return nil, fmt.Errorf("this is out of place: %q", line)
			}
			continue
		}
		m := sampleLine.FindStringSubmatch(line)
		if m == nil || m[1] != name || !typed {
			return nil, fmt.Errorf("this is no sample of %s: %q", name, line)
		}
		if strings.Contains(m[2], "#") {
			return nil, fmt.Errorf("GitLab takes the rest for a comment: %q", line)
		}
		x, err := strconv.ParseFloat(m[3], 64)
		if _, twice := out[m[1]+m[2]]; twice || err != nil || math.IsNaN(x) {
			return nil, fmt.Errorf("this is there twice, or no number: %q", line)
		}
		out[m[1]+m[2]] = x
	}
	return out, nil
}

// readMetrics counts the claims by their own series, and holds the sums against them.
func readMetrics(b []byte) (Counts, error) {
	all, err := samples(b)
	if err != nil {
		return Counts{}, err
	}
	by := map[word]int{}
	for s := range all {
		if strings.HasPrefix(s, "apd_claim_verdict{") {
			for _, l := range labelPair.FindAllStringSubmatch(s, -1) {
				if l[1] == "verdict" {
					by[word(l[2])]++
				}
			}
		}
	}
	for _, w := range order {
		if n := all[`apd_claims{verdict="`+string(w)+`"}`]; n != float64(by[w]) {
			return Counts{}, fmt.Errorf("%v claims are said to be %s, and %d are", n, w, by[w])
		}
	}
	return countsOf(by), nil
}

func countsOf(by map[word]int) Counts {
	return Counts{Refuted: by[refuted], Known: by[known], Inconclusive: by[inconclusive], Confirmed: by[confirmed], NotApplicable: by[notApplicable]}
}

func TestMetrics(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	all, err := samples(Metrics(r, o))
	g.Expect(err).NotTo(HaveOccurred())
	bad := `{claim="bad",lab="lab.one",provenance="embedded",unit="seconds"}`
	for series, want := range map[string]float64{
		"apd_run_duration_seconds": 10, "apd_run_exit_code": 1, `apd_run_info{lab="lab.one",provenance="embedded",profile="quick"}`: 1,
		`apd_claims{verdict="refuted"}`: 1, `apd_claims{verdict="confirmed"}`: 2, `apd_claims{verdict="not applicable"}`: 1,
		`apd_claim_verdict{claim="known",lab="lab.one",provenance="embedded",verdict="refuted (known)"}`: 1,
		"apd_claim_measured_lo_seconds" + bad: 700.2, "apd_claim_measured_hi_seconds" + bad: 700.2, "apd_claim_allowed_min_seconds" + bad: 60, "apd_claim_allowed_max_seconds" + bad: 600,
		`apd_claim_margin_ratio{claim="bad",lab="lab.one",provenance="embedded"}`:                         -0.185556,
		`apd_claim_margin_ratio{claim="good",lab="lab.one",provenance="modelled"}`:                        0.001852,
		`apd_fault_duration_lo_seconds{fault="f1",kind="service-stop",scenario="stop 15m",lab="lab.one"}`: 7,
		`apd_fault_duration_hi_seconds{fault="f1",kind="service-stop",scenario="stop 15m",lab="lab.one"}`: 8,
	} {
		g.Expect(all).To(HaveKeyWithValue(series, want))
	}
}

func TestMetricsOfOtherUnits(t *testing.T) {
	g := NewWithT(t)
	r := exitCase{verdicts: []record.Judged{{Lab: "l", Verdict: record.Verdict{Outcome: record.Confirmed, Provenance: drivers.Real, Unit: "lost \"writes\" #1\n",
		Measured: &record.Interval{Lo: 0, Hi: 1}, Window: &record.Window{Max: ptr(4)}}}}, end: "done"}.record()
	all, err := samples(Metrics(r, Options{}))
	g.Expect(err).NotTo(HaveOccurred())
	labels := `{claim="ca",lab="l",provenance="real",unit="lost \"writes\" ♯1"}`
	g.Expect(all).To(And(HaveKeyWithValue("apd_claim_measured_hi"+labels, 1.0), HaveKeyWithValue("apd_claim_allowed_max"+labels, 4.0),
		HaveKeyWithValue(`apd_claim_margin_ratio{claim="ca",lab="l",provenance="real"}`, 0.75)))
}

// Prometheus' own lint, which promtool check metrics runs, reads the file as the older text format.
func TestMetricsPassPromtool(t *testing.T) {
	g := NewWithT(t)
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: the names and units are not checked by others (prometheus)")
	}
	check := func(text string) (string, error) {
		c := exec.Command(tool, "check", "metrics")
		c.Stdin = strings.NewReader(text)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	for name, text := range metricsOfAll(t) {
		out, err := check(text)
		g.Expect(err).NotTo(HaveOccurred(), "%s: %s", name, out)
		g.Expect(out).To(BeEmpty(), name)
	}
	plain := metricsOfAll(t)["plain"]
	for _, change := range []func(string) string{replaced("_seconds ", "_minutes "), replaced(`"} 1`, `} 1`), replaced("# HELP apd_claims ", "# X ")} {
		g.Expect(change(plain)).NotTo(Equal(plain))
		_, err := check(change(plain))
		g.Expect(err).To(HaveOccurred())
	}
}

// The parser of Prometheus' client for Python is OpenMetrics' own reference.
func TestMetricsAreOpenMetrics(t *testing.T) {
	g := NewWithT(t)
	const python = "/usr/bin/python3" // Debian's, which has Debian's modules
	if err := exec.Command(python, "-c", "import prometheus_client.openmetrics.parser").Run(); err != nil {
		t.Skip("the parser of OpenMetrics is not installed: the format is not checked by others (python3-prometheus-client)")
	}
	const program = `
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(sum(len(f.samples) for f in text_string_to_metric_families(open(sys.argv[1], newline="").read())))`
	count := func(text string) (string, error) {
		name := t.TempDir() + "/metrics.txt"
		g.Expect(os.WriteFile(name, []byte(text), 0o644)).To(Succeed())
		out, err := exec.Command(python, "-c", program, name).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	for name, text := range metricsOfAll(t) {
		mine, err := samples([]byte(text))
		g.Expect(err).NotTo(HaveOccurred())
		out, err := count(text)
		g.Expect(err).NotTo(HaveOccurred(), "%s: %s", name, out)
		g.Expect(out).To(Equal(strconv.Itoa(len(mine))), name)
	}
	plain := metricsOfAll(t)["plain"]
	for _, how := range []string{"no end", "an open quote", "another unit"} {
		_, err := count(spoilt["metrics.txt"][how](plain))
		g.Expect(err).To(HaveOccurred(), how)
	}
}

func metricsOfAll(t *testing.T) map[string]string {
	out := map[string]string{}
	for name, b := range tapes(t) {
		out[name] = string(Metrics(parse(t, b), Options{}))
	}
	_, r, o := small(t, "plain")
	out["plain"] = string(Metrics(r, o))
	dir, _, _ := small(t, hostile)
	out["strange"] = string(Metrics(parse(t, append(lines(t, dir), strings.Join(strange, "\n")+"\n"...)), o))
	return out
}
