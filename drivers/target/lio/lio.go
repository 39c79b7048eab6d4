// Package lio drives the Linux kernel's own target over SSH, by its configfs. Facts: Linux 6.1 (measured in a virtual machine),
// rtslib-fb and targetcli-fb 2.1.53.
package lio

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Config is that of every target over SSH, and the portal group. target is the IQN.
type Config struct {
	overssh.Config `yaml:",inline"`
	TPG            int    `yaml:"tpg" json:"tpg"`           // the portal group's tag; 1 when empty
	ConfigFS       string `yaml:"configfs" json:"configfs"` // where the kernel keeps its targets; /sys/kernel/config/target when empty
}

// Driver is an LIO target.
type Driver struct{ *overssh.Driver }

func init() {
	overssh.Register("target/lio", "LIO, the Linux kernel's target, over SSH", (*Driver)(nil), lacks, open)
}

func open(env drivers.Env, c Config) (drivers.Driver, error) {
	if c.TPG == 0 {
		c.TPG = 1
	}
	if c.ConfigFS == "" {
		c.ConfigFS = "/sys/kernel/config/target"
	}
	d, err := overssh.Open(env, c.Config, System(c.ConfigFS, c.Target, c.TPG, c.LUN))
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

// why0 is measured: with LUN 0 unlinked the kernel's virtual LUN 0 goes on answering reads with GOOD.
const why0 = "LIO goes on answering for LUN 0 when it is gone: use a lun from 1"

func lacks(c Config) map[drivers.Power]string {
	if c.LUN > 0 {
		return nil
	}
	return map[drivers.Power]string{drivers.Power(drivers.LUNGone): why0}
}

// BreakKinds are what BreakPath can do. Both are PDL-shaped: logins are answered.
func (*Driver) BreakKinds() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.LoginReject, drivers.LUNGone}
}

// BreakPath disables the portal group, whose portals then answer logins with 3/1 (service unavailable), or takes the LUN away.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	return d.Break(ctx, kind, j)
}

// System is what an LIO is told. Removing the portals alone leaves sessions working, and disabling alone rejects logins, so a service
// stop is both, in this order (measured: FIN, then refused; back 0.15 s after the undo).
func System(configfs, iqn string, tpg, lun int) overssh.System {
	dir := path.Join(configfs, "iscsi", iqn, "tpgt_"+strconv.Itoa(tpg))
	cd := "cd " + overssh.Quote(dir) + " 2>/dev/null || { echo absent; exit 0; }\n"
	show := cd + `echo "enabled $(cat enable)"; for p in np/*; do if [ -d "$p" ]; then echo "portal ${p#np/}"; fi; done`
	disable := "if [ \"$(cat enable)\" != 0 ]; then echo 0 >enable; fi"
	enable := "if [ \"$(cat enable)\" != 1 ]; then echo 1 >enable; fi" // to enable twice is an error of the kernel's
	must := "cd " + overssh.Quote(dir) + " || exit 1\n"
	s := overssh.System{
		Product: "LIO (Linux kernel target)",
		Needs:   []string{configfs, "readlink"},
		Service: overssh.Switch{
			Read:  show,
			Parse: ReadService,
			Off:   func(string) string { return must + "for p in np/*; do rmdir \"$p\"; done\n" + disable },
			On: func(was string) string {
				var b strings.Builder
				// After a boot the whole configuration may be missing: Debian's and Red Hat's units load what was saved.
				b.WriteString("[ -d " + overssh.Quote(dir) + " ] || systemctl start rtslib-fb-targetctl || systemctl start target\n" + must)
				for _, p := range overssh.Marked(was, "portal") {
					q := overssh.Quote("np/" + p)
					b.WriteString("[ -d " + q + " ] || mkdir " + q + "\n")
				}
				return b.String() + enable
			},
			Seen: overssh.Gone,
			Hint: "Another target or portal group of the system may have the same portal: then the port stays open, and logins are rejected. That is PDL-shaped. Give this target a portal of its own.",
		},
		Sessions: "cat " + overssh.Quote(path.Join(configfs, "iscsi", iqn, "fabric_statistics/iscsi_instance/sessions")),
		Count:    overssh.ReadNumber,
		AtBoot:   "systemctl is-enabled rtslib-fb-targetctl 2>/dev/null || systemctl is-enabled target",
		Starts:   func(out string) (bool, error) { return overssh.ReadEnabled(last(out)) },
		Breaks: map[drivers.FaultKind]overssh.Switch{
			drivers.LoginReject: {
				Read:  show,
				Parse: ReadEnable,
				Off:   func(string) string { return must + disable },
				On:    func(string) string { return must + enable },
				Seen:  []overssh.Wire{overssh.Rejected},
			},
		},
		Checks: []overssh.Check{{
			What:  "the target is in the configuration that a boot loads",
			Show:  "for f in /etc/rtslib-fb-target/saveconfig.json /etc/target/saveconfig.json; do [ ! -r $f ] || cat $f; done | grep -c -F " + overssh.Quote(iqn),
			Judge: saved,
		}},
	}
	// A storage object tells its path as udev_path where its maker has set it (rtslib does), and a fileio also by itself, as "File: /x
	// Size: 1  Mode: O_DSYNC" (target_core_file.c).
	s.Stores = cd + `for l in lun/lun_*; do for b in "$l"/*; do if [ -L "$b" ] && [ -e "$b/info" ]; then
p=$(cat "$b/udev_path" 2>/dev/null)
[ -n "$p" ] || p=$(sed -n 's/.* File: \(.*\)  Size: [0-9].*/\1/p' "$b/info")
echo "lun ${l#lun/lun_} $p"
fi; done; done; echo read`
	s.ReadStores = ReadStores
	if lun > 0 {
		s.Breaks[drivers.LUNGone] = unit(dir, lun)
	}
	return s
}

// unit is the LUN as the links that configfs has for it: to the storage, and from each access list that maps it.
func unit(dir string, lun int) overssh.Switch {
	must := "cd " + overssh.Quote(dir) + " || exit 1\n"
	here := "lun/lun_" + strconv.Itoa(lun)
	return overssh.Switch{
		Read: must + "n=$(readlink -f " + here + ")\nfor l in " + here + "/* acls/*/lun_*/*; do\nif [ -L \"$l\" ]; then\nt=$(readlink -f \"$l\")\n" +
			"case $l in lun/*) echo \"link $l $t\";; *) if [ \"$t\" = \"$n\" ]; then echo \"link $l $t\"; fi;; esac\nfi\ndone\necho read",
		Parse: ReadLinks,
		Off: func(was string) string { // an access list's link holds the LUN, so it goes first
			links := overssh.Marked(was, "link")
			slices.Reverse(links)
			b := must
			for _, l := range links {
				from, _, _ := strings.Cut(l, " ")
				b += "rm -f " + overssh.Quote(from) + "\n"
			}
			return b
		},
		On: func(was string) string {
			b := must
			for _, l := range overssh.Marked(was, "link") {
				from, to, _ := strings.Cut(l, " ")
				b += "[ -L " + overssh.Quote(from) + " ] || ln -s " + overssh.Quote(to) + " " + overssh.Quote(from) + "\n"
			}
			return b
		},
		Seen: []overssh.Wire{overssh.NoUnit},
	}
}

func fields(out string) (enabled string, portals []string, absent bool, err error) {
	on := overssh.Marked(out, "enabled")
	portals = overssh.Marked(out, "portal")
	switch {
	case strings.TrimSpace(out) == "absent":
		return "", nil, true, nil
	case len(on) != 1 || on[0] != "0" && on[0] != "1":
		return "", nil, false, errors.New("it is no portal group of LIO")
	}
	return on[0], portals, false, nil
}

// ReadService reads a portal group. It is on with a portal, off without any and disabled, and otherwise half of both.
func ReadService(out string) (overssh.State, error) {
	enabled, portals, absent, err := fields(out)
	st := overssh.State{Word: "half stopped"}
	for _, p := range portals {
		st.Detail += "portal " + p + "\n"
	}
	switch {
	case err != nil:
		return overssh.State{}, err
	case absent:
		st.Word = "absent"
	case enabled == "1" && len(portals) > 0:
		st.Word = overssh.On
	case enabled == "0" && len(portals) == 0:
		st.Word = overssh.Off
	}
	return st, nil
}

// ReadEnable reads whether a portal group is enabled.
func ReadEnable(out string) (overssh.State, error) {
	enabled, _, absent, err := fields(out)
	switch {
	case err != nil:
		return overssh.State{}, err
	case absent:
		return overssh.State{Word: "absent"}, nil
	case enabled == "1":
		return overssh.State{Word: overssh.On}, nil
	}
	return overssh.State{Word: overssh.Off}, nil
}

// ReadLinks reads the links of a LUN, "link FROM TO", after which "read" has to stand.
func ReadLinks(out string) (overssh.State, error) {
	if last(out) != "read" {
		return overssh.State{}, errors.New("it is not the list of a LUN's links")
	}
	st := overssh.State{Word: overssh.Off}
	for _, l := range overssh.Marked(out, "link") {
		from, to, ok := strings.Cut(l, " ")
		if !ok || strings.HasPrefix(from, "/") || !path.IsAbs(to) || strings.Contains(from, "..") {
			return overssh.State{}, fmt.Errorf("it is no link: %q", l)
		}
		if strings.HasPrefix(from, "lun/") {
			st.Word = overssh.On
		}
		st.Detail += "link " + l + "\n"
	}
	return st, nil
}

// ReadStores reads "lun N PATH". A LUN without a path is made of memory.
func ReadStores(out string) (map[int]string, error) {
	if last(out) != "read" {
		return nil, errors.New("it is not the list of a portal group's LUNs")
	}
	return overssh.ReadPaths(out)
}

// last returns the last line.
func last(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return strings.TrimSpace(lines[len(lines)-1])
}

func saved(out string) (bool, string) {
	if n, err := overssh.ReadNumber(last(out)); err == nil && n > 0 {
		return true, ""
	}
	return false, "It is not, so a reboot loses it. Run targetcli saveconfig."
}
