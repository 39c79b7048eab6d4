// Package vsan drives a vSAN cluster (original storage architecture, ESXi 6.5 to 8) through its vCenter, and through SSH where the
// API has no way. It looks at hosts, disks, objects and machines by asking again and again, each call with a deadline of its own,
// so that a vCenter that hangs, maybe because it lives on the cluster, is itself seen.
//
// What it reports, each only when it changes, on the lanes "cluster", "host/NAME", "disk/CANONICAL NAME" (with @HOST where that
// name is only the one of a path) and "vm/NAME" of the cluster's role:
//
//	cluster  api          state   answers, silent; Text is the cause
//	         resilient    state   yes: every object is healthy and nothing is left to copy; no; Text says what lacks
//	         unprotected  sample  [bytes] left to be copied
//	         healing      state   running, idle
//	         objects      state   how many objects there are of each health, in vSAN's words
//	         compliance   state   compliant, nonCompliant: what the storage policies' manager says of the lab's machines; or its own word
//	         task         event   Value is an event's type id; Attrs by, vm, host, key, ...
//	         watch        event   not-answering, answers: Attrs what is not known meanwhile, Text why
//	         events-lost  event   some events may be missing
//	host     host         state   up, down: the vCenter hears it, or does not
//	         member       state   yes, no: it is a part of the vSAN cluster by its own word
//	         boot         state   when it booted
//	         kernel-log   state   read, withheld: whether the vCenter hands out the log of its kernel; of the host under fault
//	disk     disk         state   online, offline, absent
//	         medium       state   serves, hangs, fails, gone; Text says who says so
//	         stuck-io     event   the event's type id; or vmkernel.abort-unfinished, vmkernel.abort-finished: lines of the host's kernel
//	vm       place        state   the name of its host
//	         boot         state   when it was switched on; none
//	         power        state   poweredOn, poweredOff, suspended
//
// A vCenter cannot see that a disk hangs: it goes on saying ok. Only who makes it hang can tell, see Stall.
package vsan

import (
	"context"
	"io"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Name is what lab files call this driver.
const Name = "cluster/vsan"

// Config is what a lab file says of a cluster. There is no key for a password: it comes from a file or from GOVC_PASSWORD.
type Config struct {
	URL            string         `yaml:"url" json:"url"`                           // the vCenter's; GOVC_URL
	User           string         `yaml:"user" json:"user"`                         // GOVC_USERNAME
	PasswordFile   string         `yaml:"password_file" json:"password_file"`       // GOVC_PASSWORD
	Thumbprint     string         `yaml:"thumbprint" json:"thumbprint"`             // SHA-1 or SHA-256 of the certificate; GOVC_TLS_KNOWN_HOSTS
	CAFile         string         `yaml:"ca_file" json:"ca_file"`                   // PEM; GOVC_TLS_CA_CERTS
	Cluster        string         `yaml:"cluster" json:"cluster"`                   // its name; not needed if there is one only
	Host           string         `yaml:"host" json:"host"`                         // the one under fault
	Disk           string         `yaml:"disk" json:"disk"`                         // its disk under fault, by its canonical name: naa....
	SSH            *sshell.Config `yaml:"ssh" json:"ssh,omitempty"`                 // to that host's shell
	FaultTool      string         `yaml:"fault_tool" json:"fault_tool"`             // path of vsanDiskFaultInjection.pyc on that host
	Stall          *Stall         `yaml:"stall" json:"stall,omitempty"`             // how the disk is made to hang
	AllowHostCrash bool           `yaml:"allow_host_crash" json:"allow_host_crash"` // consent to a purple screen
}

// Stall is how a disk is made to hang by whoever is under it: vSAN itself and ESXi have no way to do that. In a nested lab that is
// the storage daemon that serves the disk of the virtual ESXi, which is stopped and goes on.
type Stall struct {
	SSH   *sshell.Config `yaml:"ssh" json:"ssh"`
	Way   string         `yaml:"way" json:"way"`     // what it truly is, in words: recorded as a setting
	Begin string         `yaml:"begin" json:"begin"` // a command that makes the disk hang
	End   string         `yaml:"end" json:"end"`     // a command that makes it serve again; repeating it must do no harm
	State string         `yaml:"state" json:"state"` // a command that prints "serves" or "hangs", and changes nothing
}

func init() {
	drivers.Register(drivers.Registration{Name: Name, Title: "a VMware vSAN cluster behind a vCenter", Type: (*Driver)(nil), Config: Config{}, Lacks: lacks,
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return Open(env, c)
		}})
}

// lacks tells which powers a configuration does not give.
func lacks(config any) map[drivers.Power]string {
	c, _ := config.(Config)
	out := map[drivers.Power]string{}
	lack := func(why string, ps ...drivers.Power) {
		for _, p := range ps {
			out[p] = why
		}
	}
	if c.FaultTool == "" {
		lack("the lab file names no fault_tool", drivers.Power(drivers.DiskError), drivers.Power(drivers.DiskGone))
	}
	if c.SSH == nil {
		lack("the lab file gives no ssh to the host", drivers.CanCrashHost, drivers.Power(drivers.DiskError), drivers.Power(drivers.DiskGone))
	}
	if !c.AllowHostCrash {
		lack("the lab file does not allow it: allow_host_crash", drivers.CanCrashHost, drivers.CanStallDisk)
	}
	if c.Stall == nil {
		lack("the lab file does not say how a disk is made to hang: stall", drivers.CanStallDisk)
	}
	return out
}

// How long calls may take, and how often they are made.
const (
	quick      = 5 * time.Second  // a call that only reads
	slow       = 20 * time.Second // one for which the vCenter asks every host
	setBound   = 30 * time.Second // one that changes something
	everyLook  = time.Second      // looks at hosts and machines
	everyCount = 2 * time.Second  // looks at objects
	everyDisk  = 5 * time.Second  // looks at disks, members and compliance, which cost every host something
	everyEvent = time.Second      // an event has its own time
	everyLog   = 2 * time.Second
)

// Runner runs a command and returns what it said; sshell.Shell is one.
type Runner interface {
	Run(ctx context.Context, line string, in io.Reader) (string, error)
}

// Driver is a vSAN cluster in a lab.
type Driver struct {
	Shell Runner // the shell of the host under fault; nil without ssh
	Under Runner // where the commands of Stall run; nil without stall

	env  drivers.Env
	cfg  Config
	conn *vsphere.Conn

	place *vsphere.Known[place]
}

// Driver has these powers.
var (
	_ drivers.DiskStaller = (*Driver)(nil)
	_ drivers.DiskFailer  = (*Driver)(nil)
	_ drivers.HostCrasher = (*Driver)(nil)
	_ drivers.Tuner       = (*Driver)(nil)
	_ drivers.Settings    = (*Driver)(nil)
	_ drivers.Resilient   = (*Driver)(nil)
)

// Open checks a configuration. It talks to nobody: Probe does.
func Open(env drivers.Env, cfg Config) (*Driver, error) {
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: "The cluster cannot be used", Do: do, Err: err}
	}
	conn, err := vsphere.Connect(env, vsphere.Config{URL: cfg.URL, User: cfg.User, PasswordFile: cfg.PasswordFile, Thumbprint: cfg.Thumbprint, CAFile: cfg.CAFile})
	if err != nil {
		return nil, err
	}
	d := &Driver{env: env, cfg: cfg, conn: conn, place: vsphere.NewKnown[place]()}
	if cfg.Disk != "" && cfg.Host == "" {
		return nil, bad("a disk is named and its host is not", "Write host: and the name of the host that has the disk", nil)
	}
	if cfg.SSH != nil {
		s, err := sshell.New(*cfg.SSH, env.Dial)
		if err != nil {
			return nil, bad("ssh cannot be used", "Give address, key_file and host_key (the line that ssh-keyscan prints)", err)
		}
		d.Shell = s
	}
	if s := cfg.Stall; s != nil {
		if s.Begin == "" || s.End == "" || s.State == "" || s.Way == "" {
			return nil, bad("stall says too little", "Give way, begin, end and state", nil)
		}
		if cfg.Disk == "" {
			return nil, bad("stall says how a disk is made to hang, and no disk is named", "Write disk: and its canonical name", nil)
		}
		if s.SSH != nil {
			sh, err := sshell.New(*s.SSH, env.Dial)
			if err != nil {
				return nil, bad("the ssh of stall cannot be used", "Give address, key_file and host_key (the line that ssh-keyscan prints)", err)
			}
			d.Under = sh
		}
	}
	return d, nil
}

// lane is one of the cluster's.
func (d *Driver) lane(name string) drivers.Lane {
	return drivers.Lane{Role: drivers.Cluster, Name: name, Provenance: d.env.Lane.Provenance}
}

// Close ends the session and the connections.
func (d *Driver) Close() error { d.conn.Close(); return nil }
