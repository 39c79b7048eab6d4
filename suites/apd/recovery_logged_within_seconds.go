// Claim E5, as the host's own log shows it: recovery is noticed within seconds.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "esxi.recovery-logged-within-seconds", Title: "The host logs the recovery within seconds of the target's return", Labels: []string{"apd", "host", "events"},
	Source: record.Source{Doc: "S1", Code: "E5", JA: "回復も数秒で検知されるので復帰におけるタイムラグはほとんどありません",
		EN:   "Recovery too is detected within a few seconds, so there is hardly any lag.",
		Note: "from the target answering a login to the host's first event of recovery; 10 s is the bound"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.LongOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		after := run.After(f.Undo)
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			said := claim.Logged(after, host, claim.RecoveryEvents...)
			if len(said) == 0 {
				if v := claim.NotLogged(after, host, claim.RecoveryEvents...); v.Outcome != record.Confirmed {
					return v
				}
				return claim.Refute("its event log says nothing of the recovery", f.End)
			}
			return claim.Measure("first event of the recovery", record.From(f.End).To(said[0]), "s", claim.AtMost(10, ""), f.End, said[0])
		})
	},
})
