// Claim under E11: a guest that aborts a command is not frozen by it.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.abort-does-not-freeze", Title: "A guest that aborts commands during an outage goes on running", Labels: []string{"host", "soak"},
	Source: record.Source{Doc: "S1", Code: "E11", JA: "ESXi側はiSCSIが切れたところでVMをどうこうするわけでもなく", EN: "When iSCSI is cut ESXi does nothing to the VMs.",
		Note: "over forty outages the machine's monitor never takes longer than 0.5 s to answer; a machine that waits for an aborted command does not answer at all"},
	In: scenario.Soak, On: []drivers.Role{drivers.Guest}, Needs: []drivers.Power{drivers.CanSwitchVMs},
	Judge: func(run record.Run) record.Verdict {
		v := claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			var vs []record.Verdict
			for _, f := range run.Faults() {
				span, asked := run.Between(f.Begin.Hi, f.End.Hi), false
				for _, m := range claim.MachinesOf(run, g) {
					if silence, at, ok := span.Gap(m, "monitor"); ok {
						asked = true
						vs = append(vs, claim.Measure("longest silence of its monitor", record.Interval{Lo: silence, Hi: silence}, "s", claim.AtMost(0.5, ""), at))
					}
				}
				if !asked {
					return claim.Unsure("nobody asked its monitor during " + f.ID)
				}
			}
			return claim.Join(vs...)
		})
		v.N = len(run.Faults())
		return v
	},
})
