// Claim E4: recovery needs nobody.

package apd

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "host.recovers-by-itself", Title: "Once the target is back, the storage is back without anybody doing anything", Labels: []string{"apd", "host"},
	Source: record.Source{Doc: "S1", Code: "E4", JA: "そしてNAS側のiSCSIが復帰次第、自動で回復します",
		EN:   "And as soon as iSCSI is back on the NAS, it recovers by itself.",
		Note: "a host that reports its path has it online again, one that reports its datastore has access to it again, and every guest reads its disk again"},
	In: scenario.BriefOutage,
	Judge: func(run record.Run) record.Verdict {
		after := run.After(run.Fault().End)
		var vs []record.Verdict
		for _, host := range claim.Hosts(run) {
			vs = append(vs, claim.Watched(run, host, "path", func() record.Verdict { return claim.Again(after, host, "path", "online") })...)
			vs = append(vs, claim.Watched(run, host, "datastore", func() record.Verdict { return claim.Again(after, host, "datastore", "accessible") })...)
		}
		vs = append(vs, claim.EachGuest(run, func(g drivers.Lane) record.Verdict { return claim.Again(after, g, "disk", "ok") }))
		return claim.Join(vs...)
	},
})
