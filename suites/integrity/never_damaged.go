// Claim G1: many repetitions, and nothing is ever damaged.

package integrity

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var (
	_ = neverDamaged("storage.never-damaged", scenario.Repeated, "apd", "repeat", "integrity")
	_ = neverDamaged("storage.never-damaged.soak", scenario.Soak, "integrity", "soak")
)

func neverDamaged(id string, in scenario.Spec, labels ...string) *claim.Claim {
	return claim.Register(claim.Claim{ID: id, In: in, Labels: labels,
		Title: "After many repetitions neither guest nor LUN is damaged",
		Source: record.Source{Doc: "S1", Code: "G1", JA: "検証作業中には何度も何度もiSCSIの停止を繰り返したものの一度もVM・vmfsの破損はなくファイルエクステント形式だったiSCSI側のファイルも問題なかったです",
			EN:   "Although iSCSI was stopped again and again, not once was a VM or VMFS damaged, and the file extent on the iSCSI side was fine too.",
			Note: "0 of N: every LUN's file system is clean where it lies, and a LUN whose contents nobody could look into (VMFS, NTFS) decides nothing; N is the number of outages under load, which bounds the rate at 3/N (95 %), never \"never\""},
		Judge: func(run record.Run) record.Verdict {
			n := 0
			var vs []record.Verdict
			for _, target := range run.Lanes(drivers.Target) {
				for _, image := range run.Events(target, "image", "damaged") {
					vs = append(vs, claim.Refute("LUN "+image.Attrs["lun"]+": "+image.Text, image))
				}
				for _, image := range run.Events(target, "image", "clean") {
					n++
					vs = append(vs, claim.Confirm("LUN "+image.Attrs["lun"]+" is clean", image))
				}
				for _, image := range run.Events(target, "image", "stored") {
					n++ // of VMFS or NTFS, say: that its extent is whole is half of what the source says
					vs = append(vs, claim.Unsure("LUN "+image.Attrs["lun"]+" is there and whole, but what is in it was "+image.Attrs["contents"], image))
				}
			}
			if n < len(run.Guests()) {
				vs = append(vs, claim.Unsure("not every LUN was checked"))
			}
			v := claim.Join(vs...)
			v.N = len(run.Faults())
			return v
		},
	})
}
