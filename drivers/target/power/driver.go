// Package power switches the target by its baseboard management controller: over Redfish (DMTF DSP0266, the action
// ComputerSystem.Reset of DSP2046) or over IPMI 2.0 (RMCP+, section 13; chassis control, section 28.3). It can cut the power, which is
// the fault target-power-cut, and it can start the target anew in order.
//
// What it reports on the target's lane:
//
//	power  state  on, off; Text is the controller's own word: On, Off, PoweringOn, ...
//	bmc    state  answers, silent; Text says how it was silent
package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Config says which controller is asked, in one of two ways.
type Config struct {
	Redfish *Redfish `yaml:"redfish" json:"redfish,omitempty"`
	IPMI    *IPMI    `yaml:"ipmi" json:"ipmi,omitempty"`
	Cut     string   `yaml:"cut" json:"cut"` // what a power cut is: cycle (the power comes back by itself), off (until the undo); cycle when not given
}

// Redfish is a controller that speaks Redfish. Its certificate is checked against the thumbprint, else against the authorities.
type Redfish struct {
	URL          string `yaml:"url" json:"url"` // https://host, or the host alone
	User         string `yaml:"user" json:"user"`
	PasswordFile string `yaml:"password_file" json:"password_file"` // REDFISH_PASSWORD when not given
	Thumbprint   string `yaml:"thumbprint" json:"thumbprint"`       // SHA-256 of the certificate
	CAFile       string `yaml:"ca_file" json:"ca_file"`             // PEM; the system's authorities when neither is given
	System       string `yaml:"system" json:"system"`               // Id, path, name, host name, UUID or serial number; not needed if there is one only
}

// IPMI is a controller that speaks IPMI 2.0 over RMCP+ ("lanplus").
type IPMI struct {
	Address      string `yaml:"address" json:"address"` // host:port; port 623 when not given
	User         string `yaml:"user" json:"user"`
	PasswordFile string `yaml:"password_file" json:"password_file"` // IPMI_PASSWORD when not given
	Cipher       int    `yaml:"cipher" json:"cipher"`               // suite 17 (SHA-256 and AES) or 3 (SHA-1 and AES), section 22.15.2; 17 when not given
}

func init() {
	drivers.Register(drivers.Registration{Name: "target/power", Title: "the target's power, over Redfish or IPMI", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return open(env, c)
		}})
}

// status is what a controller says of the power.
type status struct {
	on   bool   // it is on, or still is
	sure bool   // it is not on its way to the other
	word string // the controller's own
}

// action is what a controller can be asked to do.
type action string

const (
	actOn       action = "on"
	actOff      action = "off"      // at once
	actCycle    action = "cycle"    // off at once, and on again
	actRestart  action = "restart"  // the operating system's own restart
	actShutdown action = "shutdown" // the operating system's own end
)

// bmc is a controller. Every call is bounded by its context.
type bmc interface {
	status(ctx context.Context) (status, error)
	can(ctx context.Context, a action) (bool, error)
	do(ctx context.Context, a action) error
	address() string         // host:port
	secrecy() []string       // what keeps the login from others
	blame(err error) outcome // an error in words for people
	close()
}

// outcome is what an error means, and what is to be done.
type outcome struct{ cause, do string }

// Driver is a target's power in a lab.
type Driver struct {
	env  drivers.Env
	cut  action
	bmc  bmc
	pace pace
}

// pace is how often the controller is looked at, how long a call may take, how long a state may take to show, and for how long after
// an orderly shutdown the target may still be about to go off.
type pace struct{ every, call, settle, shutdown time.Duration }

var ordinary = pace{every: 3 * time.Second, call: 10 * time.Second, settle: 45 * time.Second, shutdown: 5 * time.Minute}

const impact = "The target's power cannot be switched"

// open checks the configuration. It does not talk to the controller: Probe does.
func open(env drivers.Env, c Config) (*Driver, error) {
	bad := func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: impact, Do: do, Err: err}
	}
	d := &Driver{env: env, pace: ordinary}
	switch c.Cut {
	case "", "cycle":
		d.cut = actCycle
	case "off":
		d.cut = actOff
	default:
		return nil, bad(fmt.Sprintf("cut is %q", c.Cut), "Write cycle or off", nil)
	}
	if (c.Redfish == nil) == (c.IPMI == nil) {
		return nil, bad("not one way to the controller is given", "Give either redfish or ipmi", nil)
	}
	var err error
	if c.Redfish != nil {
		d.bmc, err = newRedfish(*c.Redfish, env.Dial)
	} else {
		d.bmc, err = newIPMI(*c.IPMI)
	}
	if err != nil {
		return nil, bad("the way to the controller cannot be used", "Correct the keys of redfish or ipmi", err)
	}
	return d, nil
}

// Driver has these powers.
var (
	_ drivers.TargetRebooter = (*Driver)(nil)
	_ drivers.PowerCutter    = (*Driver)(nil)
	_ drivers.Examiner       = (*Driver)(nil)
)

// call bounds one call of the controller, and tells its silence from a caller who gave up.
func (d *Driver) call(ctx context.Context, f func(context.Context) error) error {
	in, cancel := context.WithTimeout(ctx, d.pace.call)
	defer cancel()
	err := f(in)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case in.Err() != nil:
		return fmt.Errorf("%w within %v", errSilent, d.pace.call)
	}
	return err
}

var errSilent = errors.New("it did not answer")

// errLogin says that the controller does not let us in.
var errLogin = errors.New("the controller refuses the login")

func (d *Driver) status(ctx context.Context) (s status, err error) {
	err = d.call(ctx, func(ctx context.Context) error {
		s, err = d.bmc.status(ctx)
		return err
	})
	return s, err
}

func (d *Driver) do(ctx context.Context, a action) error {
	return d.call(ctx, func(ctx context.Context) error { return d.bmc.do(ctx, a) })
}

// blame makes an error one for the person who runs the lab.
func (d *Driver) blame(err error) error {
	var op *drivers.Operator
	if err == nil || errors.As(err, &op) {
		return err
	}
	o := d.bmc.blame(err)
	if errors.Is(err, errSilent) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		o = outcome{"the controller at " + d.bmc.address() + " does not answer", "See that its address is right and reached from here, over the management network"}
	}
	return &drivers.Operator{Cause: d.env.ID + ": " + o.cause, Impact: impact, Do: o.do, Err: err}
}

// Probe checks that the controller lets us in, that it has the system, and that it is on.
func (d *Driver) Probe(ctx context.Context) error {
	s, err := d.status(ctx)
	if err != nil {
		return d.blame(err)
	}
	return d.mustBeOn(s)
}

func (d *Driver) mustBeOn(s status) error {
	if s.on && s.sure {
		return nil
	}
	return &drivers.Operator{Cause: d.env.ID + ": the target is not on: the controller says " + s.word, Impact: "There is nothing to break",
		Do: "Switch it on, or undo what a run left: apd undo"}
}

// Close ends the session with the controller.
func (d *Driver) Close() error { d.bmc.close(); return nil }

// secret reads a password from the file, else from the environment.
func secret(file, variable string) (string, error) {
	if file == "" {
		if s := os.Getenv(variable); s != "" {
			return s, nil
		}
		return "", fmt.Errorf("there is neither password_file nor %s", variable)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("password_file %s is empty", file)
	}
	return s, nil
}

// first is the first line of an error, shortened.
func first(err error) string {
	s, _, _ := strings.Cut(err.Error(), "\n")
	return strings.ToValidUTF8(s[:min(len(s), 200)], "")
}

// plain takes a secret out of a text that came from elsewhere.
func plain(s, password string) string {
	if password != "" {
		s = strings.ReplaceAll(s, password, "***")
	}
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), 300)], "")
}
