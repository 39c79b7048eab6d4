// V8: until the copies are there again, the storage policies are not met.

package vsan

import (
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.objects-do-not-comply-meanwhile", Title: "While a host or a disk is missing, machines do not comply with their storage policy", Labels: labels(of2020, current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V8", EN: "Until then objects lie on a node that is not there, and what is newly written does not meet the policy.",
		Note: "asked of the storage policies' manager, between the host's going (or the disk's) and the end of the scenario"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		act, ok := s.acted()
		if !ok {
			return claim.Unsure("neither the host nor the disk went")
		}
		return meanwhile(s, act)
	}, of2020, current),
})

// meanwhile judges whether the policies were said not to be met after something went.
func meanwhile(s scene, act record.Moment) record.Verdict {
	after := s.Between(act.Lo, s.To)
	ss := after.States(s.cluster, "compliance")
	if len(ss) == 0 {
		return claim.Unsure("nobody asked for compliance")
	}
	for _, st := range ss {
		if st.Value == "nonCompliant" {
			return claim.Confirm("the machines did not comply", st.Since)
		}
	}
	return claim.Refute("the machines were "+ss[0].Value+" all the while", act)
}
