package all_test

// This file has the saboteurs of what is said of any cluster. Their tape is a real run on Ceph with an I/O timer.

import (
	"slices"

	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
)

// The lanes of the cluster's tape.
const (
	store   = "cluster/cluster"
	badDisk = "cluster/disk/osd.0"
	box     = "cluster/host/box"
)

func init() {
	for _, s := range scenario.Catalogue() {
		if !s.Fault.OfCluster() {
			continue
		}
		in := s.Name
		saboteurs = append(saboteurs,
			saboteur{"cluster.whole-again." + in, "copies stay missing", func(p *tape) {
				p.state(p.scenario(in).to-1, store, "resilient", "no")
				p.state(p.scenario(in).to+1, store, "resilient", "yes")
			}},
			saboteur{"guest.no-error." + in, "a read fails", func(p *tape) {
				p.event(p.outage(in).to-1, "guest/a", "read-error", "read-error", "input/output error (EIO)")
			}},
			saboteur{"guest.no-error." + in, "a guest was rebooted", func(p *tape) {
				p.state(p.outage(in).to-1, "guest/b", "boot", "another")
			}},
			saboteur{"guest.pauses-at-most-a-minute." + in, "a write waits for more", func(p *tape) {
				p.seen(p.scenario(in), "b", "guest/b", "write", "")[0]["max"] = 61.0
			}},
			saboteur{"host." + in + "-leaves-host-up", "the host cannot be managed for a moment", func(p *tape) {
				p.state(p.outage(in).to-1, "hypervisor/qemu", "manageable", "no")
				p.state(p.outage(in).to, "hypervisor/qemu", "manageable", "yes")
			}},
			saboteur{"host." + in + "-leaves-host-up", "a machine freezes", func(p *tape) {
				p.state(p.outage(in).to-1, "hypervisor/vm/a", "monitor", "stalled")
				p.state(p.outage(in).to, "hypervisor/vm/a", "monitor", "ok")
			}})
	}
	for _, s := range []scenario.Spec{scenario.DiskStalls, scenario.DiskFails, scenario.DiskPulled} {
		in := s.Name
		unsure["cluster.heals-without-disk."+in] = []string{"cluster.heals-without-a-call." + in}
		saboteurs = append(saboteurs,
			saboteur{"cluster.other-disks-stay." + in, "another disk goes, too", func(p *tape) {
				p.state(p.outage(in).to-1, "cluster/disk/osd.2", "disk", "offline")
				p.state(p.outage(in).to, "cluster/disk/osd.2", "disk", "online")
			}},
			saboteur{"cluster.heals-without-disk." + in, "the copies are never made anew", func(p *tape) {
				p.atLeast(in, 70)
				p.forgetAny(p.outage(in), store, "resilient", "yes")
			}},
			saboteur{"cluster.heals-without-a-call." + in, "somebody takes the disk out by hand", func(p *tape) {
				p.event(p.outage(in).to-1, store, "task", "osd out", "")["a"] = line{"by": "administrator"}
			}})
	}
	for _, s := range []scenario.Spec{scenario.ControllerHangs, scenario.ControllerDies, scenario.ControllerRestarts} {
		in := s.Name
		saboteurs = append(saboteurs,
			saboteur{"cluster.redirects." + in, "the I/O stays where it is", func(p *tape) {
				p.atLeast(in, 70)
				p.forgetAny(p.scenario(in), box, "redirect", "gateway-b")
			}},
			saboteur{"cluster.returns." + in, "the I/O stays where it went", func(p *tape) {
				p.forgetAny(p.after(in), box, "redirect", "local")
				p.state(p.scenario(in).to+1, box, "redirect", "local")
			}})
	}
	saboteurs = append(saboteurs,
		saboteur{"cluster.hung-disk-taken-out", "it is never taken out", func(p *tape) {
			p.atLeast(stalls, 70)
			p.forgetAny(p.outage(stalls), badDisk, "disk", "offline")
		}},
		saboteur{"cluster.hung-disk-taken-out", "it is taken out late", func(p *tape) {
			p.atLeast(stalls, 70)
			off := p.seen(p.outage(stalls), "s", badDisk, "disk", "offline")
			placeAfter(off[0], when(p.fault(stalls).active), 61, 62)
			forget(slices.Clone(off[1:])...)
		}},
		saboteur{"cluster.bad-copy-read-elsewhere", "the bad copy is read", func(p *tape) {
			p.seen(p.scenario(rots), "e", store, "read", "right")[0]["type"] = "wrong"
		}},
		saboteur{"cluster.bad-copy-mended", "nobody mends it", func(p *tape) {
			p.atLeast(rots, 30)
			forget(p.seen(p.scenario(rots), "e", badDisk, "repair", "mended")...)
		}},
		saboteur{"cluster.bad-copy-mended", "the disk is taken out for it", func(p *tape) {
			p.state(p.outage(rots).to-1, badDisk, "disk", "offline")
			p.state(p.outage(rots).to, badDisk, "disk", "online")
		}})
}

var (
	stalls = scenario.DiskStalls.Name
	rots   = scenario.DiskRots.Name
)
