// Claim P3: the console stands still.

package poweroff

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vm.console-frozen-while-off", Title: "The console of a machine that was powered off stands at its last picture", Labels: []string{"apd", "poweroff"},
	Source: record.Source{Doc: "S1", Code: "P3", JA: "VM画面もパワーオフする直前の画面で停止",
		EN:   "and the VM's screen stops at what it showed right before the power-off",
		Note: "two pictures taken after the power-off, 2 s apart or more, are the same"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.PowerOffInOutage, Needs: []drivers.Power{drivers.CanScreenshot},
	Judge: func(run record.Run) record.Verdict {
		outage := run.During(run.Fault())
		vm, task, ok := poweredOff(outage)
		if !ok {
			return claim.Unsure("no machine was powered off during the outage")
		}
		shots := outage.After(task).Events(vm, "console", "taken")
		if len(shots) < 2 {
			return claim.Unsure("its console gave fewer than two pictures after the power-off", task)
		}
		for _, s := range shots[1:] {
			if s.Attrs["sha256"] != shots[0].Attrs["sha256"] {
				return claim.Refute("its console still changes: "+shots[0].Attrs["file"]+" and "+s.Attrs["file"]+" differ", shots[0], s)
			}
		}
		return claim.Confirm("its console shows the same picture every time", shots...)
	},
})
