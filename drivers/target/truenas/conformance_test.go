package truenas

import (
	"context"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

// generations are the versions at which an API begins or changes.
var generations = []struct {
	version, api string // api is the lab file's key
	is           string // the one that is used
	key          bool
}{
	{"FreeNAS-9.3-STABLE-201605170422", "", apiV1, false},
	{"FreeNAS-11.0-RC (ad90a865b)", "", apiV1, false},
	{"FreeNAS-11.0-RC (ad90a865b)", apiV2, apiV2, false},
	{"FreeNAS-11.1-U7", "", apiV2, false},
	{"FreeNAS-11.3-U5", apiV1, apiV1, false},
	{"TrueNAS-13.0-U6.1", "", apiV2, true},
	{"TrueNAS-SCALE-24.10.2", "", apiV2, false},
	{"TrueNAS-25.04.0", "", apiRPC, false},
	{"TrueNAS-25.10.0", apiV2, apiV2, true},
	{"TrueNAS-25.10.0", "", apiRPC, true},
	{"TrueNAS-26.0.0", "", apiRPC, true},
}

func TestConformance(t *testing.T) {
	t.Parallel()
	control := newDaemon(t)
	// All at once, since most of it is waiting.
	t.Run("versions", func(t *testing.T) {
		for _, g := range generations {
			t.Run(g.version+" "+g.api, func(t *testing.T) {
				t.Parallel()
				d := newDaemon(t)
				l := newLab(t, g.version, d, func(c *sim.Config) { c.BootTime = 1500 * time.Millisecond }) // the kit's undo has to begin before it is back
				l.conf.API = g.api
				if g.key {
					l.withKey()
				}
				set := func(change func(*sim.Lies)) func() {
					return func() { l.lie(change) }
				}
				conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) {
					d := l.open()
					return d, d.env.Clock
				}, conformance.Options{State: l.nas.State, LUN: 1, Wire: d.probe, Control: control.probe, Settle: 10 * time.Second,
					Hang: func() func() {
						l.lie(func(x *sim.Lies) { x.Hang = true })
						return set(func(x *sim.Lies) { x.Hang = false })
					},
					Fail: func() func() {
						l.lie(func(x *sim.Lies) { x.Unauthorized = true })
						return set(func(x *sim.Lies) { x.Unauthorized = false })
					},
				})
				s, err := l.open().Settings(context.Background())
				if err != nil || s["api"] != g.is || s["version"] != g.version {
					t.Errorf("the settings are %v, %v", s, err)
				}
				if l.nas.Boots() == 0 {
					t.Error("it was never rebooted")
				}
			})
		}
	})
}

func TestRegistered(t *testing.T) {
	r, ok := drivers.Lookup("target/truenas")
	if !ok || !drivers.Has(r.Type, drivers.CanStopService) || !drivers.Has(r.Type, drivers.CanReboot) || !drivers.Has(r.Type, drivers.CanCheckImage) {
		t.Fatalf("it is registered as %+v, %v", r, ok)
	}
	t.Setenv("TRUENAS_PASSWORD", password)
	d, err := r.Open(t.Context(), drivers.Env{Portal: "127.0.0.1:3260", Decode: func(v any) error { *v.(*Config) = Config{URL: "nas", User: "root", Target: iqn}; return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.(*Driver); got.portal != "127.0.0.1:3260" || got.login.url.String() != "https://nas" || got.login.password != password {
		t.Errorf("it opened %+v", got.cfg)
	}
}
