package truenas

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

// TestCheckImage looks at a LUN of each generation whose storage is well, and at each way in which it is not.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		spoil func(*sim.Storage)
		want  string // a word of Text
		from  func(major, minor int) bool
	}{
		{"well", func(*sim.Storage) {}, "", nil},
		{"gone", func(s *sim.Storage) { s.Gone = true }, "the extent disk is not there", nil},
		{"shorter", func(s *sim.Storage) { s.Bytes = 512 << 10 }, "has 524288 bytes, and had 1048576 when", nil},
		{"degraded", func(s *sim.Storage) { s.Status = "DEGRADED" }, "the pool tank is not well: it is DEGRADED", nil},
		{"not imported", func(s *sim.Storage) { s.Status = "OFFLINE" }, "the pool tank is not well: it is ", nil},
		{"no pool", func(s *sim.Storage) { s.Missing = true }, "the pool tank is not there", nil},
		{"checksums", func(s *sim.Storage) { s.Checksum = 3 }, "and 3 checksum errors", nil},
		{"scrub", func(s *sim.Storage) { s.Scrub = 2 }, "its last scrub met 2 errors", atLeast(11, 2)},
		{"unhealthy", func(s *sim.Storage) { s.Warning = "some words" }, "it is not healthy: some words", atLeast(11, 2)},
	}
	daemon := newDaemon(t)
	for _, gen := range generations {
		for _, file := range []bool{false, true} {
			v, err := parseVersion(gen.version)
			if err != nil {
				t.Fatal(err)
			}
			untold := file && !v.atLeast(11, 1) // no API tells of a file there
			l := newLab(t, gen.version, daemon, func(c *sim.Config) { c.Storage.File = file })
			l.conf.API = gen.api
			if gen.key {
				l.withKey()
			}
			drv := l.open()
			if err := drv.Probe(t.Context()); err != nil {
				t.Fatal(gen.version, err)
			}
			for _, c := range cases {
				if c.from != nil && (!c.from(v.major, v.minor) || gen.is == apiV1) || untold && (c.name == "gone" || c.name == "shorter") {
					continue
				}
				l.nas.SetStorage(func(s *sim.Storage) { *s = sim.Storage{File: file}; c.spoil(s) })
				o, err := drv.CheckImage(t.Context(), 1)
				if err != nil {
					t.Fatal(gen.version, gen.api, file, c.name, err)
				}
				value := "damaged"
				if c.want == "" {
					value = "stored"
				}
				if o.Value != value || !strings.Contains(o.Text, c.want) || c.want == "" && o.Text != "" {
					t.Errorf("%s %s, a file %v, %s: %s, %q, %v", gen.version, gen.api, file, c.name, o.Value, o.Text, o.Attrs)
				}
				if o.Topic != "image" || o.Kind != drivers.Event || o.Attrs["lun"] != "1" || o.Attrs["size"] != "1048576" || !strings.HasPrefix(o.Attrs["contents"], "not looked into: ") {
					t.Errorf("%s %s, a file %v: %+v", gen.version, gen.api, file, o)
				}
				if what := o.Attrs["what"]; c.name == "well" && !untold && !strings.HasSuffix(what, ", 1048576 bytes, pool "+o.Attrs["pool"]) {
					t.Errorf("%s %s, a file %v: it is %q", gen.version, gen.api, file, what)
				}
			}
		}
	}
}

func atLeast(major, minor int) func(int, int) bool {
	return func(a, b int) bool { return version{major: a, minor: b}.atLeast(major, minor) }
}

// TestIllBefore has a pool that was degraded before the run: that is not the run's doing, and no reason to say that all is well.
func TestIllBefore(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := newLab(t, "TrueNAS-25.10.0", d, func(c *sim.Config) { c.Storage.Status = "DEGRADED" })
	drv := l.withKey().open()
	o, err := drv.CheckImage(t.Context(), 1) // nobody has seen it before
	if err != nil || o.Value != "damaged" {
		t.Errorf("%+v, %v", o, err)
	}
	if err := drv.Probe(t.Context()); err != nil {
		t.Fatal(err)
	}
	o, err = drv.CheckImage(t.Context(), 1)
	if err != nil || o.Value != "stored" || !strings.Contains(o.Attrs["contents"], "as it was when the driver first saw it") {
		t.Errorf("%+v, %v", o, err)
	}
	for _, f := range drv.Examine(t.Context()) {
		if f.What == "what the LUN is made of is well" && (f.OK || !strings.Contains(f.Say, "it is DEGRADED")) {
			t.Errorf("%+v", f)
		}
	}
	l.nas.SetStorage(func(s *sim.Storage) { s.Checksum = 1 }) // that is new
	o, err = drv.CheckImage(t.Context(), 1)
	if err != nil || o.Value != "damaged" {
		t.Errorf("%+v, %v", o, err)
	}
}

// TestImageErrors has what keeps a LUN from being looked at.
func TestImageErrors(t *testing.T) {
	t.Parallel()
	d := newDaemon(t)
	l := newLab(t, "TrueNAS-25.10.0", d, nil)
	l.withKey()
	check := func(lun int) error { _, err := l.open().CheckImage(t.Context(), lun); return err }
	told(t, check(7), "has no LUN 7")
	l.nas.SetStorage(func(s *sim.Storage) { s.Disabled = true })
	told(t, check(1), "switched off", "Enable it")
	l.nas.SetStorage(func(s *sim.Storage) { s.Disabled, s.Locked = false, true })
	told(t, check(1), "locked", "Unlock it")
	l.nas.SetStorage(func(s *sim.Storage) { s.Locked = false })
	l.lie(func(x *sim.Lies) { x.Unauthorized = true })
	told(t, check(1), "API key")
	l.lie(func(x *sim.Lies) { x.Unauthorized = false })
	l.conf.Target = iqn + "x"
	told(t, check(1), "has no target")
	l.conf.Target = iqn
	if err := d.Stop(); err != nil {
		t.Fatal(err)
	}
	told(t, check(1), "the iSCSI service is stopped")
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	// the target serves, and has lost its LUN
	if _, err := d.adm("--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"); err != nil {
		t.Fatal(err)
	}
	o, err := l.open().CheckImage(t.Context(), 1)
	if err != nil || o.Value != "damaged" || !strings.Contains(o.Text, "does not serve LUN 1") {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestCapacity(t *testing.T) {
	b := make([]byte, 32)
	binary.BigEndian.PutUint64(b, 2047)
	binary.BigEndian.PutUint32(b[8:], 512)
	if n, err := readCapacity(b); n != 1<<20 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, bad := range [][]byte{nil, b[:8], make([]byte, 32)} {
		if n, err := readCapacity(bad); err == nil {
			t.Errorf("%v is %d", bad, n)
		}
	}
}

// FuzzImage gives any bytes to the readers of what a LUN is made of.
func FuzzImage(f *testing.F) {
	for _, s := range []string{`[{"name":"tank","status":"ONLINE","healthy":true,"scan":{"function":"SCRUB","errors":0},"topology":{"data":[{"type":"MIRROR","status":"ONLINE","stats":{"read_errors":0},"children":[{"path":"/dev/sda2","status":"UNAVAIL","stats":{"checksum_errors":3}}]}]}}]`,
		`[{"vol_name":"tank","status":"HEALTHY"}]`, `{"name":"tank","status":"ONLINE","read":"0","cksum":"1.2K","children":[{"name":"ada0","read":1}]}`, `[{"id":"tank","volsize":{"rawvalue":"12"}}]`,
		`[{"name":"tank","volsize":10485760}]`, `{"size":12}`, `{"message":"[ENOENT]","errno":2}`, `[{"id":1,"name":"disk","type":"FILE","path":"/mnt/tank/a"}]`, "null", "", "\x00\x00\x00\x00\x00\x00\x07\xff\x00\x00\x02\x00"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, read := range []func() (pool, error){func() (pool, error) { return readPool(b, "tank") }, func() (pool, error) { return readPoolV1(b, b, "tank") },
			func() (pool, error) { return readPoolV1([]byte(`[{"vol_name":"tank","status":"HEALTHY"}]`), b, "tank") }} {
			if p, err := read(); err == nil && (p.name != "tank" || p.state == "" || len(p.ill) > mostIll || p.state != "ONLINE" && p.state != "HEALTHY" && len(p.ill) == 0) {
				t.Errorf("%+v", p)
			}
		}
		for _, read := range []func() (int64, error){func() (int64, error) { return readStat(b) }, func() (int64, error) { return readDataset(b, "tank") },
			func() (int64, error) { return readZvols(b, "tank") }, func() (int64, error) { return readCapacity(b) }} {
			if n, err := read(); n < 0 || err != nil && n != 0 {
				t.Errorf("%d, %v", n, err)
			}
		}
		_ = readErrno(b)
		l, err := readLayout([]byte(`{"basename":"iqn.x"}`), []byte(`[{"id":1,"name":"lab"}]`), b, []byte(`[{"target":1,"extent":1,"lunid":0}]`))
		if err == nil {
			for _, one := range l.targets[0].luns {
				_ = one.poolOf()
			}
		}
	})
}
