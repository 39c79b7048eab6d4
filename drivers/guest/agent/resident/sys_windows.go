// This file is what the agent needs of Windows apart from the disk: the clock, the boot, locked memory, the version.

package resident

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// Where the agent works on Windows. WinSxS has some ten thousand folders into which hardly anybody ever looks.
const (
	defaultDir    = `C:\ProgramData\apd`
	defaultKmsg   = ""
	defaultSeed   = `C:\ProgramData\apd\seed`
	defaultFolder = `C:\Windows\WinSxS`
)

var (
	kernel32                = windows.NewLazySystemDLL("kernel32.dll")
	queryPerformanceCounter = kernel32.NewProc("QueryPerformanceCounter")
	queryPerformanceFreq    = kernel32.NewProc("QueryPerformanceFrequency")
	setSystemFileCacheSize  = kernel32.NewProc("SetSystemFileCacheSize")
	getDiskFreeSpace        = kernel32.NewProc("GetDiskFreeSpaceW")
	freeConsole             = kernel32.NewProc("FreeConsole")
)

// ticksPerSecond is the frequency of the performance counter, fixed at boot.
var ticksPerSecond = func() int64 {
	var f int64
	_, _, _ = queryPerformanceFreq.Call(uintptr(unsafe.Pointer(&f))) // never fails since Windows XP, says its documentation
	return max(f, 1)
}()

// monotonic returns the guest's monotonic clock in ns: the performance counter, which every process of a boot shares. Go's
// own clock moves in steps of up to 16 ms on Windows.
func monotonic() int64 {
	var n int64
	_, _, _ = queryPerformanceCounter.Call(uintptr(unsafe.Pointer(&n))) // as above
	return n/ticksPerSecond*int64(time.Second) + n%ticksPerSecond*int64(time.Second)/ticksPerSecond
}

// The working set that the agent asks for, in bytes. Below the minimum nothing is ever taken from it (the limit is a hard
// one), so all that it has touched stays; at most so many pages can be locked, less a few.
const (
	workingMin = 64 << 20
	workingMax = 128 << 20
)

// lockMemory keeps the agent in memory. Its program and the libraries lie in files on the disk that is going to fail, so all
// their pages are fetched and locked. Heap and stacks are not locked but protected by the hard minimum: Go gives heap back now
// and then, and ends the process when it cannot. Whoever may not raise the minimum gets as far as the system lets him.
func lockMemory() error {
	err := failed("setting the working set", windows.SetProcessWorkingSetSizeEx(windows.CurrentProcess(), workingMin, workingMax,
		windows.QUOTA_LIMITS_HARDWS_MIN_ENABLE|windows.QUOTA_LIMITS_HARDWS_MAX_DISABLE))
	var regions, bad int
	var first error
	var m windows.MemoryBasicInformation
	for at := uintptr(0); windows.VirtualQuery(at, &m, unsafe.Sizeof(m)) == nil; {
		next := m.BaseAddress + m.RegionSize
		if m.State == windows.MEM_COMMIT && m.Type == memImage && m.Protect&(windows.PAGE_NOACCESS|windows.PAGE_GUARD) == 0 {
			regions++
			if e := windows.VirtualLock(m.BaseAddress, m.RegionSize); e != nil {
				bad++
				if first == nil {
					first = e
				}
			}
		}
		if next <= at {
			break
		}
		at = next
	}
	if bad > 0 {
		err = errors.Join(err, failed(fmt.Sprintf("locking %d of %d parts of the program in memory", bad, regions), first))
	}
	return err
}

const (
	memImage  = 0x1000000 // MEM_IMAGE of MEMORY_BASIC_INFORMATION (winnt.h)
	lockEvery = 10 * time.Second
)

// timeOfDay is SYSTEM_TIMEOFDAY_INFORMATION. Microsoft does not document it; the layout is that of the phnt headers, the same
// since Windows 2000. Times are counted in 100 ns since 1601.
type timeOfDay struct {
	BootTime      int64
	CurrentTime   int64
	TimeZoneBias  int64
	TimeZoneID    uint32
	_             uint32
	BootTimeBias  int64
	SleepTimeBias int64
}

// bootTime is when the guest was booted. Setting the clock moves BootTime and BootTimeBias alike (from memory, no source), so
// their difference names the boot for as long as it lasts.
func bootTime() (string, error) {
	var t timeOfDay
	if err := windows.NtQuerySystemInformation(windows.SystemTimeOfDayInformation, unsafe.Pointer(&t), uint32(unsafe.Sizeof(t)), nil); err != nil {
		return "", failed("asking for the boot time", err)
	}
	at := t.BootTime - t.BootTimeBias
	f := windows.Filetime{LowDateTime: uint32(at), HighDateTime: uint32(uint64(at) >> 32)}
	return time.Unix(0, f.Nanoseconds()).UTC().Format("2006-01-02T15:04:05.0000000Z"), nil
}

// hostFacts reads what does not change while the guest runs. What cannot be read stays empty.
func hostFacts(d disk) agent.Hello {
	v := windows.RtlGetVersion()
	h := agent.Hello{
		OSID: "windows", OS: "Windows", RootDevice: d.node, Uptime: windows.DurationSinceBoot().Seconds(),
		Kernel: fmt.Sprintf("%d.%d.%d", v.MajorVersion, v.MinorVersion, v.BuildNumber),
	}
	h.OSVersion = h.Kernel
	h.BootID, _ = bootTime()
	if k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SOFTWARE\Microsoft\Windows NT\CurrentVersion`, registry.QUERY_VALUE|registry.WOW64_64KEY); err == nil {
		if s, _, err := k.GetStringValue("ProductName"); err == nil {
			h.OS = s
		}
		if s, _, err := k.GetStringValue("DisplayVersion"); err == nil {
			h.OS += " " + s
		}
		if n, _, err := k.GetIntegerValue("UBR"); err == nil {
			h.OSVersion += fmt.Sprintf(".%d", n)
		}
		_ = k.Close()
	}
	h.RootFS, _ = within("asking for the file system", syncBound, fileSystem)
	return h
}

// fileSystem is the kind of the system volume, like "NTFS".
func fileSystem() (string, error) {
	root, err := windows.UTF16PtrFromString(systemVolume() + `\`)
	if err != nil {
		return "", failed("the name of the system volume", err)
	}
	var fs [windows.MAX_PATH + 1]uint16
	if err := windows.GetVolumeInformation(root, nil, 0, nil, nil, nil, &fs[0], uint32(len(fs))); err != nil {
		return "", failed("asking for the file system", err)
	}
	return windows.UTF16ToString(fs[:]), nil
}

// systemVolume is the drive that Windows lies on, like "C:".
func systemVolume() string {
	if dir, err := windows.GetSystemWindowsDirectory(); err == nil {
		if v := filepath.VolumeName(dir); v != "" {
			return v
		}
	}
	return "C:"
}

// systemState is what was read at the start: it is asked for while the disk hangs, and the registry may have to be read from it.
func systemState(d disk) agent.System { return d.state }

// diskTimeout is how long the disk's driver waits for a command, in seconds: TimeOutValue of the service Disk, which holds for
// every disk whose own driver has no value of its own. 0 when it is not set.
func diskTimeout() (float64, error) {
	k, err := registry.OpenKey(registry.LOCAL_MACHINE, `SYSTEM\CurrentControlSet\Services\Disk`, registry.QUERY_VALUE)
	if err != nil {
		return 0, err
	}
	defer func() { _ = k.Close() }()
	n, _, err := k.GetIntegerValue("TimeOutValue")
	if err != nil {
		return 0, err
	}
	return float64(n), nil
}

// alongside begins what only this system has: how busy the disk is, folders, and locking what was loaded since.
func (r *resident) alongside(ctx context.Context, d disk) {
	if d.busy != nil {
		go r.watchBusy(ctx, d.busy)
	}
	go r.listFolders(ctx)
	if r.o.Lock {
		go every(ctx, lockEvery, r.lock)
	}
}

func (r *resident) watchBusy(ctx context.Context, read func() (diskTimes, error)) {
	var last diskTimes
	every(ctx, systemEvery, func() {
		now, err := read()
		if err != nil {
			last = diskTimes{}
			return
		}
		if percent, ok := busyPercent(last, now); ok && last != (diskTimes{}) {
			r.send(agent.Message{Type: agent.TypeBusy, Busy: &agent.Busy{Percent: percent}})
		}
		last = now
	})
}

// How many folders are known, and how often one is listed. So many last for more than an hour before one comes again.
const (
	folderEvery  = time.Second
	foldersKnown = 4096
	namesRead    = 256
)

// listFolders lists folders, each time another one, in no order: what was never listed is hardly in the cache yet. There is no
// way past the cache for folders. Which ones there are is learned once, before the storage fails.
func (r *resident) listFolders(ctx context.Context) {
	known, err := foldersIn(r.o.Folder)
	for err != nil {
		r.send(agent.Message{Type: agent.TypeFolder, IO: &agent.IO{Phase: agent.Done, Path: r.o.Folder, Error: errText(err)}})
		if !wait(ctx, retryEvery) {
			return
		}
		known, err = foldersIn(r.o.Folder)
	}
	rand.Shuffle(len(known), func(i, j int) { known[i], known[j] = known[j], known[i] })
	next := 0
	every(ctx, folderEvery, func() {
		path := known[next%len(known)]
		next++
		r.send(agent.Message{Type: agent.TypeFolder, IO: &agent.IO{Phase: agent.Start, Path: path}})
		begun := monotonic()
		err := list(path)
		r.send(agent.Message{Type: agent.TypeFolder, IO: &agent.IO{
			Phase: agent.Done, Path: path, Seconds: since(begun).Seconds(), Error: errText(err),
		}})
	})
}

// foldersIn returns folders below one; when there are none, that one.
func foldersIn(parent string) ([]string, error) {
	f, err := os.Open(parent)
	if err != nil {
		return nil, failed("opening a folder", err)
	}
	defer func() { _ = f.Close() }()
	var out []string
	for len(out) < foldersKnown {
		some, err := f.ReadDir(namesRead)
		for _, e := range some {
			if e.IsDir() {
				out = append(out, filepath.Join(parent, e.Name()))
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, failed("listing a folder", err)
		}
	}
	if len(out) == 0 {
		out = append(out, parent)
	}
	return out, nil
}

// list reads names of a folder. That there are none is as good; that the folder has gone meanwhile is answered by the disk too.
func list(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return failed("opening a folder", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Readdirnames(namesRead); err != nil && !errors.Is(err, io.EOF) {
		return failed("listing a folder", err)
	}
	return nil
}

// leave makes the agent independent of the session that started it: closing the console does not reach it, and its pipes are
// let go. That it is outside the session's job, which dies with WinRM's shell, is the starter's to see to.
func leave() error {
	_, _, _ = freeConsole.Call() // there may be none
	for _, std := range []uint32{windows.STD_INPUT_HANDLE, windows.STD_OUTPUT_HANDLE, windows.STD_ERROR_HANDLE} {
		_ = windows.SetStdHandle(std, 0)
	}
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		_ = f.Close()
	}
	return nil
}

// The commands of SystemMemoryListInformation that are used (phnt headers, SYSTEM_MEMORY_LIST_COMMAND; not documented by Microsoft).
const purgeStandbyList = 4

// dropCaches writes back what is dirty, empties the file cache's working set and then the list of pages that are kept in case
// they are wanted again. It needs an administrator. Each step is bounded.
func dropCaches(bound time.Duration) error {
	if err := privileges("SeIncreaseQuotaPrivilege", "SeProfileSingleProcessPrivilege"); err != nil {
		return err
	}
	if err := bounded("writing back the volume", bound, flushVolume); err != nil {
		return err
	}
	if err := bounded("emptying the file cache", bound, func() error {
		if ok, _, err := setSystemFileCacheSize.Call(^uintptr(0), ^uintptr(0), 0); ok == 0 { // its documentation: -1, -1 flushes
			return failed("SetSystemFileCacheSize", err)
		}
		return nil
	}); err != nil {
		return err
	}
	return bounded("emptying the standby list", bound, func() error {
		command := uint32(purgeStandbyList)
		return failed("NtSetSystemInformation", windows.NtSetSystemInformation(windows.SystemMemoryListInformation,
			unsafe.Pointer(&command), uint32(unsafe.Sizeof(command))))
	})
}

// flushVolume writes back all files of the system volume.
func flushVolume() error {
	h, err := open(`\\.\`+systemVolume(), windows.GENERIC_READ|windows.GENERIC_WRITE, windows.OPEN_EXISTING, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	return failed("FlushFileBuffers", windows.FlushFileBuffers(h))
}

// privileges switches on what this process is allowed to be allowed.
func privileges(names ...string) error {
	var token windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token); err != nil {
		return failed("opening the process token", err)
	}
	defer func() { _ = token.Close() }()
	for _, name := range names {
		p := windows.Tokenprivileges{PrivilegeCount: 1}
		p.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
		wide, err := windows.UTF16PtrFromString(name)
		if err == nil {
			err = windows.LookupPrivilegeValue(nil, wide, &p.Privileges[0].Luid)
		}
		if err == nil {
			err = windows.AdjustTokenPrivileges(token, false, &p, 0, nil, nil)
		}
		if err != nil {
			return failed("switching on "+name, err)
		}
	}
	return nil
}
