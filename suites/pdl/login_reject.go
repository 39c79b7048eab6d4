// A target that refuses logins for a while is waited for.

package pdl

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "guest.login-reject-tolerated", Title: "Guests wait out a target that refuses logins for tens of seconds, as one that is stopped", Labels: []string{"pdl", "linux"},
	Source: record.Source{Doc: "S1", Code: "E14", JA: "遅いHDDならビジーで数十秒アクセスできないとかありますからOS側もそこまでシビアには設定してないようです",
		EN:   "A slow HDD may be busy and inaccessible for some tens of seconds, so operating systems do not seem to be set that strictly.",
		Note: "no guest sees an error and each has its disk back. vSphere takes a refused login at a target of one LUN for a permanent loss, and fails what it does not for a stopped service: there this is refuted"},
	In: scenario.LoginReject,
	Judge: func(run record.Run) record.Verdict {
		return claim.EachGuest(run, func(g drivers.Lane) record.Verdict {
			return claim.Join(claim.NoEvents(run, g, "read-error"), claim.NoEvents(run, g, "write-error"), claim.SameBoot(run, g),
				claim.Again(run.After(run.Fault().End), g, "disk", "ok"))
		})
	},
})
