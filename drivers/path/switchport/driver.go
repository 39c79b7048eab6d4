// Package switchport shuts a port of a switch over SNMP and gives it back the state it had: IF-MIB's ifAdminStatus (RFC 2863) by
// SNMPv2c (RFC 3416) or SNMPv3 with the user-based security model (RFC 3414; SHA-256: RFC 7860, AES: RFC 3826).
//
// What it reports on the path's lane (sample units in brackets):
//
//	link   state   up, down and RFC 2863's other words: ifOperStatus, which agents may report seconds late
//	admin  state   up, down, testing: ifAdminStatus
//	in     sample  [B/s] what the switch received on the port since the look before
//	out    sample  [B/s] what it sent
//	snmp   state   answers, silent; Text says how it was silent
package switchport

import (
	"context"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Config names one port of one switch. There is no key for a secret: each comes from a file or, where none is named, from the
// environment: SNMP_COMMUNITY, SNMP_AUTH_PASSWORD, SNMP_PRIV_PASSWORD.
type Config struct {
	Address          string `yaml:"address" json:"address"`                       // host:port of the agent; port 161 when not given
	Version          string `yaml:"version" json:"version"`                       // 2c or 3
	CommunityFile    string `yaml:"community_file" json:"community_file"`         // 2c: a community that may write
	User             string `yaml:"user" json:"user"`                             // 3: the security name
	Auth             string `yaml:"auth" json:"auth"`                             // 3: sha or sha256; sha256 when not given
	AuthPasswordFile string `yaml:"auth_password_file" json:"auth_password_file"` // 3
	Priv             string `yaml:"priv" json:"priv"`                             // 3: aes, which is also the default
	PrivPasswordFile string `yaml:"priv_password_file" json:"priv_password_file"` // 3: without it nothing is encrypted
	Port             string `yaml:"port" json:"port"`                             // ifIndex, or the text of ifName, ifDescr or ifAlias
}

func init() {
	drivers.Register(drivers.Registration{Name: "path/switchport", Title: "a port of a switch, over SNMP", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c)
		}})
}

// Driver is a switch's port in a lab.
type Driver struct {
	env   drivers.Env
	c     Config
	login login
	pace  pace
}

// pace is how often the port is looked at, how long one answer may take, and how long a change may take to show.
type pace struct{ every, answer, walk, settle time.Duration }

var ordinary = pace{every: 2 * time.Second, answer: 3 * time.Second, walk: 20 * time.Second, settle: 10 * time.Second}

const impact = "The path cannot be broken"

// open checks the configuration. It does not talk to the switch: Probe does.
func open(env drivers.Env, c Config) (*Driver, error) {
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: impact, Do: do, Err: err}
	}
	if c.Address != "" && !strings.Contains(c.Address, ":") {
		c.Address += ":161" // RFC 3417 section 3.2
	}
	if _, port, err := net.SplitHostPort(c.Address); err != nil {
		return nil, bad("no usable address", "Write address: host:port", err)
	} else if n, err := strconv.Atoi(port); err != nil || n < 1 || n > math.MaxUint16 {
		return nil, bad("no usable port in the address", "Write address: host:161", err)
	}
	if strings.TrimSpace(c.Port) == "" {
		return nil, bad("no port is named", "Write port: and its ifIndex, name or alias", nil)
	}
	l, err := loginOf(c)
	if err != nil {
		return nil, bad("no usable login", "Give version 2c with community_file, or version 3 with user, auth_password_file and priv_password_file", err)
	}
	return &Driver{env: env, c: c, login: l, pace: ordinary}, nil
}

// Driver has these powers.
var (
	_ drivers.PathBreaker = (*Driver)(nil)
	_ drivers.Examiner    = (*Driver)(nil)
)

// usable finds the port and refuses one that the switch's own management comes in by.
func (d *Driver) usable(ctx context.Context) (port, error) {
	p, err := d.find(ctx, d.c.Port)
	if err != nil {
		return p, d.blame(err)
	}
	if on, address := d.managedBy(ctx); on == p.index {
		return p, d.refuse(fmt.Sprintf("the switch's address %s is on that very port: it would cut itself off", address), "Give address one that another port carries")
	}
	return p, nil
}

// Probe checks that the switch answers, and that the port is there, one only, and not shut.
func (d *Driver) Probe(ctx context.Context) error {
	p, err := d.usable(ctx)
	if err == nil && p.admin != adminUp {
		err = d.refuse(fmt.Sprintf("the port %s is %s already", p, statusName(p.admin)), "Open it (no shutdown), or undo what a run left: apd undo")
	}
	return err
}

// Observe reports the port. It looks the name up once, and again when the switch was silent: a switch that starts anew may count its
// interfaces otherwise (RFC 2863 section 3.1.5).
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	tick := time.NewTicker(d.pace.every)
	defer tick.Stop()
	before := d.env.Clock.Now()
	var p, last port
	var at time.Duration // when last was read
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		var err error
		if p.index == 0 {
			p, err = d.find(ctx, d.c.Port)
		} else {
			p, err = d.read(ctx, p.index)
		}
		if ctx.Err() != nil {
			return nil
		}
		now := d.env.Clock.Now()
		say := func(kind drivers.Kind, topic, value, text string, num float64) {
			emit(drivers.Observation{Lo: before, Hi: now, Lane: d.env.Lane, Kind: kind, Topic: topic, Value: value, Text: text, Num: num})
		}
		if err != nil {
			say(drivers.State, "snmp", "silent", short(err), 0)
			p = port{}
		} else {
			say(drivers.State, "snmp", "answers", "", 0)
			say(drivers.State, "link", statusName(p.oper), "", 0)
			say(drivers.State, "admin", statusName(p.admin), "", 0)
			if seconds := (now - at).Seconds(); last.index == p.index && seconds > 0 && p.in >= last.in && p.out >= last.out { // not begun anew
				say(drivers.Sample, "in", "", "", float64(p.in-last.in)/seconds)
				say(drivers.Sample, "out", "", "", float64(p.out-last.out)/seconds)
			}
			last, at, before = p, now, start
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// uplinks are words that people write on ports which more than one system hangs on.
var uplinks = []string{"uplink", "trunk", "mgmt", "management", "core", "isl", "backbone"}

// Examine looks whether the port may carry the management too, and how secret the login is.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	f := drivers.Finding{What: "the management path is not the one that is cut"}
	p, err := d.usable(ctx)
	if ctx.Err() != nil {
		return nil // nobody waits for it any more
	}
	switch {
	case err != nil:
		f.Say = err.Error()
	default:
		f.OK, f.Say = true, fmt.Sprintf("the switch's own address is not on the port %s; whether its frames pass there is not known", p)
		for _, w := range uplinks {
			if strings.Contains(strings.ToLower(p.name+" "+p.alias), w) {
				f.OK, f.Say = false, fmt.Sprintf("the port %s is named like one that others hang on (%q): see that it is the storage's alone", p, w)
			}
		}
	}
	secret := drivers.Finding{What: "the login to the switch is secret", OK: true, Say: "SNMPv3, signed and encrypted"}
	switch {
	case d.login.community != "":
		secret.Say = "SNMPv2c sends its community as plain text: only over a management network that nobody else is on"
	case d.login.priv == "":
		secret.Say = "SNMPv3, signed and not encrypted"
	}
	return []drivers.Finding{f, secret}
}

// Close does nothing: there is no connection between requests.
func (d *Driver) Close() error { return nil }
