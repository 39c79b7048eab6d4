package scst

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
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

// kernel is modelled: a folder in place of SCST's sysfs, and what scst/README says that the kernel does with it. Its data is on a
// real tgtd. systemctl is a script that takes the whole folder away and brings it back.
type kernel struct {
	t     *testing.T
	box   *oversshtest.Box
	tgt   *oversshtest.Tgtd
	front *oversshtest.Front
	clock drivers.Clock
	root  string

	mu     sync.Mutex
	unit   bool
	silent bool
	blocks int
}

const systemctl = `case $1 in
is-active) if [ -d $BOX/scst ]; then echo active; else echo inactive; exit 3; fi;;
is-enabled) echo enabled;;
stop) mv $BOX/scst $BOX/scst.off;;
start) [ -d $BOX/scst ] || mv $BOX/scst.off $BOX/scst;;
esac`

func newKernel(t *testing.T) *kernel {
	t.Helper()
	tgt := oversshtest.NewTgtd(t)
	k := &kernel{t: t, tgt: tgt, box: oversshtest.New(t), front: oversshtest.NewFront(t, tgt.Portal), clock: drivers.Clock{Zero: time.Now()}, unit: true}
	k.root = filepath.Join(k.box.Dir, "scst")
	k.box.Map("/sys/kernel/scst_tgt", k.root)
	k.box.Program("systemctl", systemctl)
	k.box.Program("scstadmin", "")
	tgtDir := "scst/targets/iscsi/" + oversshtest.TargetName + "/"
	for name, text := range map[string]string{tgtDir + "enabled": "1\n", tgtDir + "luns/mgmt": "", tgtDir + "ini_groups/esx/luns/mgmt": "",
		tgtDir + "sessions/iqn.x:host/force_close": "", "scst/devices/disk1/block": "0 0\n",
		"scst/devices/disk1/filename": tgt.File() + "\n[key]\n"} {
		k.box.Write(name, text)
	}
	k.lun("luns", "disk1", "0")
	k.lun("ini_groups/esx/luns", "disk1", "1")
	k.box.OnDown = func() { _ = os.Rename(k.root, k.root+".off") }
	k.box.OnUp = func() { _ = os.Rename(k.root+".off", k.root) }
	oversshtest.Poll(t, k.mind)
	return k
}

func (k *kernel) in(name string) string {
	return filepath.Join(k.root, "targets/iscsi", oversshtest.TargetName, name)
}

func (k *kernel) read(name string) string {
	b, _ := os.ReadFile(name)
	return strings.TrimSpace(string(b))
}

// lun makes LUN 1 of a list, as "add" does.
func (k *kernel) lun(list, dev, readOnly string) {
	tmp := filepath.Join(k.box.Dir, "lun.new")
	_ = os.RemoveAll(tmp)
	_ = os.MkdirAll(tmp, 0o755)
	_ = os.WriteFile(filepath.Join(tmp, "read_only"), []byte(readOnly+"\n"), 0o644)
	_ = os.Symlink(filepath.Join(k.root, "devices", dev), filepath.Join(tmp, "device"))
	if err := os.Rename(tmp, k.in(list+"/1")); err != nil {
		k.t.Error(err)
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
	if _, err := os.Stat(k.root); err != nil {
		k.front.Set(oversshtest.Mode{Cut: true})
		return
	}
	there := false
	for _, list := range []string{"luns", "ini_groups/esx/luns"} {
		if cmd := k.read(k.in(list + "/mgmt")); cmd != "" {
			_ = os.Truncate(k.in(list+"/mgmt"), 0)
			switch cmd {
			case "del 1":
				_ = os.RemoveAll(k.in(list + "/1"))
			case "add disk1 1":
				k.lun(list, "disk1", "0")
			case "add disk1 1 read_only=1":
				k.lun(list, "disk1", "1")
			default:
				k.t.Errorf("the kernel does not know %q", cmd)
			}
		}
		_, err := os.Stat(k.in(list + "/1"))
		there = there || err == nil
	}
	if there != k.unit {
		if err := k.tgt.Unit(there); err != nil {
			k.t.Error(err)
		}
		k.unit = there
	}
	block := filepath.Join(k.root, "devices/disk1/block")
	change := map[string]int{"11 apd": 1, "0": -1}[k.read(block)]
	if change != 0 {
		k.blocks += change
		k.box.Write("scst/devices/disk1/block", fmt.Sprintf("%d 0\n", k.blocks))
	}
	disabled := k.read(k.in("enabled")) == "0"
	k.front.Set(oversshtest.Mode{Listen: true, Cut: disabled && k.read(k.in("sessions/iqn.x:host/force_close")) == "1", Reject: disabled, Freeze: k.blocks > 0, Silent: k.silent})
	if !disabled {
		_ = os.Truncate(k.in("sessions/iqn.x:host/force_close"), 0)
	}
}

func (k *kernel) state() string {
	s := oversshtest.Answers(k.front.Addr)
	for _, f := range []string{k.in("enabled"), k.in("luns/1/read_only"), k.in("ini_groups/esx/luns/1/read_only"), filepath.Join(k.root, "devices/disk1/block")} {
		s += " " + k.read(f)
	}
	return s
}

func (k *kernel) open(t *testing.T) *Driver {
	t.Helper()
	d, err := open(drivers.Env{ID: "target", Lane: lane, Clock: k.clock, Portal: k.front.Addr},
		Config{Config: overssh.Config{SSH: k.box.SSH(), Target: oversshtest.TargetName, LUN: 1}})
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
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return k.open(t), k.clock }, conformance.Options{
		State: k.state, Wire: look(k.front.Addr), Control: look(control.Portal),
		Hang: func() func() {
			k.set(func() { k.silent = true })
			k.box.Silence(true)
			return func() { k.set(func() { k.silent = false }); k.box.Silence(false) }
		},
		Fail: func() func() {
			_ = os.Rename(k.root, k.root+".off")
			return func() { _ = os.Rename(k.root+".off", k.root) }
		},
	})
}

// TestCheckImage finds the file behind the LUN, and what is wrong with it.
func TestCheckImage(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	k.box.Write("scst/targets/iscsi/"+oversshtest.TargetName+"/ini_groups/other/luns/mgmt", "")
	oversshtest.MakeExt(t, k.tgt.File())
	d := k.open(t)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	d.Hasten(300*time.Millisecond, time.Second)
	_, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).To(MatchError(ContainSubstring("initiators are logged in")))
	g.Expect(os.RemoveAll(k.in("sessions/iqn.x:host"))).To(Succeed())
	o, err := d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("store", k.tgt.File()))
	oversshtest.Overwrite(t, k.tgt.File(), 40<<10, 64<<10)
	o, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	k.box.Write("scst/devices/disk2/filename", "/there/is/none\n")
	k.lun("ini_groups/other/luns", "disk2", "0")
	_, err = d.CheckImage(t.Context(), 1)
	g.Expect(err).To(MatchError(ContainSubstring("to some initiators and")))
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/scst")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanCheckImage)).To(BeTrue())
	g.Expect(r.Type.(drivers.PathBreaker).BreakKinds()).To(ConsistOf(drivers.LoginReject, drivers.LUNGone, drivers.Hang))
}

func TestExamine(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	k := newKernel(t)
	k.box.Map("/etc/scst.conf", filepath.Join(k.box.Dir, "scst.conf"))
	g.Expect(k.open(t).Examine(t.Context())[3].Say).To(ContainSubstring("scstadmin -write_config"))
	k.box.Write("scst.conf", "TARGET "+oversshtest.TargetName+" {\n")
	g.Expect(k.open(t).Examine(t.Context())[3].OK).To(BeTrue())
}

func TestReaders(t *testing.T) {
	g := NewWithT(t)
	for out, want := range map[string]string{"active\nloaded": "on", "inactive": "off", "failed": "off", "deactivating\nloaded": "deactivating",
		"inactive\nloaded": "inactive with its kernel part", "active": "active without its kernel part"} {
		st, err := ReadService(out)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(st.Word).To(Equal(want), out)
	}
	for out, want := range map[string]overssh.State{"block a 0 0\nread": {Word: "on", Detail: "device a\n"}, "block a 1 0\nblock a 1 0\nread": {Word: "off", Detail: "device a\n"},
		"block a 1 1\nread": {Word: "being blocked", Detail: "device a\n"}} {
		g.Expect(ReadBlock(out)).To(Equal(want), out)
	}
	for _, out := range []string{"", "read", "block a 1\nread", "block ../a 1 0\nread", "block a x 0\nread", "block a 1 0"} {
		_, err := ReadBlock(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
	g.Expect(ReadLUNs("lun luns/1 disk1 0\nlun ini_groups/a/luns/1 disk1\nread")).To(Equal(overssh.State{Word: "on", Detail: "lun luns/1 disk1 0\nlun ini_groups/a/luns/1 disk1\n"}))
	for _, out := range []string{"", "lun /etc disk1\nread", "lun luns/1\nread", "Failed to connect to bus"} {
		_, err := ReadLUNs(out)
		g.Expect(err).To(HaveOccurred(), out)
		_, err = ReadService(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
}

func FuzzReaders(f *testing.F) {
	for _, s := range []string{"active\nloaded", "enabled 1\n[key]", "lun luns/1 disk1 0\nread", "block disk1 1 0\nread", ""} {
		f.Add(s)
	}
	f.Add("lun 1 /a\nlun 2\nread")
	f.Fuzz(func(t *testing.T, out string) {
		for name, read := range map[string]func(string) (overssh.State, error){"service": ReadService, "enabled": ReadEnabled, "luns": ReadLUNs, "block": ReadBlock} {
			if st, err := read(out); err == nil && st.Word == "" {
				t.Errorf("%s: no word for %q", name, out)
			}
		}
		_, _ = ReadStores(out)
	})
}
