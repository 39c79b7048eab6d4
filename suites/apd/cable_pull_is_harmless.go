// Claim E12: a pulled and re-plugged cable is harmless.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.cable-pull-is-harmless", Title: "Pulling and plugging in the storage cable is harmless", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "E12", JA: "LANケーブル抜き差しするぐらいは余裕です",
		EN:   "Something like unplugging and re-plugging the LAN cable is easily survived.",
		Note: "no guest sees an error of its disk, none is rebooted, and each has its disk back in the end"},
	In: scenario.CablePull, On: []drivers.Role{drivers.Guest},
	Judge: func(run record.Run) record.Verdict {
		return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			return claim.Join(claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"), claim.SameBoot(run, g),
				claim.Again(run.After(run.Fault().End), g, "disk", "ok"))
		})
	},
})
