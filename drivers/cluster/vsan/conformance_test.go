package vsan

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere/vspheretest"
)

// wire is the way to the vCenter, which can be cut.
type wire struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err == nil {
		w.conns = append(w.conns, c)
	}
	return c, err
}

func (w *wire) fail() (mend func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, c := range w.conns {
		c.Close()
	}
	w.conns = nil
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.cut = false
	}
}

func TestConformance(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	e, url, cert := vspheretest.Serve(t, vsphere.Config{VCenter: true, Hosts: 4, Version: "8.0.3", VMs: []string{"a", "b", "c", "d"},
		VSAN: &vsphere.VSAN{Copy: 50 * time.Millisecond}})
	w := &wire{}
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(vspheretest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	disk := e.VSANDisks(0)[1]
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) {
		env := drivers.Env{ID: "cluster", Clock: drivers.Clock{Zero: time.Now()}, Dial: w.dial,
			Lane: drivers.Lane{Role: drivers.Cluster, Name: "vsan", Provenance: drivers.Modelled}}
		d, err := Open(env, Config{URL: url, User: vspheretest.User, PasswordFile: secret, Thumbprint: vsphere.Thumbprint(cert), Host: "esxi", Disk: disk,
			FaultTool: vsphere.FaultTool, AllowHostCrash: true, Stall: stallOf(disk)})
		if err != nil {
			t.Fatal(err)
		}
		d.Shell, d.Under = vsphere.HostShell{Endpoint: e}, vsphere.UnderShell{Endpoint: e}
		return d, env.Clock
	}, conformance.Options{State: e.VSANState, Hang: func() func() { e.Freeze(true); return func() { e.Freeze(false) } }, Fail: w.fail,
		Setting: struct{ Key, Value string }{deadman, "0"}})
}

func stallOf(disk string) *Stall {
	return &Stall{Way: "the stand-in's own switch", Begin: "disk " + disk + " hangs", End: "disk " + disk + " serves", State: "disk " + disk + " state"}
}
