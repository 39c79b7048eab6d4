// Claims N1, N11 and N14: neither VMs nor hosts are touched when a controller VM stops.

package nutanix

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

func init() {
	for _, in := range stops {
		claim.Register(only(claim.Claim{ID: "nutanix." + in.Name + "-needs-no-ha", Title: "No VM is restarted or moved when a controller VM serves no more (" + in.Name + ")",
			Source: record.Source{Code: "N11", JA: "vMotionやHAイベントは必要ありません。", EN: "Neither vMotion nor an HA event is needed.",
				Note: "every VM has the same host and the same start, and neither Prism's tasks nor its HA tell of one; fault, hold and return"},
			In: in, Judge: noHA}, "ha"))
		claim.Register(only(claim.Claim{ID: "nutanix." + in.Name + "-spares-hosts", Title: "Hosts are not affected by what becomes of a controller VM (" + in.Name + ")",
			Source: record.Source{Code: "N14", JA: "ホストはストレージコントローラーを管理しておらず、また、ストレージコントローラーに対してのI/Oもリクエストしないため、ホストはこのようなイベントの影響を受けません。",
				EN:   "The host neither manages the storage controller nor sends I/O to it, so such events do not affect it.",
				Note: "also N1; where the CVM has virtual disks, as in a nested lab, this says nothing of a controller's own error: see the setting passthrough"},
			In: in, Judge: hostsStay}, "host"))
	}
}

func noHA(run record.Run) record.Verdict {
	c := whole(run)
	for _, m := range run.Events(c, drivers.TopicTask, "") {
		if m.Attrs["vm"] != "" && m.Attrs["by"] == "cluster" {
			return claim.Refute("the cluster did something to "+m.Attrs["vm"]+": "+m.What, m)
		}
	}
	if run.Seconds(c, drivers.TopicAPI, "answers") == 0 {
		return claim.Unsure("Prism did not answer, so nobody saw what was done")
	}
	return claim.Join(claim.Never(run, c, "ha", "failing over"), each(run, "vm", func(v drivers.Lane) record.Verdict {
		return claim.Join(append(claim.Watched(run, v, drivers.TopicBoot, func() record.Verdict { return claim.SameBoot(run, v) }), claim.Stays(run, v, drivers.TopicPlace))...)
	}))
}
