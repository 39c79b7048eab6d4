package lio

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
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

const host = "iqn.1998-01.com.vmware:host"

// kernel is modelled: a folder in place of LIO's configfs, and what the kernel does when it changes (Linux 6.1, measured). Its data
// is on a real tgtd. As in configfs, a portal is a folder and a LUN is a link; unlike there, nothing is refused.
type kernel struct {
	t     *testing.T
	box   *oversshtest.Box
	tgt   *oversshtest.Tgtd
	front *oversshtest.Front
	clock drivers.Clock
	dir   string // of the portal group

	mu     sync.Mutex
	unit   bool
	shared bool // another target has the same portal
	silent bool
	off    bool // the whole machine
}

func newKernel(t *testing.T) *kernel {
	t.Helper()
	tgt := oversshtest.NewTgtd(t)
	k := &kernel{t: t, tgt: tgt, box: oversshtest.New(t), front: oversshtest.NewFront(t, tgt.Portal), clock: drivers.Clock{Zero: time.Now()}, unit: true}
	k.box.Map("/sys/kernel/config/target", filepath.Join(k.box.Dir, "target"))
	k.dir = filepath.Join(k.box.Dir, "target/iscsi", oversshtest.TargetName, "tpgt_1")
	k.make()
	k.box.Program("systemctl", `[ "$1 $2" = "is-enabled rtslib-fb-targetctl" ] && echo enabled`)
	k.box.OnDown = func() { k.set(func() { k.off = true }) }
	k.box.OnUp = func() { k.make(); k.set(func() { k.off = false }) } // as the saved configuration does
	oversshtest.Poll(t, k.mind)
	return k
}

// make makes the folders that targetcli would.
func (k *kernel) make() {
	k.t.Helper()
	tpg := "target/iscsi/" + oversshtest.TargetName + "/tpgt_1/"
	k.box.Write("target/iscsi/"+oversshtest.TargetName+"/fabric_statistics/iscsi_instance/sessions", "2\n")
	k.box.Write(tpg+"enable", "1\n")
	for _, d := range []string{tpg + "np/" + k.front.Addr, tpg + "lun/lun_1/statistics", tpg + "acls/" + host + "/lun_1", "target/core/fileio_0/disk"} {
		if err := os.MkdirAll(filepath.Join(k.box.Dir, d), 0o755); err != nil {
			k.t.Error(err)
		}
	}
	k.box.Write("target/core/fileio_0/disk/udev_path", "\n")
	k.box.Write("target/core/fileio_0/disk/info", "Status: ACTIVATED  Max Queue Depth: 0  SectorSize: 512  HwMaxSectors: 16384\n        TCM FILEIO ID: 0        File: "+k.tgt.File()+
		"  Size: 1048576  Mode: O_DSYNC Async: 0\n")
	for from, to := range map[string]string{"lun/lun_1/4c5f": filepath.Join(k.box.Dir, "target/core/fileio_0/disk"), "acls/" + host + "/lun_1/aa": filepath.Join(k.dir, "lun/lun_1")} {
		if err := os.Symlink(to, filepath.Join(k.dir, from)); err != nil && !os.IsExist(err) {
			k.t.Error(err)
		}
	}
}

func (k *kernel) set(f func()) {
	k.mu.Lock()
	f()
	k.mu.Unlock()
	k.mind()
}

// mind is the kernel.
func (k *kernel) mind() {
	k.mu.Lock()
	defer k.mu.Unlock()
	b, _ := os.ReadFile(filepath.Join(k.dir, "enable"))
	np, _ := os.ReadDir(filepath.Join(k.dir, "np"))
	links, _ := filepath.Glob(filepath.Join(k.dir, "lun/lun_1/4c5f"))
	disabled := strings.TrimSpace(string(b)) == "0"
	listen := (len(np) > 0 || k.shared) && !k.off
	k.front.Set(oversshtest.Mode{Listen: listen, Cut: disabled || k.off, Reject: disabled || k.shared && len(np) == 0, Silent: k.silent})
	if there := len(links) > 0; there != k.unit {
		if err := k.tgt.Unit(there); err != nil {
			k.t.Error(err)
		}
		k.unit = there
	}
}

// state is the tree, and whether the portal is there.
func (k *kernel) state() string {
	var all []string
	_ = filepath.WalkDir(k.dir, func(p string, e fs.DirEntry, err error) error {
		s := strings.TrimPrefix(p, k.dir)
		if b, err := os.ReadFile(p); err == nil {
			s += "=" + strings.TrimSpace(string(b))
		}
		all = append(all, s)
		return nil
	})
	sort.Strings(all)
	return strings.Join(all, " ") + oversshtest.Answers(k.front.Addr)
}

func (k *kernel) open(t *testing.T, lun int) *Driver {
	t.Helper()
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: k.clock, Portal: k.front.Addr},
		Config{Config: overssh.Config{SSH: k.box.SSH(), Target: oversshtest.TargetName, LUN: lun}})
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
	k := newKernel(t)
	control := oversshtest.NewTgtd(t)
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return k.open(t, 1), k.clock }, conformance.Options{
		State: k.state, Wire: look(k.front.Addr), Control: look(control.Portal),
		Hang: func() func() {
			k.set(func() { k.silent = true })
			k.box.Silence(true)
			return func() { k.set(func() { k.silent = false }); k.box.Silence(false) }
		},
		Fail: func() func() {
			k.tgt.Signal(syscall.SIGSTOP)
			return func() { k.tgt.Signal(syscall.SIGCONT) }
		},
	})
}

// TestStopOfASharedPortal stops a target whose portal another one has too: logins are rejected, so hosts see a PDL and no APD.
func TestStopOfASharedPortal(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	k.set(func() { k.shared = true })
	d := k.open(t, 1)
	d.Hasten(time.Second, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var u drivers.Undo
	err := d.StopService(ctx, func(_ context.Context, v drivers.Undo) error { u = v; return nil })
	g.Expect(err).To(MatchError(And(ContainSubstring("the wire shows login-reject"), ContainSubstring("PDL-shaped"))))
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.Undone))
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.NothingLeft))
}

// TestStopKeepsAllPortals stops a target with several portals, and finds that the undo knows them.
func TestStopKeepsAllPortals(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	g.Expect(os.Mkdir(filepath.Join(k.dir, "np/[::1]:3260"), 0o755)).To(Succeed())
	before := k.state()
	var u drivers.Undo
	g.Expect(k.open(t, 1).StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(filepath.Glob(filepath.Join(k.dir, "np/*"))).To(BeEmpty())
	// another process died in the middle of the undo
	g.Expect(os.Mkdir(filepath.Join(k.dir, "np", k.front.Addr), 0o755)).To(Succeed())
	g.Expect(k.open(t, 1).Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(k.state()).To(Equal(before))
}

// TestCheckImage finds the file behind the LUN, and what is wrong with it.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	oversshtest.MakeExt(t, k.tgt.File())
	d := k.open(t, 1)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	d.Hasten(300*time.Millisecond, time.Second)
	_, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).To(MatchError(ContainSubstring("initiators are logged in")))
	k.box.Write("target/iscsi/"+oversshtest.TargetName+"/fabric_statistics/iscsi_instance/sessions", "0\n")
	o, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("store", k.tgt.File()))
	oversshtest.Overwrite(t, k.tgt.File(), 40<<10, 64<<10)
	o, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	k.box.Write("target/core/fileio_0/disk/udev_path", "/there/is/none\n") // the path that its maker has set goes before
	o, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(Equal("/there/is/none is not there"))
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/lio")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanCheckImage)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanReboot)).To(BeTrue())
	g.Expect(r.Type.(drivers.PathBreaker).BreakKinds()).To(ConsistOf(drivers.LoginReject, drivers.LUNGone))
	g.Expect(r.Lacks(Config{})).To(HaveKeyWithValue(drivers.Power("lun-gone"), why0))
	g.Expect(r.Lacks(Config{Config: overssh.Config{LUN: 1}})).To(BeEmpty())
	_, err := r.Open(t.Context(), drivers.Env{Decode: func(any) error { return os.ErrInvalid }})
	g.Expect(err).To(MatchError(os.ErrInvalid))
}

func TestExamine(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	k.box.Map("/etc/rtslib-fb-target/saveconfig.json", filepath.Join(k.box.Dir, "saved"))
	ok := func() (all []bool) {
		for _, f := range k.open(t, 1).Examine(t.Context()) {
			all = append(all, f.OK)
		}
		return all
	}
	g.Expect(ok()).To(Equal([]bool{false, true, true, false, true}))
	k.box.Write("saved", `{"wwn": "`+oversshtest.TargetName+`"}`)
	g.Expect(ok()).To(Equal([]bool{false, true, true, true, true}))
}

func FuzzReaders(f *testing.F) {
	for _, s := range []string{"absent", "enabled 1\nportal 10.0.0.1:3260\nportal [::]:3260", "enabled 0", "enabled 2", "cat: enable: Permission denied\nenabled",
		"link lun/lun_1/a /x\nlink acls/i/lun_1/b /y/lun_1\nread", "read", "link /etc/passwd /x\nread", "link lun/../../x /y\nread"} {
		f.Add(s)
	}
	f.Add("lun 1 /a\nlun 2\nread")
	f.Fuzz(func(t *testing.T, out string) {
		for name, read := range map[string]func(string) (overssh.State, error){"service": ReadService, "enable": ReadEnable, "links": ReadLinks} {
			st, err := read(out)
			if err == nil && st.Word == "" {
				t.Errorf("%s: no word for %q", name, out)
			}
			if err == nil && name == "service" && st.Word == overssh.On && len(overssh.Marked(st.Detail, "portal")) == 0 {
				t.Errorf("it serves without a portal: %q", out)
			}
		}
		_, _ = ReadStores(out)
	})
}

func TestReaders(t *testing.T) {
	g := NewWithT(t)
	for out, want := range map[string]string{"absent": "absent", "enabled 1\nportal a:1": "on", "enabled 0": "off", "enabled 1": "half stopped", "enabled 0\nportal a:1": "half stopped"} {
		st, err := ReadService(out)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st.Word).To(Equal(want), out)
	}
	for _, out := range []string{"", "enabled", "enabled 1\nenabled 0", "sh: cd: Permission denied"} {
		_, err := ReadService(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	for _, out := range []string{"", "link a b\nread", "link /a /b\nread"} {
		_, err := ReadLinks(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
}
