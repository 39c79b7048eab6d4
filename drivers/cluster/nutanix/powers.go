// This file breaks things: one disk, one Stargate or one CVM. Each power first makes sure that the cluster can bear it, then looks
// how things are, journals how to put exactly that back, and only then acts.

package nutanix

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// What an undo's Op and Args are called.
const (
	opThaw       = "thaw-backing"
	opUnthrottle = "unthrottle"
	opState      = "disk-state"
	opRescan     = "rescan"
	opWriteBack  = "write-back-egroup"
	opStart      = "start-stargate"
	opWake       = "wake-stargate"
	opRun        = "start-cvm"
	opResume     = "resume-cvm"

	argCVM, argHost, argDomain = "cvm", "host", "domain"
	argPID, argOld, argDevice  = "pid", "old", "device"
	argSerial, argSCSIHost     = "serial", "scsi_host"
	argNumber, argGroup        = "number", "cgroup"
	argFile                    = "file"
)

// refuse is an Operator error for what a power cannot do as things are.
func (d *Driver) refuse(cause, do string) error {
	return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: "Nothing was broken", Do: do}
}

func (d *Driver) undoOf(op string, n *node, args map[string]string) drivers.Undo {
	args[argCVM], args[argHost], args[argDomain] = n.cvmAddr, n.hostAddr, n.domain()
	return drivers.Undo{Driver: d.env.ID, Op: op, Args: args}
}

// act journals, and then acts.
func (d *Driver) act(ctx context.Context, j drivers.Journal, u drivers.Undo, do func() (answers, error)) error {
	if err := j(ctx, u); err != nil {
		return fmt.Errorf("writing the undo down: %w", err)
	}
	res, err := did(do())
	if err != nil {
		return d.operator(err)
	}
	if res == drivers.NothingLeft {
		return d.refuse("it was so already", "See what else works on this cluster")
	}
	return nil
}

// StallDisk has the disk hang: below SCSI by freezing what serves it, above it by letting Stargate have a byte a second of it.
func (d *Driver) StallDisk(ctx context.Context, j drivers.Journal) error {
	l, err := d.bears(ctx)
	if err != nil {
		return err
	}
	if d.cfg.Disk == "" || d.cfg.Stall == "" {
		return d.refuse("no disk is named, or not where it is to stall", "Write disk:, and stall: below or above")
	}
	if d.cfg.Stall == below {
		a, err := d.onBacking(ctx, d.t.act, lookProcess, d.cfg.Backing.PIDFile)
		if err != nil {
			return d.operator(err)
		}
		pid := a.one("pid")
		if pid == "" || a.one("state") == "" || strings.HasPrefix(a.one("state"), "T") {
			return d.refuse("what the disk is made of does not run", "Start it; pid_file has to name its process")
		}
		return d.act(ctx, j, d.undoOf(opThaw, l.target, map[string]string{argPID: pid, argOld: a.one("state")}), func() (answers, error) {
			return d.onBacking(ctx, d.t.act, freeze, pid)
		})
	}
	a, err := d.lookDisk(ctx, l)
	if err != nil {
		return err
	}
	number, group := a.one("number"), a.one("cgroup")
	if number == "" || group == "" {
		return d.refuse("Stargate is in no control group for block devices", "Use stall: below: this CVM cannot throttle a process's I/O")
	}
	return d.act(ctx, j, d.undoOf(opUnthrottle, l.target, map[string]string{argNumber: number, argGroup: group}), func() (answers, error) {
		return d.onCVM(ctx, l.target, d.t.act, throttle, number)
	})
}

// lookDisk looks at the disk under fault, which has to be there and to run.
func (d *Driver) lookDisk(ctx context.Context, l *layout) (answers, error) {
	if d.cfg.Disk == "" {
		return nil, d.refuse("no disk is named", "Write disk: and a serial number")
	}
	a, err := d.onCVM(ctx, l.target, d.t.act, lookDisk, l.disk.serial)
	if err != nil {
		return nil, d.operator(err)
	}
	if a.one("device") == "" || a.one("state") != running {
		return nil, d.refuse("the CVM "+l.target.cvm+" does not have the disk "+l.disk.serial+" running", "Look at it there: lsblk -o NAME,SERIAL,STATE")
	}
	return a, nil
}

// DiskFaults are those of FailDisk. Errors and absence begin at once: neither is a hang.
func (d *Driver) DiskFaults() []drivers.FaultKind {
	ks := []drivers.FaultKind{drivers.DiskError, drivers.DiskGone}
	if d == nil || d.cfg.Egroup != "" {
		ks = append(ks, drivers.DiskCorrupt)
	}
	return ks
}

// FailDisk sets the disk offline in the CVM's kernel, which then fails every command, deletes it there, or overwrites the
// beginning of one extent group.
func (d *Driver) FailDisk(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	l, err := d.bears(ctx)
	if err != nil {
		return err
	}
	a, err := d.lookDisk(ctx, l)
	if err != nil {
		return err
	}
	n, device := l.target, a.one("device")
	switch kind {
	case drivers.DiskError:
		return d.act(ctx, j, d.undoOf(opState, n, map[string]string{argDevice: device, argOld: a.one("state")}), func() (answers, error) {
			return d.onCVM(ctx, n, d.t.act, setState, device, "offline")
		})
	case drivers.DiskGone:
		if a.one("host") == "" {
			return d.refuse("the disk "+device+" hangs on no SCSI host, so nothing would find it again", "Use disk-error: an NVMe disk cannot be found again by a scan")
		}
		return d.act(ctx, j, d.undoOf(opRescan, n, map[string]string{argSerial: l.disk.serial, argSCSIHost: a.one("host")}), func() (answers, error) {
			return d.onCVM(ctx, n, d.t.act, deleteDisk, device)
		})
	case drivers.DiskCorrupt:
		return d.corrupt(ctx, n, j)
	}
	return d.refuse("this driver does not know "+string(kind), "Use one of its own faults")
}

// rotBytes is what corrupt writes, and by what it is known again.
const rotBytes = 4096

func rot(encoded string) bool {
	b, err := base64.StdEncoding.DecodeString(encoded)
	return err == nil && len(b) == rotBytes && strings.Count(string(b), "\xa5") == rotBytes
}

func (d *Driver) corrupt(ctx context.Context, n *node, j drivers.Journal) error {
	a, err := d.onCVM(ctx, n, d.t.act, lookEgroup, d.cfg.Egroup)
	if err != nil {
		return d.operator(err)
	}
	old := a.one("bytes")
	if b, err := base64.StdEncoding.DecodeString(old); err != nil || len(b) != rotBytes || rot(old) {
		return d.refuse("the extent group "+d.cfg.Egroup+" is not there, has no 4 KiB, or was overwritten already", "Write egroup: and a file *.egroup on the disk under fault")
	}
	d.mu.Lock()
	d.restored = false
	d.mu.Unlock()
	return d.act(ctx, j, d.undoOf(opWriteBack, n, map[string]string{argFile: d.cfg.Egroup, argOld: old}), func() (answers, error) {
		return d.onCVM(ctx, n, d.t.act, overwrite, d.cfg.Egroup)
	})
}

// ControllerStops are those of StopController.
func (d *Driver) ControllerStops() []drivers.FaultKind {
	ks := []drivers.FaultKind{drivers.DaemonCrash, drivers.DaemonHang}
	if d == nil || d.cfg.Hypervisor == ahv {
		ks = append(ks, drivers.ControllerCrash, drivers.ControllerHang, drivers.ControllerRestart)
	}
	return ks
}

// StopController stops Stargate (genesis stop) or freezes it, or destroys, suspends or shuts down the CVM.
func (d *Driver) StopController(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	l, err := d.bears(ctx)
	if err != nil {
		return err
	}
	n := l.target
	switch kind {
	case drivers.DaemonCrash, drivers.DaemonHang:
		a, err := d.onCVM(ctx, n, d.t.act, lookStargate)
		if err != nil {
			return d.operator(err)
		}
		if daemon(a.one("stargate")) != "up" {
			return d.refuse("Stargate on "+n.cvm+" does not answer", "Look at it there: cluster status")
		}
		op, s := opStart, stopStargate
		if kind == drivers.DaemonHang {
			op, s = opWake, hangStargate
		}
		return d.act(ctx, j, d.undoOf(op, n, map[string]string{argOld: "up"}), func() (answers, error) { return d.onCVM(ctx, n, d.t.act, s) })
	}
	a, err := d.onHost(ctx, n, d.t.act, domainState, n.domain())
	if err != nil {
		return d.operator(err)
	}
	if a.one("domain") != running {
		return d.refuse("the CVM "+n.cvm+" is "+quoted(a.one("domain")), "Look at it on its host: virsh list --all")
	}
	u := d.undoOf(opRun, n, map[string]string{argOld: running})
	switch kind {
	case drivers.ControllerCrash:
		return d.act(ctx, j, u, func() (answers, error) { return d.onHost(ctx, n, d.t.act, destroy, n.domain()) })
	case drivers.ControllerHang:
		u.Op = opResume
		return d.act(ctx, j, u, func() (answers, error) { return d.onHost(ctx, n, d.t.act, suspend, n.domain()) })
	case drivers.ControllerRestart:
		if err := d.act(ctx, j, u, func() (answers, error) { return d.onCVM(ctx, n, d.t.act, shutdown) }); err != nil {
			return err
		}
		return d.await(ctx, n, d.t.down, shutOff)
	}
	return d.refuse("this driver does not know "+string(kind), "Use one of its own faults")
}

// await waits until a CVM's domain is in a state.
func (d *Driver) await(ctx context.Context, n *node, limit time.Duration, want string) error {
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		a, err := d.onHost(in, n, d.t.act, domainState, n.domain())
		if err == nil && a.one("domain") == want {
			return nil
		}
		if !drivers.Wait(in, d.t.poll) {
			if ctx.Err() != nil {
				return fmt.Errorf("waiting for the CVM to be %s: %w", want, context.Cause(ctx))
			}
			return &drivers.Operator{Cause: fmt.Sprintf("%s: the CVM %s was not %s within %v, but %s", d.env.ID, n.cvm, want, limit, quoted(a.one("domain"))),
				Impact: "The fault is not as it should be", Do: "Look at it on its host: virsh list --all", Err: err}
		}
	}
}
