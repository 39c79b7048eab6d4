// This file is what the agent needs of Linux apart from the disk: the clock, locked memory, /proc and /sys.

package resident

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// Where the agent works on Linux.
const (
	defaultDir    = "/var/lib/apd"
	defaultKmsg   = "/dev/kmsg"
	defaultSeed   = "/srv/seed"
	defaultFolder = ""
)

// monotonic returns the guest's monotonic clock in ns.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0 // cannot happen: the clock always exists
	}
	return ts.Nano()
}

// lockMemory keeps the agent's pages in memory. Kernels before 4.4 cannot lock on fault; there the whole is locked now.
func lockMemory() error {
	err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mlockall(unix.MCL_CURRENT)
	}
	if err != nil {
		return fmt.Errorf("locking memory: %w", err)
	}
	return nil
}

// rootDisk finds the whole disk below the root file system. A device that the options name is taken as it is. With several paths
// to it the map of all of them is what is read, because that is what the file system waits for; its state is that of one path.
func rootDisk(o Options) disk {
	if node := o.Device; node != "" {
		d := disk{node: node}
		if name := filepath.Base(node); exists("/sys/block/" + name) {
			d.name = name
		}
		return d
	}
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return disk{}
	}
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev)))
	if err != nil { // a file system with a device number of its own
		table, _ := os.ReadFile("/proc/mounts")
		dev, _, _, _ := mountedAt(string(table), "/")
		dir, err = filepath.EvalSymlinks("/sys/class/block/" + filepath.Base(dev))
		if err != nil {
			return disk{}
		}
	}
	return tree("").wholeDisk(dir)
}

// wholeDisk goes down from a block device, by its folder in /sys, to its disk.
func (t tree) wholeDisk(dir string) disk {
	multipath := ""
	for range 8 { // from a volume down to a partition, from a partition to its disk
		if mappingKind(t.line(dir+"/dm/uuid")) == "multipath" {
			multipath = filepath.Base(dir)
		}
		if below := t.names(dir + "/slaves"); len(below) > 0 {
			if next := t.real(dir + "/slaves/" + below[0]); next != "" {
				dir = next
				continue
			}
		}
		if !t.has(dir + "/partition") {
			break
		}
		dir = filepath.Dir(dir)
	}
	name := filepath.Base(dir)
	if multipath != "" {
		return disk{node: "/dev/" + multipath, name: name}
	}
	return disk{node: "/dev/" + name, name: name}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// hostFacts reads what does not change while the guest runs.
func hostFacts(d disk) agent.Hello {
	h := agent.Hello{
		BootID: firstLine("/proc/sys/kernel/random/boot_id"),
		Kernel: firstLine("/proc/sys/kernel/osrelease"),
	}
	var up unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &up) == nil {
		h.Uptime = time.Duration(up.Nano()).Seconds()
	}
	release := make(chan map[string]string, 1)
	go func() { release <- osRelease(tree("").text("/etc/os-release")) }() // on the disk, which may not answer
	late := time.NewTimer(factsLimit)
	defer late.Stop()
	select {
	case rel := <-release:
		h.OS, h.OSID, h.OSVersion = rel["PRETTY_NAME"], rel["ID"], rel["VERSION_ID"]
	case <-late.C:
	}
	table, _ := os.ReadFile("/proc/mounts")
	_, h.RootFS, _, _ = mountedAt(string(table), "/")
	h.RootDevice = d.node
	if d.name != "" {
		h.WriteCache = firstLine("/sys/block/" + d.name + "/queue/write_cache")
	}
	return h
}

// systemState reads what may change.
func systemState(d disk) agent.System {
	var s agent.System
	if table, err := os.ReadFile("/proc/mounts"); err == nil {
		_, _, s.FS, s.Mount = mountedAt(string(table), "/")
	}
	if d.name != "" {
		s.Device = firstLine("/sys/block/" + d.name + "/device/state")
		if t, err := strconv.ParseFloat(firstLine("/sys/block/"+d.name+"/device/timeout"), 64); err == nil {
			s.Timeout = t
		}
	}
	return s
}

// alongside begins what only this system has: the state of the root file system, the kernel's log, and work for the journal.
func (r *resident) alongside(ctx context.Context, d disk) {
	go every(ctx, systemEvery, func() {
		s := systemState(d)
		r.send(agent.Message{Type: agent.TypeSystem, System: &s})
	})
	go r.tailKmsg(ctx)
	go r.stirJournal(ctx)
}

// leave makes the agent independent of the session that started it: what it is told at that session's end is not heard, and
// its pipes are let go.
func leave() error {
	signal.Ignore(unix.SIGHUP, unix.SIGPIPE)
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening /dev/null: %w", err)
	}
	defer func() { _ = unix.Close(null) }()
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("letting go of the pipe %d: %w", fd, err)
		}
	}
	return nil
}

// errText names an error: the operating system's words and its symbol, without the file's name.
func errText(err error) string {
	if err == nil {
		return ""
	}
	var no unix.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	return no.Error() + " (" + unix.ErrnoName(no) + ")"
}

// dropCaches writes back what is dirty, then forgets what is clean. Each of the two steps is bounded.
func dropCaches(bound time.Duration) error {
	if err := bounded("sync", bound, func() error { unix.Sync(); return nil }); err != nil {
		return err
	}
	return bounded("dropping the caches", bound, func() error {
		return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3\n"), 0)
	})
}

// kernelLog is the kernel's log from the moment of its first read.
type kernelLog struct {
	fd   int
	open bool
}

// read reads into buf what the kernel has logged since. lost tells that the kernel overwrote lines.
func (k *kernelLog) read(path string, buf []byte) (lost bool, n int, err error) {
	if !k.open {
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false, 0, err
		}
		k.fd, k.open = fd, true
		_, _ = unix.Seek(fd, 0, unix.SEEK_END) // a pipe has no end to go to
	}
	for {
		n, err = unix.Read(k.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EPIPE):
			return true, 0, err
		default:
			return false, n, err
		}
	}
}
