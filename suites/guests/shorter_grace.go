// Claim C7: Linux gives up sooner than Windows.

package guests

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// windowsGrace is for how long Windows never crashed in the document, at the 30 s that Linux's disks have for a command.
const windowsGrace, linuxTimeout = 15 * 60.0, 30.0

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.less-grace-than-windows", Title: "Linux gives its disk up sooner than Windows does", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C7", JA: "猶予はWindowsより短いです", EN: "The grace time is shorter than Windows'.",
		Note: "Windows' side is the document's 15 minutes without a blue screen, not measured here; in the quick profile it shrinks with the guest's SCSI timeout"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			window := claim.AtMost(windowsGrace*timeout/linuxTimeout, fmt.Sprintf("15 minutes at 30 s, guest SCSI timeout %.0f s", timeout))
			if !run.During(f).Heard(g) {
				return claim.Unsure("nobody watched it")
			}
			gaveUp, did := firstError(run.During(f), g)
			if !did {
				return claim.Longer("it did not give its disk up", f, window)
			}
			return claim.Measure("first failed read or write", record.From(claim.Cut(f)).To(gaveUp), "s", window, f.Begin, gaveUp)
		})
	},
})

// firstError returns when a guest's disk first failed a read or a write.
func firstError(run record.Run, g drivers.Lane) (first record.Moment, did bool) {
	for _, m := range append(run.Events(g, "read-error", ""), run.Events(g, "write-error", "")...) {
		if !did || m.Hi < first.Hi {
			first, did = m, true
		}
	}
	return first, did
}
