// Package vsphere drives a standalone ESXi 6.5 to 9 or a host behind a vCenter through the vSphere API, and through SSH
// where the API has no way. It looks at host, datastore and machines by asking again and again, each call with a deadline
// of its own, so that a host that hangs is itself seen.
//
// What it reports on the host's lane (sample units in brackets):
//
//	manageable   state   yes, no; Text is the cause: "did not answer within 5s", "connection refused", "session expired", ...
//	connection   state   connected, disconnected, notResponding
//	boot         state   when the host booted
//	apd          state   none, apd, apd-timeout, pdl: what this host's mount of the datastore says
//	datastore    state   accessible, inaccessible
//	path         state   online (some path of the LUN is active or standby), offline; Attrs states
//	lun          state   its operational states: ok, lostCommunication, timeout, ...; absent
//	paths        sample  [1] paths that are active or standby
//	api          sample  [s] a CurrentTime call took
//	clock-error  sample  [s] by how much the times of events can be wrong
//	event        event   Value is the event's type id, or the name of its class; Attrs key, created, severity, vm, datastore, ...
//	log          event   Value is the log's key, Text the line; "suppressed" with Attrs lines when there were too many
//	api          event   not-answering, answers (Attrs what), session-expired, re-login, event-ring-overrun, events-begin-anew
//
// and on each machine's lane, vm/NAME:
//
//	power        state   on, off, suspended
//	connection   state   connected, inaccessible, disconnected, invalid, orphaned; gone: it is no longer registered
//	boot         state   when the machine was started; none
//	host         state   the name of its host
//	fields       state   shown, blank: whether the machine's page has its data
//	heartbeat    state   green, yellow, red, gray
//	tools        state   guestToolsRunning, guestToolsNotRunning, ...; unknown
//	question     state   none, or the text of the question
//	event        event   as above
//	vsphere.task event   Value is the operation and what became of it: "VirtualMachine.powerOff.success"; Attrs key, seconds
//
// LUN and paths are only known of a VMFS datastore.
package vsphere

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/vmware/govmomi/cli/esx"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Name is what lab files call this driver.
const Name = "hypervisor/vsphere"

// Config is what a lab file says of a host. There is no key for a password: it comes from a file or from GOVC_PASSWORD.
type Config struct {
	URL            string         `yaml:"url" json:"url"`                           // https://host/sdk, or the host alone; GOVC_URL
	User           string         `yaml:"user" json:"user"`                         // GOVC_USERNAME, or the one in GOVC_URL
	PasswordFile   string         `yaml:"password_file" json:"password_file"`       // GOVC_PASSWORD, or the one in GOVC_URL
	Thumbprint     string         `yaml:"thumbprint" json:"thumbprint"`             // SHA-1 or SHA-256 of the certificate; GOVC_TLS_KNOWN_HOSTS
	CAFile         string         `yaml:"ca_file" json:"ca_file"`                   // PEM; GOVC_TLS_CA_CERTS
	Datacenter     string         `yaml:"datacenter" json:"datacenter"`             // where several have things of one name
	Host           string         `yaml:"host" json:"host"`                         // name or inventory path; not needed if there is one only
	Datastore      string         `yaml:"datastore" json:"datastore"`               // name or inventory path of the one under test
	StorageNIC     string         `yaml:"storage_nic" json:"storage_nic"`           // vmnicN that carries iSCSI alone: it can be taken down
	SSH            *sshell.Config `yaml:"ssh" json:"ssh,omitempty"`                 // for what the API cannot do
	AllowHostCrash bool           `yaml:"allow_host_crash" json:"allow_host_crash"` // consent to a purple screen
}

func init() {
	drivers.Register(drivers.Registration{Name: Name, Title: "a VMware ESXi host, alone or behind a vCenter", Type: (*Driver)(nil), Config: Config{}, Lacks: lacks,
		Open: func(ctx context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c)
		}})
}

// lacks tells which powers a configuration does not give.
func lacks(config any) map[drivers.Power]string {
	c, _ := config.(Config)
	out := map[drivers.Power]string{}
	if c.StorageNIC == "" {
		out[drivers.CanLinkDown] = "the lab file names no storage_nic"
	}
	if c.SSH == nil {
		out[drivers.CanRestartMgmt] = "the lab file gives no ssh to the host"
		out[drivers.CanCrashHost] = "the lab file gives no ssh to the host"
	}
	if !c.AllowHostCrash {
		out[drivers.CanCrashHost] = "the lab file does not allow it: allow_host_crash"
	}
	return out
}

// How long calls may take, and how often they are made.
const (
	quick      = 5 * time.Second        // bound of a call that only reads
	taskBound  = 30 * time.Second       // bound of a call that starts a task or sets something: a host in trouble is slow to take it
	everyLook  = time.Second            // looks at host, datastore and machines
	everyEvent = 500 * time.Millisecond // looks for events
	everyLog   = 2 * time.Second        // looks into logs
	everyTask  = 250 * time.Millisecond // looks at a task that a power waits for
)

// Driver is a vSphere host in a lab.
type Driver struct {
	env   drivers.Env
	cfg   Config
	api   *api
	shell *sshell.Shell // nil without ssh
	clock clockMap
	cli   func(ctx context.Context, args ...string) ([]esx.Values, error) // esxcli

	place *Known[place]
	tail  *tail // where the event collector of this driver stands
}

// Driver has these powers.
var (
	_ drivers.VMPower             = (*Driver)(nil)
	_ drivers.Console             = (*Driver)(nil)
	_ drivers.Settings            = (*Driver)(nil)
	_ drivers.Tuner               = (*Driver)(nil)
	_ drivers.PathBreaker         = (*Driver)(nil)
	_ drivers.ManagementRestarter = (*Driver)(nil)
	_ drivers.HostCrasher         = (*Driver)(nil)
	_ drivers.Examiner            = (*Driver)(nil)
)

// open checks the configuration. It does not talk to the host: Probe does.
func open(env drivers.Env, cfg Config) (*Driver, error) {
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: "The host cannot be used", Do: do, Err: err}
	}
	if cfg.Datastore == "" {
		return nil, bad("no datastore is named", "Write datastore: and the name of the one under test", nil)
	}
	api, err := apiFor(env, cfg, bad)
	if err != nil {
		return nil, err
	}
	d := &Driver{env: env, cfg: cfg, place: NewKnown[place](), api: api}
	d.cli = d.esxcli
	if cfg.SSH != nil {
		if d.shell, err = sshell.New(*cfg.SSH, env.Dial); err != nil {
			return nil, bad("ssh cannot be used", "Give address, key_file and host_key (the line that ssh-keyscan prints)", err)
		}
	}
	return d, nil
}

// apiFor is the way to the server that a configuration names; bad puts what is wrong with that into words.
func apiFor(env drivers.Env, cfg Config, bad func(cause, do string, err error) error) (*api, error) {
	login, err := loginOf(cfg, os.Getenv, env.Dial != nil)
	if err != nil {
		return nil, bad("no usable address or login", "Give url, user and password_file, or GOVC_URL, GOVC_USERNAME and GOVC_PASSWORD", err)
	}
	trust, err := trustOf(cfg, os.Getenv)
	if err != nil {
		return nil, bad("no usable trust in the server's certificate", "Give thumbprint or ca_file", err)
	}
	a := newAPI(login, trust, env.Dial)
	a.insecure = insecure(os.Getenv)
	return a, nil
}

// VMLane is the lane of a machine.
func (d *Driver) VMLane(vm string) drivers.Lane {
	return drivers.Lane{Role: drivers.Hypervisor, Name: "vm/" + vm, Provenance: d.env.Lane.Provenance}
}

// Close ends the session and the connections.
func (d *Driver) Close() error { d.api.close(); return nil }

// within bounds f, and tells a host that was silent from a caller who gave up.
func within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := f(in)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w (%v)", context.Cause(ctx), cause(err))
	case in.Err() != nil:
		return &silence{limit}
	}
	return err
}
