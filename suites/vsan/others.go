// V4: the other hosts are not hit.

package vsan

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-spares-other-hosts", Title: "A disk that hangs on one host does not hit the other hosts and their machines", Labels: labels(of2020, current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V4", EN: "The purpose is that the other hosts of the cluster are not affected.",
		Note: "no other host goes down or boots, no machine on one is moved, switched or started anew; guests that are watched see no error"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		during := s.Between(s.fault.Begin.Lo, s.fault.Undo.Lo)
		vms := s.machines(false)
		if len(vms) == 0 {
			return claim.Unsure("no machine ran on another host")
		}
		var vs []record.Verdict
		for _, h := range s.others() {
			vs = append(vs, claim.Never(during, h, drivers.TopicHost, "down"), claim.SameBoot(during, h))
		}
		for _, vm := range vms {
			vs = append(vs, claim.SameBoot(during, vm), claim.Stays(during, vm, drivers.TopicPlace))
			for _, g := range s.Guests() {
				if name, ok := s.Setting(g, "vm"); ok && "vm/"+name == vm.Name {
					vs = append(vs, claim.NoEvents(during, g, "read-error"), claim.NoEvents(during, g, "write-error"))
				}
			}
		}
		return claim.Join(vs...)
	}, of2020, current),
})
