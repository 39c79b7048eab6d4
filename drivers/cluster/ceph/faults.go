package ceph

// This file breaks parts of the cluster and puts them back. An undo names the part and nothing else: what has to be done is seen
// from the part, so that it can be done twice, by anybody, and after the part has died of the fault.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
)

// The undos.
const (
	opDisk    = "serve-disk"  // args: osd
	opDaemon  = "run-daemon"  // args: osd
	opGateway = "run-gateway" // args: gateway
	opRot     = "unrot-disk"  // args: osd, offset, old, new, object
)

// undoTakes bounds an undo: an OSD that was killed reads its disk and has to be believed again; 5 to 20 s were measured.
const undoTakes = 2 * time.Minute

// guard refuses a fault that could lose data or keep it from everybody.
func (d *Driver) guard(ctx context.Context, o OSD) error {
	if err := d.Resilient(ctx); err != nil {
		return err
	}
	var can struct {
		OK *bool `json:"ok_to_stop"`
	}
	if err := d.ask(ctx, &can, "osd", "ok-to-stop", o.name()); err != nil {
		return &drivers.Operator{Cause: o.name() + " cannot be spared", Impact: "nothing was broken: it holds the last healthy copy of something, or too few others are left",
			Do: "name another disk in the lab file, or give the pools more copies", Err: err}
	}
	if can.OK == nil || !*can.OK {
		return fmt.Errorf("ceph does not say that %s can be spared", o.name())
	}
	return nil
}

func (d *Driver) undoOf(op string, args map[string]string) drivers.Undo {
	return drivers.Undo{Driver: d.env.ID, Op: op, Args: args, Takes: undoTakes}
}

// StallDisk has the disk under fault answer nothing, aborts included: its OSD waits in uninterruptible sleep.
func (d *Driver) StallDisk(ctx context.Context, j drivers.Journal) error {
	return d.onDisk(ctx, j, func(o OSD) error { return o.Disk.pause(ctx, 'p') })
}

// DiskFaults lists the ways in which a disk can fail.
func (d *Driver) DiskFaults() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.DiskError, drivers.DiskGone, drivers.DiskCorrupt}
}

// FailDisk has every command of the disk under fault end with EIO, takes the disk away, or changes some bytes of a copy on it.
func (d *Driver) FailDisk(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	switch kind {
	case drivers.DiskError:
		return d.onDisk(ctx, j, func(o OSD) error { return os.WriteFile(o.Disk.Fail, nil, 0o600) })
	case drivers.DiskGone:
		return d.onDisk(ctx, j, func(o OSD) error { return o.Disk.Server.Kill(ctx) })
	case drivers.DiskCorrupt:
		o, err := d.osd()
		if err == nil {
			err = d.guard(ctx, o)
		}
		if err != nil {
			return err
		}
		return d.rot(ctx, o, j)
	}
	return fmt.Errorf("a disk of this cluster cannot fail by %s", kind)
}

// onDisk does something to the disk under fault.
func (d *Driver) onDisk(ctx context.Context, j drivers.Journal, do func(OSD) error) error {
	return d.onOSD(ctx, opDisk, j, do)
}

func (d *Driver) onOSD(ctx context.Context, op string, j drivers.Journal, do func(OSD) error) error {
	o, err := d.osd()
	if err != nil {
		return err
	}
	if err := d.guard(ctx, o); err != nil {
		return err
	}
	if err := j(ctx, d.undoOf(op, map[string]string{"osd": strconv.Itoa(o.ID)})); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(o)
}

// ControllerStops lists what can be stopped: an OSD's daemon, and a gateway where there are two.
func (d *Driver) ControllerStops() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.DaemonCrash, drivers.DaemonHang, drivers.ControllerCrash, drivers.ControllerHang, drivers.ControllerRestart}
}

// StopController freezes or kills the OSD under fault, or the gateway under fault; a restart shuts the gateway down in order.
func (d *Driver) StopController(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	switch kind {
	case drivers.DaemonCrash:
		return d.onOSD(ctx, opDaemon, j, func(o OSD) error { return o.Daemon.Kill(ctx) })
	case drivers.DaemonHang:
		return d.onOSD(ctx, opDaemon, j, func(o OSD) error { return o.Daemon.signal(syscall.SIGSTOP) })
	case drivers.ControllerCrash:
		return d.onGateway(ctx, j, func(g Gateway) error { _, err := local.Kill(ctx, g.TGT); return err })
	case drivers.ControllerHang:
		return d.onGateway(ctx, j, func(g Gateway) error { return local.Signal(g.TGT, syscall.SIGSTOP) })
	case drivers.ControllerRestart:
		return d.onGateway(ctx, j, func(g Gateway) error { return local.Shutdown(ctx, g.TGT) })
	}
	return fmt.Errorf("nothing of this cluster can be stopped by %s", kind)
}

func (d *Driver) onGateway(ctx context.Context, j drivers.Journal, do func(Gateway) error) error {
	g, err := d.gateway()
	if err != nil {
		return err
	}
	if err := d.Resilient(ctx); err != nil {
		return err
	}
	others := 0
	for _, o := range d.c.Gateways {
		if o.Name != g.Name && state(local.PIDFile(o.TGT)) == "up" {
			others++
		}
	}
	if others == 0 {
		return &drivers.Operator{Cause: "no other gateway than " + g.Name + " runs", Impact: "nothing was broken: nobody could take its work over", Do: "start another"}
	}
	if err := j(ctx, d.undoOf(opGateway, map[string]string{"gateway": g.Name})); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return do(g)
}

// Undo puts one part back.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	switch u.Op {
	case opDisk, opDaemon, opRot:
		for _, o := range d.c.OSDs {
			if strconv.Itoa(o.ID) != u.Args["osd"] {
				continue
			}
			changed := false
			if u.Op == opRot {
				var err error
				if changed, err = d.unrot(ctx, o, u.Args); err != nil {
					return "", err
				}
			} else if err := d.restore(ctx, o, &changed); err != nil {
				return "", fmt.Errorf("putting %s back: %w", o.name(), err)
			}
			return result(changed), nil
		}
		return gone(d.c.Dir, "osd."+u.Args["osd"])
	case opGateway:
		for _, g := range d.c.Gateways {
			if g.Name != u.Args["gateway"] {
				continue
			}
			was := state(local.PIDFile(g.TGT))
			if was == "hung" { // what it had in hand when it froze may have been done by another: it must not go on with that
				if _, err := local.Kill(ctx, g.TGT); err != nil {
					return "", err
				}
			}
			if was == "up" {
				return drivers.NothingLeft, nil
			}
			return drivers.Undone, local.Start(ctx, g.TGT)
		}
		return gone(d.c.Dir, "gateway "+u.Args["gateway"])
	}
	return "", drivers.ErrUnknownUndo
}

func result(changed bool) drivers.UndoResult {
	if changed {
		return drivers.Undone
	}
	return drivers.NothingLeft
}

// gone is the undo of a part that the cluster does not have: of a cluster that is gone as a whole nothing is left.
func gone(dir, part string) (drivers.UndoResult, error) {
	if _, err := os.Stat(dir); dir == "" || errors.Is(err, os.ErrNotExist) {
		return drivers.NothingLeft, nil
	}
	return "", fmt.Errorf("the cluster has no %s any more", part)
}

// restore has a disk serve and its OSD run and be believed by the cluster.
func (d *Driver) restore(ctx context.Context, o OSD, changed *bool) error {
	if _, err := os.Stat(d.c.Dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if state(o.Daemon.PIDFile) == "hung" {
		*changed = true
		if err := o.Daemon.signal(syscall.SIGCONT); err != nil {
			return err
		}
	}
	if err := os.Remove(o.Disk.Fail); err == nil {
		*changed = true
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch value, _ := o.Disk.medium(ctx); value {
	case "hangs":
		*changed = true
		if err := o.Disk.pause(ctx, 'r'); err != nil {
			return err
		}
	case "gone":
		*changed = true
	}
	if !o.Disk.there() { // then the OSD has lost its disk, whatever it is doing
		*changed = true
		if err := o.Disk.detach(ctx); err != nil {
			return err
		}
		if err := o.Daemon.Kill(ctx); err != nil {
			return err
		}
	}
	if err := o.Disk.Attach(ctx); err != nil {
		return err
	}
	since := 0 // the map of before it was started calls an OSD up that was killed just now, and later down
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		if state(o.Daemon.PIDFile) == "down" { // maybe only now: it gave up while its disk hung
			*changed = true
			_, from, err := d.up(ctx, o)
			if err != nil {
				return fmt.Errorf("asking since when the cluster takes it for up: %w", err)
			}
			since = from
			if err := o.Daemon.Start(); err != nil {
				return err
			}
		}
		up, from, err := d.up(ctx, o)
		if up && from > since {
			return nil
		}
		*changed = true
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not take it for up: %w", errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// up tells whether the OSD runs and the cluster takes it for up, and in which epoch of the map it came up last.
func (d *Driver) up(ctx context.Context, o OSD) (up bool, from int, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var dump osdDump
	if err := d.ask(ctx, &dump, "osd", "dump"); err != nil {
		return false, 0, err
	}
	if err := dump.check(); err != nil {
		return false, 0, err
	}
	for _, e := range dump.OSDs {
		if *e.ID == o.ID {
			return *e.Up == 1 && state(o.Daemon.PIDFile) == "up", e.UpFrom, nil
		}
	}
	return false, 0, fmt.Errorf("ceph's map has no %s", o.name())
}
