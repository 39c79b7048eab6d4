// This file kills a harness in the middle of each fault on the stand-in; its guard mends.

package nutanix

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
	"github.com/allpathsdown/allpathsdown/fixtures/undo/killed"
)

func TestMain(m *testing.M) {
	killed.Main(m, func(config []byte, dial drivers.Dial, _ func(string) killed.Runner) (drivers.Driver, error) {
		var c Config
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		d, err := open(drivers.Env{ID: "cluster", Lane: drivers.Lane{Role: drivers.Cluster, Name: "cluster", Provenance: drivers.Modelled},
			Clock: drivers.Clock{Zero: time.Now()}, Dial: dial}, c, func(string) string { return "" })
		if err == nil {
			d.t = quick
		}
		return d, err
	})
}

func TestAKilledHarnessLeavesAWholeCluster(t *testing.T) {
	l := newLab(t, sim.Config{Nodes: 3, Disks: 2, VMs: 2})
	d := l.open()
	defer d.Close()
	killed.Each(t, d, killed.Stand{Config: l.conf, Dial: l.sim.Dial, State: l.sim.State}, 30*time.Second)
}
