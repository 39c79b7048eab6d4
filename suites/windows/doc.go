// Package windows has the claims about Windows guests: document 1, W1 to W12. The stand-in of a lab in a box is modelled and no
// evidence about Windows; a real lab's guests are.
package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// atOnce is within how many seconds something has to happen that the document says happens at once.
const atOnce = 10

// sinceCut is the view from a fault's injection until its undo.
func sinceCut(run record.Run) record.Run {
	f := run.Fault()
	return run.Between(f.Begin.Lo, f.Undo.Lo)
}

// crash is the first sign that a guest crashed in the view: its screen turned blue, or its log says so after the boot.
func crash(run record.Run, guest drivers.Lane) (record.Moment, bool) {
	var signs []record.Moment
	if vm, ok := claim.VM(run, guest); ok {
		if m, was := run.Ever(vm, "screen", "blue"); was {
			signs = append(signs, m)
		}
	}
	signs = append(signs, run.Events(guest, "bugcheck", "")...)
	if len(signs) == 0 {
		return record.Moment{}, false
	}
	first := signs[0]
	for _, m := range signs {
		if m.Hi < first.Hi {
			first = m
		}
	}
	return first, true
}

// crashed judges what follows a blue screen; a guest that had none decides nothing.
func crashed(run record.Run, judge func(g drivers.Lane, at record.Moment) record.Verdict) record.Verdict {
	return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
		at, was := crash(run, g)
		if !was {
			return claim.Unsure("it had no blue screen this time, which a campaign (apd campaign) has to be asked about")
		}
		return judge(g, at)
	})
}

// logsRead tells whether a guest's logs were read after something.
func logsRead(run record.Run, guest drivers.Lane, after record.Moment) bool {
	for _, s := range run.States(guest, "logs") {
		if s.Value == "read" && s.Since.Hi > after.Hi {
			return true
		}
	}
	return false
}

// blind tells whether the agent, whose word a claim rests on, was not heard all the while.
func blind(view record.Run, guest drivers.Lane, topic string) (record.Verdict, bool) {
	for _, silence := range [][2]string{{"alive", "silent"}, {"agent", "lost"}, {topic, "unknown"}} {
		if m, was := view.Ever(guest, silence[0], silence[1]); was {
			return claim.Unsure("its agent was not heard all the while: "+m.What, m), true
		}
	}
	return record.Verdict{}, false
}
