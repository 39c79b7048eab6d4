// This file recognises the distribution, its package manager and its first process.

package resident

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// families are the families of distributions by the words of ID and ID_LIKE, the more exact first.
var families = []struct{ word, family string }{
	{"rhel", "rhel"}, {"centos", "rhel"}, {"fedora", "rhel"}, {"rocky", "rhel"}, {"almalinux", "rhel"}, {"ol", "rhel"},
	{"debian", "debian"}, {"ubuntu", "debian"},
	{"sles", "suse"}, {"suse", "suse"}, {"opensuse", "suse"},
}

// managers are the package managers of a family, the front end that people use first. They are those that the driver of a
// Linux guest types the name of after an outage.
var managers = map[string][]string{
	"rhel":   {"/usr/bin/yum", "/usr/bin/dnf", "/usr/bin/rpm"},
	"debian": {"/usr/bin/dpkg"},
	"suse":   {"/usr/bin/zypper", "/usr/bin/rpm"},
	"":       {"/usr/bin/yum", "/usr/bin/dnf", "/usr/bin/zypper", "/usr/bin/dpkg", "/usr/bin/rpm"},
}

// released is a version in a file like /etc/centos-release: "CentOS Linux release 7.3.1611 (Core)".
var released = regexp.MustCompile(`^(.{1,100}?)\s+release\s+([0-9][0-9.]{0,31})`)

// distro recognises the distribution by three texts: os-release; redhat-release or centos-release, which know the minor
// version, and are all that version 6 has; debian_version, likewise.
func distro(osText, redhat, debian string) agent.Distro {
	rel := osRelease(osText)
	d := agent.Distro{ID: word(rel["ID"]), Version: word(rel["VERSION_ID"])}
	name, version := "", ""
	if m := released.FindStringSubmatch(redhat); m != nil {
		name, version = strings.ToLower(m[1]), strings.TrimRight(m[2], ".")
	}
	if d.ID == "" {
		for _, w := range []string{"centos", "rocky", "almalinux", "red hat"} {
			if strings.Contains(name, w) {
				d.ID = strings.Replace(w, "red hat", "rhel", 1)
				break
			}
		}
	}
	like := append([]string{d.ID}, strings.Fields(rel["ID_LIKE"])...)
	for _, w := range like {
		for _, f := range families {
			if d.Family == "" && (w == f.word || strings.HasPrefix(w, f.word+"-") || strings.HasPrefix(w, f.word+"_")) {
				d.Family = f.family
			}
		}
	}
	switch { // the more exact version, when it is of the same release
	case d.Family == "rhel" && (d.Version == "" || strings.HasPrefix(version, d.Version)):
		d.Version = version
	case d.ID == "debian":
		if l, _, _ := strings.Cut(debian, "\n"); d.Version == "" || strings.HasPrefix(l, d.Version+".") {
			d.Version = word(l)
		}
	}
	major, _, _ := strings.Cut(d.Version, ".")
	n, err := strconv.Atoi(major)
	switch d.ID {
	case "centos", "rhel", "rocky", "almalinux":
		d.Known = err == nil && n >= 7 && n <= 9
	case "debian", "ubuntu", "sles":
		d.Known = true
	}
	return d
}

// distroFacts reads which distribution it is.
func (t tree) distroFacts() agent.Distro {
	osText := t.text("/etc/os-release")
	if osText == "" {
		osText = t.text("/usr/lib/os-release")
	}
	redhat := ""
	for _, f := range []string{"/etc/centos-release", "/etc/redhat-release"} {
		if redhat == "" {
			redhat = t.text(f)
		}
	}
	d := distro(osText, redhat, t.text("/etc/debian_version"))
	for _, m := range managers[d.Family] {
		if t.has(m) {
			d.Manager = m
			break
		}
	}
	return d
}

// initSystem names the guest's first process. systemd says of itself that it runs by a folder, sd_booted(3).
func (t tree) initSystem() string {
	comm := t.line("/proc/1/comm")
	switch {
	case t.has("/run/systemd/system") || comm == "systemd":
		return "systemd"
	case t.has("/run/openrc"):
		return "openrc"
	case comm == "busybox":
		return "busybox"
	case comm == "init" && t.has("/etc/init/rcS.conf"):
		return "upstart"
	case comm == "init" && t.has("/etc/inittab"):
		return "sysvinit"
	case comm == "":
		return ""
	}
	return "other: " + comm
}
