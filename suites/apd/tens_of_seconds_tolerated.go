// Claim E14: guests tolerate tens of seconds without a disk.

package apd

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.tens-of-seconds-tolerated", Title: "Guests tolerate tens of seconds without their disk", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "E14", JA: "遅いHDDならビジーで数十秒アクセスできないとかありますからOS側もそこまでシビアには設定してないようです",
		EN:   "A slow HDD may be busy for tens of seconds, so operating systems do not seem to be set that strictly.",
		Note: "an outage of at least 10 s at a SCSI timeout of 30 s, and as large a part of another, and no read or write of any guest fails"},
	In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		gone := record.From(f.Active).To(f.Undo)
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			window := claim.AtLeast(timeout/3, fmt.Sprintf("guest SCSI timeout %.0f s; 10 s at 30 s", timeout))
			return claim.Join(claim.Measure("time without disk", gone, "s", window, f.Active, f.Undo),
				claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"))
		})
	},
})
