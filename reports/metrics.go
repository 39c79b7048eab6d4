// This file writes metrics.txt: the run as numbers in OpenMetrics' text format, for GitLab's metrics report and Prometheus.
//
// Every family is a gauge, so that readers of Prometheus' older text format take the file too. Nothing in a label changes from
// run to run (no run's id, no commit), for GitLab takes a series with another label for another metric and compares nothing.

package reports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// labelLimit is how long a label's value may be, in runes.
const labelLimit = 200

// family is the series of one name.
type family struct {
	name, help string
	series     []string
}

type label struct{ name, value string }

// metrics collects families in the order in which they are first named.
type metrics struct {
	families []*family
	byName   map[string]*family
	seen     map[string]bool
}

// Metrics returns the record's numbers as OpenMetrics text. Times are in seconds; what a claim measured in another unit is in
// families without one in their name and with it in the label unit.
func Metrics(r *record.Record, _ Options) []byte {
	m := &metrics{byName: map[string]*family{}, seen: map[string]bool{}}
	rows := Rows(r)
	h := r.Header
	m.add("apd_run_info", "What was run: always 1.", 1, label{"lab", h.Lab}, label{"provenance", provenance(r, record.Row{})},
		label{"host", h.Host}, label{"profile", h.Profile})
	m.add("apd_run_duration_seconds", "How long the run lasted.", float64(r.EndT)/1000)
	m.add("apd_run_exit_code", "The run's exit code: 0 holds, 1 refuted, 2 not decided.", float64(ExitCode(r)))
	counts := Count(rows)
	for _, w := range order {
		m.add("apd_claims", "How many claims have the verdict.", float64(counts.of(w)), label{"verdict", string(w)})
	}
	for _, row := range rows {
		m.claim(r, row)
	}
	for _, f := range faultRows(r) {
		labels := []label{{"fault", f.ID}, {"kind", string(f.Kind)}, {"scenario", f.Scenario}, {"lab", h.Lab}}
		lo, hi := f.lasted()
		m.add("apd_fault_duration_lo_seconds", "How long the fault was active at least: from when it was seen to work until its undo.", lo, labels...)
		if hi != nil {
			m.add("apd_fault_duration_hi_seconds", "How long the fault was active at most: from its begin until it was seen to be gone.", *hi, labels...)
		}
	}
	return []byte(m.String())
}

func (m *metrics) claim(r *record.Record, row record.Row) {
	lab := row.Lab
	if lab == "" {
		lab = r.Header.Lab
	}
	labels := []label{{"claim", row.Plan.Claim}, {"lab", lab}, {"provenance", provenance(r, row)}}
	m.add("apd_claim_verdict", "The claim's verdict: always 1.", 1, append(slices.Clip(labels), label{"verdict", string(wordOf(row))})...)
	suffix, u := "", unit(row.Verdict)
	if u == "s" {
		suffix, u = "_seconds", "seconds"
	}
	labels = append(labels, label{"unit", u})
	value := func(name, help string, x *float64) {
		if x != nil {
			m.add(name, help, *x, labels...)
		}
	}
	if i := row.Measured; i != nil {
		value("apd_claim_measured_lo"+suffix, "The least that the measured value can be.", &i.Lo)
		value("apd_claim_measured_hi"+suffix, "The most that the measured value can be.", &i.Hi)
	}
	if w := row.Window; w != nil {
		value("apd_claim_allowed_min"+suffix, "The least that the claim allows.", w.Min)
		value("apd_claim_allowed_max"+suffix, "The most that the claim allows.", w.Max)
	}
	if x := margin(row.Verdict); x != nil {
		m.add("apd_claim_margin_ratio", "The distance to the nearest edge of the window as a part of its width; negative outside.", *x, labels[:3]...)
	}
}

// add adds a sample. Two series may never have the same labels: of strangers' names that look alike when they are clean, the
// later ones get a number.
func (m *metrics) add(name, help string, x float64, labels ...label) {
	f := m.byName[name]
	if f == nil {
		f = &family{name: name, help: help}
		m.byName[name] = f
		m.families = append(m.families, f)
	}
	s := name + braces(labels)
	for n := 2; m.seen[s]; n++ {
		again := append([]label{{labels[0].name, labels[0].value + " (" + strconv.Itoa(n) + ")"}}, labels[1:]...)
		s = name + braces(again)
	}
	m.seen[s] = true
	f.series = append(f.series, s+" "+strconv.FormatFloat(x, 'g', -1, 64))
}

// braces writes labels; one without a value is the same as none.
func braces(labels []label) string {
	var list []string
	for _, l := range labels {
		if v := cut(oneLine(l.value), labelLimit); v != "" {
			list = append(list, l.name+`="`+labelEscapes.Replace(v)+`"`)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return "{" + strings.Join(list, ",") + "}"
}

// GitLab takes everything after a # for a comment, within quotes too, and the quote that is then open spoils the whole file.
var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "#", "♯")

func (m *metrics) String() string {
	var b strings.Builder
	for _, f := range m.families {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", f.name, f.help, f.name)
		if strings.HasSuffix(f.name, "_seconds") {
			fmt.Fprintf(&b, "# UNIT %s seconds\n", f.name)
		}
		for _, s := range f.series {
			b.WriteString(s + "\n")
		}
	}
	b.WriteString("# EOF\n")
	return b.String()
}
