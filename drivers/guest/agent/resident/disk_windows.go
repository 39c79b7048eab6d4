// This file is how the agent touches a disk on Windows: past the file cache when it reads, through to the disk when it writes.

package resident

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// Control codes of winioctl.h.
const (
	ioctlVolumeExtents   = 0x560000 // IOCTL_VOLUME_GET_VOLUME_DISK_EXTENTS, any access
	ioctlDiskLength      = 0x7405C  // IOCTL_DISK_GET_LENGTH_INFO, read access
	ioctlDiskPerformance = 0x70020  // IOCTL_DISK_PERFORMANCE, any access
)

const shareAll = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

// uncachedFlags are for reads that the disk itself has to answer. Offsets, lengths and buffers are then multiples of a sector.
const uncachedFlags = windows.FILE_FLAG_NO_BUFFERING

func open(path string, access, how, flags uint32) (windows.Handle, error) {
	wide, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, failed("the name "+path, err)
	}
	h, err := windows.CreateFile(wide, access, shareAll, nil, how, windows.FILE_ATTRIBUTE_NORMAL|flags, 0)
	if err != nil {
		return 0, failed("opening "+path, err)
	}
	return h, nil
}

// aligned returns a buffer that lies on a page boundary, as uncached access needs it.
func aligned(n int) ([]byte, error) {
	p, err := windows.VirtualAlloc(0, uintptr(n), windows.MEM_COMMIT|windows.MEM_RESERVE, windows.PAGE_READWRITE)
	if err != nil {
		return nil, failed("getting an aligned buffer", err)
	}
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&p))), n), nil // memory that Go's collector does not know
}

func release(b []byte) {
	if len(b) > 0 {
		_ = windows.VirtualFree(uintptr(unsafe.Pointer(&b[0])), 0, windows.MEM_RELEASE)
	}
}

// place says where in a file a call works. Handles that are not overlapped wait for its end.
func place(off int64) *windows.Overlapped {
	return &windows.Overlapped{Offset: uint32(off), OffsetHigh: uint32(uint64(off) >> 32)}
}

// control asks a device, and returns how much it answered.
func control(h windows.Handle, code uint32, out []byte) (int, error) {
	var n uint32
	err := windows.DeviceIoControl(h, code, nil, 0, &out[0], uint32(len(out)), &n, nil)
	return int(n), err
}

// The file that is read where the disk cannot be: its size in bytes, and its name in the agent's folder.
const (
	readFileSize = 16 << 20
	readFileName = "read.dat"
)

// disk is what Windows lies on.
type disk struct {
	node    string                    // what is read: the whole disk, or a file
	fill    bool                      // node is a file that the agent fills itself, because the disk cannot be read
	busy    func() (diskTimes, error) // nil where nobody counts
	state   agent.System              // read once, see systemState
	without map[string]string         // see agent.Hello
}

// rootDisk finds the disk that Windows lies on, and tries what can be done with it. Nothing of that hangs for longer than syncBound.
func rootDisk(o Options) disk {
	d := disk{node: o.Device, without: map[string]string{}}
	d.state.Timeout, _ = within("reading the registry", syncBound, diskTimeout)
	node, unknown := within("looking for the system disk", syncBound, systemDisk)
	err := unknown
	if err == nil {
		d.busy, err = within("asking how busy the disk is", syncBound, func() (func() (diskTimes, error), error) { return openCounters(node) })
	}
	if err != nil {
		d.without["busy"] = err.Error()
	}
	if d.node != "" {
		return d
	}
	err = unknown
	if err == nil {
		err = bounded("reading the system disk", syncBound, func() error { return tryDevice(node) })
	}
	d.node = node
	if err != nil {
		d.node, d.fill = filepath.Join(o.Dir, readFileName), true
		d.without["disk"] = err.Error()
	}
	return d
}

// tryDevice reads one block of a disk.
func tryDevice(node string) error {
	dev, err := openDevice(disk{node: node})
	if err != nil {
		return err
	}
	defer dev.close()
	return dev.read()
}

// systemDisk is the disk that the system volume lies on, the first one if there are several.
func systemDisk() (string, error) {
	h, err := open(`\\.\`+systemVolume(), 0, windows.OPEN_EXISTING, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	// VOLUME_DISK_EXTENTS: the number of extents, at 8 the first one, which begins with its disk's number; 24 bytes each.
	b := make([]byte, 8+24*16)
	n, err := control(h, ioctlVolumeExtents, b)
	if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
		return "", failed("asking which disk the system volume lies on", err)
	}
	if n < 12 || binary.LittleEndian.Uint32(b) == 0 {
		return "", errors.New("the system volume lies on no disk")
	}
	return fmt.Sprintf(`\\.\PhysicalDrive%d`, binary.LittleEndian.Uint32(b[8:])), nil
}

// openCounters opens the counters of a disk. They are not on the disk, and need no rights. The handle stays open: asking
// switches them on, and they count for as long as somebody holds it.
func openCounters(path string) (func() (diskTimes, error), error) {
	h, err := open(path, 0, windows.OPEN_EXISTING, 0)
	if err != nil {
		return nil, err
	}
	read := func() (diskTimes, error) {
		b := make([]byte, performanceSize)
		n, err := control(h, ioctlDiskPerformance, b)
		if err != nil {
			return diskTimes{}, failed("IOCTL_DISK_PERFORMANCE", err)
		}
		return readPerformance(b[:n], monotonic())
	}
	if _, err := read(); err != nil {
		_ = windows.CloseHandle(h)
		return nil, err
	}
	return read, nil
}

// device is the disk, or a file on it, open for uncached reads of single blocks.
type device struct {
	h      windows.Handle
	blocks uint64
	buf    []byte
	x      uint64 // where to read next, pseudo-random
}

func openDevice(d disk) (*device, error) {
	if d.fill {
		if err := fillFile(d.node); err != nil {
			return nil, err
		}
	}
	buf, err := aligned(blockSize)
	if err != nil {
		return nil, err
	}
	h, err := open(d.node, windows.GENERIC_READ, windows.OPEN_EXISTING, uncachedFlags)
	if err != nil {
		release(buf)
		return nil, err
	}
	dev := &device{h: h, buf: buf, x: uint64(monotonic()) | 1}
	var size [8]byte
	if n, err := control(h, ioctlDiskLength, size[:]); err == nil && n == len(size) {
		dev.blocks = binary.LittleEndian.Uint64(size[:]) / blockSize
	} else if n, err := fileSize(h); err == nil {
		dev.blocks = uint64(n) / blockSize
	}
	if dev.blocks == 0 {
		dev.close()
		return nil, fmt.Errorf("%s has no size", d.node)
	}
	return dev, nil
}

func (d *device) close() {
	_ = windows.CloseHandle(d.h)
	release(d.buf)
}

func fileSize(h windows.Handle) (int64, error) {
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return 0, failed("asking for a file's size", err)
	}
	return int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow), nil
}

// read reads one block from the disk, another one each time.
func (d *device) read() error {
	d.x ^= d.x << 13
	d.x ^= d.x >> 7
	d.x ^= d.x << 17
	var n uint32
	if err := windows.ReadFile(d.h, d.buf, &n, place(int64(d.x%d.blocks)*blockSize)); err != nil {
		return failed("reading", err)
	}
	if n == 0 {
		return failed("reading", io.ErrUnexpectedEOF)
	}
	return nil
}

// fillFile makes the file that is read instead of the disk, unless it is there. Its content is no zeros: a file system does
// not need the disk to know what was never written.
func fillFile(path string) error {
	if st, err := os.Stat(path); err == nil && st.Size() == readFileSize {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return failed("making the agent's folder", err)
	}
	h, err := open(path, windows.GENERIC_WRITE, windows.CREATE_ALWAYS, windows.FILE_FLAG_WRITE_THROUGH|uncachedFlags)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	buf, err := aligned(chunkSize)
	if err != nil {
		return err
	}
	defer release(buf)
	x := uint64(monotonic()) | 1
	for off := int64(0); off < readFileSize; off += chunkSize {
		for i := 0; i < len(buf); i += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(buf[i:], x)
		}
		if err := writeAt(h, buf, off); err != nil {
			return err
		}
	}
	return failed("making the file durable", windows.FlushFileBuffers(h))
}

func writeAt(h windows.Handle, b []byte, off int64) error {
	var n uint32
	if err := windows.WriteFile(h, b, &n, place(off)); err != nil {
		return failed("writing", err)
	}
	if int(n) != len(b) {
		return failed("writing", io.ErrShortWrite)
	}
	return nil
}

// logFile is a file of the acknowledged-write log. Uncached writes have the size of a sector: where a sector holds several
// records, it is written again with each of them.
type logFile struct {
	h      windows.Handle
	sector int64
	buf    []byte // one sector
}

// openLog makes a new file, and its name durable.
func openLog(path string) (*logFile, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, failed("making the folder of the log", err)
	}
	f := &logFile{sector: sectorSize(dir)}
	var err error
	if f.buf, err = aligned(int(f.sector)); err != nil {
		return nil, err
	}
	f.h, err = open(path, windows.GENERIC_WRITE, windows.OPEN_ALWAYS, windows.FILE_FLAG_WRITE_THROUGH|windows.FILE_FLAG_NO_BUFFERING)
	if err != nil {
		release(f.buf)
		return nil, failed("opening the log", err)
	}
	if err := windows.FlushFileBuffers(f.h); err != nil {
		f.close()
		return nil, failed("making the log's name durable", err)
	}
	return f, nil
}

// sectorSize is the size of a logical sector of the disk that a folder lies on, in bytes: at least that of a record. When
// nobody says, it is a block, which suits every disk.
func sectorSize(dir string) int64 {
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(dir) + `\`)
	if err != nil {
		return blockSize
	}
	var perCluster, sector, free, total uint32
	ok, _, _ := getDiskFreeSpace.Call(uintptr(unsafe.Pointer(root)), uintptr(unsafe.Pointer(&perCluster)), uintptr(unsafe.Pointer(&sector)),
		uintptr(unsafe.Pointer(&free)), uintptr(unsafe.Pointer(&total)))
	if ok == 0 || sector < agent.RecordSize || sector > blockSize || sector%agent.RecordSize != 0 {
		return blockSize
	}
	return int64(sector)
}

// append writes a record at its place and returns when the disk has it. The flags make Windows write the data through the
// disk's own cache; the flush does the same for what the file system has to note down, such as the new size.
func (f *logFile) append(b []byte, off int64) error {
	in := off % f.sector
	if in == 0 {
		clear(f.buf)
	}
	copy(f.buf[in:], b)
	if err := writeAt(f.h, f.buf, off-in); err != nil {
		return err
	}
	return failed("making a record durable", windows.FlushFileBuffers(f.h))
}

func (f *logFile) close() {
	if f != nil {
		_ = windows.CloseHandle(f.h)
		release(f.buf)
	}
}

// openUncached opens a file for reading past the caches.
func openUncached(path string) (io.ReadCloser, error) {
	buf, err := aligned(chunkSize)
	if err != nil {
		return nil, err
	}
	h, err := open(path, windows.GENERIC_READ, windows.OPEN_EXISTING, uncachedFlags)
	if err != nil {
		release(buf)
		return nil, err
	}
	return &uncached{buf: buf,
		read: func(b []byte, off int64) (int, error) {
			var n uint32
			err := windows.ReadFile(h, b, &n, place(off))
			if err != nil && !errors.Is(err, windows.ERROR_HANDLE_EOF) {
				return 0, failed("reading", err)
			}
			return int(n), nil
		},
		close: func() error {
			release(buf)
			return failed("closing", windows.CloseHandle(h))
		}}, nil
}
