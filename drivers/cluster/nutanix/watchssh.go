// This file watches over SSH, beside what the cluster says of itself: hosts, CVMs, Stargates, and what disks really do.

package nutanix

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// nodeState is what the two watchers of a node tell each other.
type nodeState struct {
	mu      sync.Mutex
	domain  string // what its host says of the CVM; "" while it is not known
	misses  int    // looks at the CVM that failed, one after the other
	refused bool   // and whether the last one was refused
	why     string
}

// patient is how many looks in a row have to fail before a machine counts as not answering: one alone may be this machine's own.
const patient = 2

// The states of a CVM, as libvirt names them.
const (
	running = "running"
	paused  = "paused"
	shutOff = "shut off"
)

// controller puts together what host and CVM say of the CVM.
func (s *nodeState) controller() (state, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.domain == paused:
		return "hung", "its host says: paused"
	case s.domain == shutOff:
		return "down", "its host says: shut off"
	case s.misses == 0:
		return "up", ""
	case s.misses < patient:
		return "", ""
	case s.refused:
		return "down", s.why
	}
	return "hung", s.why
}

func (w *watcher) lookHost(n *node) func(context.Context, time.Duration) {
	misses := 0
	return func(ctx context.Context, since time.Duration) {
		a, err := w.d.onHost(ctx, n, w.d.t.shell, lookHost(w.d.cfg.Hypervisor), n.domain())
		s := w.nodes[n]
		s.mu.Lock()
		s.domain = a.one("domain")
		s.mu.Unlock()
		if err != nil {
			if misses++; misses >= patient {
				w.state(ctx, since, ofHost+n.host, drivers.TopicHost, "down", w.d.cause(err))
			}
			return
		}
		misses = 0
		w.state(ctx, since, ofHost+n.host, drivers.TopicHost, "up", "")
		if c, why := s.controller(); c != "" {
			w.state(ctx, since, ofCVM+n.cvm, drivers.TopicController, c, why)
		}
		if to := w.redirect(n, a); to != "" {
			w.state(ctx, since, ofHost+n.host, drivers.TopicRedirect, to, "")
		}
		for _, v := range a["vm"] {
			if uuid, born, ok := strings.Cut(v, " "); ok {
				if name := w.name(uuid); name != uuid { // CVMs are no VMs of the cluster
					w.state(ctx, since, ofVM+name, drivers.TopicBoot, n.host+" "+born, "")
				}
			}
		}
	}
}

// redirect tells whose CVM a host's machines use: by the route that ESXi is given, or by the sockets of the VMs' QEMUs. A host
// that shows no socket at all says nothing.
func (w *watcher) redirect(n *node, a answers) string {
	peers := a["route"]
	if w.d.cfg.Hypervisor == esxi && len(peers) == 0 {
		return "local"
	}
	if w.d.cfg.Hypervisor != esxi {
		peers = nil
		for _, p := range a["peer"] {
			if host, port, err := net.SplitHostPort(p); err == nil && port == "3261" {
				peers = append(peers, host)
			}
		}
	}
	if len(peers) == 0 {
		return ""
	}
	var others []string
	for _, ip := range peers {
		if strings.HasPrefix(ip, "192.168.5.") || strings.HasPrefix(ip, "127.") || ip == n.cvmAddr {
			continue
		}
		name := ip
		for other := range w.nodes {
			if other.cvmAddr == ip {
				name = other.cvm
			}
		}
		others = append(others, name)
	}
	if len(others) == 0 {
		return "local"
	}
	slices.Sort(others)
	return strings.Join(slices.Compact(others), " ")
}

func (w *watcher) lookCVM(l *layout, n *node) func(context.Context, time.Duration) {
	var aborts, logs fresh
	return func(ctx context.Context, since time.Duration) {
		serials := l.serials(n)
		a, err := w.d.onCVM(ctx, n, w.d.t.shell, lookCVM, serials...)
		s := w.nodes[n]
		s.mu.Lock()
		if err != nil {
			s.misses++
			s.refused, s.why = refused(err), w.d.cause(err)
		} else {
			s.misses = 0
		}
		s.mu.Unlock()
		if c, why := s.controller(); c != "" {
			w.state(ctx, since, ofCVM+n.cvm, drivers.TopicController, c, why)
		}
		if err != nil {
			return
		}
		if b := a.one("boot"); b != "" {
			w.state(ctx, since, ofCVM+n.cvm, drivers.TopicBoot, b, "")
		}
		if v := daemon(a.one("stargate")); v != "" {
			w.state(ctx, since, ofCVM+n.cvm, drivers.TopicDaemon, v, "")
		}
		rotten := w.lookEgroup(ctx, l, n)
		for _, serial := range serials {
			m := a.of("medium", serial)
			if rotten && serial == l.disk.serial {
				m = "rotten"
			}
			if m != "" {
				w.medium(ctx, since, serial, m)
			}
		}
		for _, line := range aborts.new(a["abort"]) {
			for _, serial := range serials {
				if dev := a.of("device", serial); dev != "" && strings.Contains(line, "["+dev+"]") {
					w.event(ctx, since, ofDisk+serial, drivers.TopicStuckIO, "kernel-abort", line, nil)
				}
			}
		}
		for _, line := range logs.new(a["log"]) {
			for _, serial := range serials {
				if !strings.Contains(line, serial) {
					continue
				}
				if strings.Contains(strings.ToLower(line), "corrupt") {
					w.event(ctx, since, ofDisk+serial, drivers.TopicRepair, "found", line, nil)
				} else {
					w.event(ctx, since, ofDisk+serial, drivers.TopicStuckIO, "stargate", line, nil)
				}
			}
		}
	}
}

// medium tells what a disk does, and that a bad copy on it is gone that this driver did not put right itself.
func (w *watcher) medium(ctx context.Context, since time.Duration, serial, is string) {
	before := w.was(ofDisk+serial, drivers.TopicMedium)
	w.state(ctx, since, ofDisk+serial, drivers.TopicMedium, is, "")
	w.d.mu.Lock()
	ours := w.d.restored
	w.d.mu.Unlock()
	if before == "rotten" && is == "serves" && !ours {
		w.event(ctx, since, ofDisk+serial, drivers.TopicRepair, "mended", w.d.cfg.Egroup, nil)
	}
}

// lookEgroup tells whether the extent group under fault is as disk-corrupt makes it.
func (w *watcher) lookEgroup(ctx context.Context, l *layout, n *node) bool {
	if w.d.cfg.Egroup == "" || n != l.target {
		return false
	}
	a, err := w.d.onCVM(ctx, n, w.d.t.shell, lookEgroup, w.d.cfg.Egroup)
	return err == nil && rot(a.one("bytes"))
}

// daemon reads how curl ended that asked Stargate's own page: 0 with an answer, 7 refused, 28 without one in time.
func daemon(code string) string {
	switch code {
	case "0":
		return "up"
	case "7":
		return "down"
	case "28":
		return "hung"
	}
	return ""
}
