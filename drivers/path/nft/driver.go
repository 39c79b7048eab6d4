// Package nft breaks the path on the target itself, over SSH: a table of nftables of its own drops or rejects what the storage port
// sends and receives. A dead-man timer there, armed before, deletes the table when nobody undoes it.
//
// A blackhole drops in both directions. A reset answers every segment in either direction with a TCP reset (RFC 9293 section
// 3.10.7), those of existing connections too: a connection ends with the next segment that either side sends on it.
//
// What it reports on the path's lane (sample units in brackets):
//
//	rule   state   none, blackhole, reset; foreign: a table of that name that is not this driver's
//	hits   sample  [1] packets that the rules have met since they were made
//	ssh    state   answers, silent; Text says how it was silent
package nft

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/farside"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Config says what is cut on which system.
type Config struct {
	SSH       sshell.Config `yaml:"ssh" json:"ssh"`
	Table     string        `yaml:"table" json:"table"`         // the table's name, in the family inet; allpathsdown when not given
	Port      int           `yaml:"port" json:"port"`           // the TCP port of the storage; 3260 (RFC 7143 section 10.1) when not given
	Addresses []string      `yaml:"addresses" json:"addresses"` // the system's own addresses whose port is cut; all when not given
	Seconds   int           `yaml:"seconds" json:"seconds"`     // after which the system deletes the table by itself; 120 when not given
}

func init() {
	drivers.Register(drivers.Registration{Name: "path/nft", Title: "nftables on the target, over SSH", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c)
		}})
}

// Driver is the storage port of one system in a lab.
type Driver struct {
	env       drivers.Env
	c         Config
	addresses []netip.Addr
	host      *farside.Host
	pace      pace

	broken atomic.Bool // this driver made the table and has not undone that
}

// pace is how often the table is looked at, and how long the far side may take.
type pace struct{ every, look, act time.Duration }

var ordinary = pace{every: 2 * time.Second, look: 4 * time.Second, act: 15 * time.Second}

// tableName is a name that needs no quotes (nft(8), lexical conventions) and may stand in a shell script.
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]{0,60}$`)

const impact = "The path cannot be broken"

// open checks the configuration. It does not talk to the system: Probe does.
func open(env drivers.Env, c Config) (*Driver, error) {
	bad := func(cause, do string) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: impact, Do: do}
	}
	if c.Table == "" {
		c.Table = "allpathsdown"
	}
	if c.Port == 0 {
		c.Port = 3260
	}
	switch {
	case !tableName.MatchString(c.Table):
		return nil, bad(fmt.Sprintf("%q is no name for a table", c.Table), "Write letters, digits and underscores, a letter first")
	case c.Port < 1 || c.Port > 65535:
		return nil, bad(fmt.Sprintf("%d is no TCP port", c.Port), "Correct port: it is 3260 for iSCSI")
	}
	d := &Driver{env: env, pace: ordinary}
	for _, a := range c.Addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.Zone() != "" {
			return nil, bad(fmt.Sprintf("%q is no IP address", a), "Write the system's own addresses as numbers")
		}
		d.addresses = append(d.addresses, ip.Unmap())
	}
	var err error
	if c.Seconds, err = farside.Seconds(c.Seconds); err != nil {
		return nil, bad(err.Error(), "Correct seconds: it is how long the fault may last at most")
	}
	if d.host, err = farside.Open(env, c.SSH, impact); err != nil {
		return nil, err
	}
	d.c = c
	return d, nil
}

// Driver has these powers.
var (
	_ drivers.PathBreaker = (*Driver)(nil)
	_ drivers.Examiner    = (*Driver)(nil)
)

// see looks at the table and at what the SSH connection uses.
func (d *Driver) see(ctx context.Context, bound time.Duration) (view, error) {
	out, err := d.host.Script(ctx, bound, lookScript(d.c.Table))
	if err != nil {
		return view{}, err
	}
	return parse(out), nil
}

// usable looks whether the port can be cut, and refuses where it must not be.
func (d *Driver) usable(ctx context.Context) (view, error) {
	v, err := d.see(ctx, d.pace.act)
	switch {
	case err != nil:
		return v, d.host.Blame(err)
	case !v.root:
		return v, d.host.Refuse("the user of the SSH connection is not root", "Give ssh.user one that is: only root may change nftables")
	case v.system != "Linux":
		return v, d.host.Refuse(fmt.Sprintf("its system is %q, and nftables are Linux's", v.system), "Use path/sshlink or path/switchport")
	case !v.works:
		return v, d.host.Refuse("nft does not work there: "+v.words, "Install nftables there (Debian: apt-get install nftables)")
	case v.port == 0:
		return v, d.host.Refuse("it cannot be told which port the SSH connection uses", "Log in to a server that sets SSH_CONNECTION")
	case v.port == d.c.Port:
		return v, d.host.Refuse(fmt.Sprintf("the SSH connection itself uses port %d: it would cut itself off", v.port), "Correct port, or ssh.address")
	case v.rule == foreign:
		return v, d.host.Refuse("there is a table inet "+d.c.Table+" already, and it is not this driver's", "Choose another table: nothing of others is touched")
	}
	return v, nil
}

// Probe checks that nft works there and that no fault is left.
func (d *Driver) Probe(ctx context.Context) error {
	v, err := d.usable(ctx)
	if err == nil && v.rule != none {
		err = d.leftOver(v)
	}
	return err
}

func (d *Driver) leftOver(v view) error {
	return d.host.Refuse("the port is cut already ("+v.rule+")", "Undo what a run left: apd undo; or there: nft delete table inet "+d.c.Table)
}

// Observe reports the table. One that goes although nobody here undid the fault is a failure of the lab: the dead-man timer fired, or
// somebody loaded another set of rules.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	tick := time.NewTicker(d.pace.every)
	defer tick.Stop()
	before, was := d.env.Clock.Now(), none
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		v, err := d.see(ctx, d.pace.look)
		if ctx.Err() != nil {
			return nil
		}
		now := d.env.Clock.Now()
		say := func(o drivers.Observation) {
			o.Lo, o.Hi, o.Lane = before, now, d.env.Lane
			emit(o)
		}
		if err != nil {
			say(drivers.Observation{Kind: drivers.State, Topic: "ssh", Value: "silent", Text: farside.Silence(err)})
		} else {
			say(drivers.Observation{Kind: drivers.State, Topic: "ssh", Value: "answers"})
			say(drivers.Observation{Kind: drivers.State, Topic: "rule", Value: v.rule})
			if v.rule == blackhole || v.rule == reset {
				say(drivers.Observation{Kind: drivers.Sample, Topic: "hits", Num: float64(v.hits)})
			}
			if was != none && v.rule == none && d.broken.Load() {
				d.broken.Store(false)
				say(drivers.Observation{Kind: drivers.Event, Topic: drivers.LabFailure, Value: "rules-gone",
					Text: "the rules went before the fault was undone: the dead-man timer fired, or somebody loaded others"})
			}
			was = v.rule
			before = start
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Examine says what would be cut, and what the dead-man timer means for a run.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	f := drivers.Finding{What: "only the storage's port is cut"}
	v, err := d.usable(ctx)
	if ctx.Err() != nil {
		return nil // nobody waits for it any more
	}
	if err != nil {
		f.Say = err.Error()
	} else {
		f.OK, f.Say = true, fmt.Sprintf("SSH uses port %d, and port %d is cut", v.port, d.c.Port)
	}
	return []drivers.Finding{f, {What: "the dead-man timer", OK: true,
		Say: fmt.Sprintf("the system deletes the table by itself after %d s: a fault that is to last longer needs more seconds", d.c.Seconds)}}
}

// Close does nothing: there is no connection between commands.
func (d *Driver) Close() error { return nil }
