// Claim W5: Task Manager keeps moving.

package windows

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.task-manager-moves", Title: "What is in memory goes on: Task Manager keeps moving", Labels: []string{"apd", "windows"},
	Source: record.Source{Doc: "S1", Code: "W5", JA: "タスクマネージャも画像の通り切断中も動きますこれはオンメモリでカバーできる分はディスクなしでも動くからでしょうね",
		EN:   "Task Manager moves during the cut as well, as the picture shows; what memory can cover seems to run without the disk.",
		Note: "the console's picture goes on changing, for which something that moves has to be on it, and the resident agent's heartbeat never falls silent"},
	In: scenario.WindowsOutage, On: []drivers.Role{drivers.Guest, drivers.Hypervisor},
	Judge: func(run record.Run) record.Verdict {
		return claim.EachWindows(run, func(g drivers.Lane) record.Verdict {
			outage := run.During(run.Fault())
			vm, ok := claim.VM(run, g)
			if !ok || len(run.States(vm, "screen")) == 0 {
				return claim.Unsure("nobody watched its screen")
			}
			if _, moved := run.Before(run.Fault().Begin).Ever(vm, "screen", "moving"); !moved {
				return claim.Unsure("nothing moved on its screen before the outage either")
			}
			return claim.Join(claim.Never(outage, vm, "screen", "still", "blue", "black"), claim.Never(outage, g, "alive", "silent"))
		})
	},
})
