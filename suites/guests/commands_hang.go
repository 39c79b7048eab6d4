// Claim C2: commands give no answer.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.commands-hang", Title: "Commands that need the disk give no answer while it is away", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C2", JA: "しかしディスクはアクセスできないのでコマンド打ったところでレスポンスが返ってきません",
		EN:   "But the disk cannot be accessed, so a command that is typed gives no response.",
		Note: "ls -al in the session from before, its program no longer cached, hangs and does not succeed; a builtin of the shell answers"},
	In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		outage := run.During(run.Fault())
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			hung, was := outage.Ever(g, "shell.external", "silent")
			if len(outage.States(g, "shell.external")) == 0 {
				return claim.Unsure("nobody watched shell.external")
			}
			if !was {
				return claim.Refute("ls -al never hung", run.Fault().Active)
			}
			if m, answered := outage.After(hung).Ever(g, "shell.external", "answers"); answered {
				return claim.Refute("ls -al was answered during the outage", m)
			}
			v := claim.Confirm("ls -al hung"+builtin(outage, g), hung)
			return v
		})
	},
})

// builtin tells what the shell's builtins did meanwhile.
func builtin(run record.Run, g drivers.Lane) string {
	if _, was := run.Ever(g, "shell.builtin", "answers"); was {
		return ", while a builtin answered"
	}
	return ", and so did a builtin"
}
