// This file has what several claims about guests and hosts judge in the same way, each in a scenario of its own.

package claim

import (
	"fmt"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// FailsAtOnce judges how long after the cut a guest's first read or write failed.
func FailsAtOnce(run record.Run, g drivers.Lane, w record.Window) record.Verdict {
	f := run.Fault()
	during := run.Between(f.Begin.Lo, f.Undo.Lo)
	failed := append(during.Events(g, "read-error", ""), during.Events(g, "write-error", "")...)
	if len(failed) == 0 {
		if !run.Heard(g) {
			return Unsure("nobody watched it")
		}
		return Refute("nothing failed", f.Active)
	}
	slices.SortFunc(failed, func(a, b record.Moment) int { return int(a.Hi - b.Hi) })
	return Measure(failed[0].What+because(failed[0].Text), record.From(Cut(f)).To(failed[0]), "s", w, f.Active, failed[0])
}

// IOErrorWithin judges how long after the cut a command that a guest's user typed ended with Input/output error.
func IOErrorWithin(run record.Run, f record.Fault, g drivers.Lane, w record.Window) record.Verdict {
	eio, was := run.During(f).Ever(g, "shell.external", "error")
	switch {
	case len(run.During(f).States(g, "shell.external")) == 0:
		return Unsure("nobody watched shell.external")
	case !was:
		return Longer("no error", f, w)
	case !strings.Contains(eio.Text, "Input/output error"):
		return Refute("it failed with other words: "+eio.Text, eio)
	}
	return Measure(eio.Text, record.From(Cut(f)).To(eio), "s", w, f.Begin, eio)
}

// Longer judges a thing that did not happen during the whole outage, against the window in which it should have.
func Longer(what string, f record.Fault, w record.Window) record.Verdict {
	held := record.From(f.Active).To(f.Undo)
	if held.Lo < *w.Max {
		return Unsure(fmt.Sprintf("%s in %.1f s, and the outage was not longer", what, held.Lo), f.Undo)
	}
	v := Refute(fmt.Sprintf("%s in an outage of %.1f s", what, held.Lo), f.Undo)
	v.Window, v.Unit = &w, "s"
	return v
}

// HostStaysUp confirms that hosts stayed manageable, connected and were not booted, and that every machine's monitor answered.
func HostStaysUp(run record.Run) record.Verdict {
	var vs []record.Verdict
	for _, host := range Hosts(run) {
		vs = append(vs, Never(run, host, "manageable", "no"))
		vs = append(vs, Watched(run, host, "connection", func() record.Verdict {
			return Never(run, host, "connection", "disconnected", "notResponding")
		})...)
		vs = append(vs, Watched(run, host, "boot", func() record.Verdict { return SameBoot(run, host) })...)
	}
	for _, m := range Machines(run) {
		vs = append(vs, Watched(run, m, "monitor", func() record.Verdict { return Never(run, m, "monitor", "stalled") })...)
	}
	return Join(vs...)
}
