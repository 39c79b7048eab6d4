// Claims under N8, N19 and N22: copies are made anew at once, by the cluster itself, and nobody has to call anything.

package cluster

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range lostDisks {
		claim.Register(claim.Claim{
			ID: "cluster.heals-without-disk." + in.Name, Title: "All data has all its copies again while the disk is still away (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N8", EN: "Every copy that was on the disk is made anew elsewhere, and that begins at once.",
				Note: "from the loss of redundancy until it is full again, with the fault still there; a cluster that never noticed has healed nothing"},
			In: in, Judge: func(run record.Run) record.Verdict {
				return whole(run, func(c drivers.Lane) record.Verdict { return heals(run, c) })
			},
		})
		claim.Register(claim.Claim{
			ID: "cluster.heals-without-a-call." + in.Name, Title: "Nobody has to call anything for it to heal (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N22", EN: "Healing takes little or no work of an administrator.",
				Note: "from the fault until its undo nothing but the cluster itself changed anything"},
			In: in, Judge: func(run record.Run) record.Verdict {
				return whole(run, func(c drivers.Lane) record.Verdict {
					if v := heals(run, c); v.Outcome != record.Confirmed {
						return claim.Unsure("it did not heal: " + v.Why)
					}
					return noCall(run, c)
				})
			},
		})
	}
	for _, in := range all() {
		claim.Register(claim.Claim{
			ID: "cluster.whole-again." + in.Name, Title: "Afterwards the cluster has all its redundancy again (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S2", Code: "N21", EN: "The cluster returns to its resilient state."},
			In:     in, Judge: func(run record.Run) record.Verdict {
				return whole(run, func(c drivers.Lane) record.Verdict { return claim.Ends(run, c, drivers.TopicResilient, "yes") })
			},
		})
	}
}

// heals judges whether redundancy went and came back before the undo.
func heals(run record.Run, c drivers.Lane) record.Verdict {
	f := run.Fault()
	held := run.Between(f.Begin.Lo, f.Undo.Lo)
	if len(held.States(c, drivers.TopicResilient)) == 0 {
		return claim.Unsure("nobody watched the redundancy")
	}
	lost, was := held.Ever(c, drivers.TopicResilient, "no")
	if !was {
		return claim.Refute("it did not notice, so it made no copy anew", f.Undo)
	}
	again, was := held.After(lost).Ever(c, drivers.TopicResilient, "yes")
	if !was {
		return claim.Longer("its redundancy did not come back", f, deadline(run))
	}
	v := claim.Confirm("all copies were there again", lost, again)
	took := record.From(lost).To(again)
	v.Measured, v.Unit = &took, "s"
	return v
}

// noCall refutes where somebody else than the cluster changed something while the fault was there.
func noCall(run record.Run, c drivers.Lane) record.Verdict {
	f := run.Fault()
	for _, m := range run.Between(f.Begin.Lo, f.Undo.Lo).Events(c, drivers.TopicTask, "") {
		if m.Attrs["by"] == "administrator" {
			return claim.Refute("somebody called "+m.What, m)
		}
	}
	if v := claim.Never(run.During(f), c, drivers.TopicAPI, "silent"); v.Outcome != record.Confirmed {
		return claim.Unsure("nobody saw all of what was called")
	}
	return claim.Confirm("nobody called anything", f.Undo)
}
