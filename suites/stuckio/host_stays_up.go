// The contrast to V3: a stuck command on iSCSI does not take the host down.

package stuckio

import (
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range []scenario.Spec{scenario.StuckCommand, scenario.Hang} {
		claim.Register(claim.Claim{
			ID: "host." + in.Name + "-leaves-host-up", Title: "Commands that never end, and whose aborts are not answered, do not take a host on iSCSI down (" + in.Name + ")",
			Labels: []string{"stuck-io", "host", "contrast"},
			Source: record.Source{Doc: "S2", Code: "V3a", EN: "On vSAN a host whose aborts stay without answer for 120 s is forced into a purple screen; on shared storage over iSCSI it is not.",
				Note: "the contrast: the host stays manageable and is not booted, and every machine's monitor goes on answering"},
			In:    in,
			Judge: claim.HostStaysUp,
		})
	}
}
