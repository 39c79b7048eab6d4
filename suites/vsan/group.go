// V10: how much goes with one disk.

package vsan

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.one-disk-takes-its-group-along", Title: "With deduplication and compression, or when it is the cache, one disk takes its whole disk group along", Labels: labels(current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V10", EN: "With deduplication and compression, or when the cache fails, the loss of one disk is the loss of its disk group.",
		Note: "where the whole host goes down, as until 7.0 U3, a group cannot be told from it"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		dedup, _ := s.Setting(s.cluster, "dedup")
		kind, _ := s.Setting(s.cluster, "disk.kind")
		if dedup != "on" && kind != "cache" {
			return record.Verdict{Outcome: record.NotApplicable, Why: "without deduplication a capacity disk goes alone, and this is one"}
		}
		group, ok := s.Setting(s.cluster, "group")
		if !ok {
			return claim.Unsure("it is not known which disks are in the disk's group")
		}
		act, ok := s.offline()
		if !ok {
			return claim.Unsure("the disk was not taken offline")
		}
		var vs []record.Verdict
		for _, name := range strings.Fields(group) {
			lane, there := s.Lane(drivers.Cluster, "disk/"+name)
			if !there {
				return claim.Unsure("nobody watched the disk " + name)
			}
			if m, went := s.During(s.fault).Ever(lane, drivers.TopicDisk, "offline", "absent"); went {
				vs = append(vs, claim.Confirm(name+" went", m))
			} else {
				vs = append(vs, claim.Refute(name+", which is in the same group, stayed", act))
			}
		}
		return claim.Join(vs...)
	}, current),
})
