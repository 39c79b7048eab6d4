// This file makes one table and one picture of what one fault did on several platforms: contrast.md, contrast.svg, contrast.json.

package reports

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Contrast is one fault over several runs, and what is claimed of it.
type Contrast struct {
	Claim    string          `json:"claim"`
	Title    string          `json:"title"`
	Source   record.Source   `json:"source"`
	Verdict  record.Verdict  `json:"verdict"`
	Scenario string          `json:"scenario"`
	Rows     []record.Effect `json:"rows"`
}

// Effects sums one scenario up in each of several runs. All of them must have it.
func Effects(runs []*record.Record, scenario string) ([]record.Effect, error) {
	var rows []record.Effect
	for _, r := range runs {
		run, ok := r.Run(scenario)
		if !ok {
			has := strings.Join(r.Scenarios(), ", ")
			if has == "" {
				has = "none"
			}
			return nil, fmt.Errorf("run %s has no scenario %q, so it cannot be compared; it has: %s", r.Header.ID, scenario, has)
		}
		rows = append(rows, run.Effect())
	}
	return rows, nil
}

// platform is a row's platform with the contract that its version is held to.
func platform(e record.Effect) string {
	if e.Contract != "" {
		return e.Platform + " (contract " + e.Contract + ")"
	}
	return e.Platform
}

// between is an interval of seconds in words.
func between(i record.Interval) string {
	lo, hi := fmt.Sprintf("%.1f", i.Lo), fmt.Sprintf("%.1f", i.Hi)
	if i.Hi >= 100 {
		lo, hi = fmt.Sprintf("%.0f", i.Lo), fmt.Sprintf("%.0f", i.Hi)
	}
	if lo == hi {
		return hi + " s"
	}
	return lo + ".." + hi + " s"
}

// partOf is a part that stopped, in words.
func partOf(s record.Stop) string { return s.Kind + " " + s.Name + " " + s.As }

// namesAtMost is how many names a cell of a table has.
const namesAtMost = 6

// list joins a few of many texts.
func list(all []string, none string) string {
	if len(all) == 0 {
		return none
	}
	if more := len(all) - namesAtMost; more > 0 {
		all = append(append([]string{}, all[:namesAtMost]...), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// wentOut is what stopped, and after what time.
func wentOut(e record.Effect) string {
	var out []string
	for _, s := range e.Stopped {
		out = append(out, partOf(s)+" after "+between(s.Since))
	}
	return list(out, "nothing")
}

func paused(e record.Effect) string {
	var out []string
	if e.Pause != nil {
		out = append(out, fmt.Sprintf("%.1f s (%s)", e.Pause.Seconds, e.Pause.Guest))
	}
	if len(e.Waiting) > 0 {
		out = append(out, "did not go on: "+list(e.Waiting, ""))
	}
	if e.Guests > 0 {
		out = append(out, fmt.Sprintf("%d reads and writes failed", e.Errors))
	}
	return list(out, "no guest was watched")
}

// marks is what happened to machines, in words; seen is how many would have shown it.
func marks(ms []record.Mark, seen int) string {
	var out []string
	for _, m := range ms {
		s := m.VM + " after " + between(m.At)
		if m.By != "" {
			s += " by " + m.By
		}
		out = append(out, s)
	}
	if seen == 0 {
		return list(out, "not watched")
	}
	return list(out, fmt.Sprintf("none of %d", seen))
}

func whole(e record.Effect) string {
	if e.Whole.At != nil {
		return between(*e.Whole.At)
	}
	return e.Whole.Not
}

// acted is who acted while the fault was there.
func acted(e record.Effect) string {
	switch {
	case len(e.Calls) > 0:
		return "an administrator: " + list(e.Calls, "")
	case e.Unheard != "":
		return "not known: " + e.Unheard
	}
	return "nobody but the cluster"
}

// Markdown is the contrast as a page.
func (c Contrast) Markdown() []byte {
	m := &page{}
	m.say("# One fault, %d runs: %s\n", len(c.Rows), markdown(c.Scenario, cellLimit))
	m.say("What stopped, for how long, and who had to act. Times are seconds since the fault, as intervals: they lie between the two.\n")
	m.say("![The runs on one time axis](contrast.svg)\n")
	m.table("Platform", "What stopped", "Longest wait of a guest's write", "Machines restarted", "Machines moved", "All redundancy back, fault still there", "Who acted")
	for _, e := range c.Rows {
		first := markdown(platform(e), cellLimit) + "<br>" + markdown(e.Lab, cellLimit) + "<br>" + markdown(string(e.Provenance), cellLimit)
		if e.Unproven != "" {
			first += "<br>**proves nothing**"
		}
		cells := []string{first}
		for _, s := range []string{wentOut(e), paused(e), marks(e.VMs.Restarted, e.VMs.Watched), marks(e.VMs.Moved, e.VMs.Placed), whole(e), acted(e)} {
			cells = append(cells, markdown(s, 4*cellLimit))
		}
		m.row(cells...)
	}
	m.say("\n## Runs\n")
	m.table("Run", "Lab", "Platform", "Fault", "Lasted", "Proven", "Profile", "Seen on")
	for _, e := range c.Rows {
		proven := "yes"
		if e.Unproven != "" {
			proven = "no: " + e.Unproven
		}
		var cells []string
		for _, s := range []string{e.Run, e.Lab, platform(e), string(e.Fault), between(e.Held), proven, e.Profile, string(e.Provenance)} {
			cells = append(cells, markdown(s, cellLimit))
		}
		m.row(cells...)
	}
	v := c.Verdict
	m.say("\n## %s\n", markdown(c.Title, cellLimit))
	m.say("> %s\n", markdown(c.Source.EN, cellLimit))
	m.say("**%s** (%s %s, %s): %s.\n", v.Outcome, markdown(c.Source.Doc, 80), markdown(c.Source.Code, 80), or(string(v.Provenance)), markdown(v.Why, 4*cellLimit))
	if c.Source.Note != "" {
		m.say("%s.\n", markdown(c.Source.Note, 4*cellLimit))
	}
	return []byte(m.String())
}

// Write makes the files in dir and returns their paths.
func (c Contrast) Write(dir string) ([]string, error) {
	j, err := json.MarshalIndent(c, "", " ")
	if err != nil {
		return nil, fmt.Errorf("making contrast.json: %w", err)
	}
	return writeAll(dir, file{"contrast.md", c.Markdown()}, file{"contrast.svg", c.SVG()}, file{"contrast.json", append(j, '\n')})
}
