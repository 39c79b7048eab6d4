// Claim E13: a short drop-out under load does not matter.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.drop-out-under-load", Title: "A drop-out of a loaded target ends within 10 s and does not matter to guests", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "E13", JA: "負荷状態で一瞬切断される現象も10秒もあれば復帰するのでVMにはすぐ影響するような問題ではありません",
		EN:   "The momentary disconnects under load too recover within some 10 seconds, so they are not a problem that soon affects VMs.",
		Note: "no write fails, and the longest wait of any acknowledged write is at most 10 s"},
	In: scenario.DropOut, On: []drivers.Role{drivers.Guest},
	Judge: func(run record.Run) record.Verdict {
		return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			pause, at, ok := run.Gap(g, "write")
			if !ok {
				return claim.Unsure("no write was acknowledged")
			}
			return claim.Join(claim.NoEvents(run, g, "write-error"),
				claim.Measure("longest write", record.Interval{Lo: pause, Hi: pause}, "s", claim.AtMost(10, ""), at))
		})
	},
})
