// Package linux is the driver of a Linux guest. It looks at the guest in three ways at once: through an agent that stays in
// the guest's memory, through an SSH session that was open before anything broke, and through new logins.
//
// What it reports, all times on the harness's clock (sample units in brackets):
//
//	agent                  state   up, lost
//	boot                   state   the boot id; Attrs instance, uptime (s), kernel, os
//	alive                  state   beating, silent (no beat for 3 s)
//	heartbeat              sample  [s] since the beat before; while silent, once a second, the silence so far
//	cpu                    sample  [rounds/s] of the agent's CPU worker
//	disk                   state   ok, blocked (a read outstanding for more than 1 s), error
//	read                   sample  [s] an uncached read took
//	write                  state   ok, blocked, error: the acknowledged-write log
//	write                  sample  [s] a record took until it was acknowledged
//	read-error write-error event   Value is the topic's own name; once per change
//	load                   state   none, working, blocked, error: the extra writers together; they end with their agent
//	load                   sample  [records/s] acknowledged to all extra writers
//	fs                     state   rw, ro, as the mount table says
//	device                 state   running, offline, ...; Attrs scsi_timeout (s)
//	kmsg                   event   Value is the level ("err", "warning", ...), Text the line
//	ssh.held               state   connected, unresponsive (no reply for 5 s), dropped
//	ssh.held               sample  [s] a keepalive took
//	shell.builtin          state   answers, silent (nothing for 5 s)
//	shell.external         state   answers, silent (nothing for 2 s), error: `ls -al`
//	shell.package-manager  state   answers, silent, error: dpkg, yum, ... by its absolute name
//	transcript             event   Value in, out or repeated; Attrs shell
//	ssh.new                state   ok, failed; Text is the stage and what became of it: "tcp refused", "banner timeout"
//	ssh.new                sample  [s] a login and a command took
//
// The Lo of a state is the last moment at which it was surely not so: of "blocked", the start of the call that does not
// return; of "silent", the last sign of life. What the agent saw is placed by its own clock, within the error of a ping.
package linux

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Name is what lab files call this driver.
const Name = "guest/linux"

// Config is what a lab file says of a Linux guest.
type Config struct {
	Address     string `yaml:"address"`      // host:port of its SSH server
	User        string `yaml:"user"`         // default root; it has to be root
	KeyFile     string `yaml:"key_file"`     // a private key without a passphrase, or
	PasswordEnv string `yaml:"password_env"` // the environment variable that holds the password
	HostKey     string `yaml:"host_key"`     // the server's key as a line of authorized_keys, or
	KnownHosts  string `yaml:"known_hosts"`  // a known_hosts file that has it
	VM          string `yaml:"vm"`           // its name at the hypervisor
	LUN         int    `yaml:"lun"`          // the LUN that its disk is on
}

// Driver is an opened Linux guest.
type Driver struct {
	env    drivers.Env
	cfg    Config
	ssh    *ssh.ClientConfig // without a timeout; dial sets one
	run    string            // the name that all instances of this driver's agents begin with
	gate   gate
	closed context.Context
	close  context.CancelFunc

	quieted chan struct{} // has one when caches were dropped: what new logins do is not known until the next one
	login   chan struct{} // has one when the quiet period is over: time for a new login

	agents watch.Guest

	mu        sync.Mutex
	instances int

	// For tests: how an agent is found and what else it is told.
	binary    func(ctx context.Context, goos, goarch string) ([]byte, error)
	agentArgs string
	quiet     time.Duration
}

// Driver has these powers.
var (
	_ drivers.Driver        = (*Driver)(nil)
	_ drivers.CacheDropper  = (*Driver)(nil)
	_ drivers.WriteVerifier = (*Driver)(nil)
	_ drivers.Halter        = (*Driver)(nil)
	_ drivers.Loader        = (*Driver)(nil)
	_ drivers.Settings      = (*Driver)(nil)
)

func init() {
	drivers.Register(drivers.Registration{
		Name:   Name,
		Title:  "a Linux guest, seen through an agent in its memory, a held SSH session and new logins",
		Type:   (*Driver)(nil),
		Config: Config{},
		Open: func(ctx context.Context, env drivers.Env) (drivers.Driver, error) {
			return Open(ctx, env)
		},
	})
}

// Open reads the configuration and the keys. It does not talk to the guest: Probe does.
func Open(_ context.Context, env drivers.Env) (*Driver, error) {
	cfg := Config{User: "root"}
	if err := env.Decode(&cfg); err != nil {
		return nil, err
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: %s", env.ID, cause), Impact: "The guest cannot be used", Do: do, Err: err}
	}
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		return nil, bad("address is not host:port", "Write address: host:port of the guest's SSH server", err)
	}
	auth, err := authOf(cfg)
	if err != nil {
		return nil, bad("no usable credentials", "Give key_file (a private key without a passphrase) or password_env (the name of a variable that is set)", err)
	}
	hostKey, algorithms, err := sshell.Config{Address: cfg.Address, HostKey: cfg.HostKey, KnownHosts: cfg.KnownHosts}.HostKeyCheck()
	if err != nil {
		return nil, bad("no usable host key", "Give host_key (the line that ssh-keyscan prints, without the host) or known_hosts (a file that has the guest)", err)
	}
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	var id [4]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("naming the agents of this run: %w", err)
	}
	d := &Driver{
		env: env, cfg: cfg, run: hex.EncodeToString(id[:]),
		ssh: &ssh.ClientConfig{
			User: cfg.User, Auth: []ssh.AuthMethod{auth}, HostKeyCallback: hostKey, HostKeyAlgorithms: algorithms,
		},
		binary: defaultBinary, quiet: QuietPeriod, quieted: make(chan struct{}, 1), login: make(chan struct{}, 1),
	}
	d.agents.ID, d.agents.Clock, d.agents.Logf, d.agents.Open, d.agents.Why = env.ID, env.Clock, env.Logf, d.openAgent, why
	d.closed, d.close = context.WithCancel(context.Background())
	return d, nil
}

// authOf reads the credentials.
func authOf(cfg Config) (ssh.AuthMethod, error) {
	switch {
	case cfg.KeyFile != "" && cfg.PasswordEnv != "":
		return nil, errors.New("key_file and password_env are both given")
	case cfg.KeyFile != "":
		pem, err := os.ReadFile(cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("reading key_file: %w", err)
		}
		signer, err := ssh.ParsePrivateKey(pem)
		if err != nil {
			return nil, fmt.Errorf("reading key_file %s: %w", cfg.KeyFile, err)
		}
		return ssh.PublicKeys(signer), nil
	case cfg.PasswordEnv != "":
		password := os.Getenv(cfg.PasswordEnv)
		if password == "" {
			return nil, fmt.Errorf("the variable %s is not set", cfg.PasswordEnv)
		}
		return ssh.Password(password), nil
	}
	return nil, errors.New("neither key_file nor password_env is given")
}

// Close ends what still runs on this machine. It changes nothing in the guest.
func (d *Driver) Close() error {
	d.close()
	return nil
}

// Undo knows nothing to undo: this driver changes nothing that lasts.
func (d *Driver) Undo(context.Context, drivers.Undo) (drivers.UndoResult, error) {
	return "", drivers.ErrUnknownUndo
}

// bound returns ctx with a deadline of at most limit from now, which also ends when the driver is closed.
func (d *Driver) bound(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(d.closed, cancel)
	return ctx, func() { stop(); cancel() }
}
