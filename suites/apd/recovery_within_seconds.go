// Claim E5: recovery is noticed within seconds.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.recovery-within-seconds", Title: "Recovery is noticed within seconds of the target's return", Labels: []string{"apd", "host"},
	Source: record.Source{Doc: "S1", Code: "E5", JA: "回復も数秒で検知されるので復帰におけるタイムラグはほとんどありません",
		EN:   "Recovery too is detected within a few seconds, so there is hardly any lag.",
		Note: "from the target answering a login to the first command of each guest that completes; 10 s is the bound"},
	In: scenario.Repeated, On: []drivers.Role{drivers.Guest},
	Judge: func(run record.Run) record.Verdict {
		var vs []record.Verdict
		for _, f := range run.Faults() {
			vs = append(vs, claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
				if _, was := run.During(f).Ever(g, "disk", "blocked", "error"); !was {
					return claim.Unsure("its disk was never seen blocked, so there was nothing to recover")
				}
				back, ok := run.After(f.Undo).Ever(g, "disk", "ok")
				if !ok {
					return claim.Refute("its disk never came back", f.End)
				}
				return claim.Measure("first read after the target's return", record.From(f.End).To(back), "s", claim.AtMost(10, ""), f.End, back)
			}))
		}
		v := claim.Join(vs...)
		v.N = len(run.Faults())
		return v
	},
})
