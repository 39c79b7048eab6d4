// V3a: the contract of 2020, a purple screen.

package vsan

import (
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// stuckFor is how long after the disk began to hang something is done: 120 s by the text. In its own example 116 s lie between two
// lines of the log, and the time begins at an I/O that nobody sees.
var stuckFor = claim.Within(110, 135, "120 s without an answer to the abort (KB 71207, 326885)")

// downBy is the same for a host of which nobody but HA says that it is gone, 15 to 20 s later.
var downBy = claim.Within(110, 160, "120 s without an answer to the abort (KB 71207), and 25 s until HA has noticed")

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-forces-psod-after-120s", Title: "A host whose disk answers no abort for 120 s is forced into a purple screen", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V3a", EN: "Without an answer to the abort within 120 s, the default, the ESXi host is forced into a purple screen.",
		Note: "between the host's last answer and HA's word that it failed, or the vCenter's; that it was a purple screen shows on its screen, which no API has"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		m, ok := s.down()
		if !ok {
			return claim.Longer("the host did not go down", s.fault, downBy)
		}
		return claim.Measure("the host went down", record.From(claim.Cut(s.fault)).To(m), "s", downBy, s.fault.Active, m)
	}, of2020),
})
