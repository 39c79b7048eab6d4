// Claim C1: an existing SSH session is not dropped.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.ssh-session-survives", Title: "An SSH session from before the cut is not dropped", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C1", JA: "オンメモリでの動作は問題ないのでSSH接続は切れたりしません",
		EN:   "What runs in memory works without a problem, so the SSH connection is not dropped.",
		Note: "the session answers keepalives during the whole outage"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		outage := run.During(run.Fault())
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			return claim.Never(outage, g, "ssh.held", "dropped", "unresponsive")
		})
	},
})
