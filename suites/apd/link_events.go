// Claims E6: link events are logged when the link went, and only then.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var linkSource = record.Source{Doc: "S1", Code: "E6", JA: "LAN直結のiSCSI機を再起動したりしてネットワーク自体が切れた場合はNICのリンク状態などもログに出ます",
	EN: "When the network itself is cut, as by restarting an iSCSI machine that is cabled directly, the state of the NIC's link is logged as well."}

var _ = claim.Register(claim.Claim{
	ID: "esxi.service-stop-logs-no-link-event", Title: "Stopping the target's service logs no link event", Labels: []string{"apd", "host", "events"},
	Source: linkSource, Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			return claim.NotLogged(run.Between(run.Fault().Begin.Lo, run.To), host, claim.LinkDownEvent, claim.LinkUpEvent)
		})
	},
})

var _ = claim.Register(claim.Claim{
	ID: "esxi.target-reboot-logs-link-events", Title: "Rebooting a directly cabled target logs the link going down and coming up", Labels: []string{"apd", "host", "events"},
	Source: linkSource, Where: claim.Platform{Hosts: []string{"esxi"}}, In: scenario.TargetReboot, Needs: []drivers.Power{drivers.DirectCable},
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		since := run.Between(f.Begin.Lo, run.To)
		return claim.EachHost(run, func(host drivers.Lane) record.Verdict {
			down, up := claim.Logged(since, host, claim.LinkDownEvent), claim.Logged(since, host, claim.LinkUpEvent)
			if len(down) > 0 && len(up) > 0 && down[0].Lo <= up[0].Hi {
				return claim.Confirm("the link's going and coming are logged", down[0], up[0])
			}
			if v := claim.NotLogged(since, host); v.Outcome != record.Confirmed {
				return v
			}
			return claim.Refute("its event log lacks the link's going or coming", f.Active)
		})
	},
})
