// Claims about errors that reach the guest: a medium error at once, a target that hangs after the guest's own time.

package stuckio

import (
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.medium-error-fails-at-once", Title: "A medium error reaches the guest's programs at once", Labels: []string{"stuck-io", "linux"},
	Source: record.Source{Doc: "S2", Code: "N4", EN: "The abort ends in an I/O error or a read timeout, and the I/O is failed.",
		Note: "of the two ways only the error: on storage that keeps no second copy it is the guest's to see, within one of its SCSI timeouts"},
	In: scenario.MediumError,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			return claim.FailsAtOnce(run, g, claim.AtMost(timeout, fmt.Sprintf("guest SCSI timeout %.0f s", timeout)))
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.hang-ends-in-io-error", Title: "When no command is answered any more, the guest's own timeouts end in Input/output error, as in an outage", Labels: []string{"stuck-io", "linux"},
	Source: record.Source{Doc: "S1", Code: "G3", JA: "iSCSIが切断した場合にどうVMに影響するかはVMのゲストOS次第ゲストOS側のタイムアウト処理などが大きく影響することになります",
		EN:   "How a cut affects a VM depends on its guest OS; the guest's own timeouts matter most.",
		Note: "a hang is no cut, the session lives: the guest's window is the same, from 2 T to 16 T + 30 s"},
	In: scenario.Hang,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachTimedGuest(run, func(g drivers.Lane, timeout float64) record.Verdict {
			return claim.IOErrorWithin(run, f, g, claim.Within(2*timeout, 16*timeout+30, fmt.Sprintf("guest SCSI timeout %.0f s", timeout)))
		})
	},
})
