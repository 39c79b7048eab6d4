// Claim E1, the contrast: with local disks a fault of the hardware takes the host down.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "esxi.host-down-takes-machines-along", Title: "A host that goes down takes its machines along, unlike one that loses its iSCSI datastore", Labels: []string{"host", "destructive", "contrast"},
	Source: record.Source{Doc: "S1", Code: "E1", JA: "ESXi機にHDDを積んで使っていればハードにトラブルあれば大体はESXiもろともダウンしパープルスクリーンや再起動になります",
		EN:   "With HDDs built into the ESXi machine a hardware trouble mostly takes ESXi down too, with a purple screen or a restart.",
		Note: "only as the contrast to E2: how often that happens is not tested; a host that is made to panic is booted anew, and no machine on it is the one from before"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.HostDown,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		since := run.Between(f.Begin.Lo, run.To)
		v := claim.EachHost(run, func(host drivers.Lane) record.Verdict { return claim.WasRebooted(since, host) })
		return claim.Join(v, claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			vm, _ := claim.VM(run, g)
			if _, off := since.Ever(vm, "power", "off"); off {
				return claim.Confirm("its machine went off", f.Active)
			}
			return claim.WasRebooted(since, g)
		}))
	},
})
