// Claim C6: Linux does not crash.

package guests

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.no-crash", Title: "Linux does not crash: nothing like a blue screen", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C6", JA: "Windowsと違ってブルスク的なのはでませんでした",
		EN:   "Unlike Windows nothing like a blue screen appeared.",
		Note: "the same boot until the deliberate reset, and no panic in the kernel's log"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		until := run
		if reset, ok := run.Phase("reset", record.EdgeBegin); ok {
			until = run.Before(reset)
		}
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			for _, m := range until.Events(g, "kmsg", "") {
				if strings.Contains(m.Text, "Kernel panic") {
					return claim.Refute(m.Text, m)
				}
			}
			return claim.SameBoot(until, g)
		})
	},
})
