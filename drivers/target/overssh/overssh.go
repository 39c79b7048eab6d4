// Package overssh drives an iSCSI target whose only interface is a shell over SSH. A driver built on it is a table of that
// system's exact commands (a System); everything else is here: the journal before the act, the confirmation by the system's own
// words and on the wire, the undo from data, and what is observed.
package overssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Config is what every target over SSH needs. Drivers embed it.
type Config struct {
	SSH        sshell.Config `yaml:"ssh" json:"ssh"`                 // how to log in, over a network that the fault does not touch
	Sudo       bool          `yaml:"sudo" json:"sudo"`               // the user is not root: commands go through sudo -n
	Portal     string        `yaml:"portal" json:"portal"`           // the target's own host:port; the lab's portal when empty
	Target     string        `yaml:"target" json:"target"`           // its iSCSI name (RFC 7143 section 4.2.7)
	LUN        int           `yaml:"lun" json:"lun"`                 // the unit that is looked at
	Initiator  string        `yaml:"initiator" json:"initiator"`     // the name to look with, where the target's access lists ask for one
	BackWithin time.Duration `yaml:"back_within" json:"back_within"` // how long a reboot may take; 15m when empty

	// What follows is for the check of a LUN after the run.

	ReadImage   bool          `yaml:"read_image" json:"read_image"`     // read what a LUN is made of to its end; long: 1 TiB at 200 MB/s lasts 1.5 h
	ImageWithin time.Duration `yaml:"image_within" json:"image_within"` // how long the check of one LUN may last; 1h when empty
}

// System is one kind of target: its commands, in POSIX shell. They are run by /bin/sh whatever the user's login shell is.
type System struct {
	Product  string   // for people: "LIO (Linux kernel)"
	Needs    []string // files and programs by which the system is told from others, there also while the service is stopped
	Service  Switch   // the whole iSCSI service, for the fault service-stop
	Sessions string   // shows the sessions
	Count    func(out string) (int, error)
	AtBoot   string // shows whether the service starts at boot
	Starts   func(out string) (bool, error)
	Reboot   string // empty: shutdown -r now
	Breaks   map[drivers.FaultKind]Switch
	Checks   []Check

	Stores     string                                   // shows what the target's LUNs are made of
	ReadStores func(out string) (map[int]string, error) // reads that: LUNs, and the files and devices that they are made of, as absolute paths
}

// Switch is one thing on the system that can be turned off and on again.
type Switch struct {
	Read  string                          // shows how it is
	Parse func(out string) (State, error) // reads that
	Off   func(was string) string
	On    func(was string) string // puts back what was, from that State's Detail alone
	Seen  []Wire                  // what an initiator may see while it is off
	Hint  string                  // what to do when it does not turn off
}

// State is how a Switch is. Detail holds what On needs, a line for each part.
type State struct{ Word, Detail string }

// The words of a State that mean the same on every system. Any other word is something in between.
const (
	On  = "on"
	Off = "off"
)

// back tells whether everything that was is there again. More may be.
func (s State) back(was string) bool {
	now := map[string]bool{}
	for l := range strings.Lines(s.Detail) {
		now[strings.TrimSpace(l)] = true
	}
	for l := range strings.Lines(was) {
		if l = strings.TrimSpace(l); l != "" && !now[l] {
			return false
		}
	}
	return s.Word == On
}

// Check is something more to look at before anything is broken.
type Check struct {
	What, Show string                               // Show is a command
	Judge      func(out string) (ok bool, s string) // s says what was found, what it means, what to do
}

// Driver is one target over SSH.
type Driver struct {
	env   drivers.Env
	c     Config
	sys   System
	shell *sshell.Shell
	t     timing

	eyes chan struct{} // has one while the portal is looked at, or must not be

	mu       sync.Mutex
	down     bool          // this driver has broken something that is not undone
	acts     int           // how many acts there were
	first    map[int]Store // what each LUN was made of when the driver first saw the target; nil before
	firstErr error         // why not all of them are known
}

// timing is how long the driver waits for what.
type timing struct {
	answer   time.Duration // what a healthy target needs to answer an initiator: istgt's login alone lasts 1.0 s (measured)
	command  time.Duration // a command that only looks
	act      time.Duration // a command that stops or starts; istgt needs 3.6 to 5 s to stop (measured)
	settle   time.Duration // from the end of such a command until its effect has to be there
	again    time.Duration // between two tries to start
	down     time.Duration // from the order to reboot until the system is down: services are stopped in order first
	doubt    time.Duration // how long a system that was told to reboot may answer with its old boot id before that is believed
	start    time.Duration // how long a booted system has to start its service by itself
	lookEach time.Duration // between two looks over SSH while observing
	read     time.Duration // within which 1 GiB of a LUN's store has to be read
}

var usual = timing{answer: 3 * time.Second, command: 10 * time.Second, act: 90 * time.Second, settle: 20 * time.Second,
	again: 5 * time.Second, down: 5 * time.Minute, doubt: 30 * time.Second, start: 45 * time.Second, lookEach: 5 * time.Second,
	read: 5 * time.Minute}

// Hasten shortens how long the driver waits for an effect that does not come, and for an initiator's answer. Tests need it.
func (d *Driver) Hasten(settle, answer time.Duration) { d.t.settle, d.t.answer = settle, answer }

// initiator is the name with which the portal is looked at unless the configuration has another.
const initiator = "iqn.2026-11.io.github.allpathsdown:watch"

// Open makes the driver; nobody is called yet.
func Open(env drivers.Env, c Config, sys System) (*Driver, error) {
	if c.Portal == "" {
		c.Portal = env.Portal
	}
	if c.Initiator == "" {
		c.Initiator = initiator
	}
	if c.BackWithin == 0 {
		c.BackWithin = 15 * time.Minute
	}
	if c.ImageWithin == 0 {
		c.ImageWithin = time.Hour
	}
	if env.Logf == nil {
		env.Logf = func(string, ...any) {}
	}
	if sys.Reboot == "" {
		sys.Reboot = "shutdown -r now"
	}
	bad := func(err error) error {
		return &drivers.Operator{Cause: "the target's configuration cannot be used", Impact: "the target cannot be reached", Do: "mend the lab file", Err: err}
	}
	if c.Target == "" {
		return nil, bad(errors.New("target is not given"))
	}
	if _, _, err := net.SplitHostPort(c.Portal); err != nil {
		return nil, bad(fmt.Errorf("portal is not host:port: %w", err))
	}
	if c.LUN < 0 || c.BackWithin < 0 || c.ImageWithin < 0 {
		return nil, bad(errors.New("lun, back_within and image_within cannot be below 0"))
	}
	sh, err := sshell.New(c.SSH, env.Dial)
	if err != nil {
		return nil, bad(fmt.Errorf("ssh: %w", err))
	}
	return &Driver{env: env, c: c, sys: sys, shell: sh, t: usual, eyes: make(chan struct{}, 1)}, nil
}

// Register registers a driver of the configuration C, of which with makes the driver.
func Register[C any](name, title string, typ drivers.Driver, lacks func(C) map[drivers.Power]string,
	with func(env drivers.Env, c C) (drivers.Driver, error)) {
	var zero C
	r := drivers.Registration{Name: name, Title: title, Type: typ, Config: zero,
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c C
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return with(env, c)
		}}
	if lacks != nil {
		r.Lacks = func(config any) map[drivers.Power]string {
			c, ok := config.(C)
			if p, is := config.(*C); is {
				c, ok = *p, true
			}
			if !ok {
				return nil
			}
			return lacks(c)
		}
	}
	drivers.Register(r)
}

// Quote makes one word of the shell of s.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// Close does nothing: no connection outlives its command.
func (d *Driver) Close() error { return nil }
