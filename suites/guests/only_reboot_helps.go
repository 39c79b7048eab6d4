// Claim C5: only a reboot helps.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.linux.only-reboot-helps", Title: "Only a reboot helps, and it does help", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "C5", JA: "結局再起動しないとまともに動かないので再起動することになります",
		EN:   "In the end it does not work properly without a reboot, so it has to be rebooted.",
		Note: "commands fail until the reset, and after the reset they work, as do the disk and new log-ins"},
	In: scenario.LongOutage, Needs: []drivers.Power{drivers.CanSwitchVMs},
	Judge: func(run record.Run) record.Verdict {
		begin, ok := run.Phase("reset", record.EdgeBegin)
		if !ok {
			return claim.Unsure("the guests were not reset")
		}
		return claim.EachLinux(run, func(g drivers.Lane) record.Verdict {
			before, after := run.After(run.Fault().End).Before(begin), run.After(begin)
			return claim.Join(claim.Never(before, g, "shell.external", "answers"), claim.Again(after, g, "shell.external", "answers"),
				claim.Again(after, g, "disk", "ok"), claim.Again(after, g, "ssh.new", "ok"))
		})
	},
})
