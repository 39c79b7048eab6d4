// This file is how the agent touches a disk on Linux: past the page cache when it reads, through to the disk when it writes.

package resident

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// aligned returns a buffer that lies on a page boundary, as uncached reads need it.
func aligned(n int) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("getting an aligned buffer: %w", err)
	}
	return b, nil
}

// openDirect opens a file for uncached reads; where the file system has none, what is cached of the file is dropped first.
func openDirect(path string) (int, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0) })
	if !errors.Is(err, unix.EINVAL) {
		return fd, err
	}
	fd, err = retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err == nil {
		_ = unix.Fdatasync(fd) // only clean pages can be dropped
		_ = unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
	}
	return fd, err
}

// retry repeats a call that a signal interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// device is the disk, open for uncached reads of single blocks.
type device struct {
	fd     int
	blocks uint64
	buf    []byte
	x      uint64 // where to read next, pseudo-random
}

func openDevice(d disk) (*device, error) {
	node := d.node
	if node == "" {
		return nil, errors.New("the disk of the root file system is not known")
	}
	buf, err := aligned(blockSize)
	if err != nil {
		return nil, err
	}
	fd, err := openDirect(node)
	if err != nil {
		_ = unix.Munmap(buf)
		return nil, fmt.Errorf("opening %s: %w", node, err)
	}
	dev := &device{fd: fd, buf: buf, x: uint64(monotonic()) | 1}
	if end, err := unix.Seek(fd, 0, unix.SEEK_END); err == nil {
		dev.blocks = uint64(end) / blockSize
	}
	return dev, nil
}

// read reads one block from the disk, another one each time. What cannot seek is read as it comes.
func (d *device) read() error {
	d.x ^= d.x << 13
	d.x ^= d.x >> 7
	d.x ^= d.x << 17
	var off int64
	if d.blocks > 0 {
		off = int64(d.x%d.blocks) * blockSize
	}
	n, err := retry(func() (int, error) { return unix.Pread(d.fd, d.buf, off) })
	if errors.Is(err, unix.ESPIPE) {
		n, err = retry(func() (int, error) { return unix.Read(d.fd, d.buf) })
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	return nil
}

// logFile is a file of the acknowledged-write log.
type logFile struct{ fd int }

// openLog makes a new file, and its name durable.
func openLog(path string) (*logFile, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of the log: %w", err)
	}
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644) })
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if err := syncDir(dir); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return &logFile{fd}, nil
}

func syncDir(dir string) error {
	fd, err := retry(func() (int, error) { return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return fmt.Errorf("opening the folder of the log: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Fsync(fd); err != nil {
		return fmt.Errorf("making the log's name durable: %w", err)
	}
	return nil
}

// append writes a record at its place and returns when the disk has it.
func (f *logFile) append(b []byte, off int64) error {
	n, err := retry(func() (int, error) { return unix.Pwrite(f.fd, b, off) })
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	if n != len(b) {
		return fmt.Errorf("writing: %w", io.ErrShortWrite)
	}
	if _, err := retry(func() (int, error) { return 0, unix.Fdatasync(f.fd) }); err != nil {
		return fmt.Errorf("making a record durable: %w", err)
	}
	return nil
}

func (f *logFile) close() {
	if f != nil {
		_ = unix.Close(f.fd)
	}
}

// openUncached opens a file for reading past the caches.
func openUncached(path string) (io.ReadCloser, error) {
	buf, err := aligned(chunkSize)
	if err != nil {
		return nil, err
	}
	fd, err := openDirect(path)
	if err != nil {
		_ = unix.Munmap(buf)
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return &uncached{buf: buf,
		read: func(b []byte, off int64) (int, error) {
			n, err := retry(func() (int, error) { return unix.Pread(fd, b, off) })
			if err != nil {
				return 0, fmt.Errorf("reading: %w", err)
			}
			return n, nil
		},
		close: func() error {
			_ = unix.Munmap(buf)
			return unix.Close(fd)
		}}, nil
}

// stirJournal has the file system write to its own log all the time, as the daemons of an ordinary system do. Without it an
// outage may find the guest's only writes among its data, and the file system would meet its first error rounds later. The
// file stays open, and only its mode changes: nothing has to be read for that, so a log write is in flight at the cut.
func (r *resident) stirJournal(ctx context.Context) {
	var f *os.File
	for mode := os.FileMode(0o600); wait(ctx, stirEvery); mode ^= 0o040 {
		if f == nil {
			var err error
			if f, err = os.OpenFile(filepath.Join(r.o.Dir, "journal"), os.O_CREATE|os.O_WRONLY, mode); err != nil {
				f = nil
				continue // that the disk fails is seen by the log's writer too, which reports it
			}
		}
		_ = f.Chmod(mode)
		_ = f.Sync()
	}
}
