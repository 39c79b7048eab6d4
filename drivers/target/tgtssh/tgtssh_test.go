package tgtssh

import (
	"context"
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

var lane = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Embedded}

type rig struct {
	box   *oversshtest.Box
	tgt   *oversshtest.Tgtd
	clock drivers.Clock
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{tgt: oversshtest.NewTgtd(t), box: oversshtest.New(t), clock: drivers.Clock{Zero: time.Now()}}
	r.box.Setenv("TGT_IPC_SOCKET=" + r.tgt.Socket)
	r.box.OnDown, r.box.OnUp = r.tgt.Kill, r.tgt.Up
	return r
}

func (r *rig) open(t *testing.T) *Driver {
	t.Helper()
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: r.clock, Portal: r.tgt.Portal},
		Config{Config: overssh.Config{SSH: r.box.SSH(), Target: oversshtest.TargetName, LUN: 1}, Control: r.tgt.Control})
	if err != nil {
		t.Fatal(err)
	}
	d.(*Driver).Hasten(20*time.Second, time.Second)
	return d.(*Driver)
}

// state is the daemon's own list without its sessions, and whether the portal is there.
func (r *rig) state() string {
	s := oversshtest.Answers(r.tgt.Portal)
	out, err := r.tgt.Adm("--mode", "target", "--op", "show")
	if err != nil {
		return s
	}
	for l := range strings.Lines(out) {
		l = strings.TrimSpace(l)
		for _, p := range []string{"State:", "LUN:", "SCSI ID:", "SCSI SN:", "Backing store path:", "Readonly:"} {
			if strings.HasPrefix(l, p) {
				s += "; " + l
			}
		}
	}
	return s
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
		State: r.state, Wire: look(r.tgt.Portal), Control: look(control.Portal),
		Hang: func() func() {
			r.tgt.Signal(syscall.SIGSTOP)
			r.box.Silence(true)
			return func() { r.tgt.Signal(syscall.SIGCONT); r.box.Silence(false) }
		},
		Fail: func() func() { r.tgt.Kill(); return r.tgt.Up },
	})
}

// TestStopCutsSessions holds a session while the service is stopped: a target without its portal alone would serve it on.
func TestStopCutsSessions(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: r.tgt.Portal, InitiatorName: "iqn.x:host", TargetName: oversshtest.TargetName})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Close()
	g.Expect(s.TestReady(t.Context(), iscsi.NewLUN(1))).To(Succeed())
	var u drivers.Undo
	g.Expect(r.open(t).StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Eventually(s.Done(), "2s").Should(BeClosed())
	g.Expect(r.open(t).Undo(t.Context(), u)).To(Equal(drivers.Undone))
}

// TestUnitKeepsItsName takes a LUN away whose identity is not tgtd's own, and finds it again.
func TestUnitKeepsItsName(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	for _, p := range []string{"scsi_id=IET     00020009", "scsi_sn=nas9", "readonly=1"} {
		out, err := r.tgt.Adm("--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "--params", p)
		g.Expect(err).NotTo(HaveOccurred(), out)
	}
	before := r.state()
	g.Expect(before).To(ContainSubstring("00020009"))
	var u drivers.Undo
	g.Expect(r.open(t).BreakPath(t.Context(), drivers.LUNGone, func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(r.open(t).Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(r.state()).To(Equal(before))
}

// TestCheckImage has an XFS on a LUN of a real tgtd, beside one that holds nothing, and damages it.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	file := filepath.Join(r.tgt.Dir, "xfs")
	oversshtest.MakeXFS(t, file)
	out, err := r.tgt.Adm("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "2", "-b", file)
	g.Expect(err).NotTo(HaveOccurred(), out)
	d := r.open(t)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	for lun, want := range map[int]string{1: "stored", 2: "clean"} {
		o, err := d.CheckImage(t.Context(), lun)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(o.Value).To(Equal(want), "%+v", o)
	}
	oversshtest.Overwrite(t, file, 512, 8<<10)
	o, err := d.CheckImage(t.Context(), 2)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("store", file))
	_, err = d.CheckImage(t.Context(), 0) // tgtd's controller
	g.Expect(err).To(MatchError(ContainSubstring("the target has no LUN 0")))
	s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: r.tgt.Portal, InitiatorName: "iqn.x:host", TargetName: oversshtest.TargetName})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Close()
	d.Hasten(300*time.Millisecond, time.Second)
	_, err = d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("1 initiators are logged in")))
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/tgt-ssh")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanCheckImage)).To(BeTrue())
	g.Expect(r.Type.(drivers.PathBreaker).BreakKinds()).To(ConsistOf(drivers.LoginReject, drivers.LUNGone))
	g.Expect(r.Lacks(Config{})).To(HaveLen(1))
}

const list = "Target 1: iqn.x:a\n    System information:\n        State: ready\n    LUN information:\n        LUN: 1\n            SCSI ID: IET     00010001\n" +
	"            Backing store type: rdwr\n            Backing store path: /a\n    Account information:\nTarget 2: iqn.x:b\n        State: offline\nstatus 0"

func TestReaders(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ReadPortals("Portal: 10.0.0.1:3260,1\nPortal: [::]:3260,1\nstatus 0")).To(Equal(overssh.State{Word: "on", Detail: "portal 10.0.0.1:3260\nportal [::]:3260\n"}))
	g.Expect(ReadPortals("status 0")).To(Equal(overssh.State{Word: "off"}))
	g.Expect(ReadPortals("tgtadm: failed to send request hdr to tgt daemon\nstatus 107")).To(Equal(overssh.State{Word: "without a daemon"}))
	g.Expect(ReadTarget(list, "iqn.x:a")).To(Equal(overssh.State{Word: "on"}))
	g.Expect(ReadTarget(list, "iqn.x:b")).To(Equal(overssh.State{Word: "off"}))
	g.Expect(ReadUnit(list, "iqn.x:a", 1)).To(Equal(overssh.State{Word: "on", Detail: "scsi_id IET     00010001\ntype rdwr\npath /a\n"}))
	g.Expect(ReadUnit(list, "iqn.x:a", 2)).To(Equal(overssh.State{Word: "off"}))
	g.Expect(ReadStores(list, "iqn.x:a")).To(Equal(map[int]string{1: "/a"}))
	for _, out := range []string{"", "status 1", "what?\nstatus 0"} {
		_, serr := ReadStores(out, "iqn.x:a")
		g.Expect(serr).To(HaveOccurred(), out)
		_, err := ReadPortals(out)
		g.Expect(err).To(HaveOccurred(), out)
		_, err = ReadTarget(out, "iqn.x:a")
		g.Expect(err).To(HaveOccurred(), out)
	}
}

func FuzzReaders(f *testing.F) {
	f.Add(list)
	f.Add("Portal: 10.0.0.1:3260,1\nstatus 0")
	f.Add("tgtadm: no\nstatus 1")
	f.Fuzz(func(t *testing.T, out string) {
		for _, read := range []func() (overssh.State, error){
			func() (overssh.State, error) { return ReadPortals(out) },
			func() (overssh.State, error) { return ReadTarget(out, "iqn.x:a") },
			func() (overssh.State, error) { return ReadUnit(out, "iqn.x:a", 1) },
		} {
			if st, err := read(); err == nil && st.Word == "" {
				t.Errorf("no word for %q", out)
			}
		}
		if found, err := ReadStores(out, "iqn.x:a"); err != nil && found != nil {
			t.Errorf("%v of %q", found, out)
		}
	})
}
