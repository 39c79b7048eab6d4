// Package nutanix drives a Nutanix cluster: it watches it through the REST of Prism Element and over SSH on its controller VMs
// (CVMs) and hosts, and it stops one CVM, one CVM's Stargate or one disk of it over SSH. Nothing is ever changed through Prism, so
// that each call that Prism's audit lists is somebody else's.
//
// Beside the topics of every cluster (drivers/cluster.go) it reports:
//
//	cluster     unprotected   sample [byte]  cluster_under_replicated_data_bytes, each look
//	vm/NAME     local-bytes   sample [byte]  read from the own node's disks within Prism's last interval, where it tells that
//	vm/NAME     remote-bytes  sample [byte]  the same from other nodes' disks
//	cluster     central       state          Prism Central, asked while Prism Element is silent: answers, silent, not asked
//	vm/NAME     central-place state          the host on which Prism Central says that it runs, or last ran
//	vm/NAME     central-power state          on, off, paused, unknown: its word on that too
//	disk/SERIAL stuck-io      event          kernel-abort: the CVM's kernel aborts a command; stargate: Stargate's log on the disk
//
// Disks are named by serial number, hosts and CVMs as Prism names them. What is not from a public source is marked "from memory".
package nutanix

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// Name is what lab files call this driver.
const Name = "cluster/nutanix"

// Login says how to log in to machines whose addresses Prism tells.
type Login struct {
	User       string `yaml:"user" json:"user"`               // nutanix on CVMs, root on hosts
	KeyFile    string `yaml:"key_file" json:"key_file"`       // a private key without a passphrase
	KnownHosts string `yaml:"known_hosts" json:"known_hosts"` // a known_hosts file that has all of them, by their addresses
	Port       string `yaml:"port" json:"port"`               // 22
}

// Backing is what the disk under fault is made of, outside of the cluster: a process that serves it, as in a nested lab.
type Backing struct {
	SSH     sshell.Config `yaml:"ssh" json:"ssh"`
	PIDFile string        `yaml:"pid_file" json:"pid_file"` // of the process that is frozen: it must serve nothing but this disk
}

// Config is what a lab file says of a cluster. There is no key for a secret: it comes from a file or from the environment.
type Config struct {
	Address      string   `yaml:"address" json:"address"` // host:port of Prism Element; the port is 9440 when it is left out
	User         string   `yaml:"user" json:"user"`
	PasswordFile string   `yaml:"password_file" json:"password_file"` // or NUTANIX_PASSWORD
	PasswordEnv  string   `yaml:"password_env" json:"password_env"`   // another variable than that
	Thumbprint   string   `yaml:"thumbprint" json:"thumbprint"`       // SHA-256 of Prism's certificate
	CAFile       string   `yaml:"ca_file" json:"ca_file"`             // PEM
	Hypervisor   string   `yaml:"hypervisor" json:"hypervisor"`       // ahv or esxi
	CVMs         Login    `yaml:"cvm_ssh" json:"cvm_ssh"`
	Hosts        Login    `yaml:"host_ssh" json:"host_ssh"`
	Controller   string   `yaml:"controller" json:"controller"` // name or address of the CVM under fault
	Host         string   `yaml:"host" json:"host"`             // the host that it runs on, as a check of what controller says
	Disk         string   `yaml:"disk" json:"disk"`             // serial number or id of the disk under fault, one of that CVM
	Stall        string   `yaml:"stall" json:"stall"`           // where the disk stalls: below SCSI (needs backing), or above it
	Backing      *Backing `yaml:"backing" json:"backing"`
	Central      *Central `yaml:"central" json:"central"`     // a second source for VMs while Prism Element is silent; it may be left out
	Egroup       string   `yaml:"egroup" json:"egroup"`       // an extent group's file on that disk, which disk-corrupt overwrites 4 KiB of
	HostBoot     string   `yaml:"host_boot" json:"host_boot"` // how long a boot of such a host was seen to take: "9m"; for comparison only
}

// The hypervisors, and the layers at which a disk stalls.
const (
	ahv   = "ahv"
	esxi  = "esxi"
	below = "below"
	above = "above"
)

func init() {
	drivers.Register(drivers.Registration{Name: Name, Title: "a Nutanix cluster, by Prism Element and SSH", Type: (*Driver)(nil), Config: Config{}, Lacks: lacks,
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c, os.Getenv)
		}})
}

// lacks tells which powers a configuration does not give.
func lacks(config any) map[drivers.Power]string {
	c, out := config.(Config), map[drivers.Power]string{}
	if c.Disk == "" {
		for _, p := range []drivers.FaultKind{drivers.DiskStall, drivers.DiskError, drivers.DiskGone, drivers.DiskCorrupt} {
			out[drivers.Power(p)] = "no disk is named"
		}
	}
	if c.Stall == "" {
		out[drivers.CanStallDisk] = "stall does not say at which layer"
	}
	if c.Egroup == "" {
		out[drivers.Power(drivers.DiskCorrupt)] = "no egroup is named"
	}
	for _, k := range (*Driver)(nil).ControllerStops() {
		if c.Controller == "" {
			out[drivers.Power(k)] = "no controller is named"
		} else if c.Hypervisor == esxi && k != drivers.DaemonCrash && k != drivers.DaemonHang {
			out[drivers.Power(k)] = "on ESXi this driver stops Stargate, and no whole CVM"
		}
	}
	return out
}

// timing is how long things may take and how often they are looked at.
type timing struct {
	prism  time.Duration // bound of a call to Prism; between two looks through it at the least
	every  time.Duration // between two looks through Prism
	shell  time.Duration // bound of a look over SSH
	look   time.Duration // between two of them
	read   time.Duration // how long a disk may take for one read before it hangs
	act    time.Duration // bound of one change over SSH
	down   time.Duration // within which a CVM that was told to shut down has to be off
	poll   time.Duration // between looks while a power or an undo waits
	settle time.Duration // within which a CVM that was started has to run
}

// defaults are the times for real systems. cvm_shutdown waits for the HA routes and for its services; minutes are usual (from memory).
var defaults = timing{prism: 5 * time.Second, every: time.Second, shell: 6 * time.Second, look: 2 * time.Second, read: 2 * time.Second,
	act: 60 * time.Second, down: 5 * time.Minute, poll: 500 * time.Millisecond, settle: 60 * time.Second}

// Driver is a cluster in a lab.
type Driver struct {
	env     drivers.Env
	cfg     Config
	t       timing
	prism   *prism
	central *central // nil when the lab file names none

	mu       sync.Mutex
	layout   *layout // what was found; nil before
	restored bool    // this driver put the extent group's bytes back itself, so that nobody else mended them
}

// Driver has these powers.
var (
	_ drivers.DiskStaller       = (*Driver)(nil)
	_ drivers.DiskFailer        = (*Driver)(nil)
	_ drivers.ControllerStopper = (*Driver)(nil)
	_ drivers.Resilient         = (*Driver)(nil)
	_ drivers.Settings          = (*Driver)(nil)
	_ drivers.Examiner          = (*Driver)(nil)
)

// open checks the configuration. It talks to nobody: Probe does. Its errors are Operator errors.
func open(env drivers.Env, cfg Config, getenv func(string) string) (*Driver, error) {
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: noCluster, Do: do, Err: err}
	}
	if cfg.Address == "" {
		return nil, bad("no address is given", "Write address: and that of Prism Element", nil)
	}
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		cfg.Address = net.JoinHostPort(strings.Trim(cfg.Address, "[]"), "9440")
	}
	if cfg.Hypervisor != ahv && cfg.Hypervisor != esxi {
		return nil, bad("hypervisor is "+quoted(cfg.Hypervisor), "Write hypervisor: ahv, or hypervisor: esxi", nil)
	}
	switch {
	case cfg.Stall != "" && cfg.Stall != below && cfg.Stall != above:
		return nil, bad("stall is "+quoted(cfg.Stall), "Write stall: below or stall: above, or leave it out", nil)
	case cfg.Stall == below && (cfg.Backing == nil || cfg.Backing.PIDFile == ""):
		return nil, bad("stall is below, and what the disk is made of is not named", "Write backing: with ssh and pid_file, or stall: above", nil)
	case cfg.Egroup != "" && !strings.HasPrefix(cfg.Egroup, "/"):
		return nil, bad("egroup is no whole path", "Write egroup: and the whole path of the file", nil)
	case (cfg.Disk != "" || cfg.Egroup != "") && cfg.Controller == "":
		return nil, bad("a disk is named, and the controller that it belongs to is not", "Write controller: and the CVM's name or address", nil)
	}
	if cfg.HostBoot != "" {
		if d, err := time.ParseDuration(cfg.HostBoot); err != nil || d <= 0 {
			return nil, bad("host_boot is "+quoted(cfg.HostBoot), "Write host_boot: and a time, such as 9m", err)
		}
	}
	key := cfg.PasswordEnv
	if key == "" {
		key = "NUTANIX_PASSWORD"
	}
	password, err := secret(cfg.PasswordFile, key, getenv)
	if err != nil || cfg.User == "" {
		return nil, bad("no usable login", "Give user, and password_file or NUTANIX_PASSWORD", err)
	}
	tr, err := tlstrust.New(tlstrust.Config{Thumbprint: cfg.Thumbprint, CAFile: cfg.CAFile})
	if err != nil {
		return nil, bad("no usable trust in Prism's certificate", "Give thumbprint or ca_file", err)
	}
	cfg.CVMs, cfg.Hosts = cfg.CVMs.filled("nutanix"), cfg.Hosts.filled("root")
	for key, l := range map[string]Login{"cvm_ssh": cfg.CVMs, "host_ssh": cfg.Hosts} {
		if _, err := os.ReadFile(l.KeyFile); err != nil || l.KnownHosts == "" {
			return nil, bad(key+" is not usable", "Give "+key+": with key_file and known_hosts", err)
		}
	}
	d := &Driver{env: env, cfg: cfg, t: defaults, prism: newPrism(cfg.Address, cfg.User, password, tr, env.Dial)}
	if cfg.Central != nil {
		c, cause, do, err := openCentral(*cfg.Central, env.Dial, getenv)
		if c == nil {
			return nil, bad(cause, do, err)
		}
		d.central = c
	}
	return d, nil
}

func (l Login) filled(user string) Login {
	if l.User == "" {
		l.User = user
	}
	if l.Port == "" {
		l.Port = "22"
	}
	return l
}

// Probe checks that Prism answers and takes the credentials, that what the lab file names is there, and that the machines that are
// to be broken can be logged in to. A version that is not known is no error: see Settings. Its errors are Operator errors.
func (d *Driver) Probe(ctx context.Context) error {
	l, err := d.find(ctx)
	if err != nil {
		return d.operator(err)
	}
	if _, err := d.tolerance(ctx, domainDisk); err != nil {
		return d.operator(err)
	}
	if err := d.probeCentral(ctx, l); err != nil {
		return err
	}
	n := l.target
	if n == nil {
		return nil
	}
	if _, err := d.onCVM(ctx, n, d.t.shell, lookCVM, l.serials(n)...); err != nil {
		return d.operator(err)
	}
	if _, err := d.onHost(ctx, n, d.t.shell, lookHost(d.cfg.Hypervisor), n.domain()); err != nil {
		return d.operator(err)
	}
	return nil
}

// Close ends idle connections.
func (d *Driver) Close() error {
	d.prism.close()
	if d.central != nil {
		d.central.prism.close()
	}
	return nil
}
