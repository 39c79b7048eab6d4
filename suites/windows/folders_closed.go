// Claim W2: folders do not open.

package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.folders-do-not-open", Title: "Opening a folder does not work while the disk is away", Labels: []string{"apd", "windows"},
	Source: record.Source{Doc: "S1", Code: "W2", JA: "もちろんディスクにアクセスできないのでフォルダを開こうとしたりはできません",
		EN:   "Naturally the disk cannot be accessed, so trying to open a folder does not work.",
		Note: "a listing past the caches blocks or fails, and none succeeds until the target is back"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			outage := run.During(run.Fault())
			shut, was := outage.Ever(g, "folder", "blocked", "error")
			switch {
			case len(run.States(g, "folder")) == 0:
				return claim.Unsure("nobody watched folder")
			case !was:
				if v, bad := blind(outage, g, "folder"); bad {
					return v
				}
				return claim.Refute("folders opened all the while", run.Fault().Active)
			}
			if m, opened := outage.After(shut).Ever(g, "folder", "ok"); opened {
				return claim.Refute("a folder opened in the outage", m)
			}
			return claim.Confirm(shut.What, shut)
		})
	},
})
