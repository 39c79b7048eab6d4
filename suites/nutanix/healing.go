// Claims N8 and N22: what a disk had is copied at once, and nobody has to call for it.

package nutanix

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(only(claim.Claim{ID: "nutanix.offline-disk-is-copied-at-once", Title: "Curator copies all that an offline disk had, at once and while the disk is still away",
	Source: record.Source{Code: "N8", JA: "また、Curatorが、オフラインのディスクにコピーが格納されているすべてegroupレプリカに対して、再レプリケーションを起動します。",
		EN: "Curator starts to replicate anew every extent group of which the offline disk has a copy.", Note: "it begins within 60 s of the disk's going offline, and does not wait an hour as others do; it ends before the disk is given back"},
	In: scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		disk, _ := target(run, "disk")
		c, v := whole(run), broken(run)
		out, offline := v.Ever(disk, drivers.TopicDisk, "offline", "absent")
		if !offline {
			return claim.Unsure("the disk was not taken out")
		}
		at, began := v.Ever(c, drivers.TopicHealing, "running")
		if !began {
			if s := v.Samples(c, drivers.TopicUnprotected); s.N == 0 {
				return claim.Unsure("Prism did not tell how much has too few copies", out)
			}
			return claim.Refute("Prism never said that anything had too few copies", out)
		}
		if v := claim.Measure("from offline until data counts as unprotected", record.From(out).To(at), "s", claim.AtMost(60, ""), out, at); v.Outcome != record.Confirmed {
			return v
		}
		rest := v.After(at)
		if done, ok := rest.Ever(c, drivers.TopicHealing, "idle"); ok {
			return withTime(claim.Confirm("all was copied", at, done), record.From(at).To(done))
		}
		if s := rest.Samples(c, drivers.TopicUnprotected); s.N < 2 || s.Min < s.Max {
			return claim.Unsure(fmt.Sprintf("copying was still under way when the fault was undone after %.0f s", held(run)), at)
		}
		return claim.Refute("nothing was copied", at)
	},
}))

var _ = claim.Register(only(claim.Claim{ID: "nutanix.disk-heals-without-a-call", Title: "The cluster heals after a disk's failure without a call from an administrator",
	Source: record.Source{Code: "N22", JA: "回復力を備えた状態にプラットフォームを自己修復する上で、管理者の介入はまったく不要、もしくは最小限しか必要ありません。",
		EN: "For healing itself the platform needs no action of an administrator, or very little.", Note: "by Prism's audit, from the fault until all redundancy is there again with the disk still away"},
	In: scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		c, v := whole(run), broken(run)
		lost, ok := v.Ever(c, drivers.TopicResilient, "no")
		if !ok {
			return claim.Unsure("no redundancy was lost")
		}
		back, ok := v.After(lost).Ever(c, drivers.TopicResilient, "yes")
		if !ok {
			return claim.Unsure("it had not healed when the fault was undone")
		}
		v = v.Before(back)
		if v.Seconds(c, "audit", "silent") > 0 || v.Seconds(c, "audit", "followed") == 0 {
			return claim.Unsure("Prism's audit was not there to tell who called")
		}
		for _, m := range v.Events(c, drivers.TopicTask, "") {
			if m.Attrs["by"] == "administrator" {
				return claim.Refute("somebody called: "+m.What, m)
			}
		}
		return withTime(claim.Confirm("it healed, and Prism's audit has no call", lost, back), record.From(lost).To(back))
	},
}))
