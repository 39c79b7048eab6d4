package overssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

// withImage gives the toy a LUN 2 that is made of a file, and tells that nobody is logged in.
func withImage(t *testing.T) (r *rig, file string) {
	t.Helper()
	r = newRig(t)
	file = filepath.Join(r.box.Dir, "image")
	stores := r.file("stores")
	r.box.Write("stores", stores+"\nlun 2 "+file+"\n")
	return r, file
}

// idle is the toy of which nobody is an initiator.
func (r *rig) idle(c Config) *Driver {
	d := r.open(c)
	d.sys.Sessions = "cat $BOX/sessions 2>/dev/null || echo 0"
	return d
}

func seen(t *testing.T, d *Driver, lun int) drivers.Observation {
	t.Helper()
	o, err := d.CheckImage(t.Context(), lun)
	if err != nil {
		t.Fatal(err)
	}
	if o.Topic != "image" || o.Kind != drivers.Event || o.Lane != lane || o.Lo > o.Hi || o.Attrs["lun"] != fmt.Sprint(lun) {
		t.Errorf("it is no image event: %+v", o)
	}
	return o
}

func TestCheckImageOfXFS(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeXFS(t, file)
	d := r.idle(r.config())
	g.Expect(d.Probe(t.Context())).To(Succeed())
	o := seen(t, d, 2)
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(And(HaveKeyWithValue("what", fmt.Sprintf("xfs, %d bytes, a file", oversshtest.XFSBytes)), HaveKeyWithValue("contents", "checked: xfs_repair -n"),
		HaveKeyWithValue("store", file), HaveKeyWithValue("read", "not asked for (read_image)"), Not(HaveKey("pool"))))
	before := make([]byte, 16<<10)
	disk, err := os.Open(file)
	g.Expect(err).NotTo(HaveOccurred())
	defer disk.Close()
	_, err = disk.ReadAt(before, 0)
	g.Expect(err).NotTo(HaveOccurred())

	oversshtest.Overwrite(t, file, 512, 8<<10) // behind the superblock: the first group's headers
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(ContainSubstring("xfs is damaged"))

	oversshtest.Put(t, file, 0, before)
	g.Expect(seen(t, d, 2).Value).To(Equal("clean"))
	oversshtest.Put(t, file, 0, make([]byte, 64<<10)) // the superblock is gone, and nothing is left that could be checked
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(Equal("it had xfs when the driver first saw it, and now has nothing"))
	g.Expect(seen(t, r.idle(r.config()), 2).Value).To(Equal("stored")) // to one that has not seen it before
}

func TestCheckImageOfExt(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeExt(t, file)
	d := r.idle(r.config())
	o := seen(t, d, 2)
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("contents", "checked: e2fsck -fn"))
	oversshtest.Overwrite(t, file, 40<<10, 64<<10)
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(ContainSubstring("ext2-4 is damaged"))
	defer r.swap("e2fsck", "exit 8")()
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("stored"))
	g.Expect(o.Attrs["contents"]).To(ContainSubstring("not looked into: e2fsck -fn ended with status 8"))
}

// TestCheckImageOfThePartition has the file system in a disk's only partition.
func TestCheckImageOfThePartition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		make func(testing.TB, string)
		at   int64
	}{"xfs": {oversshtest.MakeXFS, 512}, "ext2-4": {oversshtest.MakeExt, 40 << 10}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			r, file := withImage(t)
			c.make(t, file+".part")
			oversshtest.Shift(t, file, file+".part")
			d := r.idle(r.config())
			o := seen(t, d, 2)
			g.Expect(o.Attrs["what"]).To(HavePrefix(name + " in its only partition"))
			if strings.Contains(o.Attrs["contents"], "no read-only device") {
				t.Skip("this machine gives no loop device: " + o.Attrs["contents"])
			}
			g.Expect(o.Value).To(Equal("clean"), "%+v", o)
			loops, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
			g.Expect(err).NotTo(HaveOccurred())
			for _, l := range loops { // no device of it stays
				b, _ := os.ReadFile(l)
				g.Expect(string(b)).NotTo(ContainSubstring(r.box.Dir))
			}
			oversshtest.Overwrite(t, file, 1<<20+c.at, 64<<10)
			g.Expect(seen(t, d, 2).Value).To(Equal("damaged"))
			defer r.swap("losetup", "echo no device >&2; exit 1")()
			want := map[string]string{"xfs": "stored", "ext2-4": "damaged"}[name] // e2fsck needs no device
			g.Expect(seen(t, d, 2).Value).To(Equal(want))
		})
	}
}

// TestStored has LUNs whose store is whole, and whose contents nobody here can check.
func TestStored(t *testing.T) {
	t.Parallel()
	r, file := withImage(t)
	xfs := file + ".xfs"
	oversshtest.MakeXFS(t, xfs)
	for name, c := range map[string]struct {
		make     func(t *testing.T) func()
		contents string
	}{
		"vmfs": {func(t *testing.T) func() {
			oversshtest.Resize(t, file, 4<<20)
			oversshtest.Put(t, file+".vmfs", 1<<20, []byte("\x0d\xd0\x01\xc0"))
			oversshtest.Shift(t, file, file+".vmfs")
			return nil
		}, "nothing here can check vmfs"},
		"ntfs": {func(t *testing.T) func() {
			oversshtest.Put(t, file, 0, []byte("\xeb\x52\x90NTFS    "))
			return nil
		}, "nothing here can check ntfs"},
		"nothing": {func(*testing.T) func() { return nil }, "there is nothing in it"},
		"unknown": {func(t *testing.T) func() { oversshtest.Overwrite(t, file, 0, 4096); return nil }, "nothing that is known"},
		"no program": {func(t *testing.T) func() {
			oversshtest.Run(t, "coreutils", "cp", "--sparse=always", xfs, file)
			r.box.Map("command -v xfs_repair", "command -v there-is-no-such-program")
			return nil
		}, "the system has no xfs_repair"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			oversshtest.Resize(t, file, 0)
			oversshtest.Resize(t, file, 4<<20)
			oversshtest.Resize(t, file+".vmfs", 3<<20)
			if mend := c.make(t); mend != nil {
				defer mend()
			}
			o := seen(t, r.idle(r.config()), 2)
			g.Expect(o.Value).To(Equal("stored"), "%+v", o)
			g.Expect(o.Text).To(BeEmpty())
			g.Expect(o.Attrs["contents"]).To(And(HavePrefix("not looked into: "), ContainSubstring(c.contents)))
		})
	}
}

// TestDirtyLog has an XFS whose log was not replayed: what xfs_repair -n then finds may be no damage.
func TestDirtyLog(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeXFS(t, file)
	defer r.swap("xfs_repair", `echo "Phase 1 - find and verify superblock..."
echo "ALERT: The filesystem has valuable metadata changes in a log which is being"; echo "ignored because the -n option was used."; exit 1`)()
	o := seen(t, r.idle(r.config()), 2)
	g.Expect(o.Value).To(Equal("stored"))
	g.Expect(o.Attrs["contents"]).To(ContainSubstring("its journal has not been replayed"))
}

func TestStoreIsGoneOrOtherwise(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.Resize(t, file, 4<<20)
	d := r.idle(r.config())
	g.Expect(d.Probe(t.Context())).To(Succeed())
	g.Expect(seen(t, d, 2).Value).To(Equal("stored"))
	oversshtest.Resize(t, file, 2<<20)
	o := seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(ContainSubstring("has 2097152 bytes, and had 4194304 when the driver first saw it"))
	g.Expect(os.Remove(file)).To(Succeed())
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(Equal(file + " is not there"))
	g.Expect(o.Attrs["what"]).To(Equal("gone"))

	var op *drivers.Operator
	for _, c := range []struct {
		lun  int
		want string
		do   func()
	}{
		{7, "the target has no LUN 7", func() {}},
		{2, "neither a file nor a volume", func() { g.Expect(os.Mkdir(file, 0o755)).To(Succeed()) }},
		{2, "made of no file and of no volume", func() { r.box.Write("stores", "lun 2 \n") }},
		{2, "to some initiators and", func() { r.box.Write("stores", "lun 2 /a\nlun 2 /b\n") }},
		{2, "made of no file and of no volume, but of \"a/b\"", func() { r.box.Write("stores", "lun 2 a/b\n") }},
	} {
		c.do()
		_, err := d.CheckImage(t.Context(), c.lun)
		g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
		g.Expect(err).To(MatchError(ContainSubstring(c.want)))
	}
}

const tank = `  pool: tank
 state: %s
  scan: scrub repaired 0B in 00:00:01 with %s errors on Sun Nov  1 00:24:02 2026
config:

	NAME        STATE     READ WRITE CKSUM
	tank        %s     0     0     0
	  mirror-0  ONLINE       0     0     0
	    sda     ONLINE       0     0     %s
	    sdb     ONLINE       0     0     0

errors: %s
`

func pool(state, scan, cksum, errs string) string {
	return fmt.Sprintf(tank, state, scan, state, cksum, errs)
}

const noErrors = "No known data errors"

// TestPool has the file on a ZFS that is well, or not in one way each.
func TestPool(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeExt(t, file)
	r.box.Program("df", `echo "Filesystem Type 1024-blocks Used Available Capacity Mounted on"; echo "tank/vm zfs 1 1 1 50% /tank/vm"`)
	r.box.Program("zpool", `[ "$1 $2" = "status tank" ] && cat $BOX/pool`)
	r.box.Write("pool", pool("ONLINE", "0", "0", noErrors))
	d := r.idle(r.config())
	g.Expect(d.Probe(t.Context())).To(Succeed())
	o := seen(t, d, 2)
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("pool", "tank ONLINE"))
	for want, text := range map[string]string{
		"it is DEGRADED": pool("DEGRADED", "0", "0", noErrors),
		"checksum) or a bad state at sda ONLINE 0 0 3": pool("ONLINE", "0", "3", noErrors),
		"1.2K":                           pool("ONLINE", "0", "1.2K", noErrors),
		"scrub or resilver met 2 errors": pool("ONLINE", "2", "0", noErrors),
		"5 data errors":                  pool("ONLINE", "0", "0", "5 data errors, use '-v' for a list"),
	} {
		r.box.Write("pool", text)
		o := seen(t, d, 2)
		g.Expect(o.Value).To(Equal("damaged"), want)
		g.Expect(o.Text).To(And(ContainSubstring("the pool tank is not well"), ContainSubstring(want)))
	}
	// one that was ill before the run is not the run's doing, and nothing to be confirmed by
	late := r.idle(r.config())
	g.Expect(late.Probe(t.Context())).To(Succeed())
	f := late.Examine(t.Context())
	g.Expect(f[len(f)-1].OK).To(BeFalse())
	g.Expect(f[len(f)-1].Say).To(ContainSubstring("The pool tank below LUN"))
	o = seen(t, late, 2)
	g.Expect(o.Value).To(Equal("stored"))
	g.Expect(o.Attrs["contents"]).To(ContainSubstring("as it was when the driver first saw it"))
	r.box.Write("pool", "cannot open 'tank': no such pool\n")
	_, err := d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("cannot be looked at")))
}

// TestReadToItsEnd reads the whole file, with a disk that can and one that cannot.
func TestReadToItsEnd(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeExt(t, file)
	oversshtest.Resize(t, file, 8<<20+512) // the end is in no whole block
	c := r.config()
	c.ReadImage = true
	d := r.idle(c)
	var mu sync.Mutex
	var said []string
	d.env.Logf = func(f string, a ...any) { mu.Lock(); defer mu.Unlock(); said = append(said, fmt.Sprintf(f, a...)) }
	o := seen(t, d, 2)
	g.Expect(o.Value).To(Equal("clean"), "%+v", o)
	g.Expect(o.Attrs).To(HaveKeyWithValue("read", "to its end"))
	g.Expect(said).To(ContainElement(ContainSubstring("read 8389120 of 8389120 bytes")))
	r.box.Program("dd", `case "$*" in *of=/dev/null*) echo "dd: error reading '/x': Input/output error"; echo "3+0 records in"; exit 1;; esac; exec /bin/dd "$@"`)
	o = seen(t, d, 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(ContainSubstring("Input/output error"))
	r.box.Program("dd", `echo "dd: error reading '/x': Input/output error" >&2; exit 1`) // not even its beginning
	o = seen(t, r.idle(r.config()), 2)
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).To(And(ContainSubstring("cannot be read"), ContainSubstring("Input/output error")))
	r.box.Program("dd", `case "$*" in *of=/dev/null*) sleep 20;; esac; exec /bin/dd "$@"`)
	d.t.read = 500 * time.Millisecond
	_, err := d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("did not answer over SSH in time")))
}

// TestNotWhileInUse checks a LUN while an initiator is logged in, and one that comes in the middle; the driver's own looks are none.
func TestNotWhileInUse(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeExt(t, file)
	d := r.idle(r.config())
	r.box.Write("sessions", "2\n")
	_, err := d.CheckImage(t.Context(), 2)
	var op *drivers.Operator
	g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
	g.Expect(op.Cause).To(And(HavePrefix("2 initiators are logged in at"), HaveSuffix("before its file system is checked")))
	g.Expect(op.Do).To(ContainSubstring("shut down what uses the target"))
	r.box.Write("sessions", "0\n")
	mend := r.swap("e2fsck", "echo 1 >$BOX/sessions; exit 4")
	_, err = d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("after its file system was checked")))
	mend()
	r.box.Write("sessions", "what?\n")
	_, err = d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("how many initiators are logged in is not told")))
	oversshtest.Resize(t, file, 0)
	oversshtest.Resize(t, file, 1<<20)
	g.Expect(seen(t, d, 2).Value).To(Equal("stored")) // nothing is checked there that could be in use

	// the count is of connections at the portal, of which the driver makes one itself each second
	oversshtest.MakeExt(t, file)
	_, port, _ := strings.Cut(r.front.Addr, ":")
	d = r.open(r.config())
	d.t.settle = 10 * time.Second
	d.sys.Sessions = "ss -Htn state established sport = :" + port + " | wc -l"
	look := r.watch(d)
	g.Eventually(func() bool { return look("service", "serving") }, "5s").Should(BeTrue())
	g.Expect(seen(t, d, 2).Value).To(Equal("clean"))
	s, err := iscsi.Dial(t.Context(), iscsi.Config{Portal: r.front.Addr, InitiatorName: "iqn.x:host", TargetName: oversshtest.TargetName})
	g.Expect(err).NotTo(HaveOccurred())
	defer s.Close()
	d.t.settle = 300 * time.Millisecond
	_, err = d.CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(ContainSubstring("1 initiators are logged in")))
}

func TestCheckImageIsBounded(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r, file := withImage(t)
	oversshtest.MakeExt(t, file)
	c := r.config()
	c.ImageWithin = time.Second
	defer r.swap("e2fsck", "sleep 30")()
	_, err := r.idle(c).CheckImage(t.Context(), 2)
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	g.Expect(err).To(MatchError(ContainSubstring("did not answer over SSH in time")))
}

func TestReadPaths(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ReadPaths("lun 0 /a b\nlun 3 /dev/sda\nlun 3 /dev/sda\nlun 4\nlun 5 \nread")).To(Equal(map[int]string{0: "/a b", 3: "/dev/sda", 4: "", 5: ""}))
	for _, out := range []string{"lun x /a", "lun -1 /a", "lun 1 /a\nlun 1 /b"} {
		_, err := ReadPaths(out)
		g.Expect(err).To(HaveOccurred(), out)
	}
}
