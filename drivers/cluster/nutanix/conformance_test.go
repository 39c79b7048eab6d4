package nutanix

import (
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]*lab{
		"ahv, stall below SCSI": newLab(t, sim.Config{Nodes: 3, Disks: 2, VMs: 2}),
		"esxi, stall above it":  newLab(t, sim.Config{Hypervisor: esxi, Nodes: 3, Disks: 2, VMs: 1}, func(c *Config) { c.Stall, c.Backing, c.Egroup = above, nil, "" }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) {
				d := l.open()
				return d, d.env.Clock
			}, conformance.Options{State: l.sim.State, Settle: 10 * time.Second,
				Hang: func() func() { l.sim.Hang(true); return func() { l.sim.Hang(false) } },
				Fail: func() func() { l.sim.Unauthorized(true); return func() { l.sim.Unauthorized(false) } }})
		})
	}
}

func TestRegistered(t *testing.T) {
	r, ok := drivers.Lookup(Name)
	if !ok {
		t.Fatal("it is not registered")
	}
	for _, k := range []drivers.FaultKind{drivers.DiskStall, drivers.DiskError, drivers.DiskGone, drivers.DiskCorrupt, drivers.DaemonCrash, drivers.DaemonHang,
		drivers.ControllerCrash, drivers.ControllerHang, drivers.ControllerRestart} {
		if !drivers.Has(r.Type, drivers.PowerFor(k)) {
			t.Errorf("it lacks %s", k)
		}
		if why := r.Lacks(Config{})[drivers.PowerFor(k)]; why == "" {
			t.Errorf("without a configuration it does not lack %s", k)
		}
		if why := r.Lacks(Config{Hypervisor: ahv, Controller: "c", Disk: "d", Stall: above, Egroup: "/e"})[drivers.PowerFor(k)]; why != "" {
			t.Errorf("with all of it, it lacks %s: %s", k, why)
		}
	}
}
