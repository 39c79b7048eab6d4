// Package windows is the driver of a Windows guest. It looks at the guest in two ways at once: through an agent that stays in
// the guest's memory and is spoken with over a connection of its own, and through WinRM, a new connection each time. What
// looks at its remote desktop can be plugged in beside them.
//
// What it reports, all times on the harness's clock (sample units in brackets); agent, boot, alive, heartbeat, cpu, disk,
// read, write, read-error, write-error and load are those of package linux:
//
//	busy          sample  [%] the system disk's active time in the last second
//	busy          state   full (95 % or more in two looks running), normal
//	folder        state   ok, blocked (a listing outstanding for more than 1 s), error
//	folder        sample  [s] a listing took
//	memory        state   kept, lost: whether the agent that was there is there still; Text and Attrs instance name it. After a
//	                      loss "lost" is told for the old one and at once "kept" for the new
//	winrm         state   answers, silent (no answer for 5 s), refused; Text is the stage and what became of it: "tcp refused"
//	winrm         sample  [s] a connection, a login, a shell and a script took; while silent, every 5 s, the silence so far
//	winrm         event   plain-http: the lab file wants WinRM without TLS
//	bugcheck      event   the stop code, like 0x000000EF; Attrs name (CRITICAL_PROCESS_DIED), logged (the guest's time, RFC 3339)
//	kernel-power  event   41; Attrs logged, and name where the event has a stop code
//	chkdsk        event   wininit-1001, chkdsk-<id>; Attrs logged
//	repair        event   startup-repair-<id>, trail; Attrs logged
//	logs          state   read, unread: whether the event logs were read since the last boot
//
// The events of the logs are those since the driver began to look, read after each boot that it has not seen: Lo is the last
// sign of life of the boot before, Hi when they were read; of a crash, Hi is not later than the boot after it.
//
// WinRM is asked for over TLS, with a pinned certificate or an authority. Over plain HTTP, which the lab file has to ask for,
// NTLM's sealing is what hides the content. The agent outlives the WinRM connection and ends by itself when nobody has spoken
// with it for a while; its program stays in %ProgramData%\apd, where the next run finds it.
package windows

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/binary"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/link"
	"github.com/allpathsdown/allpathsdown/drivers/guest/rdp"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// Name is what lab files call this driver.
const Name = "guest/windows"

// The ways to log in.
const (
	authNTLM  = "ntlm"
	authBasic = "basic"
)

// DefaultAgentPort is where the agent listens unless the lab file says otherwise.
const DefaultAgentPort = 47801

// Config is what a lab file says of a Windows guest.
type Config struct {
	Address      string `yaml:"address"`       // host:port of its WinRM service; 5986 is usual for HTTPS
	HTTP         bool   `yaml:"http"`          // plain HTTP (5985 is usual), which is noted in the record
	CAFile       string `yaml:"ca_file"`       // authorities that sign its certificate; default the system's
	Thumbprint   string `yaml:"thumbprint"`    // or the SHA-256 of the certificate itself
	Auth         string `yaml:"auth"`          // ntlm (default) or basic, which needs TLS
	User         string `yaml:"user"`          // an administrator: name, DOMAIN\name or name@domain
	PasswordFile string `yaml:"password_file"` // a file with the password, or
	PasswordEnv  string `yaml:"password_env"`  // the environment variable that holds it
	AgentPort    int    `yaml:"agent_port"`    // where the agent listens; default 47801
	Firewall     bool   `yaml:"firewall"`      // OpenFirewall may open that port for the time of a run

	// RDP, when given, has the guest's remote desktop looked at. Its user and password are the guest's own unless it says
	// otherwise; with hold: false and logon: none it needs neither.
	RDP *rdp.Config `yaml:"rdp"`
	VM  string      `yaml:"vm"`  // its name at the hypervisor
	LUN int         `yaml:"lun"` // the LUN that its disk is on
}

// Watcher looks at one thing of the guest beside the driver, as Driver.Observe does: the remote desktop.
type Watcher interface {
	Observe(ctx context.Context, emit func(drivers.Observation)) error
}

// Driver is an opened Windows guest.
type Driver struct {
	// RDP, when set before Observe, runs beside it and reports on the guest's lane; Open sets it where Config has one.
	RDP Watcher
	// Binary is how an agent is found: package binary's way unless something else is set before the guest is looked at.
	Binary func(ctx context.Context, goos, goarch string) ([]byte, error)

	env      drivers.Env
	cfg      Config
	password string
	trust    tlstrust.Trust
	name     string // the name that all instances of this driver's agents begin with
	agents   watch.Guest
	closed   context.Context
	close    context.CancelFunc

	opening sync.Mutex // one at a time looks for the agent

	mu        sync.Mutex
	instances int
	instance  string       // the agent that was started last
	client    *link.Client // its other half
	placed    string       // the agent's name in the guest, when it was seen to lie there whole
	arch      string       // the guest's, as Go names it, then
}

// Driver has these powers.
var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.WriteVerifier = (*Driver)(nil)
	_ drivers.Halter        = (*Driver)(nil)
	_ drivers.Loader        = (*Driver)(nil)
	_ drivers.Settings      = (*Driver)(nil)
)

func init() {
	drivers.Register(drivers.Registration{
		Name:   Name,
		Title:  "a Windows guest, seen through an agent in its memory and through WinRM",
		Type:   (*Driver)(nil),
		Config: Config{},
		Open: func(ctx context.Context, env drivers.Env) (drivers.Driver, error) {
			return Open(ctx, env)
		},
	})
}

// Open reads the configuration and the secrets. It does not talk to the guest: Probe does.
func Open(_ context.Context, env drivers.Env) (*Driver, error) {
	cfg := Config{Auth: authNTLM, AgentPort: DefaultAgentPort}
	if err := env.Decode(&cfg); err != nil {
		return nil, err
	}
	if cfg.Auth == "" {
		cfg.Auth = authNTLM
	}
	if cfg.AgentPort == 0 {
		cfg.AgentPort = DefaultAgentPort
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: %s", env.ID, cause), Impact: "The guest cannot be used", Do: do, Err: err}
	}
	_, _, err := net.SplitHostPort(cfg.Address)
	switch {
	case err != nil:
		return nil, bad("address is not host:port", "Write address: host:port of the guest's WinRM service", err)
	case cfg.Auth != authNTLM && cfg.Auth != authBasic:
		return nil, bad("auth is neither ntlm nor basic", "Write auth: ntlm, or leave it out", nil)
	case cfg.HTTP && cfg.Auth == authBasic:
		return nil, bad("auth: basic without TLS would show the password to the network", "Use auth: ntlm, or HTTPS", nil)
	case cfg.HTTP && (cfg.CAFile != "" || cfg.Thumbprint != ""):
		return nil, bad("http: true, and a certificate to check", "Remove http, or ca_file and thumbprint", nil)
	case cfg.User == "":
		return nil, bad("no user is given", "Give user: an administrator of the guest", nil)
	case cfg.AgentPort < 1 || cfg.AgentPort > 65535:
		return nil, bad("agent_port is no port", "Give a number from 1 to 65535, or leave it out", nil)
	}
	password, err := passwordOf(cfg)
	if err != nil {
		return nil, bad("no usable password", "Give password_file or password_env (the name of a variable that is set)", err)
	}
	t, err := tlstrust.New(tlstrust.Config{Thumbprint: cfg.Thumbprint, CAFile: cfg.CAFile})
	if err != nil {
		return nil, bad("no usable way to check its certificate", "Give ca_file (PEM) or thumbprint (the SHA-256 of the certificate)", err)
	}
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("naming the agents of this run: %w", err)
	}
	d := &Driver{env: env, cfg: cfg, password: password, trust: t, name: hex.EncodeToString(id[:]), Binary: binary.Binary}
	d.agents.ID, d.agents.Clock, d.agents.Logf, d.agents.Open, d.agents.Why = env.ID, env.Clock, env.Logf, d.openAgent, why
	d.agents.Resident = true
	if cfg.RDP != nil {
		if d.RDP, err = remoteDesktop(cfg, env); err != nil {
			return nil, err
		}
	}
	d.closed, d.close = context.WithCancel(context.Background())
	return d, nil
}

// remoteDesktop is what looks at the guest's remote desktop.
func remoteDesktop(cfg Config, env drivers.Env) (*rdp.Prober, error) {
	c := *cfg.RDP
	if c.User == "" && c.Logon != rdp.None {
		c.User, c.PasswordFile, c.PasswordEnv = cfg.User, cfg.PasswordFile, cfg.PasswordEnv
	}
	c.Logf = env.Logf
	return rdp.New(c, env.Clock, env.Lane, env.Dial)
}

// passwordOf reads the password.
func passwordOf(cfg Config) (string, error) {
	password := ""
	switch {
	case cfg.PasswordFile != "" && cfg.PasswordEnv != "":
		return "", errors.New("password_file and password_env are both given")
	case cfg.PasswordFile != "":
		b, err := os.ReadFile(cfg.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("reading password_file: %w", err)
		}
		password = strings.TrimRight(string(b), "\r\n")
	case cfg.PasswordEnv != "":
		password = os.Getenv(cfg.PasswordEnv)
	default:
		return "", errors.New("neither password_file nor password_env is given")
	}
	if password == "" {
		return "", errors.New("the password is empty")
	}
	return password, nil
}

// agentAddress is where the agent is reached.
func (d *Driver) agentAddress() string {
	host, _, _ := net.SplitHostPort(d.cfg.Address)
	return net.JoinHostPort(host, strconv.Itoa(d.cfg.AgentPort))
}

// Close ends what still runs on this machine. It changes nothing in the guest.
func (d *Driver) Close() error {
	d.close()
	if c, ok := d.RDP.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// bound returns ctx with a deadline of at most limit from now, which also ends when the driver is closed.
func (d *Driver) bound(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(d.closed, cancel)
	return ctx, func() { stop(); cancel() }
}
