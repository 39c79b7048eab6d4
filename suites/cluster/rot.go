// Claims under N4, N5 and N18: a bad copy is found, others are read, and it is mended.

package cluster

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var (
	_ = claim.Register(claim.Claim{
		ID: "cluster.bad-copy-read-elsewhere", Title: "What has a bad copy is read right, from another one", Labels: labels,
		Source: record.Source{Doc: "S2", Code: "N18", EN: "A copy that went bad is marked, and reads are served by the others meanwhile."},
		In:     scenario.DiskRots,
		Judge: func(run record.Run) record.Verdict {
			return whole(run, func(c drivers.Lane) record.Verdict {
				for _, word := range []string{"wrong", "failed"} {
					if ms := run.Events(c, "read", word); len(ms) > 0 {
						return claim.Refute("it was read "+word, ms[0])
					}
				}
				ms := run.Events(c, "read", "right")
				if len(ms) == 0 {
					return claim.Unsure("it was not read")
				}
				return claim.Confirm("it was read right", ms[0])
			})
		},
	})
	_ = claim.Register(claim.Claim{
		ID: "cluster.bad-copy-mended", Title: "A bad copy is made anew, and its disk stays in use", Labels: labels,
		Source: record.Source{Doc: "S2", Code: "N4", EN: "Only the piece that the error was in is marked bad, and made anew from a healthy copy; all else goes on."},
		In:     scenario.DiskRots,
		Judge: func(run record.Run) record.Verdict {
			disk, ok := struck(run)
			if !ok {
				return claim.Unsure("it is not known which disk has the bad copy")
			}
			f := run.Fault()
			stays := claim.Never(run, disk, drivers.TopicDisk, "offline", "absent")
			ms := run.After(f.Begin).Events(disk, drivers.TopicRepair, "mended")
			if len(ms) == 0 {
				return claim.Join(stays, claim.Longer("it was not mended", f, claim.AtMost(25, "the hold of this scenario is 30 s")))
			}
			v := claim.Confirm("it was mended", ms[0])
			took := record.From(f.Active).To(ms[0])
			v.Measured, v.Unit = &took, "s"
			return claim.Join(v, stays)
		},
	})
)
