// Claims N17 and N21: a controller VM is soon back, and everything with it.

package nutanix

import (
	"fmt"
	"strconv"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(only(claim.Claim{ID: "nutanix.io-is-local-again", Title: "Once the controller VM is back, its host's I/O is local again",
	Source: record.Source{Code: "N17", JA: "CVMが(物理サーバーの再起動よりも大幅に短時間で)再起動されると、Nutanix固有のデータローカリティのメリットが再び得られます。",
		EN: "Once the CVM has restarted, much faster than a physical server, the benefit of data locality is there again.", Note: "within the 3 minutes for which the lab is watched"},
	In: Returns,
	Judge: func(run record.Run) record.Verdict {
		host, ok := target(run, "host")
		if _, _, was := away(run); !ok || !was {
			return claim.Unsure("nothing was redirected")
		}
		return claim.Ends(run, host, drivers.TopicRedirect, "local")
	},
}))

var _ = claim.Register(only(claim.Claim{ID: "nutanix.controller-boots-faster-than-host", Title: "A controller VM boots faster than its host would",
	Source: record.Source{Code: "N17", JA: "CVMが(物理サーバーの再起動よりも大幅に短時間で)再起動されると", EN: "The CVM restarts in much less time than a physical server does.",
		Note: "in less than half of the time that the lab file gives for a boot of the host (host_boot): without that there is nothing to compare with"},
	In: Returns,
	Judge: func(run record.Run) record.Verdict {
		boot, err := strconv.ParseFloat(setting(run, "host boot"), 64)
		if err != nil {
			return claim.Unsure("the lab file does not tell how long its host takes to boot")
		}
		f := run.Fault()
		cvm, _ := target(run, "controller")
		at, ok := run.After(f.Undo).Ever(cvm, drivers.TopicController, "up")
		if !ok {
			return claim.Refute("the controller VM did not come back", f.Undo)
		}
		return claim.Measure("boot of the controller VM", record.From(f.Undo).To(at), "s", claim.AtMost(boot/2, fmt.Sprintf("host_boot %.0f s", boot)), at)
	},
}))

var _ = claim.Register(only(claim.Claim{ID: "nutanix.controller-reboot-restores-redundancy", Title: "After a controller VM's reboot the cluster has all its redundancy again, without hosts or VMs being affected",
	Source: record.Source{Code: "N21", JA: "問題解決のためにCVMの再起動が必要な場合でも、ホストとVMは影響を受けません。…再起動はすばやく実行されて、クラスターが回復力を備えた通常の状態に戻ります。",
		EN: "Where a reboot of the CVM is needed, it is quick, and the cluster returns to its normal, resilient state.", Note: "hosts and VMs are judged by claims of their own"},
	In: Returns,
	Judge: func(run record.Run) record.Verdict {
		f, c := run.Fault(), whole(run)
		lost, ok := broken(run).Ever(c, drivers.TopicResilient, "no")
		if !ok {
			return claim.Unsure("the cluster never said that it lacked redundancy")
		}
		v := claim.Ends(run, c, drivers.TopicResilient, "yes")
		if s, is := run.Last(c, drivers.TopicResilient); is && v.Outcome == record.Confirmed {
			got := record.From(f.Undo).To(s.Since)
			v.Measured, v.Unit = &got, "s"
			v.Evidence = append(v.Evidence, lost.Point())
		}
		return v
	},
}))
