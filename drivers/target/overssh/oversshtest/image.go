// This file makes what is in a LUN.

package oversshtest

import (
	"encoding/binary"
	"os"
	"os/exec"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// XFSBytes is how large the file of MakeXFS is: mkfs.xfs takes nothing below 300 MiB. It is sparse.
const XFSBytes = 320 << 20

// Resize makes a file of so many bytes, or makes one so long.
func Resize(t testing.TB, file string, n int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Truncate(n)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a program of this machine to its end. The test is skipped where it is not installed.
func Run(t testing.TB, debian, name string, args ...string) {
	t.Helper()
	bin, err := localproc.LookPath(name)
	if err != nil {
		t.Skipf("%v (Debian package %s)", err, debian)
	}
	if out, err := exec.Command(bin, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// MakeXFS makes a file with an XFS in it.
func MakeXFS(t testing.TB, file string) {
	t.Helper()
	Resize(t, file, 0)
	Resize(t, file, XFSBytes)
	Run(t, "xfsprogs", "mkfs.xfs", "-q", "-f", file)
}

// MakeExt makes a file of 8 MiB with an ext4 in it.
func MakeExt(t testing.TB, file string) {
	t.Helper()
	Resize(t, file, 0)
	Resize(t, file, 8<<20)
	Run(t, "e2fsprogs", "mke2fs", "-q", "-F", "-t", "ext4", file)
}

// Overwrite puts n bytes of nonsense into a file.
func Overwrite(t testing.TB, file string, at int64, n int) {
	t.Helper()
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xee
	}
	Put(t, file, at, b)
}

// Put writes into a file.
func Put(t testing.TB, file string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Shift makes a disk of another file, which is its only partition, from the first MiB on, by an MBR of the type Linux.
func Shift(t testing.TB, disk, file string) {
	t.Helper()
	in, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	Resize(t, disk, 0)
	Resize(t, disk, in.Size()+1<<20)
	mbr := make([]byte, 512)
	mbr[446+4] = 0x83
	binary.LittleEndian.PutUint32(mbr[446+8:], 2048)
	binary.LittleEndian.PutUint32(mbr[446+12:], uint32(in.Size()/512))
	mbr[510], mbr[511] = 0x55, 0xaa
	Put(t, disk, 0, mbr)
	Run(t, "coreutils", "dd", "if="+file, "of="+disk, "bs=1M", "seek=1", "conv=notrunc,sparse")
}
