// A LUN that says that it is gone is not waited for.

package pdl

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.lun-gone-fails-at-once", Title: "When the LUN is gone, a guest's commands fail at once and do not wait for its timeouts", Labels: []string{"pdl", "linux"},
	Source: record.Source{Doc: "vSphere 7.0 Storage, GUID-45CF28F0-87B1-403B-B012-25E7097E6BDF", Code: "PDL",
		EN:   "A device that answers with sense 5/25/0 is lost permanently; in an APD the host goes on trying.",
		Note: "from the cut to the guest's first failed read or write: within one of its SCSI timeouts, where an outage takes at least six"},
	In: scenario.LUNGone,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			return claim.FailsAtOnce(run, g, claim.AtMost(timeout, fmt.Sprintf("guest SCSI timeout %.0f s", timeout)))
		})
	},
})
