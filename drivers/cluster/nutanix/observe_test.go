package nutanix

import (
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
)

// TestObserve follows a hung disk, a CVM that dies, and a Stargate that hangs, each from before to after.
func TestObserve(t *testing.T) {
	t.Parallel()
	l := newLab(t, sim.Config{Nodes: 3, Disks: 2, VMs: 2})
	d := l.open()
	n := l.watch(d)
	disk, cvm, host := "disk/"+sim.SerialOf(0, 0), "controller/"+sim.CVMOf(0), "host/"+sim.HostOf(0)
	for topic, at := range map[string][2]string{
		drivers.TopicResilient: {"cluster", "yes"}, drivers.TopicHealing: {"cluster", "idle"}, drivers.TopicAPI: {"cluster", "answers"},
		drivers.TopicDisk: {disk, "online"}, drivers.TopicMedium: {disk, "serves"}, drivers.TopicDaemon: {cvm, "up"}, drivers.TopicController: {cvm, "up"},
		drivers.TopicHost: {host, "up"}, drivers.TopicRedirect: {host, "local"}, drivers.TopicPlace: {"vm/vm-a1", sim.HostOf(0)},
	} {
		n.state(t, 0, at[0], topic, at[1])
	}
	undo := func(us []drivers.Undo) {
		t.Helper()
		for _, u := range us {
			if r, err := l.open().Undo(t.Context(), u); err != nil || r != drivers.Undone {
				t.Fatalf("%s: %s, %v", u.Op, r, err)
			}
		}
	}
	var us []drivers.Undo
	from := n.len()
	if err := d.StallDisk(t.Context(), noted(&us)); err != nil {
		t.Fatal(err)
	}
	n.state(t, from, disk, drivers.TopicMedium, "hangs")
	n.state(t, from, disk, drivers.TopicStuckIO, "kernel-abort")
	n.state(t, from, disk, drivers.TopicStuckIO, "stargate")
	o, _ := n.state(t, from, disk, drivers.TopicDisk, "offline")
	if o.Lo >= o.Hi || o.Lane.Provenance != drivers.Modelled {
		t.Errorf("offline was told as %+v", o)
	}
	undo(us)
	n.state(t, from, disk, drivers.TopicDisk, "online")
	wait := func() {
		t.Helper()
		for l.sim.State() != "" || d.Resilient(t.Context()) != nil {
			if !drivers.Wait(t.Context(), quick.poll) {
				t.Fatal("it does not heal")
			}
		}
	}
	wait()

	us, from = nil, n.len()
	if err := d.StopController(t.Context(), drivers.ControllerCrash, noted(&us)); err != nil {
		t.Fatal(err)
	}
	n.state(t, from, cvm, drivers.TopicController, "down")
	n.state(t, from, host, drivers.TopicRedirect, sim.CVMOf(1)+" "+sim.CVMOf(2))
	undo(us)
	n.state(t, from, cvm, drivers.TopicController, "up")
	n.state(t, from, host, drivers.TopicRedirect, "local")
	wait()

	us, from = nil, n.len()
	if err := d.StopController(t.Context(), drivers.DaemonHang, noted(&us)); err != nil {
		t.Fatal(err)
	}
	n.state(t, from, cvm, drivers.TopicDaemon, "hung")
	undo(us)
	n.state(t, from, cvm, drivers.TopicDaemon, "up")
}

// TestPrismMayGo: that Prism is silent is told, and what SSH shows is told on.
func TestPrismMayGo(t *testing.T) {
	t.Parallel()
	l := newLab(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1})
	d := l.open()
	n := l.watch(d)
	n.state(t, 0, "controller/"+sim.CVMOf(0), drivers.TopicController, "up")
	from := n.len()
	l.sim.Hang(true)
	n.state(t, from, "cluster", drivers.TopicAPI, "silent")
	n.state(t, from, "host/"+sim.HostOf(1), drivers.TopicHost, "down")
	l.sim.Hang(false)
	n.state(t, from, "host/"+sim.HostOf(1), drivers.TopicHost, "up")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for version, contract := range map[string]string{"6.8.1": "known", "6.10": "known", "6.1.2": "unknown", "5.20.4.6": "known", "7.00": "unknown"} {
		l := newLab(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1, Version: version, Virtual: contract == "known"})
		s, err := l.open().Settings(t.Context())
		if err != nil || s[keyContract] != contract || s[keyAOS] != version || s[keyTolerates] != "1" || s[keyStall] != below || s[keyHostBoot] != "540" ||
			s[keyController] != sim.CVMOf(0) || s[keyPassthrough] != map[string]string{"known": "no", "unknown": "yes"}[contract] || s[keyTimeout] == "" {
			t.Errorf("%s: %v, %v", version, s, err)
		}
	}
}
