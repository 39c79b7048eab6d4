// Claim G2: with work running the result is the same.

package guests

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.work-only-pauses", Title: "Work that needs the disk only pauses; work that does not goes on", Labels: []string{"apd", "linux"},
	Source: record.Source{Doc: "S1", Code: "G2", JA: "処理を走らせていても結果は変わらずディスクをアクセスするタイミングで停止するだけ",
		EN:   "Even with work running the result is the same: it only stops at the moment it accesses the disk.",
		Note: "writers block and go on afterwards; a worker in memory meanwhile is never silent for more than 2 s and does at least half of its rounds per second"},
	In: scenario.DropOut,
	Judge: func(run record.Run) record.Verdict {
		f := run.Fault()
		return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			blocked, was := run.During(f).Ever(g, "write", "blocked")
			if len(run.During(f).States(g, "write")) == 0 {
				return claim.Unsure("nobody watched write")
			}
			if !was {
				return claim.Refute("no writer stopped", f.Active)
			}
			before, during := run.Before(f.Begin).Samples(g, "cpu"), run.During(f).Samples(g, "cpu")
			if before.N == 0 || during.N == 0 {
				return claim.Unsure("the worker in memory was not seen", blocked)
			}
			silence, at, _ := run.During(f).Gap(g, "heartbeat")
			rate := (during.Sum / float64(during.N)) / (before.Sum / float64(before.N))
			return claim.Join(claim.Again(run.After(f.End), g, "write", "ok"),
				claim.Measure("longest silence of the worker in memory", record.Interval{Lo: silence, Hi: silence}, "s", claim.AtMost(2, ""), at),
				claim.Measure("rate of the worker in memory during the outage", record.Interval{Lo: rate, Hi: rate}, "of before", claim.AtLeast(0.5, ""), blocked, during.MaxAt))
		})
	},
})
