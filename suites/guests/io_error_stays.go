// Claim C4: the error stays after the target is back.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.io-error-stays", Title: "The error stays after the target is back", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C4", JA: "こういう状態になるとiSCSIを回復させてもエラーのままでした",
		EN:   "Once in this state, it stayed in error even after iSCSI was restored.",
		Note: "commands of the same session still fail when the target has been back for a while, and none succeeds"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		reset, ok := run.Phase("reset", record.EdgeBegin)
		if !ok {
			return claim.Unsure("the guests were not reset")
		}
		back := run.After(run.Fault().End).Before(reset)
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			return claim.Join(claim.Ends(back, g, "shell.external", "error"), claim.Ends(back, g, "shell.package-manager", "error"))
		})
	},
})
