// This file kills a harness in the middle of each fault on the stand-in; its guard mends. A host that was crashed is left out: it comes
// back by itself after two minutes, which a bubble's clock passes at once (bubble_test.go).

package vsan

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere/vspheretest"
	"github.com/allpathsdown/allpathsdown/fixtures/undo/killed"
)

func TestMain(m *testing.M) {
	killed.Main(m, func(config []byte, dial drivers.Dial, shell func(string) killed.Runner) (drivers.Driver, error) {
		var c Config
		if err := json.Unmarshal(config, &c); err != nil {
			return nil, err
		}
		d, err := Open(drivers.Env{ID: "cluster", Lane: drivers.Lane{Role: drivers.Cluster, Name: "vsan", Provenance: drivers.Modelled},
			Clock: drivers.Clock{Zero: time.Now()}, Dial: dial}, c)
		if err == nil {
			d.Shell, d.Under = shell("host"), shell("under")
		}
		return d, err
	})
}

func TestAKilledHarnessLeavesAWholeCluster(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	e, url, cert := vspheretest.Serve(t, vsphere.Config{VCenter: true, Hosts: 4, Version: "8.0.3", VMs: []string{"a", "b"}, VSAN: &vsphere.VSAN{Copy: 50 * time.Millisecond}})
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(vspheretest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := e.VSANDisks(0)[1]
	c := Config{URL: url, User: vspheretest.User, PasswordFile: secret, Thumbprint: vsphere.Thumbprint(cert), Host: "esxi", Disk: disk, FaultTool: vsphere.FaultTool,
		AllowHostCrash: true, Stall: stallOf(disk)}
	s := killed.Stand{Config: c, Dial: new(net.Dialer).DialContext, State: e.VSANState,
		Shells: map[string]killed.Runner{"host": vsphere.HostShell{Endpoint: e}, "under": vsphere.UnderShell{Endpoint: e}},
		Powers: conformance.Options{Setting: struct{ Key, Value string }{deadman, "0"}}}
	d, err := Open(drivers.Env{ID: "cluster", Clock: drivers.Clock{Zero: time.Now()}}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	d.Shell, d.Under = s.Shells["host"], s.Shells["under"]
	killed.Each(t, d, s, 30*time.Second)
}
