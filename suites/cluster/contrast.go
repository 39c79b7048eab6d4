// Claim X1: one fault, two platforms, and what it does to the machines. It is about several runs, so it is judged over their rows.

package cluster

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// Contrast is what X1 says.
var Contrast = claim.RegisterAcross(claim.Across{
	ID: "cluster.same-fault-restarts-vms-on-vsan-only", Title: "The same fault restarts the machines on vSAN, and does not on Nutanix",
	Labels: []string{"stuck-io", "vsan", "nutanix", "contract:2020"},
	Source: record.Source{Doc: "S2", Code: "X1", EN: "The same fault has HA restart the VMs on vSAN, and on Nutanix it does not.",
		Note: "holds for vSAN on the contract of 2020 alone; a restart that an administrator called for does not count; N is the number of runs"},
	Effects: JudgeContrast,
})

// patience is how long a fault on vSAN must have lasted, in seconds, before it says something that nothing was restarted: 120 s until
// the host is given up, and a minute in which HA acts.
const patience = 180

// JudgeContrast judges X1 over the runs of one scenario: confirmed when machines were restarted in every run of vSAN on the contract
// of 2020 and in none of Nutanix, refuted when the opposite was seen in one.
func JudgeContrast(rows []record.Effect) record.Verdict {
	var vs []record.Verdict
	var ps []drivers.Provenance
	runs := map[string]int{}
	for _, r := range rows {
		judge := restartsNone
		switch {
		case r.Platform == "vsan" && r.Contract == "2020":
			judge = restarts
		case r.Platform != "nutanix":
			continue
		}
		runs[r.Platform]++
		v := claim.Unsure(r.Unproven)
		if r.Unproven == "" {
			v = watched(r, judge)
		}
		v.Why = r.Run + ": " + v.Why
		vs, ps = append(vs, v), append(ps, r.Provenance)
	}
	for _, need := range [][2]string{{"vsan", "no run of vSAN on the 2020 contract"}, {"nutanix", "no run of Nutanix"}} {
		if runs[need[0]] == 0 {
			vs = append(vs, claim.Unsure(need[1]))
		}
	}
	v := claim.Join(vs...)
	v.N, v.Provenance = runs["vsan"]+runs["nutanix"], claim.Weakest(ps...)
	return v
}

// watched asks about a run in which somebody would have seen a restart.
func watched(r record.Effect, judge func(record.Effect) record.Verdict) record.Verdict {
	switch {
	case len(record.UnlessAsked(r.VMs.Restarted)) > 0: // it was seen
	case r.VMs.Seen == 0:
		return claim.Unsure("nobody watched the machines")
	case r.VMs.Watched < r.VMs.Seen:
		return claim.Unsure(fmt.Sprintf("of %d machines %d were not watched for restarts", r.VMs.Seen, r.VMs.Seen-r.VMs.Watched))
	case r.VMs.Hit == 0:
		return claim.Unsure("no machine ran on the host with the fault")
	}
	return judge(r)
}

// restarts confirms that HA restarted machines.
func restarts(r record.Effect) record.Verdict {
	if vms := names(record.UnlessAsked(r.VMs.Restarted)); vms != "" {
		return claim.Confirm("restarted " + vms)
	}
	if r.Held.Lo < patience {
		return claim.Unsure(fmt.Sprintf("no machine was restarted, and the fault lasted no more than %.0f s", r.Held.Lo))
	}
	return claim.Refute(fmt.Sprintf("no machine was restarted, in %.0f s", r.Held.Lo))
}

// restartsNone confirms that none was.
func restartsNone(r record.Effect) record.Verdict {
	if vms := names(record.UnlessAsked(r.VMs.Restarted)); vms != "" {
		return claim.Refute("restarted " + vms)
	}
	return claim.Confirm("no machine was restarted")
}

func names(ms []record.Mark) string {
	var out []string
	for _, m := range ms {
		out = append(out, m.VM)
	}
	return strings.Join(out, ", ")
}
