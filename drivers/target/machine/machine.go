// Package machine is the virtual machine that a target runs on, where the lab's launcher has it: its power can be cut as that of
// a NAS by its plug, and its disks are files of this machine, which can be looked at beside it. The target's own driver
// (target/lio, say) stands beside it in the lab.
//
// What it reports on its lane:
//
//	power  state  on, off
package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/qemu"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
)

// Config says which machine it is.
type Config struct {
	Launcher string      `yaml:"launcher" json:"launcher"` // the launcher's socket
	VM       string      `yaml:"vm" json:"vm"`             // the machine's name there
	LUNs     []local.LUN `yaml:"luns" json:"luns"`         // the files that are its disks, by the LUN that it makes of each
}

func init() {
	drivers.Register(drivers.Registration{Name: "target/machine", Title: "the virtual machine that the target runs on", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return New(env, c), nil
		}})
}

// Driver is a target's machine in a lab.
type Driver struct {
	env      drivers.Env
	c        Config
	launcher *qemu.Launcher
}

var (
	_ drivers.PowerCutter  = (*Driver)(nil)
	_ drivers.ImageChecker = (*Driver)(nil)
)

// New opens the driver; it connects when it is used.
func New(env drivers.Env, c Config) *Driver {
	return &Driver{env: env, c: c, launcher: qemu.NewLauncher(c.Launcher)}
}

const (
	opOn        = "power-on"
	callTimeout = 20 * time.Second // of a switch; QEMU is up in less than 1 s (measured)
	askTimeout  = 2 * time.Second  // of a question
	lookEvery   = time.Second
)

// on asks whether the machine is on.
func (d *Driver) on(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var s qemu.HostState
	if err := d.launcher.Get(ctx, "/state", &s); err != nil {
		return false, err
	}
	if s.NAS != nil && s.NAS.Name == d.c.VM {
		return s.NAS.On, nil
	}
	return false, fmt.Errorf("the launcher has no machine %q", d.c.VM)
}

// Probe checks that the machine is there and on.
func (d *Driver) Probe(ctx context.Context) error {
	on, err := d.on(ctx)
	if err == nil && !on {
		err = errors.New("it is off")
	}
	if err != nil {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: the target's machine %q cannot be used", d.env.ID, d.c.VM), Impact: "its power cannot be cut",
			Do: "bring the lab up anew, or undo what a run left: apd undo", Err: err}
	}
	return nil
}

// Observe reports the machine's power once a second.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for before := d.env.Clock.Now(); ; {
		start := d.env.Clock.Now()
		on, err := d.on(ctx)
		if ctx.Err() != nil {
			return nil
		}
		o := drivers.Observation{Lo: before, Hi: d.env.Clock.Now(), Lane: d.env.Lane, Kind: drivers.State, Topic: "power", Value: "off"}
		switch {
		case err != nil:
			o.Value, o.Text = "unknown", err.Error()
		case on:
			o.Value = "on"
		}
		emit(o)
		before = start
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// CutPower ends the machine at once, as by its plug; it stays off until the undo.
func (d *Driver) CutPower(ctx context.Context, j drivers.Journal) error {
	if err := d.Probe(ctx); err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opOn, Args: map[string]string{"vm": d.c.VM}}); err != nil {
		return err
	}
	return d.turn(ctx, "off")
}

func (d *Driver) turn(ctx context.Context, to string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := d.launcher.Post(ctx, "/vms/"+d.c.VM+"/"+to, nil, nil); err != nil {
		return fmt.Errorf("switching the target's machine %s: %w", to, err)
	}
	return nil
}

// Undo switches the machine on again; it boots after that. A launcher that is gone has no machine.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opOn {
		return "", drivers.ErrUnknownUndo
	}
	on, err := d.on(ctx)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return drivers.NothingLeft, nil
	case err != nil:
		return "", err
	case on:
		return drivers.NothingLeft, nil
	}
	return drivers.Undone, d.turn(ctx, "on")
}

// CheckImage checks the file that is a LUN. Its machine may run, but no host may be writing to that LUN.
func (d *Driver) CheckImage(ctx context.Context, lun int) (drivers.Observation, error) {
	for _, l := range d.c.LUNs {
		if l.LUN != lun {
			continue
		}
		if _, err := os.Stat(l.File); err != nil {
			return drivers.Observation{}, fmt.Errorf("looking for LUN %d: %w", lun, err)
		}
		return local.CheckFile(ctx, d.env, l)
	}
	return drivers.Observation{}, fmt.Errorf("the target has no LUN %s", strconv.Itoa(lun))
}

// Close drops idle connections; the machine stays as it is.
func (d *Driver) Close() error { d.launcher.Close(); return nil }
