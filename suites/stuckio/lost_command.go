// Claims under V1 and N2: a lost command is aborted and repeated by the guest's kernel.

package stuckio

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range single {
		claim.Register(claim.Claim{
			ID: "guest.linux." + in.Name + "-is-repeated", Title: "The guest's kernel aborts a lost command and repeats it; no program sees an error (" + in.Name + ")",
			Labels: []string{"stuck-io", "linux"},
			Source: record.Source{Doc: "S2", Code: "N2", EN: "The kernel's own SCSI timeout expires, and the command is aborted by task management.",
				Note: "no read or write of a program fails, the write is acknowledged, and the guest writes on: without anybody doing anything"},
			In: in,
			Judge: func(run record.Run) record.Verdict {
				return eachVictim(run, func(g drivers.Lane) record.Verdict {
					lost := run.Fault().Active
					return claim.Join(claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"), claim.SameBoot(run, g),
						claim.Again(run.After(lost), g, "write", "ok"), claim.Ends(run, g, "write", "ok"))
				})
			},
		})
	}
}
