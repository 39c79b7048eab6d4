// This file tells from a LUN's first bytes what is in it. Nothing here trusts its input.

package overssh

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// Contents is what is in a LUN, as far as its first bytes tell.
type Contents struct {
	FS           string // a file system, or one of nothing, unknown and several
	Start, Bytes int64  // where it is; Bytes 0: to the end
	Parts        int    // how many partitions there are; 0: it has no table of them
}

// What can be in a LUN. Only the first two can be checked from outside.
const (
	XFS     = "xfs"
	Ext     = "ext2-4"
	VMFS    = "vmfs"
	NTFS    = "ntfs"
	Nothing = "nothing"
	Unknown = "unknown"
	Several = "several partitions"
)

// headBytes reaches to the end of the table of partitions, also of a disk with sectors of 4 KiB: 16 KiB of entries from the third
// sector on (UEFI 2.10 section 5.3).
const headBytes = 6 * 4096

// lvmAt is where a volume of VMFS has its mark, in bytes (util-linux, libblkid/src/superblocks/vmfs.c).
const lvmAt = 1 << 20

// fileSystem tells a file system by the first bytes of its place, and by those 1 MiB further.
func fileSystem(at, mib []byte) string {
	has := func(b []byte, off int, mark string) bool {
		return len(b) >= off+len(mark) && string(b[off:off+len(mark)]) == mark
	}
	switch {
	case has(at, 0, "XFSB"): // xfs_format.h, XFS_SB_MAGIC
		return XFS
	case has(at, 1024+56, "\x53\xef"): // ext4.h, s_magic
		return Ext
	case has(at, 3, "NTFS    "):
		return NTFS
	case has(mib, 0, "\x0d\xd0\x01\xc0"):
		return VMFS
	}
	if len(bytes.Trim(at, "\x00")) == 0 {
		return Nothing
	}
	return Unknown
}

// span is where a partition is, in bytes.
type span struct{ start, length int64 }

// partitions reads a table of partitions, GPT before MBR: the latter is there beside the former to protect it. ok is false when
// there is none.
func partitions(head []byte) (parts []span, ok bool) {
	for _, sector := range []int64{512, 4096} {
		if parts, ok := gpt(head, sector); ok {
			return parts, true
		}
	}
	return mbr(head)
}

// gpt reads a header and its entries (UEFI 2.10 tables 5.5 and 5.6).
func gpt(head []byte, sector int64) ([]span, bool) {
	if int64(len(head)) < sector+92 || string(head[sector:sector+8]) != "EFI PART" {
		return nil, false
	}
	h := head[sector:]
	first, n, size := binary.LittleEndian.Uint64(h[72:]), binary.LittleEndian.Uint32(h[80:]), binary.LittleEndian.Uint32(h[84:])
	if first > uint64(len(head)) || size < 128 || size > 4096 {
		return nil, false
	}
	var parts []span
	for i := range min(n, 128) {
		at := int64(first)*sector + int64(i)*int64(size)
		if at+128 > int64(len(head)) {
			break
		}
		e := head[at : at+128]
		if len(bytes.Trim(e[:16], "\x00")) == 0 {
			continue
		}
		from, to := binary.LittleEndian.Uint64(e[32:]), binary.LittleEndian.Uint64(e[40:])
		if from == 0 || to < from || to > 1<<50 {
			return nil, false
		}
		parts = append(parts, span{int64(from) * sector, int64(to-from+1) * sector})
	}
	return parts, true
}

// mbr reads the four entries of a boot sector. Its sectors have 512 bytes.
func mbr(head []byte) ([]span, bool) {
	if len(head) < 512 || head[510] != 0x55 || head[511] != 0xaa {
		return nil, false
	}
	var parts []span
	for i := range 4 {
		e := head[446+16*i:][:16]
		from, n := binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])
		if e[4] == 0 || n == 0 {
			continue
		}
		if e[0]&0x7f != 0 || from == 0 || e[4] == 0xee { // no table but code or data, or the guard of a GPT that is not there
			return nil, false
		}
		parts = append(parts, span{int64(from) * 512, int64(n) * 512})
	}
	return parts, len(parts) > 0
}

// identify says what the first bytes are of, and where the bytes are that tell more: the only partition's, if there is one.
func identify(head, mib []byte) (c Contents, look bool) {
	if c.FS = fileSystem(head, mib); c.FS != Unknown && c.FS != Nothing {
		return c, false
	}
	parts, ok := partitions(head)
	switch {
	case !ok:
		return c, false
	case len(parts) == 1:
		return Contents{FS: Unknown, Start: parts[0].start, Bytes: parts[0].length, Parts: 1}, true
	case len(parts) == 0:
		return Contents{FS: Nothing}, false
	}
	return Contents{FS: Several, Parts: len(parts)}, false
}

// String says it for people.
func (c Contents) String() string {
	if c.Parts == 1 {
		return c.FS + " in its only partition"
	}
	if c.FS == Several {
		return fmt.Sprintf("%d partitions", c.Parts)
	}
	return c.FS
}

// readHex reads what od -An -v -tx1 prints.
func readHex(out string) ([]byte, error) {
	b, err := hex.DecodeString(strings.Join(strings.Fields(out), ""))
	if err != nil {
		return nil, errors.New("they are no bytes of od: " + fmt.Sprintf("%q", clip(out)))
	}
	return b, nil
}
