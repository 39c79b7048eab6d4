// Claim W6: on return the disk is back to normal at once.

package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.disk-normal-at-once", Title: "Once the target is back, the disk is back to normal at once", Labels: []string{"apd", "windows"},
	Source: record.Source{Doc: "S1", Code: "W6", JA: "iSCSI機を回復させるとディスク状態も通常値にすぐ戻りました",
		EN:   "When the iSCSI machine is brought back the disk's state too returns to its usual value at once.",
		Note: "not busy all the time any more, and a folder opens, at most 10 s after the host's path is back; a host that tells of none: after the target is"},
	In: scenario.WindowsOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		from := f.End
		for _, h := range claim.Hosts(run) {
			if m, back := run.Between(f.Undo.Lo, run.To).Ever(h, "path", "online"); back && m.Hi > from.Hi {
				from = m
			}
		}
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			after := run.Between(f.Undo.Lo, run.To)
			normal, was := after.Ever(g, "busy", "normal")
			if len(run.States(g, "busy")) == 0 {
				return claim.Unsure("nobody watched busy")
			}
			if !was {
				if v, bad := blind(after, g, "busy"); bad {
					return v
				}
				return claim.Refute("its disk stays busy all the time", f.End)
			}
			return claim.Join(claim.Measure("disk back to normal", record.From(from).To(normal), "s", claim.AtMost(atOnce, ""), from, normal),
				claim.Again(after, g, "folder", "ok"))
		})
	},
})
