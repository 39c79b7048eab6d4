package istgt

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

var lane = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Embedded}

const target = "iqn.2026-11.allpathsdown.test:nas"

// initScript stands for the init script: it asks the test, by the file "want", to start or end the daemon, which is a real istgt.
const initScript = `case $1 in stop|onestop) w=off;; start|onestart) w=on;; *) exit 1;; esac
echo $w >"$BOX/want"; while [ "$(cat "$BOX/is")" != $w ]; do sleep 0.05; done`

type rig struct {
	t      *testing.T
	box    *oversshtest.Box
	portal string
	clock  drivers.Clock

	mu  sync.Mutex
	cmd *exec.Cmd
}

func newRig(t *testing.T) *rig {
	t.Helper()
	if _, err := localproc.LookPath("istgt"); err != nil {
		t.Skipf("%v (Debian package istgt)", err)
	}
	r := &rig{t: t, box: oversshtest.New(t), portal: iscsitest.FreeAddr(t), clock: drivers.Clock{Zero: time.Now()}}
	r.box.Map(debian, r.box.Program("istgt.init", initScript))
	r.box.Map(pidFile, filepath.Join(r.box.Dir, "pid"))
	bin, _ := localproc.LookPath("istgt")
	r.box.Program("istgt", "exec "+bin+` "$@"`)
	_, port, _ := net.SplitHostPort(r.portal)
	_, control, _ := net.SplitHostPort(iscsitest.FreeAddr(t))
	lun := r.box.Write("disk", strings.Repeat("\x00", 1<<20))
	r.box.Write("auth.conf", "")
	r.box.Write("istgt.conf", fmt.Sprintf(`[Global]
  NodeBase "iqn.2026-11.allpathsdown.test"
  PidFile %[1]s/pid
  AuthFile %[1]s/auth.conf
  MediaDirectory %[1]s
  Timeout 30
  NopInInterval 20
  DiscoveryAuthMethod None
  MaxSessions 32
[UnitControl]
  AuthMethod None
  Portal UC1 127.0.0.1:%[4]s
  Netmask 127.0.0.1
[PortalGroup1]
  Portal DA1 127.0.0.1:%[2]s
[InitiatorGroup1]
  InitiatorName "ALL"
  Netmask 127.0.0.0/8
[LogicalUnit1]
  TargetName nas
  Mapping PortalGroup1 InitiatorGroup1
  AuthMethod None
  UnitType Disk
  LUN0 Storage %[3]s Auto
`, r.box.Dir, port, lun, control))
	r.box.Write("want", "on\n")
	r.box.Write("is", "off\n")
	oversshtest.Poll(t, r.mind)
	t.Cleanup(func() { r.end(syscall.SIGKILL) })
	r.box.OnDown = func() { r.end(syscall.SIGKILL); r.box.Write("is", "off\n"); r.box.Write("want", "off\n") }
	r.box.OnUp = func() { r.box.Write("want", "on\n") }
	oversshtest.Await(t, "istgt", func() bool { return r.look(t.Context()) == nil })
	return r
}

// mind starts and ends the daemon, as the init script would.
func (r *rig) mind() {
	want, _ := os.ReadFile(filepath.Join(r.box.Dir, "want"))
	is, _ := os.ReadFile(filepath.Join(r.box.Dir, "is"))
	switch w := strings.TrimSpace(string(want)); {
	case w == "" || w == strings.TrimSpace(string(is)):
		return
	case w == "on":
		r.mu.Lock()
		bin, _ := localproc.LookPath("istgt")
		r.cmd = exec.Command(bin, "-D", "-c", filepath.Join(r.box.Dir, "istgt.conf"), "-p", filepath.Join(r.box.Dir, "pid"))
		r.cmd.Dir = r.box.Dir
		if err := oversshtest.Start(r.cmd); err != nil {
			r.t.Error(err)
			r.cmd = nil
		}
		r.mu.Unlock()
		end := time.Now().Add(5 * time.Second)
		for oversshtest.Answers(r.portal) != "listens" && time.Now().Before(end) {
			time.Sleep(10 * time.Millisecond)
		}
	default:
		r.end(syscall.SIGTERM)
	}
	r.box.Write("is", string(want))
}

func (r *rig) end(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = r.cmd.Process.Signal(s)
		_ = r.cmd.Wait()
		r.cmd = nil
	}
}

func (r *rig) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil {
		_ = r.cmd.Process.Signal(s)
	}
}

func (r *rig) look(ctx context.Context) error {
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: r.portal, InitiatorName: "iqn.2026-11.x:kit", TargetName: target})
	if err != nil {
		return err
	}
	defer s.Close()
	return s.TestReady(ctx, iscsi.NewLUN(0)) // no logout: istgt needs 1 s for it
}

func (r *rig) open(t *testing.T, unit int) *Driver {
	t.Helper()
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: r.clock, Portal: r.portal},
		Config{Config: overssh.Config{SSH: r.box.SSH(), Target: target}, Unit: unit, Conf: filepath.Join(r.box.Dir, "istgt.conf")})
	if err != nil {
		t.Fatal(err)
	}
	return d.(*Driver)
}

func (r *rig) conf() string {
	b, _ := os.ReadFile(filepath.Join(r.box.Dir, "istgt.conf"))
	return string(b)
}

// plain is the driver without BreakPath: each stop of a real istgt takes 4 s, so not-ready has a test of its own.
type plain struct {
	drivers.Driver
	drivers.ServiceStopper
}

func TestConformance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	control := oversshtest.NewTgtd(t)
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { d := r.open(t, 0); return plain{d, d}, r.clock }, conformance.Options{
		State: func() string {
			is, _ := os.ReadFile(filepath.Join(r.box.Dir, "is"))
			return string(is)
		},
		Wire: func(ctx context.Context) error { // the kit gives a look 1 s, which istgt's login alone takes
			if a := oversshtest.Answers(r.portal); a != "listens" {
				return fmt.Errorf("the portal %s", a)
			}
			return nil
		},
		Control: func(ctx context.Context) error {
			return iscsi.Probe(ctx, control.Portal, "iqn.x:kit", oversshtest.TargetName, 1)
		},
		Hang: func() func() {
			r.signal(syscall.SIGSTOP)
			r.box.Silence(true)
			return func() { r.signal(syscall.SIGCONT); r.box.Silence(false) }
		},
		Fail: func() func() { r.signal(syscall.SIGSTOP); return func() { r.signal(syscall.SIGCONT) } },
	})
}

// TestCheckImage finds in a real istgt's own configuration what its LUN is made of.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	d := r.open(t, 0)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	o, err := d.CheckImage(t.Context(), 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("stored"), "%+v", o)
	disk := filepath.Join(r.box.Dir, "disk")
	g.Expect(o.Attrs).To(And(HaveKeyWithValue("store", disk), HaveKeyWithValue("size", "1048576")))
	file := disk + ".new"
	oversshtest.MakeExt(t, file)
	oversshtest.Resize(t, disk, 8<<20)
	oversshtest.Run(t, "coreutils", "dd", "if="+file, "of="+disk, "conv=notrunc")
	o, err = d.CheckImage(t.Context(), 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(ContainSubstring("had 1048576 when"))
	o, err = r.open(t, 0).CheckImage(t.Context(), 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	_, err = d.CheckImage(t.Context(), 5)
	g.Expect(err).To(MatchError(ContainSubstring("no LUN 5")))
	s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: r.portal, InitiatorName: "iqn.x:host", TargetName: target})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Close()
	d.Hasten(300*time.Millisecond, time.Second)
	_, err = d.CheckImage(t.Context(), 0)
	g.Expect(err).To(MatchError(ContainSubstring("1 initiators are logged in")))
}

// TestNotReady makes a real istgt answer with 2/04/00, and finds its configuration as it was.
func TestNotReady(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	before := r.conf()
	var u drivers.Undo
	g.Expect(r.open(t, 7).BreakPath(t.Context(), drivers.NotReady, nil)).To(MatchError(ContainSubstring("no such unit")))
	g.Expect(r.open(t, 1).BreakPath(t.Context(), drivers.NotReady, func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(r.conf()).To(ContainSubstring("[LogicalUnit1]\n  UnitOnline No\n"))
	g.Expect(r.look(t.Context())).To(MatchError(ContainSubstring("sense 2/04/00")))
	g.Expect(r.open(t, 1).Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(r.conf()).To(Equal(before))
	g.Expect(r.open(t, 1).Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))
}

func TestReboot(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	var u drivers.Undo
	g.Expect(r.open(t, 0).RebootTarget(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(r.open(t, 0).Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(r.look(t.Context())).To(Succeed())
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/istgt")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(r.Type.(drivers.PathBreaker).BreakKinds()).To(ConsistOf(drivers.NotReady))
	g.Expect(r.Lacks(Config{})).To(HaveLen(1))
	g.Expect(r.Lacks(Config{Unit: 1})).To(BeEmpty())
}

func TestReaders(t *testing.T) {
	g := NewWithT(t)
	for out, want := range map[string]string{"istgt\nstatus 0": "on", "status 1": "off", "bash\nstatus 0": "off"} {
		st, err := ReadProcess(out)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st.Word).To(Equal(want), out)
	}
	for _, out := range []string{"", "status", "ps: not found\nstatus 127", "error: garbage option\nstatus 0"} {
		_, err := ReadProcess(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(ReadOnline("unit there")).To(Equal(overssh.State{Word: "on"}))
	g.Expect(ReadOnline("online Yes\nunit there")).To(Equal(overssh.State{Word: "on", Detail: "Yes"}))
	g.Expect(ReadOnline("online no\nunit there")).To(Equal(overssh.State{Word: "off", Detail: "no"}))
	for _, out := range []string{"", "online Yes", "online Yes\nonline No\nunit there"} {
		_, err := ReadOnline(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(starts("K01x S02istgt README")).To(BeTrue())
	g.Expect(starts("S02ssh K01istgt")).To(BeFalse())
	g.Expect(starts(`istgt_enable="NO"`)).To(BeFalse())
}

func FuzzReaders(f *testing.F) {
	f.Add("istgt\nstatus 0")
	f.Add("online Yes\nunit there")
	f.Fuzz(func(t *testing.T, out string) {
		for _, read := range []func(string) (overssh.State, error){ReadProcess, ReadOnline} {
			if st, err := read(out); err == nil && st.Word == "" {
				t.Errorf("no word for %q", out)
			}
		}
	})
}
