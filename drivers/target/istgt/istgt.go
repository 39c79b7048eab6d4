// Package istgt drives a plain istgt over SSH, as Debian (0.4~20111008, /etc/init.d/istgt) and the FreeBSD port
// (/usr/local/etc/rc.d/istgt) bring it. For a XigmaNAS, which writes istgt's configuration itself, there is target/xigmanas.
package istgt

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/internal/istgtconf"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Config is that of every target over SSH, and which unit of istgt's own configuration the target is.
type Config struct {
	overssh.Config `yaml:",inline"`
	Unit           int    `yaml:"unit" json:"unit"` // the N of [LogicalUnitN]; 0: the fault not-ready cannot be injected
	Conf           string `yaml:"conf" json:"conf"` // istgt.conf; /etc/istgt/istgt.conf when empty
}

// Driver is an istgt.
type Driver struct{ *overssh.Driver }

func init() {
	overssh.Register("target/istgt", "istgt, over SSH", (*Driver)(nil), lacks, open)
}

func open(env drivers.Env, c Config) (drivers.Driver, error) {
	if c.Conf == "" {
		c.Conf = "/etc/istgt/istgt.conf"
	}
	portal := c.Portal
	if portal == "" {
		portal = env.Portal
	}
	d, err := overssh.Open(env, c.Config, System(portal, c.Conf, c.Target, c.Unit))
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

func lacks(c Config) map[drivers.Power]string {
	if c.Unit > 0 {
		return nil
	}
	return map[drivers.Power]string{drivers.Power(drivers.NotReady): "the lab file does not say which unit of istgt.conf the target is: unit"}
}

// BreakKinds are what BreakPath can do.
func (*Driver) BreakKinds() []drivers.FaultKind { return []drivers.FaultKind{drivers.NotReady} }

// BreakPath makes the unit answer every command with 2/04/00, NOT READY. istgt reads that only when it starts (measured: SIGHUP does
// nothing in 20111008), so its clients see a restart of some seconds first.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	return d.Break(ctx, kind, j)
}

// The service, by whichever script the system has. Both send SIGTERM and wait; a stop needs 3.6 to 5 s (measured).
const (
	debian  = "/etc/init.d/istgt"
	freebsd = "/usr/local/etc/rc.d/istgt"
	pidFile = "/var/run/istgt.pid"
	stop    = "if [ -x " + debian + " ]; then " + debian + " stop; else " + freebsd + " onestop; fi"
	start   = "if [ -x " + debian + " ]; then " + debian + " start; else " + freebsd + " onestart; fi"
	atBoot  = "if [ -x " + debian + " ]; then ls /etc/rc2.d/; else " + freebsd + " rcvar; fi"
)

// System is what an istgt is told. unit 0 is none.
func System(portal, conf, target string, unit int) overssh.System {
	_, port, _ := net.SplitHostPort(portal)
	s := overssh.System{
		Product: "istgt",
		Needs:   []string{"istgt", "ps", "awk"},
		Service: overssh.Switch{
			// The scripts' own status differs between systems, and with systemd; a pid file may be left over, and its number anybody's.
			Read:  "p=$(cat " + pidFile + " 2>/dev/null); ps -p \"${p:-0}\" -o comm=; echo \"status $?\"",
			Parse: ReadProcess,
			Off:   func(string) string { return stop },
			On:    func(string) string { return start },
			Seen:  overssh.Gone,
		},
		Sessions: "if command -v ss >/dev/null; then ss -Htn state established sport = :" + port + " | wc -l; else sockstat -4 -c -p " + port + " | grep -c istgt; fi",
		Count:    overssh.ReadNumber,
		AtBoot:   atBoot,
		Starts:   starts,
		Stores:   istgtconf.Show(conf),
		ReadStores: func(out string) (map[int]string, error) {
			return istgtconf.Read(out, target)
		},
	}
	if unit > 0 {
		s.Breaks = map[drivers.FaultKind]overssh.Switch{drivers.NotReady: online(conf, unit)}
	}
	return s
}

// ReadProcess reads the name that ps(1) gives for the process of the pid file, and ps's status.
func ReadProcess(out string) (overssh.State, error) {
	f := strings.Fields(out)
	if len(f) < 2 || f[len(f)-2] != "status" {
		return overssh.State{}, errors.New("it has no status")
	}
	words, status := f[:len(f)-2], f[len(f)-1]
	switch {
	case status == "0" && len(words) == 1 && words[0] == "istgt":
		return overssh.State{Word: overssh.On}, nil
	case status == "1", status == "0" && len(words) == 1: // no such process, or a stranger with the number
		return overssh.State{Word: overssh.Off}, nil
	}
	return overssh.State{}, fmt.Errorf("it is not what ps says of one process")
}

// starts reads the links of Debian's runlevel 2, or FreeBSD's rcvar.
func starts(out string) (bool, error) {
	if strings.Contains(out, "_enable") {
		return overssh.ReadRCVar(out)
	}
	return slices.ContainsFunc(strings.Fields(out), func(l string) bool { return strings.HasPrefix(l, "S") && strings.HasSuffix(l, "istgt") }), nil
}

// online is the line UnitOnline of a unit's section, which may be missing: it is Yes then.
func online(conf string, unit int) overssh.Switch {
	section := fmt.Sprintf("[LogicalUnit%d]", unit)
	file := overssh.Quote(conf)
	awk := func(program string) string {
		return "awk -v s=" + overssh.Quote(section) + " -v v=\"$v\" '$1 ~ /^\\[/ { f = ($1 == s); if (f) found = 1 } " + program + "' " + file
	}
	// The file keeps its owner and mode: it may hold secrets. Nothing is written when the new text could not be made.
	change := func(value string) string {
		return "v=" + overssh.Quote(value) + "\nt=$(mktemp) || exit 1\n" +
			awk(`!(f && $1 == "UnitOnline") { print } f && $1 == s && v != "" { print "  UnitOnline " v }`) + " >\"$t\" && [ -s \"$t\" ] && cat \"$t\" >" + file +
			" && { " + stop + "; " + start + "; }\nrm -f \"$t\""
	}
	return overssh.Switch{
		Read:  "v=\n" + awk(`f && $1 == "UnitOnline" { print "online " $2 } END { if (found) print "unit there" }`),
		Parse: ReadOnline,
		Off:   func(string) string { return change("No") },
		On:    func(was string) string { return change(was) },
		Seen:  []overssh.Wire{overssh.Unready},
		Hint:  "Check conf and unit.",
	}
}

// ReadOnline reads what a unit's section says. Detail is the value that was written there, nothing when there was none.
func ReadOnline(out string) (overssh.State, error) {
	if len(overssh.Marked(out, "unit")) != 1 {
		return overssh.State{}, errors.New("istgt.conf has no such unit")
	}
	values := overssh.Marked(out, "online")
	switch {
	case len(values) == 0:
		return overssh.State{Word: overssh.On}, nil
	case len(values) > 1 || strings.ContainsAny(values[0], " \t"):
		return overssh.State{}, errors.New("istgt.conf says UnitOnline more than once")
	case strings.EqualFold(values[0], "no"):
		return overssh.State{Word: overssh.Off, Detail: values[0]}, nil
	}
	return overssh.State{Word: overssh.On, Detail: values[0]}, nil
}
