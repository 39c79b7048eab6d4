// Claims under N10, N12 and N17: another controller takes the I/O over, and gives it back.

package cluster

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range controllers {
		claim.Register(claim.Claim{
			ID: "cluster.redirects." + in.Name, Title: "I/O goes to another controller within a minute (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N10", EN: "When a controller stops, the I/O of the VMs beside it is redirected to a healthy one."},
			In:     in, Judge: func(run record.Run) record.Verdict {
				return redirected(run, func(host drivers.Lane) record.Verdict {
					f := run.Fault()
					for _, s := range run.Between(f.Begin.Lo, f.Undo.Lo).States(host, drivers.TopicRedirect) {
						if s.Value != "local" {
							return claim.Measure("to "+s.Value, record.From(claim.Cut(f)).To(s.Since), "s", claim.AtMost(pauseAtMost, ""), f.Active, s.Since)
						}
					}
					return claim.Longer("it was not redirected", f, claim.AtMost(pauseAtMost, ""))
				})
			},
		})
		claim.Register(claim.Claim{
			ID: "cluster.returns." + in.Name, Title: "When the controller is back, I/O goes to it again (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N17", EN: "A controller restarts quickly, and I/O becomes local again afterwards."},
			In:     in, Judge: func(run record.Run) record.Verdict {
				return redirected(run, func(host drivers.Lane) record.Verdict {
					return claim.Again(run.After(run.Fault().End), host, drivers.TopicRedirect, "local")
				})
			},
		})
	}
}

// redirected judges the host whose I/O went elsewhere; where none did, all of them.
func redirected(run record.Run, judge func(drivers.Lane) record.Verdict) record.Verdict {
	var hosts []drivers.Lane
	for _, h := range parts(run, "host") {
		states := run.States(h, drivers.TopicRedirect)
		if len(states) > 1 {
			return judge(h)
		}
		if len(states) > 0 {
			hosts = append(hosts, h)
		}
	}
	if len(hosts) == 0 {
		return claim.Unsure("nobody watched where the I/O goes")
	}
	return judge(hosts[0])
}
