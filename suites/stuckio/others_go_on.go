// Claims under V4 and N5: what the lost command does not belong to goes on.

package stuckio

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// otherPause is how long a guest may wait that the fault is none of: 5 s, well within every guest's patience.
const otherPause = 5

func init() {
	for _, in := range single {
		claim.Register(claim.Claim{
			ID: "guest." + in.Name + "-spares-others", Title: "A command that is lost on one LUN does not hold up guests on others (" + in.Name + ")",
			Labels: []string{"stuck-io", "linux"},
			Source: record.Source{Doc: "S2", Code: "N5", EN: "Only what the I/O belongs to is concerned; everything else goes on.",
				Note: "no other guest sees an error, and none of its writes waits for more than 5 s, which leaves a host the time to end a session and log in again"},
			In: in,
			Judge: func(run record.Run) record.Verdict {
				return eachOther(run, func(g drivers.Lane) record.Verdict {
					pause, at, ok := run.Gap(g, "write")
					if !ok {
						return claim.Unsure("no write was acknowledged")
					}
					return claim.Join(claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"),
						claim.Measure("longest write", record.Interval{Lo: pause, Hi: pause}, "s", claim.AtMost(otherPause, ""), at))
				})
			},
		})
	}
}
