// Claim C8: recovery in time leaves the guest healthy.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.healthy-after-early-recovery", Title: "A guest whose disk is back in time is as before", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C8", JA: "その後OS的にタイムアウトになるとエラーを表示",
		EN:   "After that, when the OS times out, it shows an error",
		Note: "implied: before that time-out there is no error; the same boot, and commands and new log-ins work in the end"},
	In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		after := run.After(run.Fault().End)
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			return claim.Join(claim.Never(run, g, "shell.external", "error"), claim.SameBoot(run, g),
				claim.Again(after, g, "shell.external", "answers"), claim.Again(after, g, "ssh.new", "ok"))
		})
	},
})
