// Claim W7: a short outage is survived.

package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.survives-short-outage", Title: "After a short outage the guest goes on as before", Labels: []string{"apd", "windows"},
	Source: record.Source{Doc: "S1", Code: "W7", JA: "このように短時間ならVMもダウンせず正常に回復します",
		EN:   "In this way, for a short time, the VM does not go down and recovers normally.",
		Note: "the same boot and the same memory, no stop screen, and it reads and writes again. One outage is one outage: how often is W11, which takes a campaign"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			vs := []record.Verdict{claim.SameBoot(run, g), claim.Never(run, g, "memory", "lost"), claim.NoEvents(run, g, "bugcheck"),
				claim.Again(run.After(run.Fault().End), g, "disk", "ok"), claim.Again(run.After(run.Fault().End), g, "write", "ok")}
			if vm, ok := claim.VM(run, g); ok {
				vs = append(vs, claim.Watched(run, vm, "screen", func() record.Verdict { return claim.Never(run, vm, "screen", "blue") })...)
			}
			return claim.Join(vs...)
		})
	},
})
