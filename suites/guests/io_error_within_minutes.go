// Claim C3: after minutes commands say Input/output error.

package guests

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.io-error-within-minutes", Title: "After minutes a command ends with Input/output error", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C3", JA: "CentOSの場合Input/output errorが出るまでの時間が数分ですので",
		EN:   "With CentOS the time until Input/output error appears is a few minutes",
		Note: "the window follows the guest's SCSI timeout T: from 2 T to 16 T + 30 s, which is 1 to 8.5 minutes at Linux's 30 s"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			window := claim.Within(2*timeout, 16*timeout+30, fmt.Sprintf("guest SCSI timeout %.0f s", timeout))
			eio, was := run.During(f).Ever(g, "shell.external", "error")
			if len(run.During(f).States(g, "shell.external")) == 0 {
				return claim.Unsure("nobody watched shell.external")
			}
			if !was {
				return longer("no error", f, window)
			}
			if !strings.Contains(eio.Text, "Input/output error") {
				return claim.Refute("it failed with other words: "+eio.Text, eio)
			}
			return claim.Measure(eio.Text, record.From(claim.Cut(f)).To(eio), "s", window, f.Begin, eio)
		})
	},
})

// longer judges a thing that did not happen during the whole outage, against the window in which it should have.
func longer(what string, f record.Fault, w record.Window) record.Verdict {
	held := record.From(f.Active).To(f.Undo)
	if held.Lo < *w.Max {
		return claim.Unsure(fmt.Sprintf("%s in %.1f s, and the outage was not longer", what, held.Lo), f.Undo)
	}
	v := claim.Refute(fmt.Sprintf("%s in an outage of %.1f s", what, held.Lo), f.Undo)
	v.Window, v.Unit = &w, "s"
	return v
}
