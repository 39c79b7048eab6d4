// This file collects the facts of agent.Linux, in three steps: what the kernel tells, which never touches the disk; the
// tables of the device mapper; the files of the distribution, which may lie on a disk that does not answer. Each step that
// has ended is told, whatever becomes of the next.

package resident

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// factsLimit is how long the agent's hello may wait for these facts. It is read at the start, before anything was lost; an
// agent that comes while the disk is away says hello all the same.
const factsLimit = 5 * time.Second

// linuxFacts collects the facts of a guest whose log lies in a folder, for at most limit.
func linuxFacts(ctx context.Context, t tree, logDir string, table func(name string) string, limit time.Duration) *agent.Linux {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	steps := make(chan agent.Linux, 3)
	go func() {
		defer close(steps)
		l := t.kernelFacts()
		l.Unread = []string{"the tables of the device mapper", agent.UnreadFiles}
		steps <- l
		l.Multipath = t.multipathMaps(table)
		l.Unread = l.Unread[1:]
		steps <- l
		t.fileFacts(&l, logDir)
		l.Unread = nil
		steps <- l
	}()
	last := agent.Linux{Unread: []string{"/proc and /sys", agent.UnreadFiles}}
	for {
		select {
		case l, ok := <-steps:
			if !ok {
				return &last
			}
			last = l
		case <-ctx.Done():
			return &last
		}
	}
}

// kernelFacts reads /proc and /sys.
func (t tree) kernelFacts() agent.Linux {
	l := agent.Linux{Root: t.mountFacts(t.text("/proc/self/mountinfo"), "/"), Sessions: t.sessions()}
	l.Disks, l.More = t.disks(l.Root)
	return l
}

// fileFacts reads the files of the distribution. It replaces the lists of l and does not change them: they were told.
func (t tree) fileFacts(l *agent.Linux, logDir string) {
	l.Distro, l.Init = t.distroFacts(), t.initSystem()
	at := filepath.Clean(logDir)
	for dir := at; ; dir = filepath.Dir(dir) { // the folder itself is made later
		if real := t.real(dir); real != "" {
			at = real + strings.TrimPrefix(at, dir)
			break
		}
		if dir == "/" || dir == "." {
			break
		}
	}
	l.Log = t.mountFacts(t.text("/proc/self/mountinfo"), at)
	l.Disks, l.More = t.disks(l.Root, l.Log)
	l.Rules = t.udevRules()
	for i := range l.Disks {
		l.Disks[i].Wanted = wanted(l.Rules, l.Disks[i])
	}
	l.NoPathRetry = noPathRetry(t.text("/etc/multipath.conf"))
	for _, name := range t.names("/etc/multipath/conf.d") {
		if strings.HasSuffix(name, ".conf") && len(l.NoPathRetry) < sectionsLimit {
			l.NoPathRetry = append(l.NoPathRetry, noPathRetry(t.text("/etc/multipath/conf.d/"+name))...)
		}
	}
	l.Replacement = iscsiSetting(t.text("/etc/iscsi/iscsid.conf"), replacement)
	records := t.nodeRecords()
	sessions := append([]agent.Session(nil), l.Sessions...)
	for i := range sessions {
		sessions[i].Configured = records[sessions[i].Target]
	}
	l.Sessions = sessions
}

// ownFacts are the facts of the guest that this program runs in.
func ownFacts(ctx context.Context, logDir string) *agent.Linux {
	return linuxFacts(ctx, "", logDir, dmTable, factsLimit)
}

// dmBuffer is the size of the kernel's answer; the arguments of a multipath target with 32 paths are below 4 kB.
const dmBuffer = 16 << 10

// dmTable asks the device mapper for the running table of a mapping and returns the arguments of its first target, empty
// when it is no multipath target or cannot be had.
func dmTable(name string) string {
	fd, err := unix.Open("/dev/mapper/control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), "/dev/mapper/control")
	defer func() { _ = f.Close() }()
	buf, err := dmRequest(name)
	if err != nil {
		return ""
	}
	if _, _, no := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.DM_TABLE_STATUS, uintptr(unsafe.Pointer(&buf[0]))); no != 0 {
		return ""
	}
	kind, args := dmAnswer(buf)
	if kind != "multipath" {
		return ""
	}
	return args
}

// dmRequest makes the question: struct dm_ioctl of linux/dm-ioctl.h, and room for the answer.
func dmRequest(name string) ([]byte, error) {
	q := unix.DmIoctl{
		Version: [3]uint32{unix.DM_VERSION_MAJOR, 0, 0}, Data_size: dmBuffer, Data_start: uint32(unsafe.Sizeof(unix.DmIoctl{})),
		Flags: unix.DM_STATUS_TABLE_FLAG | unix.DM_NOFLUSH_FLAG,
	}
	if len(name) >= len(q.Name) {
		return nil, fmt.Errorf("the mapping's name %.20q is too long", name)
	}
	copy(q.Name[:], name)
	buf := make([]byte, dmBuffer)
	_, err := binary.Encode(buf, binary.NativeEndian, &q)
	return buf, err
}

// dmAnswer takes the first target out of the kernel's answer: struct dm_target_spec, then its arguments up to a zero.
func dmAnswer(buf []byte) (kind, args string) {
	var q unix.DmIoctl
	if _, err := binary.Decode(buf, binary.NativeEndian, &q); err != nil || q.Flags&unix.DM_BUFFER_FULL_FLAG != 0 || q.Target_count == 0 {
		return "", ""
	}
	var spec unix.DmTargetSpec
	at := int(q.Data_start)
	if at < 0 || at > len(buf)-int(unsafe.Sizeof(spec)) {
		return "", ""
	}
	n, err := binary.Decode(buf[at:], binary.NativeEndian, &spec)
	if err != nil {
		return "", ""
	}
	text, _, ok := bytes.Cut(buf[at+n:], []byte{0})
	if !ok {
		return "", ""
	}
	name, _, _ := bytes.Cut(spec.Target_type[:], []byte{0})
	return string(name), string(text)
}
