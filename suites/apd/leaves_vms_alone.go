// Claim E11: the host does nothing to its machines.

package apd

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.leaves-vms-alone", Title: "The host only waits: it neither stops nor resets its machines", Labels: []string{"apd", "host"},
	Source: record.Source{Doc: "S1", Code: "E11", JA: "ESXi側はiSCSIが切れたところでVMをどうこうするわけでもなく切れたら回復するまでひたすら待機して回復すれば何もなかったように処理を続ける",
		EN:   "When iSCSI is cut ESXi does nothing to the VMs; it just waits until it is back and then goes on as if nothing had happened.",
		Note: "each machine stays on, running and on its host, is not reset, and its processor goes on: the guest's heartbeat never falls silent. A cluster whose VM Component Protection answers an APD by terminating machines is set up not to be so"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		for _, host := range claim.Hosts(run) {
			if to, set := run.Setting(host, "das.vmStorageProtectionForAPD"); set && strings.HasPrefix(to, "restart") {
				return claim.Refute("vSphere HA is set to answer an APD with "+to+": it ends machines by configuration", run.Fault().Active)
			}
		}
		f := run.Fault()
		outage := run.Between(f.Active.Hi, f.End.Hi)
		vs := []record.Verdict{claim.EachGuest(run, func(g drivers.Lane) record.Verdict { return claim.Never(outage, g, "alive", "silent") })}
		for _, m := range claim.Machines(run) {
			vs = append(vs, claim.Never(outage, m, "power", "off", "suspended"))
			done := claim.Logged(outage, m, claim.MachineEvents...)
			for _, typ := range []string{"stop", "reset", "shutdown"} {
				done = append(done, outage.Events(m, "qemu", typ)...)
			}
			for _, d := range done {
				vs = append(vs, claim.Refute(m.Name+": "+d.What, d))
			}
			vs = append(vs, claim.Watched(outage, m, "boot", func() record.Verdict { return claim.SameBoot(outage, m) })...)
			vs = append(vs, claim.Watched(outage, m, "host", func() record.Verdict { return claim.Stays(outage, m, "host") })...)
		}
		return claim.Join(vs...)
	},
})
