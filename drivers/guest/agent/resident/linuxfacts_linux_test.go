package resident

import (
	"bytes"
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

var update = flag.Bool("update", false, "write the .want files anew; then read them")

// plant makes a folder of a text in the language of testdata/trees/README.md.
func plant(t *testing.T, text string) tree {
	t.Helper()
	root := t.TempDir()
	place := func(name string) string {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		return at
	}
	file := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		name, value, hasValue := strings.Cut(l, " = ")
		link, target, isLink := strings.Cut(l, " -> ")
		var err error
		switch {
		case strings.HasPrefix(l, "\t"):
			var f *os.File
			if f, err = os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0); err == nil {
				_, err = f.WriteString(l[1:] + "\n")
				_ = f.Close()
			}
		case l == "" || l[0] == '#':
		case hasValue:
			err = os.WriteFile(place(name), []byte(value+"\n"), 0o600)
		case isLink:
			var rel string
			if rel, err = filepath.Rel(filepath.Dir(link), target); err == nil {
				err = os.Symlink(rel, place(link))
			}
		case strings.HasSuffix(l, ":"):
			file = place(strings.TrimSuffix(l, ":"))
			err = os.WriteFile(file, nil, 0o600)
		case strings.HasSuffix(l, "/"):
			err = os.MkdirAll(place(l), 0o755)
		default:
			t.Fatalf("not a line of a tree: %q", l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree(root)
}

func plantFile(t *testing.T, name string) tree {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "trees", name+".tree"))
	if err != nil {
		t.Fatal(err)
	}
	return plant(t, string(text))
}

// tables stands in for the device mapper.
func tables(name string) string {
	if name == "mpatha" {
		return "2 queue_if_no_path retain_attached_hw_handler 1 alua 2 1 service-time 0 1 2 8:0 1 1 service-time 0 1 2 8:16 1 1"
	}
	return ""
}

func lines(settings map[string]string) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&b, "%s %s\n", k, settings[k])
	}
	return b.String()
}

func TestGuestsOfTheTrees(t *testing.T) {
	trees, err := filepath.Glob("testdata/trees/*.tree")
	if err != nil || len(trees) < 7 {
		t.Fatal(trees, err)
	}
	for _, file := range trees {
		name := strings.TrimSuffix(filepath.Base(file), ".tree")
		t.Run(name, func(t *testing.T) {
			l := linuxFacts(t.Context(), plantFile(t, name), "/var/lib/apd", tables, time.Minute)
			if len(l.Unread) > 0 {
				t.Fatal(l.Unread)
			}
			got := lines(l.Settings())
			want := filepath.Join("testdata", "trees", name+".want")
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(b) {
				t.Errorf("got\n%s\nwant\n%s", got, b)
			}
			if strings.Contains(got, "not-to-be-told") {
				t.Error("a secret is told")
			}
		})
	}
}

// What stands in the trees decides: each of these changes one thing and must change what is told.
func TestOtherTreesTellOtherThings(t *testing.T) {
	for _, c := range []struct{ tree, old, new, key, want string }{
		{"centos7-lvm-pvscsi", "/timeout = 180\n", "/timeout = 30\n", "vmware_udev_followed", "no"},
		{"centos7-lvm-pvscsi", "echo 180 ", "echo 60 ", "vmware_udev_followed", "no"},
		{"centos7-lvm-pvscsi", `ATTRS{model}=="Virtual`, `ATTRS{model}=="Another`, "vmware_udev_followed", "no such disk"},
		{"centos7-lvm-pvscsi", `"VMware`, `"Other`, "vmware_udev_rule", "none"},
		{"centos7-lvm-pvscsi", "release 7.3.1611", "release 6.9", "distro_version", "7"},
		{"centos7-lvm-pvscsi", `VERSION_ID="7"`, `VERSION_ID="10"`, "distro_recognised", "no"},
		{"centos7-lvm-pvscsi", "uuid = LVM-", "uuid = other-", "root_stack", "xfs on dm centos-root on partition sda2 on disk sda"},
		{"centos7-lvm-pvscsi", "= vmw_pvscsi", "= mptsas", "disk.sda.transport", "mptsas"},
		{"debian12-virtio", "\terrors=remount-ro\n", "", "root_errors", "remount-ro"}, // the mount table says so, too
		{"debian12-virtio", "errors=remount-ro", "errors=panic", "root_errors", "panic"},
		{"rhel8-multipath-iscsi", "uuid = mpath-", "uuid = DMRAID-", "multipath.mpatha.queue_if_no_path", ""},
		{"rhel8-multipath-iscsi", "recovery_tmo = off", "recovery_tmo = 120", "iscsi.session2.recovery_tmo", "120"},
		{"rhel8-multipath-iscsi", "recovery_tmo = off", "recovery_tmo = -1", "iscsi.session2.recovery_tmo", "off"},
		{"rhel8-multipath-iscsi", "timeout = 120", "timeout = x", "iscsi_replacement_timeout", ""},
		{"centos6-upstart", "/etc/init/rcS.conf", "/etc/other", "init", "sysvinit"},
		{"centos6-upstart", "/99-vmware-scsi-udev.rules -> ", "/98-vmware-scsi-udev.rules -> ", "disk.sda.rule_timeout", "180"},
		{"alpine-openrc", "/run/openrc/", "/run/", "init", "other: init"},
		{"sles15-btrfs-nvme", "= 180000", "= 30000", "vmware_udev_followed", "no"},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", "trees", c.tree+".tree"))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), c.old) {
			t.Fatalf("%s has no %q", c.tree, c.old)
		}
		changed := strings.ReplaceAll(string(text), c.old, c.new)
		if got := linuxFacts(t.Context(), plant(t, changed), "/var/lib/apd", tables, time.Minute).Settings()[c.key]; got != c.want {
			t.Errorf("%s with %q: %s is %q, want %q", c.tree, c.new, c.key, got, c.want)
		}
	}
}

func TestWholeDisk(t *testing.T) {
	for name, c := range map[string]struct{ at, node, name string }{
		"centos7-lvm-pvscsi":    {"/sys/block/dm-0", "/dev/sda", "sda"},
		"rhel8-multipath-iscsi": {"/sys/block/dm-2", "/dev/dm-0", "sda"}, // what the file system waits for is the map
		"debian12-virtio":       {"/sys/dev/block/254:1", "/dev/vda", "vda"},
	} {
		tr := plantFile(t, name)
		if got := tr.wholeDisk(tr.real(c.at)); got.node != c.node || got.name != c.name {
			t.Errorf("%s: %+v, want %+v", name, got, c)
		}
	}
}

// A device mapper that does not answer must not keep the hello: what the kernel told before it is told.
func TestFactsThatDoNotCome(t *testing.T) {
	never := make(chan struct{})
	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-asked; cancel() }()
	l := linuxFacts(ctx, plantFile(t, "rhel8-multipath-iscsi"), "/var/lib/apd", func(string) string {
		close(asked)
		<-never
		return ""
	}, time.Minute)
	s := l.Settings()
	if s["root_stack"] == "" || s["disk.sda.transport"] != "iscsi" || s["iscsi.session1.recovery_tmo"] != "5" || s["unread"] == "" {
		t.Error(lines(s))
	}
	for _, k := range []string{"distro", "distro_recognised", "vmware_udev_rule", "multipath.mpatha.queue_if_no_path"} {
		if s[k] != "" {
			t.Errorf("%s is %q although it was not read", k, s[k])
		}
	}
	close(never)
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if l := linuxFacts(ctx, tree(t.TempDir()), "/var/lib/apd", nil, time.Minute); l == nil {
		t.Error("nothing at all")
	}
}

// An agent in this process tells of this machine, whatever that is.
func TestFactsOfThisMachine(t *testing.T) {
	r := start(t, func(o *Options) { o.Quiet = true })
	h := r.until("hello", func(m agent.Message) bool { return m.Type == agent.TypeHello })
	if h.Hello.Linux == nil || h.Hello.Linux.Root.FS != h.Hello.RootFS || h.Hello.Linux.Init == "" || len(h.Hello.Linux.Unread) > 0 {
		t.Errorf("%+v", h.Hello.Linux)
	}
	t.Log(lines(h.Hello.Linux.Settings()))
}

func TestDeviceMapperMessages(t *testing.T) {
	buf, err := dmRequest("mpatha")
	if err != nil || len(buf) != dmBuffer || unsafe.Sizeof(unix.DmIoctl{}) != 312 || binary.Size(unix.DmIoctl{}) != 312 ||
		!bytes.HasPrefix(buf[48:], []byte("mpatha\x00")) {
		t.Fatal(err, len(buf))
	}
	if kind, args := dmAnswer(buf); kind != "" || args != "" {
		t.Error("a question is not an answer", kind, args)
	}
	if _, err := dmRequest(strings.Repeat("x", 128)); err == nil {
		t.Error("a name that does not fit was taken")
	}
	answer := dmTestAnswer("multipath", "1 queue_if_no_path 0 1 1 round-robin 0 1 1 8:0 1000")
	kind, args := dmAnswer(answer)
	if f, q := multipathFeatures(args); kind != "multipath" || f != "queue_if_no_path" || q != "yes" {
		t.Error(kind, args, f, q)
	}
	if kind, _ := dmAnswer(answer[:360]); kind != "" {
		t.Error("arguments without an end were taken")
	}
	for args, want := range map[string]string{"0 0 1 1": "no", "1 pg_init_retries": "no", "": "", "x": "", "-1": "", "9 a": "", "2 a queue_if_no_path": "yes"} {
		if _, got := multipathFeatures(args); got != want {
			t.Errorf("%q: %q, want %q", args, got, want)
		}
	}
}

func dmTestAnswer(kind, args string) []byte {
	q := unix.DmIoctl{Data_start: 312, Target_count: 1}
	spec := unix.DmTargetSpec{Length: 1}
	copy(spec.Target_type[:], kind)
	var b bytes.Buffer
	_ = binary.Write(&b, binary.NativeEndian, &q)
	_ = binary.Write(&b, binary.NativeEndian, &spec)
	b.WriteString(args)
	b.Write(make([]byte, 8))
	return b.Bytes()
}

func TestBoundsOfATree(t *testing.T) {
	var b strings.Builder
	for i := range disksLimit + 5 {
		fmt.Fprintf(&b, "/sys/block/sd%03d/device/timeout = 30\n", i)
	}
	fmt.Fprintf(&b, "/etc/big = %s\n/etc/folder/\n", strings.Repeat("x", textLimit+10))
	tr := plant(t, b.String())
	if disks, more := tr.disks(); len(disks) != disksLimit || more != 5 || disks[0].Timeout != "30" {
		t.Error(len(disks), more)
	}
	if got := len(tr.text("/etc/big")); got != textLimit {
		t.Error(got)
	}
	if len(tr.line("/etc/big")) != wordLimit || tr.text("/etc/folder") != "" || tr.text("/none") != "" {
		t.Error("more than a word, or a folder, was read")
	}
	if err := unix.Mkfifo(string(tr)+"/etc/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	if tr.text("/etc/pipe") != "" { // would hang
		t.Error("a pipe was read")
	}
	if err := os.Symlink("dm-0", string(tr)+"/x"); err != nil {
		t.Fatal(err)
	}
	// A stack that leads back to itself ends.
	loop := plant(t, `
/sys/block/dm-0/dm/name = a
/sys/block/dm-0/slaves/dm-1 -> /sys/block/dm-1
/sys/block/dm-1/dm/name = b
/sys/block/dm-1/slaves/dm-0 -> /sys/block/dm-0
`)
	s := stack{t: loop, seen: map[string]bool{}}
	s.add("/sys/block/dm-0", 0)
	m := agent.Mount{FS: "ext4", Stack: s.layers}
	if len(s.layers) != 2 || m.Words() == "" {
		t.Error(s.layers, m.Words())
	}
}

func TestGlobs(t *testing.T) {
	for _, c := range []struct {
		patterns, value string
		want            bool
	}{
		{"VMware*", "VMware", true}, {"VMware  ", "VMware", true}, {"VMware", "VMware  ", true}, {"Virtual disk*", "Virtual disk", true},
		{"A|VMware*", "VMware,", true}, {"VMware*", "QEMU", false}, {"[", "[", false}, {"a*", "a/b", true}, {"?*", "", false},
		{strings.Repeat("*a", 600), "a", false},
	} {
		if got := globs(c.patterns, c.value); got != c.want {
			t.Errorf("%.20q for %q: %v", c.patterns, c.value, got)
		}
	}
}

// told checks that what came out of a parser fits into a message.
func told(t *testing.T, v any) {
	t.Helper()
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if v.Len() > 2*wordLimit+1 {
				t.Fatalf("a word of %d bytes", v.Len())
			}
		case reflect.Slice:
			if v.Len() > sectionsLimit {
				t.Fatalf("a list of %d", v.Len())
			}
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i))
			}
		}
	}
	walk(reflect.ValueOf(v))
}

// seedTrees adds a file of every tree that has it.
func seedTrees(f *testing.F, name string) {
	trees, err := filepath.Glob("testdata/trees/*.tree")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range trees {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(b), "\n"+name+":\n")
		for l := range strings.Lines(rest) {
			if ok = ok && l[0] == '\t'; !ok {
				break
			}
			f.Add(l[1:])
		}
		rest, _, _ = strings.Cut(rest, "\n/")
		f.Add(strings.ReplaceAll("\n"+rest, "\n\t", "\n"))
	}
}

func FuzzMountTable(f *testing.F) {
	seedTrees(f, "/proc/self/mountinfo")
	f.Add("0 0 0 0 /var/ 0 - 0 0")
	f.Add("1 1 ../../x:y / / rw - xfs none\n")
	f.Add("1 1 8:1 / /a\\040b rw shared:1 master:2 - ext4 /dev/sda1 rw,errors=panic\n")
	tr := tree(f.TempDir())
	f.Fuzz(func(t *testing.T, in string) {
		told(t, tr.mountFacts(in, "/var/lib/apd"))
		if m, ok := mountOf(in, "/var"); ok && !strings.HasPrefix("/var", strings.TrimSuffix(m.point, "/")) {
			t.Fatalf("%+v", m)
		}
		if u := unescape(in); len(u) > len(in) {
			t.Fatal(u)
		}
		told(t, ext4Errors(in, in))
	})
}

func FuzzDistro(f *testing.F) {
	seedTrees(f, "/usr/lib/os-release")
	f.Add("CentOS Linux release 7.3.1611 (Core)")
	f.Add("ID=\"\"\nVERSION_ID=9.\n")
	f.Fuzz(func(t *testing.T, in string) {
		d := distro(in, in, in)
		told(t, d)
		if d.Known && d.ID == "" {
			t.Fatalf("%+v", d)
		}
	})
}

func FuzzUdevRules(f *testing.F) {
	seedTrees(f, "/usr/lib/udev/rules.d/99-vmware-scsi-udev.rules")
	seedTrees(f, "/usr/lib/udev/rules.d/99-vmware-nvme-udev.rules")
	seedTrees(f, "/etc/udev/rules.d/50-disks.rules")
	f.Add(`ACTION=="add|change", SUBSYSTEMS=="scsi", ATTRS{vendor}=="VMware  " , ATTRS{model}=="Virtual disk    ",   RUN+="/bin/sh -c 'echo 180 >/sys$DEVPATH/device/timeout'"`)
	f.Fuzz(func(t *testing.T, in string) {
		rules := parseRules(in)
		told(t, rules)
		d := agent.Disk{Vendor: "VMware", Model: "Virtual disk"}
		if w := wanted(rules, d); w != "" && number(w) == "" {
			t.Fatalf("%q is no time", w)
		}
	})
}

func FuzzMultipathConf(f *testing.F) {
	seedTrees(f, "/etc/multipath.conf")
	f.Add("devices\n{\ndevice{vendor x no_path_retry 3}}")
	f.Add("defaults { features \"1 queue_if_no_path\n")
	f.Add("} } {")
	f.Fuzz(func(t *testing.T, in string) {
		told(t, noPathRetry(in))
		told(t, func() []string { a, b := multipathFeatures(in); return []string{a, b} }())
		told(t, (&agent.Linux{NoPathRetry: noPathRetry(in)}).Settings())
	})
}

func FuzzISCSI(f *testing.F) {
	seedTrees(f, "/etc/iscsi/iscsid.conf")
	f.Add("120")
	f.Add("off")
	f.Fuzz(func(t *testing.T, in string) {
		v := iscsiSetting(in, replacement)
		told(t, v)
		if v != "-1" && v != "" && number(strings.TrimPrefix(v, "+")) == "" {
			t.Fatalf("%q", v)
		}
		attr := func(string) string { return in }
		s := iscsiSession(in, attr, attr)
		told(t, s)
		if s.Recovery != "off" && s.Recovery != number(in) {
			t.Fatalf("%+v", s)
		}
		told(t, part(in, "session"))
	})
}

func FuzzDeviceMapperAnswer(f *testing.F) {
	f.Add(dmTestAnswer("multipath", "1 queue_if_no_path 0 1 1 round-robin 0 1 1 8:0 1000"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, args := dmAnswer(in)
		if len(args) > len(in) {
			t.Fatal(args)
		}
	})
}
