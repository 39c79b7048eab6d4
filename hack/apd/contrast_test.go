package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

// hungDisk writes the record of a disk that hung for 300 s on a platform, and in which machine a was started anew, or not.
func hungDisk(t *testing.T, platform, contract, bootAfter string) string {
	t.Helper()
	dir := t.TempDir()
	lines := fmt.Sprintf(`{"k":"run","v":1,"id":"on-%s","lab":"l","lab_kind":"real","profile":"documented","facts":{"cluster":"cluster/%s"}}
{"k":"lane","l":1,"kind":"cluster","name":"cluster","prov":"real"}
{"k":"lane","l":2,"kind":"cluster","name":"vm/a","prov":"real"}
{"k":"setting","l":1,"key":"contract","value":"%s"}
{"k":"s","t":1,"l":2,"topic":"boot","s":"one"}
{"k":"phase","t":1000,"name":"scenario","scenario":"disk-stalls","edge":"begin"}
{"k":"fault","t":10000,"f":"f1","edge":"begin","type":"disk-stall"}
{"k":"fault","t":11000,"f":"f1","edge":"active","type":"disk-stall"}
{"k":"s","t":150000,"l":2,"topic":"boot","s":"%s"}
{"k":"fault","t":310000,"f":"f1","edge":"undo","type":"disk-stall"}
{"k":"fault","t":311000,"f":"f1","edge":"end","type":"disk-stall"}
{"k":"phase","t":320000,"name":"scenario","scenario":"disk-stalls","edge":"end"}
{"k":"end","t":320001,"why":"done"}
`, platform, platform, contract, bootAfter)
	if err := os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestContrastOfTwoRuns(t *testing.T) {
	g := NewWithT(t)
	vsan, same, calm := hungDisk(t, "vsan", "2020", "two"), hungDisk(t, "nutanix", "known", "two"), hungDisk(t, "nutanix", "known", "one")
	out := filepath.Join(t.TempDir(), "made", "for", "it")
	s := apd(t, "contrast", "--out", out, vsan, calm)
	g.Expect(s.code).To(Equal(0), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("cluster.same-fault-restarts-vms-on-vsan-only: confirmed (real)"))
	for _, name := range []string{"contrast.md", "contrast.svg", "contrast.json"} {
		g.Expect(filepath.Join(out, name)).To(BeARegularFile())
	}
	g.Expect(apd(t, "contrast", "--out", out, vsan, same).code).To(Equal(1))
	s = apd(t, "contrast", vsan, vsan, "--json")
	g.Expect(s.code).To(Equal(2), "no run of Nutanix")
	var c reports.Contrast
	g.Expect(json.Unmarshal([]byte(s.out), &c)).To(Succeed())
	g.Expect(c.Verdict.Outcome).To(Equal(record.Inconclusive))
	g.Expect(c.Rows).To(HaveLen(2))
	s = apd(t, "contrast", "--scenario", "disk-pulled", vsan, calm)
	g.Expect(s.code).To(Equal(2))
	g.Expect(s.err).To(ContainSubstring(`run on-vsan has no scenario "disk-pulled"`))
}
