// Claim E11: the host does nothing to its machines.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.leaves-vms-alone", Title: "The host only waits: it neither stops nor resets its machines", Labels: []string{"apd", "host"},
	Source: record.Source{Doc: "S1", Code: "E11", JA: "ESXi側はiSCSIが切れたところでVMをどうこうするわけでもなく切れたら回復するまでひたすら待機して回復すれば何もなかったように処理を続ける",
		EN:   "When iSCSI is cut ESXi does nothing to the VMs; it just waits until it is back and then goes on as if nothing had happened.",
		Note: "each machine stays on and running, is not reset, and its processor goes on: the guest's heartbeat never falls silent"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		outage := run.Between(f.Active.Hi, f.End.Hi)
		return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			vm, _ := claim.VM(run, g)
			return claim.Join(claim.Never(outage, vm, "power", "off"), claim.NoEvents(outage, vm, "qemu", "stop", "reset", "shutdown"),
				claim.Never(outage, g, "alive", "silent"))
		})
	},
})
