// Claim P1: a machine can be powered off while its datastore is away.

package poweroff

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vm.power-off-without-datastore", Title: "A machine can be powered off although its datastore is away", Labels: []string{"apd", "poweroff"},
	Source: record.Source{Doc: "S1", Code: "P1", JA: "VMのあるデータストアが切断状態でもパワーオフして問題はないのかを確認する",
		EN:   "Check that powering off is no problem even while the datastore with the VM is cut off",
		Note: "the task ends well while the storage is away, and the machine is off then; how long it took is recorded"},
	In: scenario.PowerOffInOutage,
	Judge: func(run record.Run) record.Verdict {
		outage := run.During(run.Fault())
		for _, vm := range run.Lanes(drivers.Hypervisor) {
			for _, task := range outage.Events(vm, "task", "power-off.failed") {
				return claim.Refute("the task failed: "+task.Text, task)
			}
			for _, task := range outage.Events(vm, "task", "power-off.ok") {
				v := claim.Ends(outage, vm, "power", "off")
				v.Why = "the task took " + task.Attrs["seconds"] + " s; " + v.Why
				v.Evidence = append(v.Evidence, task.Point())
				return v
			}
		}
		for _, g := range run.Guests() {
			if vm, ok := claim.VM(run, g); !ok || !outage.Heard(vm) {
				return claim.Unsure("nobody watched the machine of guest " + g.Name)
			}
		}
		return claim.Refute("the task did not end during the outage", run.Fault().Undo)
	},
})
