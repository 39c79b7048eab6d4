// Claims under G1, one a scenario: what was acknowledged is there.

package integrity

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range scenario.Catalogue() {
		labels := []string{"apd", "integrity"}
		if in.Name == scenario.Soak.Name {
			labels = []string{"integrity", "soak"} // it takes its time, so it has to be asked for
		}
		if in.Fault.OfCluster() {
			labels = []string{"stuck-io", "cluster", "integrity"}
		}
		claim.Register(claim.Claim{
			ID: "integrity.acknowledged-writes." + in.Name, Title: "Every acknowledged write is there afterwards (" + in.Name + ")", Labels: labels,
			Source: record.Source{Doc: "S1", Code: "G1", JA: "一度もVM・vmfsの破損はなく", EN: "Not once was a VM or VMFS damaged.",
				Note: "each record that a guest was told is on disk is read back from the disk: there, in order, uncorrupted; a lost one refutes, whatever else happened"},
			In: in, Needs: []drivers.Power{drivers.CanVerifyWrites}, Always: true,
			Judge: func(run record.Run) record.Verdict {
				return claim.EachGuest(run, func(g drivers.Lane) record.Verdict { return claim.Intact(run, g) })
			},
		})
	}
}
