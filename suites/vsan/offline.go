// V3b: the current contract, a disk that is taken offline.

package vsan

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-takes-disk-offline-after-120s", Title: "A disk that answers no abort for 120 s is taken offline, and the host stays", Labels: labels(current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V3b", EN: "Without an answer to the abort within 120 s, the default, vSAN takes the disk or its disk group offline.",
		Note: "the present text of the article that document 2 quotes (Broadcom 326885): no purple screen"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		m, ok := s.offline()
		took := claim.Longer("the disk was not taken offline", s.fault, stuckFor)
		if ok {
			took = claim.Measure("the disk was taken offline", record.From(claim.Cut(s.fault)).To(m), "s", stuckFor, s.fault.Active, m)
		}
		return claim.Join(took, claim.SameBoot(s.Between(s.fault.Begin.Lo, s.To), s.host)) // it may be mute for a while: V2
	}, current),
})

// said is how long after the disk went offline its event may be seen, in seconds: the looks at disks are 5 s apart.
const said = 10

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-offline-is-reported", Title: "vSAN says of a disk that it takes offline that its I/O is stuck", Labels: labels(current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V3b", EN: "vSAN logs that it detected a stuck I/O and marks the device as offline.",
		Note: "an event vob.vsan.lsom.stuckiooffline of the disk"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		m, ok := s.offline()
		if !ok {
			return claim.Unsure("the disk was not taken offline")
		}
		for _, e := range s.Between(s.fault.Begin.Lo, m.Hi+1000*said).Events(s.disk, drivers.TopicStuckIO, "") {
			if strings.Contains(e.What, "stuckiooffline") {
				return claim.Confirm("it was said of the disk", e, m)
			}
		}
		if s.lost() {
			return claim.Unsure("events were lost", m)
		}
		return claim.Refute("nothing was said of the disk", m)
	}, current),
})
