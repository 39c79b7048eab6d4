// This file holds what the agent finds out, once, at its start, about a Linux guest: which distribution it is, what its file
// systems lie on, and the timeouts on the way down. All of it is optional; what could not be read is empty.

package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// UnreadFiles is the entry of Unread that says that the guest's configuration was not read.
const UnreadFiles = "the configuration under /etc and /usr/lib"

// Linux is what a Linux guest is made of. Its lists are bounded by the agent.
type Linux struct {
	Init      string      `json:"init,omitempty"` // systemd, sysvinit, upstart, openrc, busybox, or "other: " and the name of process 1
	Distro    Distro      `json:"distro"`
	Root      Mount       `json:"root"` // the root file system
	Log       Mount       `json:"log"`  // the one that holds the acknowledged-write log
	Disks     []Disk      `json:"disks,omitempty"`
	More      int         `json:"more,omitempty"`     // disks that are not in Disks, because there are too many
	Sessions  []Session   `json:"sessions,omitempty"` // of the guest's own iSCSI initiator
	Multipath []Multipath `json:"multipath,omitempty"`

	Rules       []UdevRule    `json:"rules,omitempty"`         // that set the timeout of VMware's disks, in the order in which udev applies them
	NoPathRetry []NoPathRetry `json:"no_path_retry,omitempty"` // in the order of the configuration
	Replacement string        `json:"replacement,omitempty"`   // node.session.timeo.replacement_timeout of iscsid.conf, seconds

	Unread []string `json:"unread,omitempty"` // what did not answer in time
}

// Distro is the distribution.
type Distro struct {
	ID      string `json:"id,omitempty"`      // centos, rhel, rocky, almalinux, debian, ubuntu, sles, ...
	Family  string `json:"family,omitempty"`  // rhel, debian or suse; empty for others
	Version string `json:"version,omitempty"` // as exact as the guest says it: "7.3.1611", "12.11"
	Known   bool   `json:"known,omitempty"`   // one of those this project was made for
	Manager string `json:"manager,omitempty"` // the package manager's absolute path
}

// Mount is a mounted file system and all below it.
type Mount struct {
	Point   string  `json:"point,omitempty"`
	FS      string  `json:"fs,omitempty"`
	Device  string  `json:"device,omitempty"`
	Options string  `json:"options,omitempty"`
	Errors  string  `json:"errors,omitempty"`  // what ext4 does at an error: continue, remount-ro, panic
	Retries string  `json:"retries,omitempty"` // how often XFS writes metadata again after EIO; -1 is for ever
	Stack   []Layer `json:"stack,omitempty"`   // the uppermost first
}

// Layer is one block device of a stack.
type Layer struct {
	Name  string   `json:"name"`            // the kernel's: dm-0, sda2
	Kind  string   `json:"kind"`            // lvm, crypt, multipath, dm (another mapping), md, partition, loop, disk
	Label string   `json:"label,omitempty"` // of a mapping: its name
	Below []string `json:"below,omitempty"` // names of the layers it lies on
}

// Disk is a disk as the guest sees it. Times are in seconds.
type Disk struct {
	Name      string `json:"name"`
	Transport string `json:"transport,omitempty"` // vmw_pvscsi, mptspi, ahci, virtio_blk, virtio_scsi, nvme, iscsi, ...: the driver's own name
	Session   string `json:"session,omitempty"`   // the Session it comes from
	Vendor    string `json:"vendor,omitempty"`
	Model     string `json:"model,omitempty"`
	Timeout   string `json:"timeout,omitempty"`    // of a command
	EHTimeout string `json:"eh_timeout,omitempty"` // of a command of the error handler
	Depth     string `json:"depth,omitempty"`      // commands at a time
	Wanted    string `json:"wanted,omitempty"`     // the Timeout that the last of the Rules that fit asks for
}

// Session is a session of the guest's own iSCSI initiator. Times are in seconds.
type Session struct {
	Name         string `json:"name"`
	Target       string `json:"target,omitempty"`
	State        string `json:"state,omitempty"`         // LOGGED_IN, FAILED, FREE
	Recovery     string `json:"recovery,omitempty"`      // recovery_tmo: from the loss of the connection until IO fails; "off" is never
	Abort        string `json:"abort,omitempty"`         // abort_tmo
	LUReset      string `json:"lu_reset,omitempty"`      // lu_reset_tmo
	NoopInterval string `json:"noop_interval,omitempty"` // recv_tmo: how long nothing may come before the initiator asks
	NoopTimeout  string `json:"noop_timeout,omitempty"`  // ping_tmo: how long the answer may take
	Configured   string `json:"configured,omitempty"`    // node.session.timeo.replacement_timeout of the target's own record
}

// Multipath is a multipath map.
type Multipath struct {
	Name     string   `json:"name"`               // the map's
	Device   string   `json:"device"`             // dm-0
	Paths    []string `json:"paths,omitempty"`    // sda, sdb
	Features string   `json:"features,omitempty"` // of the table that runs now
	Queue    string   `json:"queue,omitempty"`    // whether queue_if_no_path is among them now: yes, no; empty when not known
}

// UdevRule is a rule that sets the timeout of VMware's disks.
type UdevRule struct {
	File    string `json:"file"`
	Vendor  string `json:"vendor,omitempty"` // patterns, as in the rule
	Model   string `json:"model,omitempty"`
	Seconds string `json:"seconds"`
}

// NoPathRetry is a section of multipath.conf that says what happens when there is no path.
type NoPathRetry struct {
	Section string `json:"section"`         // defaults, overrides, device, multipath
	Of      string `json:"of,omitempty"`    // which device (vendor and product) or which multipath (alias or wwid)
	Value   string `json:"value,omitempty"` // fail, queue, or a number of rounds of the path checker
	Polling string `json:"polling,omitempty"`
	Queue   bool   `json:"queue,omitempty"` // its features name queue_if_no_path
}

// Settings returns the facts by name; what is not known has no name in it. Times are in seconds.
//
//	init                             systemd, sysvinit, upstart, openrc, busybox, other: NAME
//	distro distro_family             centos and rhel, ubuntu and debian, ...; the family is rhel, debian or suse
//	distro_version                   as exact as the guest says it
//	distro_recognised                yes for CentOS, RHEL, Rocky and AlmaLinux 7 to 9, Debian, Ubuntu and SLES; else no
//	package_manager                  its absolute path
//	root_options log_options         mount options
//	root_errors log_errors           continue, remount-ro, panic: what ext4 does at an error
//	root_retries log_retries         how often XFS writes metadata again after EIO; -1 is for ever
//	root_stack log_stack             as in "xfs on lvm centos-root on partition sda2 on disk sda"
//	log_point log_fs log_device      of the file system that holds the acknowledged-write log
//	disk.NAME.transport              the driver's own name; iscsi for a disk of the guest's own initiator
//	disk.NAME.{timeout,eh_timeout,queue_depth,vendor,model,session}
//	disk.NAME.rule_timeout           what udev's rule for VMware's disks asks for
//	disks_left_out                   how many disks are not listed
//	iscsi.SESSION.{target,state,recovery_tmo,abort_tmo,lu_reset_tmo,noop_out_interval,noop_out_timeout}
//	iscsi.SESSION.replacement_timeout  as configured for the target; recovery_tmo is what runs
//	iscsi_replacement_timeout        as configured for all targets
//	multipath.NAME.{paths,features}
//	multipath.NAME.queue_if_no_path  yes, no: of the table that ran when the agent started. With a number as no_path_retry it
//	                                 is yes until multipathd has counted that many rounds
//	multipath_no_path_retry          as configured: "defaults 12 (polling 5); device NETAPP LUN queue"
//	vmware_udev_rule                 "FILE: SECONDS"; none when there is no such rule
//	vmware_udev_followed             whether the timeouts that run are those of the rule: yes, no; no such disk
//	unread                           what did not answer in time
func (l *Linux) Settings() map[string]string {
	if l == nil {
		return nil
	}
	out := map[string]string{
		"init": l.Init, "distro": l.Distro.ID, "distro_family": l.Distro.Family, "distro_version": l.Distro.Version,
		"package_manager": l.Distro.Manager, "iscsi_replacement_timeout": l.Replacement, "unread": strings.Join(l.Unread, "; "),
		"root_options": l.Root.Options, "root_errors": l.Root.Errors, "root_retries": l.Root.Retries, "root_stack": l.Root.Words(),
		"log_options": l.Log.Options, "log_errors": l.Log.Errors, "log_retries": l.Log.Retries, "log_stack": l.Log.Words(),
		"log_point": l.Log.Point, "log_fs": l.Log.FS, "log_device": l.Log.Device,
	}
	if l.Distro.ID != "" {
		out["distro_recognised"] = yesNo(l.Distro.Known)
	}
	if l.More > 0 {
		out["disks_left_out"] = strconv.Itoa(l.More)
	}
	for _, d := range l.Disks {
		p := "disk." + d.Name + "."
		out[p+"transport"], out[p+"session"], out[p+"vendor"], out[p+"model"] = d.Transport, d.Session, d.Vendor, d.Model
		out[p+"timeout"], out[p+"eh_timeout"], out[p+"queue_depth"], out[p+"rule_timeout"] = d.Timeout, d.EHTimeout, d.Depth, d.Wanted
	}
	for _, s := range l.Sessions {
		p := "iscsi." + s.Name + "."
		out[p+"target"], out[p+"state"], out[p+"recovery_tmo"], out[p+"abort_tmo"] = s.Target, s.State, s.Recovery, s.Abort
		out[p+"lu_reset_tmo"], out[p+"noop_out_interval"], out[p+"noop_out_timeout"] = s.LUReset, s.NoopInterval, s.NoopTimeout
		out[p+"replacement_timeout"] = s.Configured
	}
	for _, m := range l.Multipath {
		p := "multipath." + m.Name + "."
		out[p+"paths"], out[p+"features"], out[p+"queue_if_no_path"] = strings.Join(m.Paths, " "), m.Features, m.Queue
	}
	var retry []string
	for _, n := range l.NoPathRetry {
		retry = append(retry, n.words())
	}
	out["multipath_no_path_retry"] = strings.Join(retry, "; ")
	out["vmware_udev_rule"], out["vmware_udev_followed"] = l.rule()
	maps.DeleteFunc(out, func(_, v string) bool { return v == "" })
	return out
}

// rule tells of the rules for VMware's disks, and whether they are followed.
func (l *Linux) rule() (rules, followed string) {
	if len(l.Rules) == 0 {
		if slices.Contains(l.Unread, UnreadFiles) {
			return "", "" // it is not known that there is none
		}
		return "none", ""
	}
	var words []string
	for _, r := range l.Rules {
		if w := r.File + ": " + r.Seconds; !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	followed = "no such disk"
	for _, d := range l.Disks {
		switch {
		case d.Wanted == "":
		case d.Wanted != d.Timeout:
			return strings.Join(words, "; "), "no"
		default:
			followed = "yes"
		}
	}
	return strings.Join(words, "; "), followed
}

func (n NoPathRetry) words() string {
	w := n.Section
	for _, part := range []string{n.Of, n.Value} {
		if part != "" {
			w += " " + part
		}
	}
	if n.Queue {
		w += " queue_if_no_path"
	}
	if n.Polling != "" {
		w += " (polling " + n.Polling + ")"
	}
	return w
}

// Words tells what the file system lies on, down to the disks.
func (m *Mount) Words() string {
	if m.FS == "" || len(m.Stack) == 0 {
		return m.FS
	}
	layers := map[string]Layer{}
	for _, l := range m.Stack {
		layers[l.Name] = l
	}
	budget := 2 * len(m.Stack) // a layer that two others lie on is told of twice
	var tell func(name string, depth int) string
	tell = func(name string, depth int) string {
		l, ok := layers[name]
		if budget--; !ok || budget < 0 || depth > len(m.Stack) {
			return name
		}
		w := l.Kind + " " + l.Name
		if l.Label != "" {
			w = l.Kind + " " + l.Label
		}
		switch len(l.Below) {
		case 0:
			return w
		case 1:
			return w + " on " + tell(l.Below[0], depth+1)
		}
		var below []string
		for _, b := range l.Below {
			below = append(below, tell(b, depth+1))
		}
		return fmt.Sprintf("%s on (%s)", w, strings.Join(below, ", "))
	}
	return m.FS + " on " + tell(m.Stack[0].Name, 0)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
