// Claims W8 to W10: the blue screen comes right after the recovery, with a disk check, a repair and a boot behind it.

package windows

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// criticalProcessDied is the stop code (Microsoft's bug check reference: 0xEF, CRITICAL_PROCESS_DIED).
const criticalProcessDied = "0x000000EF"

// rightAfter is within how many seconds of the target's return "right after" is.
const rightAfter = 60

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.blue-screen-after-recovery", Title: "A blue screen comes right after the recovery and not before: CRITICAL_PROCESS_DIED", Labels: []string{"apd", "windows", "bsod"},
	Source: record.Source{Doc: "S1", Code: "W8", JA: "iSCSI切断中は画面もデスクトップのままでしたがiSCSIが回復した直後にブルースクリーンへ切り替わります停止コードはCRITICAL PROCESS DIED",
		EN:   "During the cut the screen stayed the desktop, but right after iSCSI recovered it switched to a blue screen, stop code CRITICAL PROCESS DIED.",
		Note: "seen on the console or, where nobody saw it, in the guest's log after the boot; at most 60 s after the target's return; an outage without a blue screen decides nothing"},
	In: scenario.WindowsLongOutage, On: []drivers.Role{drivers.Guest, drivers.Hypervisor},
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return crashed(run, func(g drivers.Lane, at record.Moment) record.Verdict {
			for _, m := range run.Events(g, "bugcheck", "") {
				if m.What != "bugcheck "+criticalProcessDied {
					return claim.Refute("the stop code is another: "+m.What, m)
				}
			}
			if at.Hi < f.Undo.Lo {
				return claim.Refute("it came during the outage", at)
			}
			codes := claim.Unsure("its log was not read, so the stop code is not known")
			if ms := run.Events(g, "bugcheck", criticalProcessDied); len(ms) > 0 {
				codes = claim.Confirm("its log says "+criticalProcessDied, ms[0])
			}
			return claim.Join(codes, claim.Measure("blue screen", record.From(f.End).To(at), "s", claim.Within(-1, rightAfter, ""), f.End, at))
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.disk-check-then-repair-then-boot", Title: "After the blue screen come a disk check, an automatic repair and a normal boot", Labels: []string{"apd", "windows", "bsod"},
	Source: record.Source{Doc: "S1", Code: "W9", JA: "この後はディスクチェックが開始されるそして自動修復が開始この後は普通に起動します",
		EN:   "After this a disk check starts, then automatic repair, and then it starts up normally.",
		Note: "the guest's logs tell of both, and it answers over WinRM in the end"},
	In: scenario.WindowsLongOutage,
	Judge: func(run record.Run) record.Verdict {
		return crashed(run, func(g drivers.Lane, at record.Moment) record.Verdict {
			after := run.Between(at.Lo, run.To)
			if !logsRead(run, g, at) {
				return claim.Unsure("its logs were not read after the boot", at)
			}
			var vs []record.Verdict
			for _, what := range []string{"chkdsk", "repair"} {
				if ms := after.Events(g, what, ""); len(ms) > 0 {
					vs = append(vs, claim.Confirm(ms[0].What, ms[0]))
				} else {
					vs = append(vs, claim.Refute(fmt.Sprintf("its logs have no %s", what), at))
				}
			}
			return claim.Join(append(vs, claim.Again(after, g, "winrm", "answers"))...)
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "guest.windows.reboot-loses-memory-not-files", Title: "It is a reboot: what was in memory is gone, and the OS and its files are not damaged", Labels: []string{"apd", "windows", "bsod", "integrity"},
	Source: record.Source{Doc: "S1", Code: "W10", JA: "再起動された状態ですので起動中のアプリなどは当然データ保存されずに強制終了されます…OSやVMが破損しなかったのは安心です",
		EN:   "As it was restarted, running applications are ended without their data being saved ... it is reassuring that neither the OS nor the VM was damaged.",
		Note: "the guest has another boot id, the agent that lay in its memory is gone, and it reads and writes its disk; that every acknowledged write is there is integrity.acknowledged-writes of the same scenario"},
	In: scenario.WindowsLongOutage,
	Judge: func(run record.Run) record.Verdict {
		return crashed(run, func(g drivers.Lane, at record.Moment) record.Verdict {
			after := run.Between(at.Lo, run.To)
			memory := claim.Refute("what was in its memory is still there", at)
			if m, lost := after.Ever(g, "memory", "lost"); lost {
				memory = claim.Confirm("what was in its memory is gone", m)
			} else if len(run.States(g, "memory")) == 0 {
				memory = claim.Unsure("nobody watched memory")
			}
			return claim.Join(memory, claim.WasRebooted(run, g), claim.Again(after, g, "disk", "ok"), claim.Again(after, g, "write", "ok"))
		})
	},
})
