package all_test

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/rig"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/suites/cluster"
)

// effects sums the scenario up in each record.
func effects(t *testing.T, runs ...*record.Record) (rows []record.Effect) {
	t.Helper()
	for _, r := range runs {
		run, ok := r.Run(scenario.DiskStalls.Name)
		if !ok {
			t.Fatalf("%s has no %s", r.Header.ID, scenario.DiskStalls.Name)
		}
		rows = append(rows, run.Effect())
	}
	return rows
}

// TestContrastOfTheStandIns has X1 judged on what the real drivers record of clusters that keep to their documents, and of one that
// does not.
func TestContrastOfTheStandIns(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	nutanix := recordOnAOS(t, aos{}, scenario.DiskStalls)
	rows := effects(t, recordOnVSAN(t, rig.VSANConfig{Version: version2020, VSAN: vsphere.VSAN{Dedup: true}}, scenario.DiskStalls), nutanix)
	v := cluster.JudgeContrast(rows)
	g.Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
	g.Expect(v.Provenance).To(Equal(drivers.Modelled), "it says nothing of the products")
	g.Expect(rows[0].Stopped[0].Kind).To(Equal("host"))
	g.Expect(rows[1].Stopped[0].Kind).To(Equal("disk"))

	idle := rig.VSANConfig{Version: version2020, VSAN: vsphere.VSAN{Dedup: true, Misbehave: vsphere.VSANMisbehave{NeverActs: true}}}
	v = cluster.JudgeContrast(effects(t, recordOnVSAN(t, idle, scenario.DiskStalls), nutanix))
	g.Expect(v.Outcome).To(Equal(record.Refuted), v.Why)

	current := rig.VSANConfig{Version: versionCurrent, VSAN: vsphere.VSAN{Dedup: true}}
	v = cluster.JudgeContrast(effects(t, recordOnVSAN(t, current, scenario.DiskStalls), nutanix))
	g.Expect(v.Outcome).To(Equal(record.Inconclusive))
	g.Expect(v.Why).To(Equal("no run of vSAN on the 2020 contract"))
}
