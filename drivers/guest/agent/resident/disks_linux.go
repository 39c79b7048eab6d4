// This file tells of the disks: how each is reached and how long its commands may take; and of the guest's own iSCSI
// sessions.

package resident

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The bounds of what is told of a guest's disks.
const (
	disksLimit    = 32
	sessionsLimit = 32
	nodesLimit    = 64 // records of iSCSI targets
)

// notDisks are the beginnings of the names of block devices that are not disks: made by the kernel, or without a medium of
// their own.
var notDisks = []string{"loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"}

// disks tells of the disks, those first that the file systems lie on, and how many it left out.
func (t tree) disks(mounts ...agent.Mount) (out []agent.Disk, more int) {
	var names []string
	for _, m := range mounts {
		for _, l := range m.Stack {
			if l.Kind == "disk" && !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
		}
	}
	for _, name := range t.names("/sys/block") {
		if !slices.Contains(names, name) && !slices.ContainsFunc(notDisks, func(p string) bool { return strings.HasPrefix(name, p) }) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		if len(out) == disksLimit {
			return out, len(names) - disksLimit
		}
		out = append(out, t.disk(name))
	}
	return out, 0
}

// disk tells of one disk by its name in /sys/block.
func (t tree) disk(name string) agent.Disk {
	dir := "/sys/block/" + name
	at := t.real(dir)
	d := agent.Disk{
		Name: word(name), Model: t.line(dir + "/device/model"),
		Timeout: number(t.line(dir + "/device/timeout")), EHTimeout: number(t.line(dir + "/device/eh_timeout")),
		Depth: number(t.line(dir + "/device/queue_depth")),
	}
	if d.Model != "" {
		d.Vendor = t.line(dir + "/device/vendor") // a virtio disk has the number of its bus there, and no model
	}
	if ms, err := strconv.ParseFloat(t.line(dir+"/queue/io_timeout"), 64); err == nil && d.Timeout == "" {
		d.Timeout = number(strconv.FormatFloat(ms/1000, 'f', -1, 64)) // what is not SCSI has it there, in ms
	}
	d.Transport = t.transport(at)
	if host, session := part(at, "host"), part(at, "session"); session != "" && host != "" {
		d.Transport, d.Session = "iscsi", word(session)
	}
	return d
}

// transport names the driver through which a disk is reached: that of its SCSI host, else that of the nearest device above.
func (t tree) transport(at string) string {
	if host := part(at, "host"); host != "" {
		if name := t.line("/sys/class/scsi_host/" + host + "/proc_name"); name != "" && !strings.ContainsAny(name, "<(") {
			return name // "<NULL>" or "(null)" is a driver without one
		}
	}
	if strings.Contains(at, "/nvme") {
		return "nvme" // also where several paths are one disk, which hangs from no driver
	}
	for dir := path.Dir(at); strings.Count(dir, "/") > 2; dir = path.Dir(dir) {
		if driver := t.real(dir + "/driver"); driver != "" && path.Base(driver) != "sd" {
			return word(path.Base(driver))
		}
	}
	return ""
}

// part returns the folder of a path whose name is the given word and a number: host2, session1.
func part(at, name string) string {
	for p := range strings.SplitSeq(at, "/") {
		if n, ok := strings.CutPrefix(p, name); ok && n != "" && strings.Trim(n, "0123456789") == "" {
			return p
		}
	}
	return ""
}

// number returns a number as it is written, and nothing for anything else.
func number(s string) string {
	if n, err := strconv.ParseFloat(s, 64); err != nil || n < 0 || n > 1e9 {
		return ""
	}
	return s
}

// sessions tells of the guest's iSCSI sessions.
func (t tree) sessions() []agent.Session {
	var out []agent.Session
	for _, name := range t.names("/sys/class/iscsi_session") {
		if len(out) == sessionsLimit {
			break
		}
		dir := "/sys/class/iscsi_session/" + name
		conn := ""
		for _, c := range t.names("/sys/class/iscsi_connection") { // connection1:0 belongs to session1
			if rest, ok := strings.CutPrefix(c, "connection"+strings.TrimPrefix(name, "session")); ok && strings.HasPrefix(rest, ":") {
				conn = "/sys/class/iscsi_connection/" + c
				break
			}
		}
		out = append(out, iscsiSession(name, func(attr string) string { return t.line(dir + "/" + attr) },
			func(attr string) string { return t.line(conn + "/" + attr) }))
	}
	return out
}

// session makes the facts of a session of the attributes of scsi_transport_iscsi.
func iscsiSession(name string, session, conn func(attr string) string) agent.Session {
	time := func(s string) string { // a time-out that is off is written as a word, or as -1 by older kernels
		if s == "off" || s == "-1" {
			return "off"
		}
		return number(s)
	}
	return agent.Session{
		Name: word(name), Target: word(session("targetname")), State: word(session("state")), Recovery: time(session("recovery_tmo")),
		Abort: time(session("abort_tmo")), LUReset: time(session("lu_reset_tmo")),
		NoopInterval: time(conn("recv_tmo")), NoopTimeout: time(conn("ping_tmo")),
	}
}

// replacement is the setting of open-iscsi that becomes recovery_tmo.
const replacement = "node.session.timeo.replacement_timeout"

// iscsiSetting returns the last value of a setting of iscsid.conf or of a target's record, which also hold secrets: only the
// named one is looked at, and only a number is returned.
func iscsiSetting(text, name string) string {
	value := ""
	for l := range strings.Lines(text) {
		k, v, ok := strings.Cut(l, "=")
		if !ok || strings.TrimSpace(k) != name {
			continue
		}
		v = strings.TrimSpace(v)
		if n, err := strconv.Atoi(v); err == nil && n >= -1 && n <= 1e9 {
			value = v
		}
	}
	return value
}

// nodeRecords returns the replacement timeout of each target that open-iscsi has a record of. A record is
// TARGET/PORTAL/INTERFACE, in older versions TARGET/PORTAL.
func (t tree) nodeRecords() map[string]string {
	out := map[string]string{}
	for _, dir := range []string{"/etc/iscsi/nodes", "/var/lib/iscsi/nodes"} { // Debian's place, Red Hat's
		for _, target := range t.names(dir) {
			for _, portal := range t.names(dir + "/" + target) {
				at := dir + "/" + target + "/" + portal
				text := t.text(at)
				for _, iface := range t.names(at) {
					text = t.text(at + "/" + iface)
				}
				if v := iscsiSetting(text, replacement); v != "" {
					out[target] = v
				}
				if len(out) >= nodesLimit {
					return out
				}
			}
		}
	}
	return out
}
