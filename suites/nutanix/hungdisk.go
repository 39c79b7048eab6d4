// Claims N1 to N3, N6, N7, N9 and N19: a disk that hangs is taken out, alone, by one of two timers.

package nutanix

import (
	"fmt"
	"strconv"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(only(claim.Claim{ID: "nutanix.hung-disk-meets-two-timers", Title: "The kernel's SCSI timer and Stargate's own both watch over I/O to a disk",
	Source: record.Source{Code: "N3", JA: "カーネルの処理に加えて、Stargateで、ディスクに対してI/Oが実行されるとタイマーが起動されます。これは本質的に保護が二層になっていることを意味します。",
		EN:   "Besides what the kernel does, Stargate starts a timer of its own for each I/O to a disk: there are two layers of protection.",
		Note: "also N2; a stall below SCSI shows the kernel's abort, one above it that Stargate needs none. Stargate's time is not published: what was measured is told"},
	In: scenario.DiskStalls, Judge: twoTimers}))

func twoTimers(run record.Run) record.Verdict {
	disk, ok := target(run, "disk")
	if !ok {
		return claim.Unsure("the disk under fault was not seen")
	}
	v, cut := broken(run), claim.Cut(run.Fault())
	aborts := v.Events(disk, drivers.TopicStuckIO, "kernel-abort")
	out, offline := v.Ever(disk, drivers.TopicDisk, "offline", "absent")
	switch layer := setting(run, "stall layer"); {
	case layer != "below" && layer != "above":
		return claim.Unsure("it is not known at which layer the disk hung")
	case layer == "above" && len(aborts) > 0:
		return claim.Unsure("the kernel aborted a command, although the stall was meant to be above it", aborts[0])
	case !offline:
		return claim.Refute(fmt.Sprintf("the disk was still in use after it hung for %.0f s", held(run)), run.Fault().Undo)
	case layer == "above":
		return withTime(claim.Confirm("Stargate took the disk out, and the kernel had nothing to abort", out), record.From(cut).To(out))
	case len(aborts) == 0:
		timeout, err := strconv.ParseFloat(setting(run, "scsi timeout"), 64)
		if err != nil || record.From(cut).To(out).Hi < timeout+5 {
			return claim.Unsure("Stargate took the disk out before the kernel's own time was over", out)
		}
		return claim.Refute("the kernel aborted nothing, although its time was over", out)
	}
	return withTime(claim.Confirm("the kernel aborted, and the disk was taken out", aborts[0], out), record.From(cut).To(out))
}

// withTime adds what was measured, of which nothing is asked.
func withTime(v record.Verdict, got record.Interval) record.Verdict {
	v.Measured, v.Unit = &got, "s"
	return v
}

var _ = claim.Register(only(claim.Claim{ID: "nutanix.hung-disk-alone-goes-offline", Title: "Of a disk that hangs, Stargate takes that disk alone out, and no other",
	Source: record.Source{Code: "N6", JA: "ディスクからの応答が受信されない場合は、2)で起動されたタイマーが開始されます。このイベントでは、その特定のディスクがオフラインとマークされます。この方法で、そのホスト上の他のすべてのディスクは、問題なく引き続き機能します。",
		EN: "When a disk gives no answer, the timer fires and that very disk is marked offline; all other disks of the host go on.", Note: "also N7; by Prism's online flag: its status knows only planned removals"},
	In: scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		disk, ok := target(run, "disk")
		out, offline := broken(run).Ever(disk, drivers.TopicDisk, "offline", "absent")
		if !ok || !offline {
			return claim.Unsure("the disk was not taken out")
		}
		v := each(run, "disk", func(d drivers.Lane) record.Verdict {
			if d == disk {
				return claim.Confirm("it was taken out", out)
			}
			return claim.Never(broken(run), d, drivers.TopicDisk, "offline", "absent")
		})
		if v.Outcome == record.Confirmed {
			v = withTime(claim.Confirm("every other disk stayed online", out), record.From(claim.Cut(run.Fault())).To(out))
		}
		return v
	},
}))

var _ = claim.Register(only(claim.Claim{ID: "nutanix.hung-disk-spares-controller-and-host", Title: "A disk's failure affects neither the controller VM nor the host",
	Source: record.Source{Code: "N9", JA: "そのため、単一ディスク障害はCVMやホストにまったく影響しません。", EN: "A single disk's failure does not affect CVM or host at all.", Note: "also N1: neither is booted, and Stargate goes on"},
	In:     scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		cvm, ok := target(run, "controller")
		if !ok {
			return claim.Unsure("the controller of the disk was not seen")
		}
		return claim.Join(claim.SameBoot(run, cvm), claim.Never(run, cvm, drivers.TopicController, "down", "hung"), claim.Never(run, cvm, drivers.TopicDaemon, "down", "hung"), hostsStay(run))
	},
}))

var _ = claim.Register(only(claim.Claim{ID: "nutanix.host-of-hung-disk-takes-part", Title: "The host of a failed disk stays online and serves its own I/O while the cluster heals",
	Source: record.Source{Code: "N19", JA: "ドライブ障害が発生した場合、ホスト全体がオンラインのまま分散型の自己修復操作に参加します。",
		EN: "When a drive fails, the whole host stays online and takes part in the distributed self-healing.", Note: "that its disks are written to meanwhile is not looked at: its controller serves, and its I/O stays local, from the first copy to the last"},
	In: scenario.DiskStalls,
	Judge: func(run record.Run) record.Verdict {
		host, ok := target(run, "host")
		cvm, is := target(run, "controller")
		v := broken(run)
		at, healing := v.Ever(whole(run), drivers.TopicHealing, "running")
		if !ok || !is || !healing {
			return claim.Unsure("no healing was seen")
		}
		v = v.After(at)
		return claim.Join(claim.Never(v, host, drivers.TopicHost, "down"), claim.Never(v, cvm, drivers.TopicController, "down", "hung"), claim.Stays(v, host, drivers.TopicRedirect))
	},
}))
