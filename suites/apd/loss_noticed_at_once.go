// Claim E3: the loss is noticed at once and stands in the event log.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "esxi.loss-noticed-at-once", Title: "The loss of the datastore is noticed at once and put into the event log", Labels: []string{"apd", "host", "events"},
	Source: record.Source{Doc: "S1", Code: "E3", JA: "NAS機の方でiSCSIを停止したりOS再起動をすると即座に検知しイベントログに記録されます",
		EN:   "When iSCSI is stopped on the NAS, or its OS is restarted, that is noticed at once and recorded in the event log.",
		Note: "from the cut to the first event that says so; 10 s is the bound"},
	Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			said := claim.Logged(run.Between(f.Begin.Lo, f.Undo.Lo), host, claim.LossEvents...)
			if len(said) == 0 {
				if v := claim.NotLogged(run.During(f), host, claim.LossEvents...); v.Outcome != record.Confirmed {
					return v
				}
				return claim.Refute("its event log says nothing of the loss", f.Active)
			}
			return claim.Measure("first event of the loss", record.From(claim.Cut(f)).To(said[0]), "s", claim.AtMost(10, ""), f.Active, said[0])
		})
	},
})
