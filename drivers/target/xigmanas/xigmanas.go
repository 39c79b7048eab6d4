// Package xigmanas drives a XigmaNAS or NAS4Free over SSH. It has no interface for programs; its iSCSI service is the userland
// daemon istgt, kept by an rc script. Facts: NAS4Free 11.0.0.4 and later, /etc/rc.d/iscsi_target, etc/inc/system.inc.
package xigmanas

import (
	"fmt"
	"net"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/internal/istgtconf"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Config is that of every target over SSH: the system needs no more.
type Config struct {
	overssh.Config `yaml:",inline"`
}

// Driver is a XigmaNAS. Its configuration is written anew at every start of the service, and always says UnitOnline Yes, so there
// is no way to take one unit away.
type Driver struct{ *overssh.Driver }

func init() {
	overssh.Register("target/xigmanas", "XigmaNAS or NAS4Free, over SSH", (*Driver)(nil), nil, open)
}

func open(env drivers.Env, c Config) (drivers.Driver, error) {
	portal := c.Portal
	if portal == "" {
		portal = env.Portal
	}
	d, err := overssh.Open(env, c.Config, System(portal, c.Target))
	if err != nil {
		return nil, err
	}
	return &Driver{d}, nil
}

// script keeps the service. Its rc name is istgt, its file name is not; "service istgt" does not exist.
const script = "/etc/rc.d/iscsi_target"

// conf is what the script makes at every start of the configuration that the web page keeps in XML (NAS4Free 11.0.0.4,
// build/ports/istgt/files/iscsi_target.in): it is what istgt really serves.
const conf = "/var/etc/iscsi/istgt.conf"

// System is what a XigmaNAS is told. Stopping is by "onestop", which heeds no switch of the web page and changes none: rc.subr sends
// SIGTERM and waits for the end; clients get a FIN at once, and new connections are refused after about 2.4 s (measured with istgt
// 0.4~20111008).
func System(portal, target string) overssh.System {
	_, port, _ := net.SplitHostPort(portal)
	return overssh.System{
		Product: "XigmaNAS (FreeBSD)",
		Needs:   []string{script, "sysctl", "sockstat"},
		Service: overssh.Switch{
			Read:  script + ` onestatus; echo "status $?"`,
			Parse: overssh.ReadRC,
			Off:   func(string) string { return script + " onestop" },
			On:    func(string) string { return script + " onestart" },
			Seen:  overssh.Gone,
			Hint:  "With HAST enabled, a node that is not primary only minds forcestop: run this lab on the primary.",
		},
		Sessions: "sockstat -4 -p " + overssh.Quote(port) + " -c", // istgtcontrol needs the controller, which is off by default
		Count:    func(out string) (int, error) { return Connections(out, port) },
		AtBoot:   script + " rcvar",
		Starts:   overssh.ReadRCVar,
		Stores:   istgtconf.Show(conf),
		ReadStores: func(out string) (map[int]string, error) {
			return istgtconf.Read(out, target)
		},
	}
}

// Connections counts what FreeBSD's sockstat -c lists of istgt at a port of its own. The columns are USER COMMAND PID FD PROTO
// LOCAL FOREIGN (sockstat(1)); the command is cut to 10 letters by old versions.
func Connections(out, port string) (int, error) {
	if !strings.Contains(out, "LOCAL ADDRESS") {
		return 0, fmt.Errorf("it is no list of sockstat")
	}
	n := 0
	for l := range strings.Lines(out) {
		f := strings.Fields(l)
		if len(f) >= 7 && f[1] == "istgt" && strings.HasPrefix(f[4], "tcp") && strings.HasSuffix(f[5], ":"+port) {
			n++
		}
	}
	return n, nil
}
