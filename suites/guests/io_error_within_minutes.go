// Claim C3: after minutes commands say Input/output error.

package guests

import (
	"fmt"

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
			return claim.IOErrorWithin(run, f, g, claim.Within(2*timeout, 16*timeout+30, fmt.Sprintf("guest SCSI timeout %.0f s", timeout)))
		})
	},
})
