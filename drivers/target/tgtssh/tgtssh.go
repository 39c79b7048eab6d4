// Package tgtssh drives a tgtd on another machine over SSH, by tgtadm. The daemon stays: a stop takes its portals and connections
// away, which clients cannot tell from a daemon that is gone. Facts: Debian's tgt 1.0.85 (measured).
package tgtssh

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Config is that of every target over SSH, and which tgtd it is.
type Config struct {
	overssh.Config `yaml:",inline"`
	Control        int `yaml:"control" json:"control"` // tgtd's control number, -C, where several run
}

// Driver is a tgtd on another machine.
type Driver struct{ *overssh.Driver }

func init() {
	overssh.Register("target/tgt-ssh", "tgtd on another machine, over SSH", (*Driver)(nil), lacks, open)
}

func open(env drivers.Env, c Config) (drivers.Driver, error) {
	d, err := overssh.Open(env, c.Config, System(c.Target, c.Control, c.LUN))
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

func lacks(c Config) map[drivers.Power]string {
	if c.LUN > 0 {
		return nil
	}
	return map[drivers.Power]string{drivers.Power(drivers.LUNGone): "tgtd keeps LUN 0 for its controller: use a lun from 1"}
}

// BreakKinds are what BreakPath can do. Both are PDL-shaped.
func (*Driver) BreakKinds() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.LoginReject, drivers.LUNGone}
}

// BreakPath sets the target offline, so that logins end with 3/0, or takes the LUN away.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	return d.Break(ctx, kind, j)
}

// System is what a tgtd is told. Its numbers of targets are not in the configuration: each command looks up the number of the name.
func System(iqn string, control, lun int) overssh.System {
	adm := "tgtadm -C " + strconv.Itoa(control) + " --lld iscsi "
	tid := "t=$(" + adm + "--mode target --op show | awk -v n=" + overssh.Quote(iqn) +
		" '$1 == \"Target\" && $3 == n { sub(\":\", \"\", $2); print $2 }')\n[ -n \"$t\" ] || exit 1\n"
	// every connection of all targets, or of the one, is ended; a session that is only open goes on without its portal (measured)
	cut := func(only string) string {
		return adm + "--mode target --op show | awk '$1 == \"Target\" { t = $2; sub(\":\", \"\", t) } /I_T nexus:/ { s = $3 } /Connection:/ { print t, s, $2 }' |\n" +
			"while read -r t s c; do " + only + adm + "--mode conn --op delete --tid \"$t\" --sid \"$s\" --cid \"$c\" </dev/null; done\n"
	}
	l := strconv.Itoa(lun)
	show := adm + "--mode target --op show; echo \"status $?\""
	s := overssh.System{
		Product: "tgtd",
		Needs:   []string{"tgtadm", "awk"},
		Service: overssh.Switch{
			Read:  adm + "--mode portal --op show; echo \"status $?\"",
			Parse: ReadPortals,
			Off: func(was string) string {
				return portals(adm, "delete", was) + cut("")
			},
			On:   func(was string) string { return portals(adm, "new", was) },
			Seen: overssh.Gone,
		},
		Sessions: adm + "--mode target --op show | awk '$1 == \"Target\" { f = ($3 == n) } f && /Connection:/ { c++ } END { print c + 0 }' n=" + overssh.Quote(iqn),
		Count:    overssh.ReadNumber,
		AtBoot:   "systemctl is-enabled tgt",
		Starts:   overssh.ReadEnabled,
		Stores:   show,
		ReadStores: func(out string) (map[int]string, error) {
			return ReadStores(out, iqn)
		},
		Breaks: map[drivers.FaultKind]overssh.Switch{
			drivers.LoginReject: {
				Read:  show,
				Parse: func(out string) (overssh.State, error) { return ReadTarget(out, iqn) },
				Off: func(string) string {
					return tid + adm + "--mode target --op update --tid \"$t\" --name state --value offline\nown=$t\n" + cut("[ \"$t\" = \"$own\" ] || continue; ")
				},
				On: func(string) string {
					return tid + adm + "--mode target --op update --tid \"$t\" --name state --value ready"
				},
				Seen: []overssh.Wire{overssh.Rejected},
			},
		},
	}
	if lun > 0 {
		s.Breaks[drivers.LUNGone] = overssh.Switch{
			Read:  show,
			Parse: func(out string) (overssh.State, error) { return ReadUnit(out, iqn, lun) },
			Off:   func(string) string { return tid + adm + "--mode logicalunit --op delete --tid \"$t\" --lun " + l },
			On:    func(was string) string { return tid + remake(adm, l, was) },
			Seen:  []overssh.Wire{overssh.NoUnit},
		}
	}
	return s
}

func portals(adm, op, was string) string {
	b := ""
	for _, p := range overssh.Marked(was, "portal") {
		b += adm + "--mode portal --op " + op + " --param portal=" + overssh.Quote(p) + "\n"
	}
	return b
}

// remake makes a LUN again with the identity by which a host knows its disk.
func remake(adm, lun, was string) string {
	get := func(word string) string { return strings.Join(overssh.Marked(was, word), "") }
	b := adm + "--mode logicalunit --op new --tid \"$t\" --lun " + lun + " --bstype " + overssh.Quote(get("type")) + " -b " + overssh.Quote(get("path")) + "\n"
	for _, p := range []string{"scsi_id", "scsi_sn"} {
		if v := get(p); v != "" {
			b += adm + "--mode logicalunit --op update --tid \"$t\" --lun " + lun + " --params " + overssh.Quote(p+"="+v) + "\n"
		}
	}
	if get("readonly") == "Yes" {
		b += adm + "--mode logicalunit --op update --tid \"$t\" --lun " + lun + " --params readonly=1\n"
	}
	return b
}

var errNoList = errors.New("it is no list of tgtadm")

// body returns the lines of a command that ended well, as "status 0" on the last says.
func body(out string) ([]string, bool) {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if strings.TrimSpace(lines[len(lines)-1]) != "status 0" {
		return nil, false
	}
	return lines[:len(lines)-1], true
}

// ReadPortals reads the list of portals, "Portal: 127.0.0.1:3260,1". A daemon that does not answer is no daemon.
func ReadPortals(out string) (overssh.State, error) {
	lines, ok := body(out)
	if !ok {
		if strings.Contains(out, "tgtadm:") {
			return overssh.State{Word: "without a daemon"}, nil
		}
		return overssh.State{}, errNoList
	}
	st := overssh.State{Word: overssh.Off}
	for _, l := range lines {
		p, ok := strings.CutPrefix(strings.TrimSpace(l), "Portal: ")
		if !ok {
			if strings.TrimSpace(l) == "" {
				continue
			}
			return overssh.State{}, errNoList
		}
		address, _, _ := strings.Cut(p, ",")
		st.Word = overssh.On
		st.Detail += "portal " + strings.TrimSpace(address) + "\n"
	}
	return st, nil
}

// section returns the lines of one target, without the space before them.
func section(out, iqn string) ([]string, error) {
	lines, ok := body(out)
	if !ok {
		return nil, errNoList
	}
	var own []string
	in := false
	for _, l := range lines {
		if f := strings.Fields(l); len(f) == 3 && f[0] == "Target" && strings.HasSuffix(f[1], ":") && !strings.HasPrefix(l, " ") {
			in = f[2] == iqn
		}
		if in {
			own = append(own, strings.TrimSpace(l))
		}
	}
	if own == nil {
		return nil, errors.New("tgtd has no such target")
	}
	return own, nil
}

// ReadTarget reads a target's state, "State: ready" or "State: offline".
func ReadTarget(out, iqn string) (overssh.State, error) {
	own, err := section(out, iqn)
	if err != nil {
		return overssh.State{}, err
	}
	for _, l := range own {
		switch word, _ := strings.CutPrefix(l, "State: "); word {
		case "ready":
			return overssh.State{Word: overssh.On}, nil
		case "offline":
			return overssh.State{Word: overssh.Off}, nil
		}
	}
	return overssh.State{}, errNoList
}

// ReadUnit reads what a LUN is made of. Vendor and product, which tgtadm does not show, are the daemon's own again after an undo.
func ReadUnit(out, iqn string, lun int) (overssh.State, error) {
	own, err := section(out, iqn)
	if err != nil {
		return overssh.State{}, err
	}
	st := overssh.State{Word: overssh.Off}
	in := false
	names := map[string]string{"Backing store type": "type", "Backing store path": "path", "SCSI ID": "scsi_id", "SCSI SN": "scsi_sn", "Readonly": "readonly"}
	for _, l := range own {
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "LUN":
			in = value == strconv.Itoa(lun)
			if in {
				st.Word = overssh.On
			}
		case strings.HasSuffix(name, " information"):
			in = false
		case in && names[name] != "" && value != "":
			st.Detail += names[name] + " " + value + "\n"
		}
	}
	return st, nil
}

// ReadStores reads what the LUNs of a target are made of. LUN 0 is the controller, which has nothing.
func ReadStores(out, iqn string) (map[int]string, error) {
	own, err := section(out, iqn)
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	lun := -1
	for _, l := range own {
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimSpace(value)
		switch {
		case name == "LUN":
			if lun, err = strconv.Atoi(value); err != nil {
				return nil, errNoList
			}
		case strings.HasSuffix(name, " information"):
			lun = -1
		case name == "Backing store path" && lun >= 0 && value != "None" && value != "":
			found[lun] = value
		}
	}
	return found, nil
}
