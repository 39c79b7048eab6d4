// This file reads the knobs and versions that claims depend on.

package nutanix

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// families are the releases of AOS whose behaviour and REST this driver's claims were written for (from memory: the long-term and
// short-term releases that have both v1 and v2.0 of Prism Element's REST).
var families = []string{"5.20", "6.5", "6.8", "6.10", "7.0"}

// family returns the known family of a version.
func family(version string) (string, bool) {
	for _, f := range families {
		if version == f || strings.HasPrefix(version, f+".") {
			return f, true
		}
	}
	return "", false
}

// The settings' names.
const (
	keyAOS         = "aos"
	keyContract    = "contract" // known, or unknown: whether the version is one that claims may judge
	keyKnown       = "contract.known"
	keyHypervisor  = "hypervisor"
	keyTolerates   = "fault tolerance" // how many disks and nodes may fail, the smaller number
	keyTimeout     = "scsi timeout"    // s, of the disk under fault in its CVM
	keyPassthrough = "passthrough"     // yes, no, or unknown
	keyStall       = "stall layer"     // below or above SCSI
	keyNodes       = "nodes"
	keyController  = "controller"
	keyHost        = "host"
	keyDisk        = "disk"
	keyHostBoot    = "host boot" // s
)

// Settings tells them. Its errors are Operator errors. A version that is not known is none: what claims make of it is their thing.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	l, err := d.find(ctx)
	if err != nil {
		return nil, d.operator(err)
	}
	out := map[string]string{keyAOS: l.version, keyContract: "known", keyKnown: strings.Join(families, ", "), keyHypervisor: d.cfg.Hypervisor,
		keyNodes: strconv.Itoa(len(l.nodes))}
	if _, ok := family(l.version); !ok {
		out[keyContract] = "unknown"
	}
	least := -1
	for _, domain := range []string{domainDisk, domainNode} {
		t, err := d.tolerance(ctx, domain)
		if err != nil {
			return nil, d.operator(err)
		}
		if least < 0 || t.failures < least {
			least = t.failures
		}
	}
	out[keyTolerates] = strconv.Itoa(least)
	if d.cfg.Stall != "" {
		out[keyStall] = d.cfg.Stall
	}
	if d.cfg.HostBoot != "" {
		out[keyHostBoot] = strconv.FormatFloat(hostBoot(d.cfg), 'f', -1, 64)
	}
	n := l.target
	if n == nil {
		return out, nil
	}
	out[keyController], out[keyHost], out[keyPassthrough] = n.cvm, n.host, d.passthrough(ctx, n)
	if l.disk.serial != "" {
		out[keyDisk] = l.disk.serial
		a, err := d.onCVM(ctx, n, d.t.act, lookDisk, l.disk.serial)
		if err != nil {
			return nil, d.operator(err)
		}
		if t := a.one("timeout"); t != "" {
			out[keyTimeout] = t
		}
	}
	return out, nil
}

// passthrough tells whether a CVM has a PCI device of its host to itself.
func (d *Driver) passthrough(ctx context.Context, n *node) string {
	if d.cfg.Hypervisor != ahv {
		return "unknown"
	}
	a, err := d.onHost(ctx, n, d.t.act, passthrough, n.domain())
	if err != nil || a.one("hostdev") == "" {
		return "unknown"
	}
	if a.one("hostdev") == "0" {
		return "no"
	}
	return "yes"
}

// Examine looks at what makes a lab unlike a cluster that somebody runs.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	return append(d.examineController(ctx), d.examineCentral(ctx)...)
}

func (d *Driver) examineController(ctx context.Context) []drivers.Finding {
	const what = "the storage controller is passed through to the CVM"
	l, err := d.find(ctx)
	if err != nil || l.target == nil {
		return []drivers.Finding{{What: what, Say: "It is not known, for nobody could be asked. Claims about a controller's hang rest on it."}}
	}
	switch d.passthrough(ctx, l.target) {
	case "yes":
		return []drivers.Finding{{What: what, OK: true}}
	case "no":
		return []drivers.Finding{{What: what, Say: "The CVM " + l.target.cvm + " has virtual disks. That a controller's error stays with the CVM is not shown here: use hardware."}}
	}
	return []drivers.Finding{{What: what, Say: "It could not be found out. Look at the CVM's devices on its host."}}
}

// hostBoot is how long a host's boot was seen to take, in seconds; open has checked it.
func hostBoot(c Config) float64 {
	t, _ := time.ParseDuration(c.HostBoot)
	return t.Seconds()
}
