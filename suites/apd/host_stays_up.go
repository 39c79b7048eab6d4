// Claim E2: the host is not taken down.

package apd

import (
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.stays-up", Title: "Losing the iSCSI datastore does not take the host down", Labels: []string{"apd", "host"},
	Source: record.Source{Doc: "S1", Code: "E2", JA: "当然ながらデータストア切断ぐらいじゃESXi本体には影響ありません",
		EN:   "Naturally, something like a cut datastore does not affect ESXi itself.",
		Note: "the host stays manageable, connected and is not booted, and every machine's monitor goes on answering, through outage and recovery"},
	In:    scenario.LongOutage,
	Judge: claim.HostStaysUp,
})
