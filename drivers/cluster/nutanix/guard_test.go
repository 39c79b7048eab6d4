package nutanix

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
)

// powers are all that break something.
func powers(d *Driver) map[string]func(context.Context, drivers.Journal) error {
	out := map[string]func(context.Context, drivers.Journal) error{"StallDisk": d.StallDisk}
	for _, k := range d.DiskFaults() {
		out[string(k)] = func(ctx context.Context, j drivers.Journal) error { return d.FailDisk(ctx, k, j) }
	}
	for _, k := range d.ControllerStops() {
		out[string(k)] = func(ctx context.Context, j drivers.Journal) error { return d.StopController(ctx, k, j) }
	}
	return out
}

// TestNothingIsBrokenTwice: while one disk's data has too few copies, every power refuses before it journals.
func TestNothingIsBrokenTwice(t *testing.T) {
	t.Parallel()
	slow := fast
	slow.Copy = time.Hour
	l := newLab(t, sim.Config{Nodes: 3, Disks: 2, Times: slow})
	d := l.open()
	n := l.watch(d)
	var us []drivers.Undo
	if err := d.StallDisk(t.Context(), noted(&us)); err != nil {
		t.Fatal(err)
	}
	n.state(t, 0, "cluster", drivers.TopicResilient, "no")
	before := l.sim.State()
	for name, power := range powers(d) {
		var more []drivers.Undo
		err := power(t.Context(), noted(&more))
		var op *drivers.Operator
		if !errors.As(err, &op) || !strings.Contains(op.Cause, "not all its redundancy") || !strings.Contains(op.Cause, "S-A1 is offline") || len(more) > 0 {
			t.Errorf("%s: %v, and %d undos", name, err, len(more))
		}
	}
	if now := l.sim.State(); now != before {
		t.Errorf("the cluster went from %q to %q", before, now)
	}
}

// TestTheShellsWordCounts: where the cluster's own shell does not say that a disk may be lost, Prism's word alone is not enough.
func TestTheShellsWordCounts(t *testing.T) {
	t.Parallel()
	l := newLab(t, sim.Config{Nodes: 3, Disks: 2, Misbehave: sim.Misbehave{ShellTolerates0: true}})
	d := l.open()
	for name, power := range powers(d) {
		var us []drivers.Undo
		var op *drivers.Operator
		if err := power(t.Context(), noted(&us)); !errors.As(err, &op) || !strings.Contains(op.Cause, "own shell") || len(us) > 0 {
			t.Errorf("%s: %v, and %d undos", name, err, len(us))
		}
	}
	if now := l.sim.State(); now != "" {
		t.Errorf("the cluster is %q", now)
	}
}

func TestWhatTheLabFileNamesHasToBeThere(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*Config){
		"has no CVM x":       func(c *Config) { c.Controller = "x" },
		"runs on host-a":     func(c *Config) { c.Host = "host-b" },
		"has no disk x":      func(c *Config) { c.Disk = "x" },
		"belongs to the CVM": func(c *Config) { c.Disk = sim.SerialOf(1, 0) },
		"runs kKvm":          func(c *Config) { c.Hypervisor = esxi },
		"not trusted":        func(c *Config) { c.Thumbprint = strings.Repeat("ab", 32) },
		"is wrong for admin": func(c *Config) {
			c.PasswordFile += ".other"
			_ = os.WriteFile(c.PasswordFile, []byte("another"), 0o600)
		},
		"not let the user in": func(c *Config) { c.Hosts.User = "guest" },
	} {
		l := newLab(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1}, change)
		err := l.open().Probe(t.Context())
		var op *drivers.Operator
		if !errors.As(err, &op) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), sim.Password) || op.Do == "" {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	l := newLab(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1})
	for want, change := range map[string]func(*Config){
		"no address":              func(c *Config) { c.Address = "" },
		"hypervisor is not given": func(c *Config) { c.Hypervisor = "" },
		"stall is":                func(c *Config) { c.Stall = "beside" },
		"what the disk is made":   func(c *Config) { c.Backing = nil },
		"no whole path":           func(c *Config) { c.Egroup = "x" },
		"belongs to is not":       func(c *Config) { c.Controller = "" },
		"host_boot is":            func(c *Config) { c.HostBoot = "-1s" },
		"no usable login":         func(c *Config) { c.PasswordFile = "" },
		"no usable trust":         func(c *Config) { c.Thumbprint = "x" },
		"cvm_ssh is not usable":   func(c *Config) { c.CVMs.KeyFile = "" },
	} {
		c := l.conf
		change(&c)
		_, err := open(drivers.Env{ID: "cluster"}, c, func(string) string { return "" })
		var op *drivers.Operator
		if !errors.As(err, &op) || !strings.Contains(err.Error(), strings.TrimSuffix(want, " is not")) {
			t.Errorf("%q: %v", want, err)
		}
	}
	c := l.conf
	c.PasswordFile, c.Address = "", "prism"
	d, err := open(drivers.Env{ID: "cluster"}, c, func(key string) string { return map[string]string{"NUTANIX_PASSWORD": "from there"}[key] })
	if err != nil || d.prism.password != "from there" || d.prism.host != "prism:9440" {
		t.Errorf("%+v, %v", d, err)
	}
}
