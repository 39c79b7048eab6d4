// Claims under N5, N9, N10, N14 and N20: guests and hosts hardly notice.

package cluster

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// pauseAtMost is how long a guest's write may wait, in seconds: reports of redirected machines have 20 to 30 s, and twice that
// still lies within the patience that document 1 found in every guest.
const pauseAtMost = 60

func init() {
	for _, in := range all() {
		claim.Register(claim.Claim{
			ID: "guest.no-error." + in.Name, Title: "No read or write of a guest fails, and no guest is rebooted (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N9", EN: "A single failure touches neither the controller's neighbours nor the host nor a VM."},
			In:     in, Needs: []drivers.Power{drivers.HasGuests},
			Judge: func(run record.Run) record.Verdict {
				return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
					return claim.Join(claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"), claim.SameBoot(run, g), claim.Ends(run, g, "write", "ok"))
				})
			},
		})
		claim.Register(claim.Claim{
			ID: "guest.pauses-at-most-a-minute." + in.Name, Title: "A guest's writes go on within a minute, with the fault still there (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N10", EN: "The VMs' I/O goes elsewhere, and they go on running.",
				Note: "the longest wait of any write; the document gives no number"},
			In: in, Needs: []drivers.Power{drivers.HasGuests},
			Judge: func(run record.Run) record.Verdict {
				return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
					pause, at, ok := run.Gap(g, "write")
					if !ok {
						return claim.Unsure("no write was acknowledged")
					}
					return claim.Measure("longest write", record.Interval{Lo: pause, Hi: pause}, "s", claim.AtMost(pauseAtMost, ""), at)
				})
			},
		})
		claim.Register(claim.Claim{
			ID: "host." + in.Name + "-leaves-host-up", Title: "A host and its machines are not touched (" + in.Name + ")", Labels: append([]string{"host"}, labels...),
			Source: record.Source{Doc: "S2", Code: "N14", EN: "The host neither manages the storage controller nor issues I/O to it, so it is not affected.",
				Note: "it stays manageable and is not booted, and every machine's monitor goes on answering"},
			In: in, Judge: claim.HostStaysUp,
		})
	}
}
