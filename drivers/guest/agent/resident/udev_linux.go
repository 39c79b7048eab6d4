// This file looks for the rule by which open-vm-tools raises the timeout of VMware's disks to 180 s, and for rules of the
// administrator that do the same.
//
// Its texts, as seen in open-vm-tools, in packages of it and in published configurations. All are for ACTION=="add" (some for
// change, too), for the vendor "VMware*" (or padded with blanks) and the model "Virtual disk*" (or padded) or "VMware Virtual S":
//
//	99-vmware-scsi-udev.rules  RUN+="/bin/sh -c 'echo 180 >/sys$DEVPATH/timeout'"           the oldest
//	60-open-vm-tools.rules     RUN+="/bin/sh -c 'echo 180 >/sys$DEVPATH/device/timeout'"    Debian's and Alpine's old packages
//	99-vmware-scsi-udev.rules  RUN+="/bin/sh -c 'echo 180 >/sys/$devpath/device/timeout'"   with the copyright of 2016
//	99-vmware-scsi-udev.rules  ATTR{timeout}="180"                                          since 2019; Debian 12's 12.2.0
//	99-vmware-nvme-udev.rules  RUN+="... echo 180000 >/sys$env{DEVPATH}/queue/io_timeout'"  for "VMware Virtual NVMe Disk", in ms

package resident

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The bounds of the search for rules.
const (
	ruleFilesLimit = 512
	rulesLimit     = 32
)

// ruleDirs are where udev looks for rules; of two files of one name the first counts. In the distribution's own folders only
// files with "vm" in their names are read: the rest is many, and none of it is about VMware.
var ruleDirs = []struct {
	dir string
	own bool
}{
	{"/etc/udev/rules.d", true}, {"/run/udev/rules.d", true}, {"/usr/local/lib/udev/rules.d", true},
	{"/usr/lib/udev/rules.d", false}, {"/lib/udev/rules.d", false},
}

// udevRules returns the rules that set the timeout of VMware's disks, in the order in which udev applies them: by the names
// of their files, whatever their folders are.
func (t tree) udevRules() []agent.UdevRule {
	where := map[string]string{}
	var names []string
	for _, d := range ruleDirs {
		for _, name := range t.names(d.dir) {
			if _, ok := where[name]; ok || !strings.HasSuffix(name, ".rules") || len(names) >= ruleFilesLimit ||
				!d.own && !strings.Contains(strings.ToLower(name), "vm") {
				continue
			}
			where[name] = d.dir + "/" + name
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []agent.UdevRule
	for _, name := range names {
		for _, r := range parseRules(t.text(where[name])) {
			if len(out) == rulesLimit {
				return out
			}
			r.File = word(where[name])
			out = append(out, r)
		}
	}
	return out
}

var (
	// ruleItem is a key, its attribute, an operator and a value in quotes, as udev(7) has them.
	ruleItem = regexp.MustCompile(`([A-Z_]+)(?:\{([^}]*)\})?\s*(==|!=|\+=|-=|:=|=)\s*e?"((?:[^"\\]|\\.)*)"`)
	// echoed is a number that a program of a rule writes to a disk's timeout.
	echoed = regexp.MustCompile(`echo\s+(?:-n\s+)?['"]?([0-9]{1,9})['"]?\s*>\s*\S*/(timeout|io_timeout)\b`)
)

// parseRules returns the rules of a file that set a disk's timeout and ask for VMware by its vendor or model.
func parseRules(text string) []agent.UdevRule {
	var out []agent.UdevRule
	text = strings.ReplaceAll(text, "\\\r\n", " ")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || len(l) > 4096 || len(out) == rulesLimit {
			continue
		}
		var r agent.UdevRule
		for _, f := range ruleItem.FindAllStringSubmatch(l, -1) {
			key, attr, op, value := f[1], f[2], f[3], f[4]
			attr = strings.ToLower(path.Base(attr)) // device/vendor is vendor, queue/io_timeout is io_timeout
			switch {
			case op == "==" && (attr == "vendor" || attr == "id_vendor"):
				r.Vendor = word(value)
			case op == "==" && (attr == "model" || attr == "id_model"):
				r.Model = word(value)
			case key == "ATTR" && (op == "=" || op == ":=") && (attr == "timeout" || attr == "io_timeout"):
				r.Seconds = seconds(value, attr)
			case key == "RUN" && op != "==" && op != "!=":
				if e := echoed.FindStringSubmatch(value); e != nil {
					r.Seconds = seconds(e[1], e[2])
				}
			}
		}
		if r.Seconds != "" && strings.Contains(strings.ToLower(r.Vendor+" "+r.Model), "vmware") {
			out = append(out, r)
		}
	}
	return out
}

// seconds reads a timeout: that of a block queue is in ms.
func seconds(value, attr string) string {
	n, err := strconv.ParseFloat(number(value), 64)
	if err != nil {
		return ""
	}
	if attr == "io_timeout" {
		n /= 1000
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// wanted returns the timeout that the last rule that fits a disk asks for, empty when none does.
func wanted(rules []agent.UdevRule, d agent.Disk) string {
	out := ""
	for _, r := range rules {
		if (r.Vendor == "" || globs(r.Vendor, d.Vendor)) && (r.Model == "" || globs(r.Model, d.Model)) {
			out = r.Seconds
		}
	}
	return out
}

// globs tells whether one of the patterns, parted by bars, fits. Blanks at the end do not count, neither in the pattern nor
// in the value, which the kernel pads with them.
func globs(patterns, value string) bool {
	if len(patterns) > wordLimit {
		return false
	}
	for p := range strings.SplitSeq(patterns, "|") {
		// A "/" is nothing special to udev, as it is to Match.
		p, v := strings.ReplaceAll(strings.TrimRight(p, " "), "/", "\x01"), strings.ReplaceAll(value, "/", "\x01")
		if ok, err := path.Match(p, strings.TrimRight(v, " ")); err == nil && ok {
			return true
		}
	}
	return false
}
