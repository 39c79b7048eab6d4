// Package truenas drives the iSCSI service of a FreeNAS 9 to 11.3, a TrueNAS CORE or SCALE, or a TrueNAS up to 26, by the
// API that the system has: REST v1.0, REST v2.0, or JSON-RPC 2.0 over a TLS WebSocket. The middleware's return values
// differ in meaning between versions, so none is believed: what became of a stop or a start is read from the service's
// state and seen on the wire, by a login at the portal.
//
// What it reports on the target's lane (sample units in brackets):
//
//	service           state   serving, stopped: a login at the portal each second; Text is why not
//	api               state   answers, silent: whether the management API answers; Text is the cause
//	service.reported  state   RUNNING, STOPPED, CRASHED, UNKNOWN: what the API says of the service, in its own words
//	boot              state   the boot id, or since when the system has been up
//	sessions          sample  [1] initiators that are logged in, without this driver's own looks
//	sessions          event   vanished; Attrs initiator, address, before, after
//	image             event   stored, damaged: what CheckImage found of a LUN; Attrs as told there
//
// A stop ends every target of the NAS, not only the one under test. Facts about versions are from the middleware's tags.
package truenas

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// Name is what lab files call this driver.
const Name = "target/truenas"

// Config is what a lab file says of a NAS. There is no key for a secret: secrets come from files or from the environment.
type Config struct {
	URL          string `yaml:"url" json:"url"`                     // https://nas, or the host alone
	User         string `yaml:"user" json:"user"`                   // root on a FreeNAS; the owner of the API key from 25.04 on
	PasswordFile string `yaml:"password_file" json:"password_file"` // TRUENAS_PASSWORD
	APIKeyFile   string `yaml:"api_key_file" json:"api_key_file"`   // TRUENAS_API_KEY; from 12.0 on
	Thumbprint   string `yaml:"thumbprint" json:"thumbprint"`       // SHA-256 of the certificate
	CAFile       string `yaml:"ca_file" json:"ca_file"`             // PEM
	API          string `yaml:"api" json:"api"`                     // v1, v2 or jsonrpc; without it what the version has
	Portal       string `yaml:"portal" json:"portal"`               // host:port of its iSCSI portal; the lab's portal when empty
	Target       string `yaml:"target" json:"target"`               // the target's whole iSCSI name
	LUN          int    `yaml:"lun" json:"lun"`                     // the LUN that is looked at
}

func init() {
	drivers.Register(drivers.Registration{Name: Name, Title: "a FreeNAS or TrueNAS, by its own API", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c, os.Getenv)
		}})
}

// timing is how long things may take and how often they are looked at.
type timing struct {
	quick     time.Duration // bound of a call that only reads
	act       time.Duration // bound of a call that starts or stops: before jobs, it answers when the daemon has acted
	stop      time.Duration // bound of a stop, its proof included
	start     time.Duration // bound of a start, its proof included
	down      time.Duration // within which a system that was told to reboot has to be gone
	back      time.Duration // within which it has to be back
	inFlight  time.Duration // how long a request of a harness that has died may still take effect
	bootGrace time.Duration // within which a system that answers again has started an enabled service by itself
	poll      time.Duration // between looks while a power or an undo waits
	look      time.Duration // between looks while observing
	lookBoot  time.Duration // between looks at boot and sessions
}

// defaults are the times for real systems. stop and start follow service.control's own bound of 120 s (tag TS-25.10.0,
// api/v25_10_0/service.py). The old services wait at most 5 s (tag 11.0-RC, plugins/service.py), and v1.0 reboots
// after 3 s (tag 11.0-RC, "sleep 3 && shutdown -r now").
var defaults = timing{quick: 5 * time.Second, act: 125 * time.Second, stop: 150 * time.Second, start: 150 * time.Second, down: 3 * time.Minute,
	back: 20 * time.Minute, inFlight: 10 * time.Second, bootGrace: time.Minute, poll: 500 * time.Millisecond, look: time.Second, lookBoot: 3 * time.Second}

// initiator is the name with which the driver looks at the portal.
const initiator = "iqn.2026-11.io.github.allpathsdown:watch"

// How long a login at the portal may take: one that watches, and one that proves something. Some daemons sleep 1 s in each
// login (istgt, measured).
const (
	watchLimit = 2 * time.Second
	probeLimit = 3 * time.Second
)

// Driver is a NAS in a lab.
type Driver struct {
	env    drivers.Env
	cfg    Config
	login  login
	trust  tlstrust.Trust
	http   *web
	t      timing
	portal string

	turn chan struct{} // has one while somebody finds out what the system is
	mu   sync.Mutex
	sys  *system // what was found; nil before

	first map[int]stored // what each LUN was made of when the system was first seen; nil before
}

// Driver has these powers.
var (
	_ drivers.ServiceStopper = (*Driver)(nil)
	_ drivers.TargetRebooter = (*Driver)(nil)
	_ drivers.Settings       = (*Driver)(nil)
	_ drivers.Examiner       = (*Driver)(nil)
	_ drivers.ImageChecker   = (*Driver)(nil)
)

// open checks the configuration. It does not talk to the system: Probe does. Its errors are Operator errors.
func open(env drivers.Env, cfg Config, getenv func(string) string) (*Driver, error) {
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: noNAS, Do: do, Err: err}
	}
	portal := cfg.Portal
	if portal == "" {
		portal = env.Portal
	}
	if _, _, err := net.SplitHostPort(portal); err != nil {
		return nil, bad("no iSCSI portal is given", "Write portal: and host:port of the system's iSCSI portal", err)
	}
	if !strings.HasPrefix(cfg.Target, "iqn.") && !strings.HasPrefix(cfg.Target, "eui.") && !strings.HasPrefix(cfg.Target, "naa.") {
		return nil, bad("no target is named", "Write target: and its whole iSCSI name, base name included", nil)
	}
	if cfg.LUN < 0 {
		return nil, bad("lun is negative", "Write lun: and the number of a LUN of the target", nil)
	}
	if !knownAPI(cfg.API) {
		return nil, bad("api is "+cfg.API, "Write api: v1, v2 or jsonrpc, or leave it out", nil)
	}
	l, err := loginOf(cfg, getenv)
	if err != nil {
		return nil, bad("no usable address or login", "Give url, user, and password_file or TRUENAS_PASSWORD, or api_key_file or TRUENAS_API_KEY; an API key needs https", err)
	}
	tr, err := tlstrust.New(tlstrust.Config{Thumbprint: cfg.Thumbprint, CAFile: cfg.CAFile})
	if err != nil {
		return nil, bad("no usable trust in the system's certificate", "Give thumbprint or ca_file", err)
	}
	d := &Driver{env: env, cfg: cfg, login: l, trust: tr, t: defaults, portal: portal, turn: make(chan struct{}, 1)}
	d.http = newWeb(l, tr, env.Dial)
	return d, nil
}

// Probe checks that the API answers, that it takes the credentials, that the version is known, and that the portal serves
// the target. Its errors are Operator errors.
func (d *Driver) Probe(ctx context.Context) error {
	s, err := d.find(ctx)
	if err != nil {
		return d.operator(err)
	}
	svc, err := within(ctx, d.t.quick, s.service)
	if err != nil {
		return d.operator(err)
	}
	if w, err := d.wireFor(ctx, d.t.quick); w != serving {
		return d.operator(d.notServed(svc, w, err))
	}
	d.remember(ctx, s)
	return nil
}

// wireState is what a login at the portal met.
type wireState string

const (
	serving wireState = "serving"
	rejects wireState = "rejects" // it answers, and refuses login or LUN: not the shape of a path that is gone
	gone    wireState = "gone"    // no answer, a reset, or a refused connection
)

// wire logs in at the portal.
func (d *Driver) wire(ctx context.Context) (wireState, error) { return d.wireFor(ctx, probeLimit) }

// wireFor does so within a limit.
func (d *Driver) wireFor(ctx context.Context, limit time.Duration) (wireState, error) {
	pctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := iscsi.Probe(pctx, d.portal, initiator, d.cfg.Target, d.cfg.LUN)
	return wireOf(err), err
}

// Close ends the session and the connections.
func (d *Driver) Close() error {
	d.mu.Lock()
	s := d.sys
	d.mu.Unlock()
	if s != nil {
		s.close()
	}
	d.http.close()
	return nil
}
