// V1 and V2: the kernel gives the command up, and gets no end of it.

package vsan

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-is-aborted-and-logged", Title: "ESXi aborts an I/O that hangs, and its kernel says so", Labels: labels(of2020, current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V1", EN: "ESXi cancels a stuck or lost I/O by task management, and messages of that are on its console.",
		Note: "read from the host's vmkernel log before anything else is done about the disk"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		if v := s.logRead(); v.Outcome != record.Confirmed {
			return v
		}
		act, ok := s.acted()
		if !ok {
			act = s.fault.Undo
		}
		if ms := s.Between(s.fault.Begin.Lo, act.Hi).Events(s.disk, drivers.TopicStuckIO, abortUnfinished); len(ms) > 0 {
			v := claim.Confirm("its kernel logged that an I/O was aborted", ms[0])
			got := record.From(claim.Cut(s.fault)).To(ms[0])
			v.Measured, v.Unit = &got, "s"
			return v
		}
		return claim.Refute("its kernel logged no abort", s.fault.Active)
	}, of2020, current),
})

// logRead tells whether the log of the host's kernel was read before the fault.
func (s scene) logRead() record.Verdict {
	if st, ok := s.Before(s.fault.Begin).Last(s.host, kernelLog); !ok || st.Value != "read" {
		return claim.Unsure("the log of the host's kernel was not read")
	}
	return claim.Confirm("the log of the host's kernel was read", s.fault.Begin)
}

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-never-completes", Title: "A stuck I/O does not complete, and its abort changes nothing of that", Labels: labels(of2020, current), Where: where,
	Source: record.Source{Doc: "S2", Code: "V2", EN: "Such an I/O never ends and does not answer the abort; the disk, and maybe the host, no longer answers.",
		Note: "until the cluster does something: the disk hangs all the while, and no aborted I/O is logged as completed"},
	In: scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		act, ok := s.acted()
		if !ok {
			act = s.fault.Undo
		}
		until := s.Between(s.fault.Active.Hi, act.Lo-1) // in the millisecond of the undo the disk may serve already
		if ms := until.Events(s.disk, drivers.TopicStuckIO, abortFinished); len(ms) > 0 {
			return claim.Refute("an aborted I/O completed", ms[0])
		}
		if len(until.Events(s.disk, drivers.TopicStuckIO, abortUnfinished)) == 0 {
			return claim.Unsure("no abort is in the log of the host's kernel")
		}
		return claim.Never(until, s.disk, drivers.TopicMedium, "serves")
	}, of2020, current),
})
