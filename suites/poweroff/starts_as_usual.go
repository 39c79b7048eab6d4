// Claim P5: afterwards the machine starts as usual, undamaged.

package poweroff

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vm.starts-as-usual-afterwards", Title: "Afterwards the machine starts as usual and its files are not damaged", Labels: []string{"apd", "poweroff"},
	Source: record.Source{Doc: "S1", Code: "P5", JA: "この後はいつも通りVM起動可能だったのでVMファイルの破損もなく問題なし",
		EN:   "After this the VM could be started as usual, so no VM file was damaged and there is no problem.",
		Note: "the guest boots, a log-in works, and the files it was made with have the right checksums"},
	In: scenario.PowerOffInOutage, Needs: []drivers.Power{drivers.CanVerifyWrites},
	Judge: func(run record.Run) record.Verdict {
		after := run.After(run.Fault().End)
		for _, g := range run.Guests() {
			vm, ok := claim.VM(run, g)
			if !ok || !run.Heard(vm) || !run.Heard(g) {
				return claim.Unsure("nobody watched guest " + g.Name + " and its machine")
			}
			for _, task := range after.Events(vm, "task", "power-on.failed") {
				return claim.Refute("it does not start: "+task.Text, task)
			}
			for _, task := range after.Events(vm, "task", "power-on.ok") {
				seed := after.After(task).Events(g, "seed", "ok")
				if len(seed) == 0 {
					return claim.Refute("the files it was made with could not be found right", task)
				}
				return claim.Join(claim.Again(after.After(task), g, "agent", "up"), claim.Again(after.After(task), g, "ssh.new", "ok"),
					claim.Confirm("seeded files have the right checksums", task, seed[0]))
			}
		}
		return claim.Refute("it was not powered on", run.Fault().End)
	},
})
