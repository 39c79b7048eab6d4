package xigmanas

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

var lane = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Modelled}

// rc is modelled: it speaks as FreeBSD's rc.subr does of a script whose name is istgt, and asks the test, by the file "want", for
// a real daemon (tgtd in place of istgt) to be started or ended. As on a secondary node of HAST, it can be deaf to all but force.
const rc = `want() { echo "$1" >"$BOX/want"; while [ "$(cat "$BOX/is")" != "$1" ]; do sleep 0.02; done; }
is=$(cat "$BOX/is")
[ -e "$BOX/secondary" ] && case $1 in onestop|onestart) exit 0;; esac
case $1 in
onestatus) if [ "$is" = on ]; then echo "istgt is running as pid 4711."; else echo "istgt is not running."; exit 1; fi;;
onestop) [ "$is" = on ] || { echo "istgt not running? (check /var/run/istgt.pid)."; exit 1; }; echo "Stopping istgt."; want off;;
onestart) [ "$is" = off ] || { echo "istgt already running? (pid=4711)."; exit 1; }; echo "Starting istgt."; want on;;
rcvar) printf '# istgt\n#\nistgt_enable="YES"\n#   (default: "")\n';;
*) exit 1;;
esac`

type rig struct {
	box   *oversshtest.Box
	tgt   *oversshtest.Tgtd
	clock drivers.Clock
	boots int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{tgt: oversshtest.NewTgtd(t), box: oversshtest.New(t), clock: drivers.Clock{Zero: time.Now()}}
	r.box.Map(script, r.box.Program("iscsi_target", rc))
	r.box.Map("/proc/sys/kernel/random/boot_id", filepath.Join(r.box.Dir, "there-is-no-proc"))
	r.box.Program("sysctl", `[ "$2" = kern.boottime ] && cat $BOX/boottime`)
	_, port, _ := net.SplitHostPort(r.tgt.Portal)
	r.box.Program("sockstat", `echo "USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS"
echo "root     istgt      4711  9  tcp4   10.0.0.2:`+port+`         10.0.0.9:51234"`)
	r.boot()
	r.box.Write("is", "on\n")
	r.box.Write("want", "on\n")
	oversshtest.Poll(t, r.mind)
	r.box.OnDown = func() { r.box.Write("want", "off\n") }
	r.box.OnUp = func() { r.boot(); r.box.Write("want", "on\n") }
	return r
}

// boot makes another boot of it, as seen in kern.boottime.
func (r *rig) boot() {
	r.boots++
	r.box.Write("boottime", fmt.Sprintf("{ sec = %d, usec = 421 } Mon Nov  6 20:26:40 2017\n", 1510000000+100*r.boots))
}

// mind starts and ends the daemon.
func (r *rig) mind() {
	want, _ := os.ReadFile(filepath.Join(r.box.Dir, "want"))
	is, _ := os.ReadFile(filepath.Join(r.box.Dir, "is"))
	switch w := strings.TrimSpace(string(want)); {
	case w == "" || w == strings.TrimSpace(string(is)):
		return
	case w == "on":
		r.tgt.Up()
		r.box.Write("is", "on\n")
	default:
		r.tgt.Kill()
		r.box.Write("is", "off\n")
	}
}

func (r *rig) open(t *testing.T) *Driver {
	t.Helper()
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: r.clock, Portal: r.tgt.Portal}, Config{overssh.Config{SSH: r.box.SSH(), Target: oversshtest.TargetName, LUN: 1}})
	if err != nil {
		t.Fatal(err)
	}
	d.(*Driver).Hasten(20*time.Second, time.Second)
	return d.(*Driver)
}

func look(portal string) func(context.Context) error {
	return func(ctx context.Context) error {
		return iscsi.Probe(ctx, portal, "iqn.2026-11.x:kit", oversshtest.TargetName, 1)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	control := oversshtest.NewTgtd(t)
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return r.open(t), r.clock }, conformance.Options{
		State: func() string { return oversshtest.Answers(r.tgt.Portal) }, Wire: look(r.tgt.Portal), Control: look(control.Portal),
		Hang: func() func() {
			r.tgt.Signal(syscall.SIGSTOP)
			r.box.Silence(true)
			return func() { r.tgt.Signal(syscall.SIGCONT); r.box.Silence(false) }
		},
		Fail: func() func() {
			r.box.Write("want", "off\n")
			oversshtest.Await(t, "the end of the daemon", func() bool { return oversshtest.Answers(r.tgt.Portal) == "refuses" })
			return func() {
				r.box.Write("want", "on\n")
				oversshtest.Await(t, "the daemon", func() bool { return look(r.tgt.Portal)(t.Context()) == nil })
			}
		},
	})
}

// TestCheckImage finds the file extent in the configuration that the system has made for istgt. A FreeBSD has no xfs_repair.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	base, name, _ := strings.Cut(oversshtest.TargetName, ":")
	r.box.Map(conf, r.box.Write("istgt.conf", fmt.Sprintf("[Global]\n  NodeBase \"%s\"\n[LogicalUnit1]\n  TargetName \"%s\"\n  LUN1 Storage %s 10GiB\n", base, name, r.tgt.File())))
	oversshtest.MakeExt(t, r.tgt.File())
	d := r.open(t)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	d.Hasten(300*time.Millisecond, time.Second)
	_, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).To(MatchError(ContainSubstring("1 initiators are logged in")))
	r.box.Program("sockstat", `echo "USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS"`)
	o, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	oversshtest.Overwrite(t, r.tgt.File(), 40<<10, 64<<10)
	o, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(os.Remove(r.tgt.File())).To(Succeed())
	o, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Text).To(HaveSuffix("is not there"))
}

// TestSecondaryNode stops a node of HAST that is not primary: its script does nothing and says that all is well.
func TestSecondaryNode(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	r.box.Write("secondary", "")
	d := r.open(t)
	d.Hasten(time.Second, time.Second)
	err := d.StopService(t.Context(), func(context.Context, drivers.Undo) error { return nil })
	g.Expect(err).To(MatchError(And(ContainSubstring(`it says "on", and the wire shows serving`), ContainSubstring("HAST"))))
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/xigmanas")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanCheckImage)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanReboot)).To(BeTrue())
	_, breaks := r.Type.(drivers.PathBreaker)
	g.Expect(breaks).To(BeFalse())
	want := Config{overssh.Config{Target: "iqn.x:t", Portal: "10.0.0.1:3260"}}
	_, err := r.Open(t.Context(), drivers.Env{Decode: func(v any) error { *v.(*Config) = want; return nil }})
	g.Expect(err).To(MatchError(ContainSubstring("ssh: address is not host:port")))
}

func TestConnections(t *testing.T) {
	g := NewWithT(t)
	const head = "USER     COMMAND    PID   FD PROTO  LOCAL ADDRESS         FOREIGN ADDRESS\n"
	g.Expect(Connections(head, "3260")).To(Equal(0))
	g.Expect(Connections(head+"root istgt 4711 9 tcp4 10.0.0.2:3260 10.0.0.9:51234\nroot istgt 4711 9 tcp4 10.0.0.2:3261 10.0.0.9:51234\nroot nc 1 9 tcp4 10.0.0.2:3260 a:1\n", "3260")).To(Equal(1))
	_, err := Connections("sockstat: illegal option", "3260")
	g.Expect(err).To(HaveOccurred())
}

func FuzzConnections(f *testing.F) {
	f.Add("USER COMMAND PID FD PROTO LOCAL ADDRESS FOREIGN ADDRESS\nroot istgt 4711 9 tcp4 10.0.0.2:3260 10.0.0.9:51234")
	f.Fuzz(func(t *testing.T, out string) {
		if n, err := Connections(out, "3260"); err == nil && (n < 0 || n > strings.Count(out, "\n")+1) {
			t.Errorf("%d connections in %q", n, out)
		}
	})
}
