// Package sshlink takes a network interface of the target or of a host down over SSH. Before it does, it arms a dead-man timer
// there that brings the interface up again, so that not even the loss of this machine leaves it down. It refuses an interface
// that its own connection comes in by. Linux (iproute2) and FreeBSD (ifconfig) are known.
//
// What it reports on the path's lane:
//
//	link     state  up, down: whether the interface is administratively up (netdevice(7), IFF_UP)
//	carrier  state  yes, no: whether it has a signal (IFF_LOWER_UP; FreeBSD's "status: active")
//	ssh      state  answers, silent; Text says how it was silent
package sshlink

import (
	"context"
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/farside"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Config names the one interface that may be taken down.
type Config struct {
	SSH       sshell.Config `yaml:"ssh" json:"ssh"`
	Interface string        `yaml:"interface" json:"interface"` // as the system calls it: eth1, igb1
	Seconds   int           `yaml:"seconds" json:"seconds"`     // after which the system brings it up by itself; 120 when not given
}

func init() {
	drivers.Register(drivers.Registration{Name: "path/sshlink", Title: "a network interface taken down over SSH", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c)
		}})
}

// Driver is one interface in a lab.
type Driver struct {
	env  drivers.Env
	c    Config
	host *farside.Host
	pace pace

	broken atomic.Bool // this driver took it down and has not undone that
}

// pace is how often the interface is looked at, and how long the far side may take.
type pace struct{ every, look, act time.Duration }

var ordinary = pace{every: 2 * time.Second, look: 4 * time.Second, act: 15 * time.Second}

// ifName is an interface's name that may stand in a shell script.
var ifName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,30}$`)

const impact = "The path cannot be broken"

// open checks the configuration. It does not talk to the system: Probe does.
func open(env drivers.Env, c Config) (*Driver, error) {
	bad := func(cause, do string) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: impact, Do: do}
	}
	if !ifName.MatchString(c.Interface) {
		return nil, bad(fmt.Sprintf("%q is no interface's name", c.Interface), "Write interface: and the name that ip link or ifconfig shows")
	}
	var err error
	if c.Seconds, err = farside.Seconds(c.Seconds); err != nil {
		return nil, bad(err.Error(), "Correct seconds: it is how long the fault may last at most")
	}
	host, err := farside.Open(env, c.SSH, impact)
	if err != nil {
		return nil, err
	}
	return &Driver{env: env, c: c, host: host, pace: ordinary}, nil
}

// Driver has these powers.
var (
	_ drivers.PathBreaker = (*Driver)(nil)
	_ drivers.Examiner    = (*Driver)(nil)
)

// see looks at the far side.
func (d *Driver) see(ctx context.Context, bound time.Duration) (view, error) {
	out, err := d.host.Script(ctx, bound, lookScript(d.c.Interface))
	if err != nil {
		return view{}, err
	}
	return parse(out)
}

// usable looks at the interface and refuses one that may not be touched.
func (d *Driver) usable(ctx context.Context) (view, error) {
	v, err := d.see(ctx, d.pace.act)
	if err != nil {
		return v, d.host.Blame(err)
	}
	switch {
	case !v.root:
		return v, d.host.Refuse("the user of the SSH connection is not root", "Give ssh.user one that is: only root may change an interface")
	case !v.links[d.c.Interface].there:
		return v, d.host.Refuse("there is no interface "+d.c.Interface, "Correct interface; there are: "+v.names())
	case len(v.via) == 0:
		return v, d.host.Refuse("it cannot be told which interface the SSH connection comes in by",
			"Log in to an address of the system itself, with a server that sets SSH_CONNECTION")
	}
	if dev := v.carries(d.c.Interface); dev != "" {
		return v, d.host.Refuse(fmt.Sprintf("the SSH connection itself runs over %s (by %s): it would cut itself off", d.c.Interface, dev),
			"Give ssh.address an address that another interface carries")
	}
	return v, nil
}

// Probe checks that the interface is there, may be touched and is up.
func (d *Driver) Probe(ctx context.Context) error {
	v, err := d.usable(ctx)
	if err == nil && !v.links[d.c.Interface].up {
		err = d.host.Refuse("the interface "+d.c.Interface+" is down already", "Bring it up, or undo what a run left: apd undo")
	}
	return err
}

// Observe reports the interface's states. A link that comes up although nobody here undid the fault is a failure of the lab: the
// dead-man timer fired, or somebody else was there.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	tick := time.NewTicker(d.pace.every)
	defer tick.Stop()
	before, was := d.env.Clock.Now(), ""
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		v, err := d.see(ctx, d.pace.look)
		if ctx.Err() != nil {
			return nil
		}
		now := d.env.Clock.Now()
		say := func(kind drivers.Kind, topic, value, text string) {
			emit(drivers.Observation{Lo: before, Hi: now, Lane: d.env.Lane, Kind: kind, Topic: topic, Value: value, Text: text})
		}
		if err != nil {
			say(drivers.State, "ssh", "silent", farside.Silence(err))
		} else {
			say(drivers.State, "ssh", "answers", "")
			l := v.links[d.c.Interface]
			link := l.state()
			if !l.there {
				link = "gone"
			}
			say(drivers.State, "link", link, "")
			say(drivers.State, "carrier", map[bool]string{true: "yes", false: "no"}[l.carrier], "")
			if was == "down" && link == "up" && d.broken.Load() {
				d.broken.Store(false)
				say(drivers.Event, drivers.LabFailure, "came-up", "the interface came up before the fault was undone: the dead-man timer fired, or somebody brought it up")
			}
			was = link
			before = start
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Examine says by which interface the management comes in, and what the dead-man timer means for a run.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	f := drivers.Finding{What: "the management path is not the one that is cut"}
	v, err := d.usable(ctx)
	if ctx.Err() != nil {
		return nil // nobody waits for it any more
	}
	if err != nil {
		f.Say = err.Error()
	} else {
		f.OK, f.Say = true, fmt.Sprintf("SSH comes in by %s, and %s is taken down", v.viaNames(), d.c.Interface)
	}
	return []drivers.Finding{f, {What: "the dead-man timer", OK: true,
		Say: fmt.Sprintf("the system brings %s up by itself after %d s: a fault that is to last longer needs more seconds", d.c.Interface, d.c.Seconds)}}
}

// Close does nothing: there is no connection between commands.
func (d *Driver) Close() error { return nil }
