package sshlink

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/boxtest"
)

type lab struct {
	*boxtest.Box
	ssh *boxtest.Server
}

func newLab(t *testing.T) lab {
	b := boxtest.New(t)
	return lab{b, boxtest.Serve(t, b)}
}

func (l lab) driver(t *testing.T, change func(*Config)) (*Driver, drivers.Clock) {
	t.Helper()
	c := Config{SSH: l.ssh.Config, Interface: boxtest.StorageNIC}
	if change != nil {
		change(&c)
	}
	clock := drivers.Clock{Zero: time.Now()}
	d, err := open(drivers.Env{ID: "path", Lane: drivers.Lane{Role: drivers.Path, Name: "cable", Provenance: drivers.Embedded}, Clock: clock, Logf: t.Logf}, c)
	if err != nil {
		t.Fatal(err)
	}
	d.pace = pace{every: 100 * time.Millisecond, look: 700 * time.Millisecond, act: 5 * time.Second}
	return d, clock
}

func journal(us *[]drivers.Undo) drivers.Journal {
	return func(_ context.Context, u drivers.Undo) error { *us = append(*us, u); return nil }
}

// config is the storage interface's state with all that Linux forgets when it goes down.
const config = `ip -br link show s0 | awk '{print $2}'; ip -4 route show dev s0; ip -6 route show dev s0 | grep -v fe80 | sed 's/ pref.*//'; ip -6 -o addr show dev s0 scope global | awk '{print $4}'`

func TestConformance(t *testing.T) {
	l := newLab(t)
	l.Echo(t, "3260")
	l.Sh("ip -6 addr add 2001:db8:1::2/64 dev s0 nodad; ip route add 203.0.113.0/24 via 198.51.100.9 metric 7; ip -6 route add 2001:db8:2::/64 via 2001:db8:1::9")
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return l.driver(t, nil) }, conformance.Options{
		State:   func() string { return l.Sh(config) },
		Hang:    l.ssh.Hang,
		Fail:    l.ssh.Fail,
		Wire:    l.Look(boxtest.Storage + ":3260"),
		Control: l.Look(boxtest.Management + ":3260"),
	})
	NewWithT(t).Expect(l.Leftovers()).To(BeEmpty())
}

func TestDeadManBringsItUp(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	l.Sh("ip route add 203.0.113.0/24 via 198.51.100.9")
	before := l.Sh(config)
	d, _ := l.driver(t, func(c *Config) { c.Seconds = 2 })
	seen := make(chan drivers.Observation, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, func(o drivers.Observation) { seen <- o }) }()
	var us []drivers.Undo
	g.Expect(d.BreakPath(ctx, drivers.LinkDown, journal(&us))).To(Succeed())
	g.Expect(l.Up(boxtest.StorageNIC)).To(Equal("down"))
	g.Expect(us[0].Args).To(HaveKeyWithValue("state", "up"))
	g.Expect(us[0].Until).To(BeTemporally(">", time.Now()))
	g.Eventually(seen, "2s").Should(Receive(HaveField("Value", "down")))
	g.Eventually(seen, "5s").Should(Receive(HaveField("Topic", drivers.LabFailure)))
	g.Expect(time.Now()).To(BeTemporally("<", us[0].Until.Add(time.Second)))
	cancel()
	g.Expect(<-done).To(Succeed())
	g.Expect(l.Sh(config)).To(Equal(before))
	g.Eventually(l.Leftovers, "2s").Should(BeEmpty())
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
}

func TestTheTimerIsArmedFirst(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	d, _ := l.driver(t, nil)
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, func(context.Context, drivers.Undo) error {
		g.Expect(l.Leftovers()).To(ContainSubstring("apd-link-"))
		g.Expect(l.Up(boxtest.StorageNIC)).To(Equal("up"))
		l.Sh("kill $(cat /run/apd-link-*.pid)") // somebody ends it between
		return nil
	})).To(MatchError(ContainSubstring("does not run any more")))
	g.Expect(l.Up(boxtest.StorageNIC)).To(Equal("up"))
	l.Sh("rm /run/apd-*")
	full := errors.New("full")
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, func(context.Context, drivers.Undo) error { return full })).To(MatchError(full))
	g.Expect(l.Leftovers()).To(BeEmpty())
}

func TestOneThatIsDownStaysDown(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	l.Sh("ip link set s0 down")
	d, _ := l.driver(t, nil)
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("down already")))
	var us []drivers.Undo
	g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(Succeed())
	g.Expect(us).To(HaveLen(1))
	g.Expect(l.Leftovers()).To(BeEmpty())
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
	g.Expect(l.Up(boxtest.StorageNIC)).To(Equal("down"))
}

func TestItNeverCutsItselfOff(t *testing.T) {
	l := newLab(t)
	l.Sh(`ip link add br0 type bridge; ip link set m1 master br0; ip addr add 192.0.2.7/24 dev br0; ip link set br0 up`)
	for name, c := range map[string]struct{ nic, peer, says string }{
		"the management's interface":     {boxtest.ManagementNIC, "192.0.2.1", "cut itself off"},
		"below the management's bridge":  {"m1", "192.0.2.1", "cut itself off"},
		"a client behind the storage":    {boxtest.StorageNIC, "198.51.100.1", "cut itself off"},
		"a link-local client's zone":     {boxtest.StorageNIC, "fe80::1%s0", "cut itself off"},
		"nothing is told of the client":  {boxtest.StorageNIC, "", "cannot be told"},
		"an interface that is not there": {"eth7", "192.0.2.1", "there is no interface eth7"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			l.ssh.Peer = c.peer
			d, _ := l.driver(t, func(f *Config) { f.Interface = c.nic })
			var us []drivers.Undo
			g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(MatchError(ContainSubstring(c.says)))
			g.Expect(us).To(BeEmpty())
			err := d.Probe(t.Context())
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			f := d.Examine(t.Context())
			g.Expect(f[0].OK).To(BeFalse())
			g.Expect(f[0].Say).To(ContainSubstring(c.says))
		})
	}
	l.ssh.Peer = "192.0.2.1"
}

// speakFreeBSD makes the box speak as FreeBSD does: its ifconfig and route are told by Linux's.
func speakFreeBSD(l lab) {
	l.Program("uname", "echo FreeBSD")
	l.Program("route", `echo "   route to: $3"; echo "  interface: m0"`)
	l.Program("ifconfig", `one() {
	case $(ip -o link show dev "$1") in *",UP"*) f="8843<UP,BROADCAST,RUNNING>" s=active ;; *) f="8802<BROADCAST>" s="no carrier" ;; esac
	printf '%s: flags=%s metric 0 mtu 1500\n\toptions=4c<VLAN_MTU>\n\tstatus: %s\n' "$1" "$f" "$s"
}
case "$1 $2" in
"-a ") one m0; one s0 ;;
*" up" | *" down") ip link set dev "$1" "$2" ;;
*) one "$1" ;;
esac`)
}

func TestFreeBSD(t *testing.T) {
	g := NewWithT(t)
	l := newLab(t)
	speakFreeBSD(l)
	d, _ := l.driver(t, func(c *Config) { c.Seconds = 1 })
	g.Expect(d.Probe(t.Context())).To(Succeed())
	for _, undo := range []bool{true, false} {
		var us []drivers.Undo
		g.Expect(d.BreakPath(t.Context(), drivers.LinkDown, journal(&us))).To(Succeed())
		g.Expect(l.Up(boxtest.StorageNIC)).To(Equal("down"))
		if undo {
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
		}
		g.Eventually(func() string { return l.Up(boxtest.StorageNIC) }, "4s").Should(Equal("up"))
		g.Eventually(l.Leftovers, "2s").Should(BeEmpty())
		g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
	}
	d, _ = l.driver(t, func(c *Config) { c.Interface = boxtest.ManagementNIC })
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("cut itself off")))
}

func TestWhatSystemsSay(t *testing.T) {
	g := NewWithT(t)
	v, err := parse(`os FreeBSD
uid 0
client 10.0.0.9
server 10.0.0.2
route   interface: vlan7
if igb0: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1500
if 	status: active
if igb1: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500
if 	status: no carrier
if lagg0: flags=8843<UP,BROADCAST> metric 0 mtu 1500
if 	laggport: igb0 flags=1c<ACTIVE>
if vlan7: flags=8843<UP,BROADCAST> metric 0 mtu 1500
if 	inet 10.0.0.2 netmask 0xffffff00 broadcast 10.0.0.255
if 	vlan: 7 vlanproto: 802.1q vlanpcp: 0 parent interface: lagg0
`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.carries("igb0")).To(Equal("vlan7"))
	g.Expect(v.carries("igb1")).To(BeEmpty())
	g.Expect(v.links["igb1"].up).To(BeFalse())
	g.Expect(v.links["igb1"].carrier).To(BeFalse())

	v, err = parse(`os Linux
server ::ffff:10.0.0.2
link 2: eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq master bond0 state UP
link 3: bond0: <BROADCAST,MULTICAST,MASTER,UP,LOWER_UP> mtu 1500
link 4: bond0.7@bond0: <BROADCAST,MULTICAST,UP> mtu 1500
addr 4: bond0.7    inet 10.0.0.2/24 scope global bond0.7\       valid_lft forever
rt4 default via 10.0.0.1 proto static linkdown
rt4 10.0.0.0/24 proto kernel scope link src 10.0.0.2
rt4 10.9.0.0/16 proto static
rt4 	nexthop via 10.0.0.3 weight 1
rt6 default via fe80::1 proto ra metric 100
rt4 1.2.3.4; reboot
own6 4: bond0.7    inet6 2001:db8::1/64 scope global dynamic \       valid_lft 10sec
`)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(v.carries("eth0")).To(Equal("bond0.7"))
	g.Expect(v.lost).To(Equal(lost{routes4: []string{"default via 10.0.0.1 proto static", "10.9.0.0/16 proto static"}}))
	_, err = parse("os SunOS\n")
	g.Expect(err).To(MatchError(ContainSubstring("neither")))
}

func TestUndoTakesNothingOnTrust(t *testing.T) {
	good := map[string]string{"system": "Linux", "interface": "s0", "state": "up", "timer": "apd-link-00000000", "routes4": "default via 10.0.0.1"}
	if _, err := undoOf(drivers.Undo{Args: good}); err != nil {
		t.Fatal(err)
	}
	for key, value := range map[string]string{"system": "Plan9", "interface": "s0; reboot", "state": "", "timer": "$(reboot)", "routes4": "a\nb'`"} {
		args := map[string]string{}
		for k, v := range good {
			args[k] = v
		}
		args[key] = value
		if _, err := undoOf(drivers.Undo{Args: args}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s %q: %v", key, value, err)
		}
	}
	for _, c := range []Config{{}, {Interface: "a b"}, {Interface: "eth0", Seconds: 1 << 30}, {Interface: "eth0"}} {
		_, err := open(drivers.Env{}, c)
		var op *drivers.Operator
		if !errors.As(err, &op) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("os Linux\nuid 0\nclient 10.0.0.9\nserver 10.0.0.2\nlink 2: a@b: <UP> master c\nroute x dev a\nrt4 default via 1.1.1.1\nown6 1: a inet6 ::1/64\n")
	f.Add("os FreeBSD\nif a: flags=1<UP>\nif \tlaggport: b\nif \tinet 1.2.3.4\nroute interface: a\n")
	f.Fuzz(func(t *testing.T, out string) {
		v, err := parse(out)
		if err != nil {
			return
		}
		v.carries("a")
		for _, l := range [][]string{v.lost.addrs6, v.lost.routes4, v.lost.routes6} {
			for _, w := range l {
				if !words.MatchString(w) {
					t.Errorf("%q would go into a shell", w)
				}
			}
		}
	})
}
