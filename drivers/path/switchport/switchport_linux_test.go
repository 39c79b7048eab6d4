package switchport

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gosnmp/gosnmp"
	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/boxtest"
)

func file(t testing.TB, text string) string {
	t.Helper()
	f := filepath.Join(boxtest.Scratch(t), "secret")
	if err := os.WriteFile(f, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

func driver(t testing.TB, c Config) (*Driver, drivers.Clock) {
	t.Helper()
	clock := drivers.Clock{Zero: time.Now()}
	d, err := open(drivers.Env{ID: "path", Lane: drivers.Lane{Role: drivers.Path, Name: "switch", Provenance: drivers.Modelled}, Clock: clock, Logf: t.Logf}, c)
	if err != nil {
		t.Fatal(err)
	}
	d.pace = pace{every: 50 * time.Millisecond, answer: 400 * time.Millisecond, walk: time.Second, settle: time.Second}
	return d, clock
}

func v2c(t testing.TB, address string) Config {
	return Config{Address: address, Version: "2c", CommunityFile: file(t, community), Port: "ge-0/0/7"}
}

func journal(us *[]drivers.Undo) drivers.Journal {
	return func(_ context.Context, u drivers.Undo) error { *us = append(*us, u); return nil }
}

func newSwitch(t testing.TB) *agent {
	a := newAgent(t)
	a.port(7, "ge-0/0/7", "nas storage")
	a.port(8, "ge-0/0/8", "esx1")
	a.port(9, "ge-0/0/9", "esx1")
	a.port(11, "12", "a number for a name")
	a.port(12, "13", "")
	a.port(14, "ge-0/0/14", "UPLINK to core")
	return a
}

func TestConformance(t *testing.T) {
	a := newSwitch(t)
	c := v2c(t, a.addr)
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return driver(t, c) }, conformance.Options{
		State: func() string { return a.admin(7) + a.admin(8) },
		Hang: func() func() {
			a.set(func() { a.hung = true })
			return func() { a.set(func() { a.hung = false }) }
		},
		Fail: func() func() {
			a.set(func() { a.fail = true })
			return func() { a.set(func() { a.fail = false }) }
		},
	})
}

// TestRealAgent shuts a real interface through a real snmpd, by each of the ways to log in.
func TestRealAgent(t *testing.T) {
	b := boxtest.New(t)
	addr := daemon(t, b)
	ways := map[string]Config{
		"2c":       {Version: "2c", CommunityFile: file(t, community)},
		"authPriv": {Version: "3", User: "signer", Auth: "sha", AuthPasswordFile: file(t, "authpassword-1"), PrivPasswordFile: file(t, "privpassword-1")},
		"auth":     {Version: "3", User: "plain", AuthPasswordFile: file(t, "authpassword-2")},
	}
	for name, c := range ways {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c.Address, c.Port = addr, boxtest.StorageNIC
			d, _ := driver(t, c)
			d.pace.answer, d.pace.walk, d.pace.settle = time.Second, 3*time.Second, 5*time.Second
			g.Eventually(func() error { return d.Probe(t.Context()) }, "10s").Should(Succeed())
			var us []drivers.Undo
			g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(Succeed())
			g.Expect(b.Up(boxtest.StorageNIC)).To(Equal("down"))
			g.Expect(us[0].Args).To(HaveKeyWithValue("admin", "up"))
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
			g.Expect(b.Up(boxtest.StorageNIC)).To(Equal("up"))
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
		})
	}
	wrong := file(t, "wrongpassword")
	for name, w := range map[string]struct {
		change func(*Config)
		from   string
		says   string
	}{
		"unknown user":      {func(c *Config) { c.User = "nobody" }, "authPriv", `does not know the user "nobody"`},
		"wrong signature":   {func(c *Config) { c.AuthPasswordFile = wrong }, "authPriv", `does not know the user "signer" with that password`},
		"wrong encryption":  {func(c *Config) { c.PrivPasswordFile = wrong }, "authPriv", ""}, // net-snmp is silent, or says that it cannot decrypt
		"wrong hash":        {func(c *Config) { c.Auth = "sha256" }, "authPriv", `does not know the user "signer" with that password`},
		"not encrypted":     {func(c *Config) { c.PrivPasswordFile = "" }, "authPriv", ""},
		"wrong community":   {func(c *Config) { c.CommunityFile = wrong }, "2c", "the community is right"},
		"its own interface": {func(c *Config) { c.Port = "lo" }, "2c", "cut itself off"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := ways[w.from]
			c.Address, c.Port = addr, boxtest.StorageNIC
			w.change(&c)
			d, _ := driver(t, c)
			err := d.Probe(t.Context())
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(w.says)))
			for _, s := range []string{"wrongpassword", "password-1", community} {
				g.Expect(err.Error()).NotTo(ContainSubstring(s))
			}
		})
	}
	t.Run("may not write", func(t *testing.T) {
		g := NewWithT(t)
		d, _ := driver(t, Config{Address: addr, Port: boxtest.StorageNIC, Version: "2c", CommunityFile: file(t, "reader")})
		var us []drivers.Undo
		g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(MatchError(ContainSubstring("may write")))
		g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
	})
}

func TestPortsAreFoundOnce(t *testing.T) {
	a := newSwitch(t)
	for what, want := range map[string]string{
		"7": "ge-0/0/7 (7)", "ge-0/0/7": "ge-0/0/7 (7)", "nas storage": "ge-0/0/7 (7)", "Port ge-0/0/7": "ge-0/0/7 (7)", "13": "13 (12)",
		"esx1": `2 ports are meant by "esx1": ifIndex 8 9`, "12": `2 ports are meant by "12": ifIndex 11 12`, "99": `no port "99"`, "": "no port is named",
	} {
		t.Run(what, func(t *testing.T) {
			g := NewWithT(t)
			c := v2c(t, a.addr)
			c.Port = what
			d, err := open(drivers.Env{}, c)
			if err == nil {
				var p port
				p, err = d.find(t.Context(), what)
				if err == nil {
					g.Expect(p.String()).To(HavePrefix(want))
					return
				}
				err = d.blame(err)
			}
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(want)))
		})
	}
}

func TestOneThatIsShutStaysShut(t *testing.T) {
	g := NewWithT(t)
	a := newSwitch(t)
	a.put(ifAdminStatus+".7", gosnmp.Integer, 2)
	d, _ := driver(t, v2c(t, a.addr))
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("down already")))
	var us []drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(Succeed())
	a.put(ifAdminStatus+".7", gosnmp.Integer, 1) // somebody opens it meanwhile
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
	g.Expect(a.admin(7)).To(Equal("up"))
}

func TestUndoFollowsTheName(t *testing.T) {
	g := NewWithT(t)
	a := newSwitch(t)
	d, _ := driver(t, v2c(t, a.addr))
	var us []drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(Succeed())
	a.put(ifName+".7", gosnmp.OctetString, "xe-0/0/1") // the switch started anew and counts otherwise
	a.port(21, "ge-0/0/7", "")
	a.put(ifAdminStatus+".21", gosnmp.Integer, 2)
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
	g.Expect(a.admin(21)).To(Equal("up"))
	g.Expect(a.admin(7)).To(Equal("down"))
	for _, args := range []map[string]string{{}, {"index": "7", "admin": "sideways"}, {"index": "-1", "admin": "up"}} {
		_, err := d.Undo(t.Context(), drivers.Undo{Op: opRestore, Args: args})
		g.Expect(err).To(HaveOccurred())
	}
}

func TestSwitchesThatDoNotDoIt(t *testing.T) {
	g := NewWithT(t)
	a := newSwitch(t)
	d, _ := driver(t, v2c(t, a.addr))
	d.pace.settle = 200 * time.Millisecond
	var us []drivers.Undo
	a.set(func() { a.refuse = gosnmp.NotWritable })
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(MatchError(ContainSubstring("NotWritable")))
	a.set(func() { a.refuse, a.stuck = gosnmp.NoError, true })
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(MatchError(ContainSubstring("does not show")))
	a.set(func() { a.stuck = false })
	a.put(ipAdEntIfIndex+".127.0.0.1", gosnmp.Integer, 7)
	us = nil
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(MatchError(ContainSubstring("cut itself off")))
	g.Expect(us).To(BeEmpty())
	g.Expect(a.admin(7)).To(Equal("up"))
}

func TestExamine(t *testing.T) {
	g := NewWithT(t)
	a := newSwitch(t)
	c := v2c(t, a.addr)
	d, _ := driver(t, c)
	f := d.Examine(t.Context())
	g.Expect(f[0].OK).To(BeTrue(), f[0].Say)
	g.Expect(f[1].Say).To(ContainSubstring("plain text"))
	c.Port = "ge-0/0/14"
	d, _ = driver(t, c)
	f = d.Examine(t.Context())
	g.Expect(f[0].OK).To(BeFalse())
	g.Expect(f[0].Say).To(ContainSubstring("named like one that others hang on"))
}

func TestRates(t *testing.T) {
	g := NewWithT(t)
	a := newSwitch(t)
	d, _ := driver(t, v2c(t, a.addr))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan drivers.Observation, 1000)
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, func(o drivers.Observation) { seen <- o }) }()
	g.Eventually(seen, "3s").Should(Receive(And(HaveField("Topic", "in"), HaveField("Num", BeZero()))))
	a.put(ifHCInOctets+".7", gosnmp.Counter64, uint64(1<<40+1e6))
	g.Eventually(seen, "3s").Should(Receive(And(HaveField("Topic", "in"), HaveField("Num", BeNumerically(">", 1e5)))))
	a.put(ifHCInOctets+".7", gosnmp.Counter64, uint64(3)) // begun anew: no rate
	time.Sleep(200 * time.Millisecond)
	cancel()
	g.Expect(<-done).To(Succeed())
	for len(seen) > 0 {
		g.Expect((<-seen).Num).To(BeNumerically(">=", 0))
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	short := file(t, "short")
	empty := file(t, "")
	for name, c := range map[string]Config{
		"address":       {Address: "a:b:c", Port: "1", Version: "2c", CommunityFile: short},
		"port":          {Address: "127.0.0.1:0", Port: "1", Version: "2c", CommunityFile: short},
		"version":       {Address: "127.0.0.1", Port: "1", Version: "1"},
		"no community":  {Address: "127.0.0.1", Port: "1", Version: "2c"},
		"empty":         {Address: "127.0.0.1", Port: "1", Version: "2c", CommunityFile: empty},
		"both versions": {Address: "127.0.0.1", Port: "1", Version: "2c", CommunityFile: short, User: "u"},
		"no user":       {Address: "127.0.0.1", Port: "1", Version: "3"},
		"short":         {Address: "127.0.0.1", Port: "1", Version: "3", User: "u", AuthPasswordFile: short},
		"md5":           {Address: "127.0.0.1", Port: "1", Version: "3", User: "u", Auth: "md5"},
		"des":           {Address: "127.0.0.1", Port: "1", Version: "3", User: "u", Priv: "des"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(drivers.Env{ID: "path"}, c)
			var op *drivers.Operator
			NewWithT(t).Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			NewWithT(t).Expect(strings.Contains(err.Error(), `"short"`)).To(BeFalse())
		})
	}
}

func FuzzVariables(f *testing.F) {
	f.Add([]byte("ge-0/0/1\x00\xff"), uint8(gosnmp.OctetString), int64(-1))
	f.Add([]byte{}, uint8(gosnmp.Counter64), int64(7))
	f.Fuzz(func(t *testing.T, text []byte, kind uint8, n int64) {
		s := textOf(gosnmp.SnmpPDU{Type: gosnmp.OctetString, Value: text})
		if strings.Contains(s, "\xff") {
			t.Errorf("%q is not text", s)
		}
		for _, value := range []any{text, n, nil, int(n), uint(n), "x"} {
			numberOf(gosnmp.SnmpPDU{Type: gosnmp.Asn1BER(kind), Value: value})
			textOf(gosnmp.SnmpPDU{Type: gosnmp.Asn1BER(kind), Value: value})
			_ = statusName(int(n))
		}
	})
}
