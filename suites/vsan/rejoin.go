// V7 and V11: only the host's reset helps, and the host comes back from it.

package vsan

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.host-rejoins-after-psod", Title: "The host is started again and rejoins the cluster", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V7", EN: "The host is restarted later and joins the cluster again.",
		Note: "it is connected, has a new boot, and is a member of vSAN by its own word; without Misc.BlueScreenTimeout it would show its purple screen for ever, so that is set before"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		gone, ok := s.down()
		if !ok {
			return claim.Unsure("the host did not go down")
		}
		after := s.After(gone)
		v := claim.Join(claim.Ends(after, s.host, drivers.TopicHost, "up"), claim.WasRebooted(s.Between(s.fault.Begin.Lo, s.To), s.host),
			claim.Ends(after, s.host, "member", "yes"))
		if in, was := after.Ever(s.host, "member", "yes"); was && v.Outcome == record.Confirmed {
			got := record.From(gone).To(in)
			v.Measured, v.Unit = &got, "s"
		}
		return v
	}, of2020),
})

var _ = claim.Register(claim.Claim{
	ID: "vsan.only-the-hosts-reset-helps", Title: "Until the host is reset, nobody gets its machines out of a stuck I/O", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V11", EN: "The host's own kernel issues the I/O, so that a thread of it hangs for good; only a reset of the host, and HA after it, helps.",
		Note: "no machine of the host is started anew or moved, and the disk is not taken out of use, before the host goes down"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		gone, ok := s.down()
		vms := s.machines(true)
		switch {
		case !ok:
			return claim.Unsure("the host did not go down")
		case len(vms) == 0:
			return claim.Unsure("no machine ran on the host")
		}
		until := s.Between(s.fault.Begin.Lo, gone.Lo-lookApart)
		vs := []record.Verdict{claim.Never(until, s.disk, drivers.TopicDisk, "offline")}
		for _, vm := range vms {
			vs = append(vs, claim.SameBoot(until, vm), claim.Stays(until, vm, drivers.TopicPlace))
		}
		return claim.Join(vs...)
	}, of2020),
})

// lookApart is by how much two looks at one moment can differ, in ms: a host's machines may be seen to be off a look before the host
// itself is seen to be away.
const lookApart = 2000
