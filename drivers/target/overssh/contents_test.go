package overssh

import (
	"encoding/binary"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// gptDisk makes a head with a GPT of the sector size, of the partitions from-to.
func gptDisk(sector int, spans ...[2]uint64) []byte {
	b := make([]byte, headBytes)
	copy(b[sector:], "EFI PART")
	binary.LittleEndian.PutUint64(b[sector+72:], 2)
	binary.LittleEndian.PutUint32(b[sector+80:], 128)
	binary.LittleEndian.PutUint32(b[sector+84:], 128)
	for i, s := range spans {
		e := b[2*sector+128*i:]
		e[0] = 1
		binary.LittleEndian.PutUint64(e[32:], s[0])
		binary.LittleEndian.PutUint64(e[40:], s[1])
	}
	b[510], b[511] = 0x55, 0xaa // the guard
	b[446+4] = 0xee
	b[446+8], b[446+12] = 1, 0xff
	return b
}

func with(b []byte, at int, s string) []byte {
	copy(b[at:], s)
	return b
}

func TestIdentify(t *testing.T) {
	g := NewWithT(t)
	zero := func() []byte { return make([]byte, headBytes) }
	for name, c := range map[string]struct {
		head []byte
		mib  string
		want Contents
		look bool
	}{
		"xfs":            {with(zero(), 0, "XFSB"), "", Contents{FS: XFS}, false},
		"ext":            {with(zero(), 1080, "\x53\xef"), "", Contents{FS: Ext}, false},
		"ntfs":           {with(zero(), 3, "NTFS    "), "", Contents{FS: NTFS}, false},
		"vmfs":           {zero(), "\x0d\xd0\x01\xc0", Contents{FS: VMFS}, false},
		"nothing":        {zero(), "", Contents{FS: Nothing}, false},
		"unknown":        {with(zero(), 7, "x"), "", Contents{FS: Unknown}, false},
		"nothing at all": {nil, "", Contents{FS: Nothing}, false},
		"gpt":            {gptDisk(512, [2]uint64{2048, 4095}), "", Contents{FS: Unknown, Start: 1 << 20, Bytes: 1 << 20, Parts: 1}, true},
		"gpt of 4 KiB":   {gptDisk(4096, [2]uint64{256, 511}), "", Contents{FS: Unknown, Start: 1 << 20, Bytes: 1 << 20, Parts: 1}, true},
		"gpt of two":     {gptDisk(512, [2]uint64{2048, 4095}, [2]uint64{4096, 8191}), "", Contents{FS: Several, Parts: 2}, false},
		"gpt of none":    {gptDisk(512), "", Contents{FS: Nothing}, false},
		"gpt backwards":  {gptDisk(512, [2]uint64{4095, 2048}), "", Contents{FS: Unknown}, false},
		"guard alone":    {append(append([]byte{}, gptDisk(512)[:512]...), make([]byte, 4096)...), "", Contents{FS: Unknown}, false},
	} {
		got, look := identify(c.head, []byte(c.mib))
		g.Expect(got).To(Equal(c.want), name)
		g.Expect(look).To(Equal(c.look), name)
	}
	g.Expect(Contents{FS: Several, Parts: 3}.String()).To(Equal("3 partitions"))
	g.Expect(Contents{FS: XFS, Parts: 1}.String()).To(Equal("xfs in its only partition"))
	g.Expect(readHex(" 00 ff\n 10\n")).To(Equal([]byte{0, 0xff, 0x10}))
	_, err := readHex("od: /dev/sda: Permission denied")
	g.Expect(err).To(HaveOccurred())
}

func FuzzIdentify(f *testing.F) {
	f.Add(gptDisk(512, [2]uint64{2048, 4095}), []byte(nil))
	f.Add(gptDisk(4096, [2]uint64{256, 1 << 60}), []byte("\x0d\xd0\x01\xc0"))
	f.Add([]byte("XFSB"), []byte{})
	f.Add(gptDisk(512)[:512], []byte{})
	f.Fuzz(func(t *testing.T, head, mib []byte) {
		c, look := identify(head, mib)
		if c.FS == "" || look != (c.Parts == 1) || c.Start < 0 || c.Bytes < 0 || look && c.Start == 0 {
			t.Errorf("%+v, %v", c, look)
		}
	})
}

func TestReadPool(t *testing.T) {
	g := NewWithT(t)
	p, err := ReadPool(pool("ONLINE", "0", "0", noErrors), "tank")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p).To(Equal(Pool{Name: "tank", State: "ONLINE"}))
	// with a spare, a log, and a disk that is gone (zpool-status(8))
	p, err = ReadPool(`  pool: tank
 state: DEGRADED
status: One or more devices could not be used because the label is missing or
	invalid.  Sufficient replicas exist for the pool to continue
action: Replace the device using 'zpool replace'.
   see: https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-4J
  scan: none requested
config:

	NAME                     STATE     READ WRITE CKSUM
	tank                     DEGRADED     0     0     0
	  mirror-0               DEGRADED     0     0     0
	    sda                  ONLINE       0     0     0
	    1234567890123456789  UNAVAIL      0     0     0  was /dev/sdb1
	logs
	  sdc                    ONLINE       0     0     0
	spares
	  sdd                    AVAIL

errors: No known data errors
`, "tank")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(p.Devices).To(Equal([]string{"tank DEGRADED 0 0 0", "mirror-0 DEGRADED 0 0 0", "1234567890123456789 UNAVAIL 0 0 0 was /dev/sdb1"}))
	g.Expect(p.Ill()).To(And(HavePrefix("it is DEGRADED; errors"), ContainSubstring("was /dev/sdb1")))
	for _, out := range []string{"", "all pools are healthy", "pool 'tank' is healthy", pool("ONLINE", "0", "0", noErrors) + pool("ONLINE", "0", "0", noErrors),
		strings.ReplaceAll(pool("ONLINE", "0", "0", noErrors), "tank", "lake"), "  pool: tank\n state: ONLINE\n"} {
		_, err := ReadPool(out, "tank")
		g.Expect(err).To(HaveOccurred(), out)
	}
}

// FuzzChecks gives any words to what reads a store, its pool, and the programs that look into it.
func FuzzChecks(f *testing.F) {
	for _, s := range []string{pool("ONLINE", "0", "0", noErrors), pool("DEGRADED", "3", "1.2K", "5 data errors"), "real /a\nkind file\nsize 12\nzfs \n", "kind gone", "none the system has no xfs_repair",
		"Phase 1 - find\nstatus 1", "status 4", "3+1 records in", "lun 1 /a", " 00 ff", "real /a\nkind file\nsize 1\nzfs tank\napd-part:pool\n" + pool("ONLINE", "0", "0", noErrors)} {
		f.Add(s, int64(5<<20))
	}
	f.Fuzz(func(t *testing.T, out string, n int64) {
		if p, err := ReadPool(out, "tank"); err == nil && (p.Name != "tank" || p.State != "ONLINE" && p.Ill() == "") {
			t.Errorf("a pool %+v", p)
		}
		if s, err := readStore("/a", out); err == nil && (s.Bytes < 0 || s.Kind == "" || s.what() == "") {
			t.Errorf("a store %+v", s)
		}
		for _, fs := range []string{XFS, Ext} {
			if v, err := readVerdict(fs, out); err == nil && (v.how == "" || v.clean && v.damage != "" || v.clean && !strings.Contains(out, "status")) {
				t.Errorf("a verdict %+v", v)
			}
		}
		_ = readRecords(out, n)
		if luns, err := ReadPaths(out); err != nil && luns != nil {
			t.Errorf("%v and %v", luns, err)
		}
		_, _ = readHex(out)
	})
}
