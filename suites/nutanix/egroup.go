// Claims N4, N5 and N18: of a bad block only its extent group of 4 MB is mended.

package nutanix

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// egroup is an extent group, bytes.
const egroup = 4 << 20

var _ = claim.Register(only(claim.Claim{ID: "nutanix.bad-egroup-is-mended-alone", Title: "A bad block costs its one extent group of 4 MB, which is written anew from another copy; the disk stays in use",
	Source: record.Source{Code: "N4", JA: "メタデータにegroup破損とマークされ、その4MBを別の正常なレプリカから再レプリケートするようにフィクサーが起動されます。…単一のegroupファイルにしか影響を及ぼさず、それ以外のすべてが引き続き正常に機能します。",
		EN:   "The extent group is marked as corrupt, and a fixer replicates its 4 MB anew from a healthy copy; everything else goes on.",
		Note: "also N5 and N18; the block is made bad by overwriting it, which a checksum tells, instead of by an error. That reads are served meanwhile is the guests' to say"},
	In: scenario.DiskRots,
	Judge: func(run record.Run) record.Verdict {
		disk, ok := target(run, "disk")
		if !ok {
			return claim.Unsure("the disk under fault was not seen")
		}
		v := broken(run)
		found, mended := v.Events(disk, drivers.TopicRepair, "found"), v.Events(disk, drivers.TopicRepair, "mended")
		if len(mended) == 0 {
			return claim.Unsure(fmt.Sprintf("nobody read or mended the extent group within the %.0f s for which it was bad", held(run)))
		}
		s := v.Samples(whole(run), drivers.TopicUnprotected)
		if s.N == 0 || s.Max <= 0 {
			return claim.Unsure("it was mended, and Prism never said that anything had too few copies", mended...)
		}
		return claim.Join(claim.Never(v, disk, drivers.TopicDisk, "offline", "absent"),
			claim.Measure("most bytes with too few copies", record.Interval{Lo: s.Max, Hi: s.Max}, "byte", claim.AtMost(egroup, "one extent group"), append(found, mended...)...))
	},
}))
