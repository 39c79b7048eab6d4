// Claim W1: the disk's active time pins at 100 %.

package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.disk-pinned-at-full", Title: "The disk's active time pins at 100 % at once", Labels: []string{"apd", "windows"},
	Source: record.Source{Doc: "S1", Code: "W1", JA: "iSCSI機を停止させるとすぐにディスクのアクティブな時間が100%に張り付きます要はビジー状態の扱い",
		EN:   "When the iSCSI machine is stopped the disk's active time sticks at 100 % at once; it is treated as busy.",
		Note: "95 % or more in two looks running, at most 10 s after the cut, and no less until the target is back"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			outage := sinceCut(run)
			full, was := outage.After(f.Active).Ever(g, "busy", "full")
			switch {
			case len(run.States(g, "busy")) == 0:
				return claim.Unsure("nobody watched busy")
			case !was:
				if v, bad := blind(outage, g, "busy"); bad {
					return v
				}
				return claim.Refute("its disk was never busy all the time", f.Active)
			}
			if m, fell := outage.After(full).Ever(g, "busy", "normal"); fell {
				return claim.Refute("its disk was not busy any more in the outage", m)
			}
			return claim.Measure("disk busy all the time", record.From(claim.Cut(f)).To(full), "s", claim.AtMost(atOnce, ""), f.Active, full)
		})
	},
})
