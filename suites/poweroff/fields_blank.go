// Claims P2 and P4: what a client shows of a machine that was powered off while its datastore is away.

package poweroff

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// poweredOff returns the lane of the machine that the scenario switched off, and when its task had ended.
func poweredOff(run record.Run) (vm drivers.Lane, at record.Moment, ok bool) {
	for _, l := range run.Lanes(drivers.Hypervisor) {
		for _, task := range run.Events(l, "task", "power-off.ok") {
			return l, task, true
		}
	}
	return vm, at, false
}

var _ = claim.Register(claim.Claim{
	ID: "vm.fields-blank-while-off", Title: "The data of a machine that was powered off cannot be fetched while its datastore is away", Labels: []string{"apd", "poweroff"},
	Source: record.Source{Doc: "S1", Code: "P2", JA: "データストアにアクセスできないのでVM情報も取得できずに各データが表示できなくなり",
		EN:   "As the datastore cannot be accessed, the VM's information cannot be fetched either, and its data are not shown any more",
		Note: "after the power-off and until the storage is back the machine's configuration is empty or the machine is inaccessible"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.PowerOffInOutage,
	Judge: func(run record.Run) record.Verdict {
		outage := run.During(run.Fault())
		vm, task, ok := poweredOff(outage)
		if !ok {
			return claim.Unsure("no machine was powered off during the outage")
		}
		if len(run.States(vm, "fields")) == 0 {
			return claim.Unsure("nobody watched what is shown of it")
		}
		after := outage.After(task)
		if m, was := after.Ever(vm, "fields", "blank"); was {
			return claim.Confirm("its fields are blank", m)
		}
		if m, was := after.Ever(vm, "connection", "inaccessible", "invalid", "orphaned"); was {
			return claim.Confirm(m.What, m)
		}
		return claim.Refute("its fields are shown all the while", task)
	},
})

var _ = claim.Register(claim.Claim{
	ID: "vm.shown-again-at-once", Title: "Right after recovery everything is shown again", Labels: []string{"apd", "poweroff"},
	Source: record.Source{Doc: "S1", Code: "P4", JA: "iSCSI機を回復させるとすぐに元に戻る",
		EN:   "When the iSCSI machine is back it returns to how it was at once.",
		Note: "from the target answering a login to the machine's configuration being there again; 10 s is the bound"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.PowerOffInOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		vm, _, ok := poweredOff(run.During(f))
		if !ok {
			return claim.Unsure("no machine was powered off during the outage")
		}
		if _, was := run.During(f).Ever(vm, "fields", "blank"); !was {
			return claim.Unsure("its fields were never blank, so there was nothing to come back")
		}
		back, ok := run.After(f.Undo).Ever(vm, "fields", "shown")
		if !ok {
			return claim.Refute("its fields never came back", f.End)
		}
		return claim.Measure("until its fields are shown again", record.From(f.End).To(back), "s", claim.AtMost(10, ""), f.End, back)
	},
})
