// Package scst drives an SCST (also the one in TrueNAS SCALE up to 25.x) over SSH, by systemd and its sysfs. Facts: SCST aa5cc2d
// (2026-08): scst/README, scst/src/scst_sysfs.c, scstadmin/systemd/scst.service. Nothing here was measured on a real SCST yet.
package scst

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Config is that of every target over SSH. target is the IQN.
type Config struct {
	overssh.Config `yaml:",inline"`
	SysFS          string `yaml:"sysfs" json:"sysfs"` // where the kernel keeps SCST; /sys/kernel/scst_tgt when empty
}

// Driver is an SCST.
type Driver struct{ *overssh.Driver }

func init() {
	overssh.Register("target/scst", "SCST, over SSH", (*Driver)(nil), nil, open)
}

func open(env drivers.Env, c Config) (drivers.Driver, error) {
	if c.SysFS == "" {
		c.SysFS = "/sys/kernel/scst_tgt"
	}
	d, err := overssh.Open(env, c.Config, System(c.SysFS, c.Target, c.LUN))
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

// BreakKinds are what BreakPath can do. The first two are PDL-shaped, the third is stuck I/O.
func (*Driver) BreakKinds() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.LoginReject, drivers.LUNGone, drivers.Hang}
}

// BreakPath disables the target and closes its sessions, takes the LUN away, or freezes the LUN's device.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	return d.Break(ctx, kind, j)
}

// System is what an SCST is told.
func System(sysfs, iqn string, lun int) overssh.System {
	target := path.Join(sysfs, "targets/iscsi", iqn)
	must := "cd " + overssh.Quote(target) + " || exit 1\n"
	n := strconv.Itoa(lun)
	luns := "for l in luns/" + n + " ini_groups/*/luns/" + n + "; do\nif [ -e \"$l/device\" ]; then\nd=$(basename \"$(readlink \"$l/device\")\")\n"
	return overssh.System{
		Product: "SCST",
		Needs:   []string{"systemctl", "scstadmin"},
		Service: overssh.Switch{
			Read:  "systemctl is-active scst\nif [ -d " + overssh.Quote(path.Join(sysfs, "targets/iscsi")) + " ]; then echo loaded; fi",
			Parse: ReadService,
			Off:   func(string) string { return "systemctl stop scst" },
			On:    func(string) string { return "systemctl start scst" },
			Seen:  overssh.Gone,
			Hint:  "Modules that are in use cannot be unloaded: see journalctl -u scst.",
		},
		Sessions: "ls -1 " + overssh.Quote(path.Join(target, "sessions")) + " | wc -l",
		Count:    overssh.ReadNumber,
		AtBoot:   "systemctl is-enabled scst",
		Starts:   overssh.ReadEnabled,
		Breaks: map[drivers.FaultKind]overssh.Switch{
			drivers.LoginReject: {
				Read:  must + "echo \"enabled $(cat enabled)\"",
				Parse: ReadEnabled,
				Off: func(string) string {
					return must + "echo 0 >enabled\nfor s in sessions/*/force_close; do if [ -e \"$s\" ]; then echo 1 >\"$s\"; fi; done"
				},
				On:   func(string) string { return must + "echo 1 >enabled" },
				Seen: []overssh.Wire{overssh.Rejected},
			},
			drivers.LUNGone: {
				Read:  must + luns + "echo \"lun $l $d $(cat \"$l/read_only\" 2>/dev/null)\"\nfi\ndone\necho read",
				Parse: ReadLUNs,
				Off:   func(was string) string { return must + edit(was, false) },
				On:    func(was string) string { return must + edit(was, true) },
				Seen:  []overssh.Wire{overssh.NoUnit},
			},
			drivers.Hang: {
				Read:  must + luns + "echo \"block $d $(cat " + overssh.Quote(path.Join(sysfs, "devices")) + "/\"$d\"/block)\"\nfi\ndone\necho read",
				Parse: ReadBlock,
				Off:   func(was string) string { return freeze(path.Join(sysfs, "devices"), was) },
				On:    func(was string) string { return thaw(path.Join(sysfs, "devices"), was) },
				Seen:  []overssh.Wire{overssh.Unanswered, overssh.Silent},
			},
		},
		// The kernel writes "[key]" on a second line of an attribute that was set.
		Stores: must + "for l in luns/* ini_groups/*/luns/*; do if [ -e \"$l/device\" ]; then\nd=$(basename \"$(readlink \"$l/device\")\")\n" +
			"echo \"lun ${l##*/} $(head -n 1 " + overssh.Quote(path.Join(sysfs, "devices")) + "/\"$d\"/filename 2>/dev/null)\"\nfi; done\necho read",
		ReadStores: ReadStores,
		Checks: []overssh.Check{{
			What:  "the target is in the configuration that a start loads",
			Show:  "grep -c -F " + overssh.Quote(iqn) + " /etc/scst.conf",
			Judge: saved,
		}},
	}
}

// edit adds or deletes LUNs where they were. The kernel may still be at it when the write returns (EAGAIN, "queued"), so what
// counts is that the LUN is seen there, or gone, afterwards.
func edit(was string, add bool) string {
	b := ""
	for _, l := range overssh.Marked(was, "lun") {
		f := append(strings.Fields(l), "", "")
		dir, n := path.Split(f[0])
		command := "del " + n
		test := "[ ! -e "
		if add {
			command, test = "add "+f[1]+" "+n, "[ -e "
			if f[2] == "1" {
				command += " read_only=1"
			}
		}
		b += test + overssh.Quote(f[0]) + " ] || echo " + overssh.Quote(command) + " >" + overssh.Quote(dir+"mgmt") + "\n"
	}
	return b
}

// freeze blocks a device without waiting for the commands that are at it already: "11" is the asynchronous kind.
func freeze(devices, was string) string {
	b := ""
	for _, dev := range overssh.Marked(was, "device") {
		b += "echo '11 apd' >" + overssh.Quote(path.Join(devices, dev, "block")) + "\n"
	}
	return b
}

// thaw takes back every block: the kernel counts them, and there was none before.
func thaw(devices, was string) string {
	b := ""
	for _, dev := range overssh.Marked(was, "device") {
		file := overssh.Quote(path.Join(devices, dev, "block"))
		b += "for i in 1 2 3 4 5 6 7 8; do read -r n rest <" + file + "; if [ \"${n:-0}\" = 0 ]; then break; fi; echo 0 >" + file + "; done\n"
	}
	return b
}

// ReadService reads systemctl is-active, and whether the kernel part is there. scst.service is a oneshot that stays active.
func ReadService(out string) (overssh.State, error) {
	lines := strings.Fields(out)
	if len(lines) == 0 || len(lines) > 2 || len(lines) == 2 && lines[1] != "loaded" {
		return overssh.State{}, errors.New("it is not what systemctl says of a unit")
	}
	switch loaded := len(lines) == 2; lines[0] {
	case "active":
		if loaded {
			return overssh.State{Word: overssh.On}, nil
		}
		return overssh.State{Word: "active without its kernel part"}, nil
	case "inactive", "failed", "unknown":
		if loaded {
			return overssh.State{Word: lines[0] + " with its kernel part"}, nil
		}
		return overssh.State{Word: overssh.Off}, nil
	case "activating", "deactivating", "reloading":
		return overssh.State{Word: lines[0]}, nil
	}
	return overssh.State{}, errors.New("it is not what systemctl says of a unit")
}

// ReadEnabled reads "enabled 0" or "enabled 1". Saved attributes of SCST have "[key]" on a second line.
func ReadEnabled(out string) (overssh.State, error) {
	switch v := overssh.Marked(out, "enabled"); {
	case len(v) == 1 && v[0] == "1":
		return overssh.State{Word: overssh.On}, nil
	case len(v) == 1 && v[0] == "0":
		return overssh.State{Word: overssh.Off}, nil
	}
	return overssh.State{}, errors.New("it is no target of SCST")
}

// ReadLUNs reads where a LUN is given to initiators: "lun DIR DEVICE READ_ONLY".
func ReadLUNs(out string) (overssh.State, error) {
	if !strings.HasSuffix(strings.TrimSpace(out), "read") {
		return overssh.State{}, errors.New("it is not the list of a LUN's places")
	}
	st := overssh.State{Word: overssh.Off}
	for _, l := range overssh.Marked(out, "lun") {
		f := strings.Fields(l)
		if len(f) < 2 || len(f) > 3 || path.IsAbs(f[0]) || strings.Contains(f[0], "..") {
			return overssh.State{}, fmt.Errorf("it is no place of a LUN: %q", l)
		}
		st.Word = overssh.On
		st.Detail += "lun " + strings.Join(f, " ") + "\n"
	}
	return st, nil
}

// ReadStores reads "lun N PATH". A device without a file is passed through, or holds nothing (vdisk_nullio).
func ReadStores(out string) (map[int]string, error) {
	if !strings.HasSuffix(strings.TrimSpace(out), "read") {
		return nil, errors.New("it is not the list of a target's LUNs")
	}
	return overssh.ReadPaths(out)
}

// ReadBlock reads "block DEVICE COUNT PENDING". Detail names the devices, each once.
func ReadBlock(out string) (overssh.State, error) {
	found := overssh.Marked(out, "block")
	if !strings.HasSuffix(strings.TrimSpace(out), "read") || len(found) == 0 {
		return overssh.State{}, errors.New("it is not the state of a LUN's devices")
	}
	blocked, pending := 0, 0
	names := map[string]bool{}
	st := overssh.State{}
	for _, l := range found {
		f := strings.Fields(l)
		if len(f) != 3 || strings.Contains(f[0], "/") {
			return overssh.State{}, fmt.Errorf("it is not the state of a device: %q", l)
		}
		count, err := strconv.Atoi(f[1])
		if err != nil {
			return overssh.State{}, fmt.Errorf("it is not the state of a device: %q", l)
		}
		if count > 0 {
			blocked++
		}
		if f[2] != "0" {
			pending++
		}
		if !names[f[0]] {
			names[f[0]] = true
			st.Detail += "device " + f[0] + "\n"
		}
	}
	switch {
	case blocked == 0:
		st.Word = overssh.On
	case blocked == len(found) && pending == 0:
		st.Word = overssh.Off
	default:
		st.Word = "being blocked"
	}
	return st, nil
}

func saved(out string) (bool, string) {
	if n, err := overssh.ReadNumber(out); err == nil && n > 0 {
		return true, ""
	}
	return false, "/etc/scst.conf does not name it, so stopping the service or a reboot loses it. Write it with scstadmin -write_config /etc/scst.conf."
}
