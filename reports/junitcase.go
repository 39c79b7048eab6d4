// This file makes a claim's testcase: its verdict, its text for people, its properties and attachments.

package reports

import (
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

// How long one text of a stranger may be within an attribute and within an element, and how many pointers a verdict shows.
const (
	messageLimit = 300
	textLimit    = 2000
	pointLimit   = 20
)

func testcase(r *record.Record, o Options, row record.Row, files []string) xmlCase {
	lab := row.Lab
	if lab == "" {
		lab = r.Header.Lab
	}
	c := xmlCase{Name: caseName(row), Classname: classname(provenance(r, row), lab, row.Plan.Scenario), Time: seconds(cost(r, row)),
		Timestamp: began(r, row.Plan.Scenario)}
	c.File, _, _ = spec(row.Plan)
	msg, text := message(row), story(r, o, row)
	switch wordOf(row) {
	case refuted:
		c.Failure = &xmlResult{"claim", msg, text}
	case inconclusive:
		cutOff := row.K == ""
		if !cutOff {
			if v, ok := r.Run(row.Plan.Scenario); ok {
				done, _ := v.Complete()
				cutOff = !done
			}
		}
		c.Error = &xmlResult{errorType(r, !cutOff), msg, text}
	case known, notApplicable:
		c.Skipped = &xmlResult{Message: msg, Text: msg}
	}
	c.Properties = properties(r, o, row)
	c.Out = output(r, o, row, files)
	return c
}

// caseName is a claim's name in forms that know tests: its id makes it stable and single.
func caseName(row record.Row) string {
	return strings.TrimSpace(oneLine(row.Plan.Title) + " [" + oneLine(row.Plan.Claim) + "]")
}

// cost is what a claim costs when it is run alone, in ms: its scenario until it was judged.
func cost(r *record.Record, row record.Row) int64 {
	if v, ok := r.Run(row.Plan.Scenario); ok && row.K != "" {
		return min(max(row.T-v.From, 0), v.To-v.From)
	}
	return span(r, row.Plan.Scenario)
}

// message is a verdict in one line of at most messageLimit; empty for a confirmed claim.
func message(row record.Row) string {
	id, why := oneLine(row.Plan.Claim), markers.Replace(oneLine(row.Why))
	switch wordOf(row) {
	case refuted:
		if m := measured(row.Verdict); m != "" {
			why = "measured " + m
			if a := allowed(row.Verdict); a != "" {
				why += ", allowed " + a
			}
		}
		why = id + ": " + why
	case inconclusive:
		why = id + ": inconclusive: " + why
	case known:
		why = "refuted, known: " + markers.Replace(because(row.Known))
	case confirmed:
		return ""
	}
	return cut(why, messageLimit)
}

// properties are what programs read of a testcase in the dialect Full; numbers are in measured.unit.
func properties(r *record.Record, o Options, row record.Row) []xmlProperty {
	var out []xmlProperty
	add := func(k, v string) {
		if v = cut(markers.Replace(oneLine(v)), textLimit); v != "" {
			out = append(out, xmlProperty{k, v})
		}
	}
	edge := func(k string, x *float64) {
		if x != nil {
			add(k, number(*x))
		}
	}
	add("claim.id", row.Plan.Claim)
	add("verdict", string(wordOf(row)))
	add("provenance", provenance(r, row))
	add("lab", r.Header.Lab)
	if m := row.Measured; m != nil {
		edge("measured.lo", &m.Lo)
		edge("measured.hi", &m.Hi)
		add("measured.unit", unit(row.Verdict))
	}
	if w := row.Window; w != nil {
		edge("allowed.min", w.Min)
		edge("allowed.max", w.Max)
		add("allowed.unit", unit(row.Verdict))
	}
	add("follows", follows(row.Verdict))
	if row.Known != nil {
		add("known", because(row.Known))
	}
	add("source", row.Plan.Source.Doc+" "+row.Plan.Source.Code)
	if file, line, ok := spec(row.Plan); ok {
		add("spec", fmt.Sprintf("%s:%d", file, line))
	}
	add("why", row.Why)
	add("evidence", strings.Join(points(row), "; "))
	if o.HTML != "" {
		add("report", oneLine(o.HTML)+"#"+oneLine(row.Plan.Claim))
	}
	return out
}

// points are the observations that a verdict rests on, one a line; at most pointLimit, and how many are left out.
func points(row record.Row) []string {
	var out []string
	for i, p := range row.Evidence {
		if i == pointLimit {
			return append(out, fmt.Sprintf("%d more in run.jsonl", len(row.Evidence)-i))
		}
		out = append(out, clock(p.T)+" "+cut(markers.Replace(oneLine(p.Lane+" "+p.What)), messageLimit))
	}
	return out
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
	for _, p := range points(row) {
		b.WriteString("evidence: " + p + "\n")
	}
	if file, line, ok := spec(row.Plan); ok { // after the texts of strangers: one of GitHub's readers takes the last place that it finds
		dir, base := path.Split(file)
		fmt.Fprintf(&b, "In [It] at %s:%d\n\tat %sClaim(%s:%d)\n", file, line, strings.ReplaceAll(dir, "/", "."), base, line)
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
