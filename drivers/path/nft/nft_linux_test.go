package nft

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/boxtest"
)

const portal = boxtest.Storage + ":3260"

// lab is a target with an iSCSI port and another one.
type lab struct {
	*boxtest.Box
	ssh *boxtest.Server
}

func newLab(t *testing.T) lab {
	t.Helper()
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("the test needs nft (Debian: nftables)")
	}
	b := boxtest.New(t)
	l := lab{b, boxtest.Serve(t, b)}
	b.Echo(t, "3260")
	b.Echo(t, "8080")
	return l
}

func (l lab) driver(t *testing.T, change func(*Config)) (*Driver, drivers.Clock) {
	t.Helper()
	c := Config{SSH: l.ssh.Config}
	if change != nil {
		change(&c)
	}
	clock := drivers.Clock{Zero: time.Now()}
	d, err := open(drivers.Env{ID: "path", Lane: drivers.Lane{Role: drivers.Path, Name: "nft", Provenance: drivers.Embedded}, Clock: clock, Logf: t.Logf}, c)
	if err != nil {
		t.Fatal(err)
	}
	d.pace = pace{every: 100 * time.Millisecond, look: 700 * time.Millisecond, act: 5 * time.Second}
	return d, clock
}

// journal keeps what it is given.
func journal(us *[]drivers.Undo) drivers.Journal {
	return func(_ context.Context, u drivers.Undo) error { *us = append(*us, u); return nil }
}

func TestConformance(t *testing.T) {
	l := newLab(t)
	l.Sh("nft add table inet others")
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return l.driver(t, nil) }, conformance.Options{
		State:   func() string { return l.Sh("nft list ruleset | grep -v packets; nft list tables") },
		Hang:    l.ssh.Hang,
		Fail:    l.ssh.Fail,
		Wire:    l.Look(portal),
		Control: l.Look(boxtest.Storage + ":8080"),
	})
	NewWithT(t).Expect(l.Leftovers()).To(BeEmpty())
}

func TestFaultsOnExistingConnections(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	d, _ := l.driver(t, nil)
	ctx := t.Context()
	for kind, want := range map[drivers.FaultKind]func(error) bool{
		drivers.Reset:     func(err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) },
		drivers.Blackhole: func(err error) bool { var ne interface{ Timeout() bool }; return errors.As(err, &ne) && ne.Timeout() },
	} {
		c, err := l.Dial(ctx, "tcp", portal)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(boxtest.Exchange(ctx, c)).To(Succeed())
		var us []drivers.Undo
		g.Expect(d.BreakPath(ctx, kind, journal(&us))).To(Succeed())
		short, cancel := context.WithTimeout(ctx, 700*time.Millisecond)
		err = boxtest.Exchange(short, c)
		g.Expect(want(err)).To(BeTrue(), "%s gave %v", kind, err)
		if kind == drivers.Reset {
			_, err := l.Dial(short, "tcp", portal)
			g.Expect(err).To(MatchError(syscall.ECONNREFUSED))
		}
		cancel()
		v, err := d.see(ctx, time.Second)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(v.rule).To(Equal(string(kind)))
		g.Expect(v.hits).NotTo(BeZero())
		g.Expect(d.Probe(ctx)).To(MatchError(ContainSubstring("cut already")))
		g.Expect(d.BreakPath(ctx, kind, journal(&us))).To(MatchError(ContainSubstring("cut already")))
		g.Expect(d.Undo(ctx, us[0])).To(Equal(drivers.Undone))
		g.Expect(d.Undo(ctx, us[0])).To(Equal(drivers.NothingLeft))
		if kind == drivers.Blackhole { // what was swallowed is sent again
			long, cancel := context.WithTimeout(ctx, 5*time.Second)
			g.Expect(boxtest.Exchange(long, c)).To(Succeed())
			cancel()
		}
		_ = c.Close()
	}
}

func TestDeadMan(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	d, _ := l.driver(t, func(c *Config) { c.Seconds = 2 })
	seen := make(chan drivers.Observation, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, func(o drivers.Observation) { seen <- o }) }()
	var us []drivers.Undo
	g.Expect(d.BreakPath(ctx, drivers.Blackhole, journal(&us))).To(Succeed())
	g.Expect(us[0].Until).To(BeTemporally("~", time.Now().Add(3*time.Second), time.Second))
	g.Eventually(seen, "2s").Should(Receive(HaveField("Value", blackhole)))
	g.Expect(l.Look(portal)(timeout(t, 300*time.Millisecond))).NotTo(Succeed())
	g.Eventually(seen, "5s").Should(Receive(HaveField("Topic", drivers.LabFailure)))
	g.Expect(time.Now()).To(BeTemporally("<", us[0].Until.Add(time.Second)))
	cancel()
	g.Expect(<-done).To(Succeed())
	g.Expect(l.Look(portal)(timeout(t, time.Second))).To(Succeed())
	g.Expect(l.Leftovers()).To(BeEmpty())
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestOthersTablesAreLeftAlone(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	l.Sh(`nft -f - <<'E'
table inet allpathsdown { comment "mine, says somebody else"; chain c { }; }
E`)
	d, _ := l.driver(t, nil)
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("not this driver's")))
	var us []drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.Reset, journal(&us))).To(MatchError(ContainSubstring("not this driver's")))
	g.Expect(us).To(BeEmpty())
	g.Expect(d.Undo(t.Context(), drivers.Undo{Op: opDelete, Args: map[string]string{"table": "allpathsdown", "timer": "apd-nft-00000000"}})).To(Equal(drivers.NothingLeft))
	g.Expect(l.Sh("nft list tables")).To(ContainSubstring("allpathsdown"))
	_, err := d.Undo(t.Context(), drivers.Undo{Op: opDelete, Args: map[string]string{"table": "x; reboot", "timer": "apd-nft-00000000"}})
	g.Expect(err).To(HaveOccurred())
}

func TestAddresses(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	d, _ := l.driver(t, func(c *Config) { c.Addresses = []string{boxtest.Storage, "2001:db8::1"} })
	var us []drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.Reset, journal(&us))).To(Succeed())
	g.Expect(l.Look(portal)(timeout(t, time.Second))).To(MatchError(syscall.ECONNREFUSED))
	g.Expect(l.Look(boxtest.Management + ":3260")(timeout(t, time.Second))).To(Succeed())
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	l := newLab(t)
	for name, c := range map[string]struct {
		change func()
		config func(*Config)
		says   string
	}{
		"ssh's own port":  {config: func(c *Config) { c.Port = 22 }, says: "cut itself off"},
		"no connection":   {change: func() { l.ssh.Peer = "" }, says: "cannot be told"},
		"nft is missing":  {change: func() { l.ssh.Peer = "192.0.2.1"; l.Program("nft", "echo no nft here; exit 127") }, says: "no nft here"},
		"not Linux":       {change: func() { l.Program("uname", "echo FreeBSD") }, says: "nftables are Linux's"},
		"not root":        {change: func() { l.Program("id", "echo 1000") }, says: "not root"},
		"nothing listens": {config: func(c *Config) { c.SSH.Address = "127.0.0.1:1" }, says: "nothing listens"},
		"other host key": {config: func(c *Config) {
			c.SSH.HostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		}, says: "another host key"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if c.change != nil {
				c.change()
				defer func() {
					l.ssh.Peer = "192.0.2.1"
					l.Program("nft", `exec /usr/sbin/nft "$@"`)
					l.Program("uname", `exec /bin/uname "$@"`)
					l.Program("id", `exec /usr/bin/id "$@"`)
				}()
			}
			d, _ := l.driver(t, c.config)
			err := d.Probe(t.Context())
			g.Expect(err).To(MatchError(ContainSubstring(c.says)))
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue())
		})
	}
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	for name, c := range map[string]Config{
		"table":     {Table: "a b"},
		"port":      {Port: 70000},
		"addresses": {Addresses: []string{"storage"}},
		"seconds":   {Seconds: -1},
		"ssh":       {},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(drivers.Env{ID: "path"}, c)
			var op *drivers.Operator
			NewWithT(t).Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
		})
	}
}

func TestTimerOfSystemd(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	// Stand-ins for systemd: a sleep for a timer, whose number is kept in a file.
	l.Program("systemd-run", `for a; do case $a in --unit=*) u=${a#*=} ;; --on-active=*) s=${a#*=} ;; esac; f=$a; done
(sleep "$s"; rm "/run/$u.fake"; sh "$f") >/dev/null 2>&1 </dev/null &
echo $! >"/run/$u.fake"`)
	l.Program("systemctl", `for a; do u=$a; done
u=${u%.timer}
case $1 in
is-active) [ -e "/run/$u.fake" ] ;;
stop) kill "$(cat "/run/$u.fake")"; rm "/run/$u.fake" ;;
esac`)
	l.Sh("mkdir -p /run/systemd/system")
	d, _ := l.driver(t, func(c *Config) { c.Seconds = 1 })
	for _, undo := range []bool{true, false} {
		var us []drivers.Undo
		g.Expect(d.BreakPath(t.Context(), drivers.Reset, journal(&us))).To(Succeed())
		g.Expect(l.Look(portal)(timeout(t, time.Second))).NotTo(Succeed())
		if undo {
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
		} else {
			g.Eventually(func() error { return l.Look(portal)(timeout(t, time.Second)) }, "5s").Should(Succeed())
		}
		g.Eventually(func() string { return l.Sh("ls /run | grep apd || :") }).Should(BeEmpty())
		g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("os Linux\nuid 0\nport 22\nworks\ntable\ntable inet x {\n\tcomment \"allpathsdown reset apd-nft-01234567\"\n\t\tcounter packets 3 bytes 9 drop\n")
	f.Add("table\n\n\ncomment \"allpathsdown blackhole apd-nft-01234567\"")
	f.Fuzz(func(t *testing.T, out string) {
		v := parse(out)
		if (v.rule == reset || v.rule == blackhole) && !strings.Contains(out, owner) {
			t.Errorf("%q is taken for this driver's table", out)
		}
	})
}
