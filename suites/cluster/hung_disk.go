// Claims under N6 and N7: a disk that answers nothing is taken out of use, it alone, and the others go on.

package cluster

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "cluster.hung-disk-taken-out", Title: "A disk that stops answering is taken out of use in time", Labels: labels,
	Source: record.Source{Doc: "S2", Code: "N6", EN: "No answer from the disk at all: the storage layer's own timer fires, and the disk is marked offline.",
		Note: "measured is the time from when the disk hung until the cluster does not use it; the document gives no number"},
	In: scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		disk, ok := struck(run)
		if !ok {
			return claim.Unsure("it is not known which disk hung")
		}
		f, w := run.Fault(), deadline(run)
		if len(run.During(f).States(disk, drivers.TopicDisk)) == 0 {
			return claim.Unsure("nobody watched whether the cluster uses " + disk.Name)
		}
		out, was := run.Between(f.Begin.Lo, f.Undo.Lo).Ever(disk, drivers.TopicDisk, "offline", "absent")
		if !was {
			return claim.Longer(disk.Name+" stayed online", f, w)
		}
		return claim.Measure(disk.Name+" is offline", record.From(claim.Cut(f)).To(out), "s", w, f.Active, out)
	},
})

func init() {
	for _, in := range lostDisks {
		claim.Register(claim.Claim{
			ID: "cluster.other-disks-stay." + in.Name, Title: "Only the disk with the fault is lost, all others stay in use (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N7", EN: "Only that disk is marked offline; the host's other disks go on working."},
			In:     in,
			Judge: func(run record.Run) record.Verdict {
				disk, ok := struck(run)
				if !ok {
					return claim.Unsure("it is not known which disk failed")
				}
				var vs []record.Verdict
				for _, other := range parts(run, "disk") {
					if other != disk {
						vs = append(vs, claim.Never(run, other, drivers.TopicDisk, "offline", "absent"))
					}
				}
				return claim.Join(vs...)
			},
		})
	}
}
