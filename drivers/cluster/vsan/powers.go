// This file breaks things, each only in a cluster that has all its redundancy, and puts them back.

package vsan

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
)

// The undos of this driver.
const (
	opSet   = "set"   // an option of the host under fault back to its old value
	opServe = "serve" // the disk under it is made to serve again
	opClear = "clear" // the fault tool forgets what it does to the disk
)

// hostBack bounds how long an undo waits for a host that has crashed: its options can be set only when it is there again.
const hostBack = 20 * time.Minute

// Resilient is nil when every object is healthy, nothing is being copied, every host is there and in the cluster, and every disk
// is in use.
func (d *Driver) Resilient(ctx context.Context) error {
	_, _, err := d.redundant(ctx)
	return err
}

// redundant is Resilient, with the place and the disks that it has looked at.
func (d *Driver) redundant(ctx context.Context) (*place, []disk, error) {
	p, err := d.find(ctx)
	if err != nil {
		return nil, nil, d.conn.Operator(err)
	}
	hosts, _, err := d.inventory(ctx, p)
	if err != nil {
		return nil, nil, d.conn.Operator(err)
	}
	var lacks []string
	for _, h := range hosts {
		if s := h.Runtime.ConnectionState; s != types.HostSystemConnectionStateConnected {
			lacks = append(lacks, fmt.Sprintf("the host %s is %s", p.hostName[h.Self], s))
			continue
		}
		in, word, err := d.member(ctx, p, h.Self)
		if err != nil {
			return nil, nil, d.conn.Operator(fmt.Errorf("asking %s whether it is in the cluster: %w", p.hostName[h.Self], err))
		}
		if !in {
			lacks = append(lacks, fmt.Sprintf("the host %s is %s in the vSAN cluster", p.hostName[h.Self], word))
		}
	}
	o, err := d.objects(ctx, p)
	if err != nil {
		return nil, nil, d.conn.Operator(err)
	}
	lacks = append(lacks, o.lacks()...)
	ds, answered, err := d.disks(ctx, p)
	if err != nil {
		return nil, nil, d.conn.Operator(err)
	}
	for _, h := range p.hosts {
		if !answered[h] {
			lacks = append(lacks, fmt.Sprintf("the host %s does not tell of its disks", p.hostName[h]))
		}
	}
	for _, one := range ds {
		if !one.used {
			lacks = append(lacks, fmt.Sprintf("the disk %s of %s is not in use (%s)", one.name, p.hostName[one.host], one.health))
		}
	}
	if len(lacks) > 0 {
		return nil, nil, &drivers.Operator{Cause: d.env.ID + ": the cluster has not all its redundancy: " + strings.Join(lacks, "; "),
			Impact: "Nothing was broken: a fault now could take the last copy of something", Do: "Mend it, and wait until vSAN has copied everything"}
	}
	return p, ds, nil
}

// StallDisk makes the disk under fault hang, by whoever is under it. Where that means a purple screen, the host is first made to come back.
func (d *Driver) StallDisk(ctx context.Context, j drivers.Journal) error {
	if d.cfg.Stall == nil || d.Under == nil {
		return fmt.Errorf("making the disk %s hang: %w", d.cfg.Disk, errNoStall)
	}
	if !d.cfg.AllowHostCrash {
		return errors.New("making a disk hang: it can take the host down, and the lab file does not allow that: allow_host_crash")
	}
	if err := d.bears(ctx); err != nil {
		return err
	}
	if err := d.comesBack(ctx, j); err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opServe, Args: map[string]string{"disk": d.cfg.Disk}}); err != nil {
		return fmt.Errorf("noting how the disk is made to serve again: %w", err)
	}
	if err := d.below(ctx, d.cfg.Stall.Begin); err != nil {
		return fmt.Errorf("making the disk %s hang: %w", d.cfg.Disk, err)
	}
	return nil
}

func (d *Driver) below(ctx context.Context, line string) error {
	return vsphere.Within(ctx, setBound, func(ctx context.Context) error {
		_, err := d.Under.Run(ctx, line, nil)
		return err
	})
}

func (d *Driver) inShell(ctx context.Context, line string) error {
	return vsphere.Within(ctx, setBound, func(ctx context.Context) error {
		_, err := d.Shell.Run(ctx, line, nil)
		return err
	})
}

// comesBack makes sure that the host boots by itself after a purple screen. One that does so already is left as it is.
func (d *Driver) comesBack(ctx context.Context, j drivers.Journal) error {
	if now, err := d.option(ctx, vsphere.BlueScreenTimeout); err == nil && fmt.Sprint(now) != "0" {
		return nil
	}
	if err := d.Tune(ctx, vsphere.BlueScreenTimeout, vsphere.RebootAfter, j); err != nil {
		return fmt.Errorf("making sure that the host comes back: %w", err)
	}
	return nil
}

// DiskFaults are what the host's own tool can do. It makes errors and takes disks away; a stuck I/O it cannot make.
func (d *Driver) DiskFaults() []drivers.FaultKind {
	return []drivers.FaultKind{drivers.DiskError, drivers.DiskGone}
}

// FailDisk has the host's own tool make the disk under fault fail, or go.
func (d *Driver) FailDisk(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	flag := map[drivers.FaultKind]string{drivers.DiskError: "-p", drivers.DiskGone: "-u"}[kind]
	switch {
	case flag == "":
		return fmt.Errorf("this driver does not know how to do %s", kind)
	case d.Shell == nil || d.cfg.FaultTool == "" || d.cfg.Disk == "":
		return errors.New("making a disk fail: the lab file does not give ssh to the host, fault_tool and disk")
	}
	if err := d.bears(ctx); err != nil {
		return err
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opClear, Args: map[string]string{"disk": d.cfg.Disk}}); err != nil {
		return fmt.Errorf("noting how the fault is cleared: %w", err)
	}
	if err := d.inShell(ctx, d.tool(flag, d.cfg.Disk)); err != nil {
		return fmt.Errorf("making the disk %s fail: %w", d.cfg.Disk, err)
	}
	return nil
}

// tool is the command line of the host's tool for injecting faults.
func (d *Driver) tool(flag, disk string) string {
	return "python " + quote(d.cfg.FaultTool) + " " + flag + " -d " + quote(disk)
}

// quote makes a word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// CrashHost has the kernel of the host under fault panic, once it is sure that it comes back by itself.
func (d *Driver) CrashHost(ctx context.Context, j drivers.Journal) error {
	switch {
	case !d.cfg.AllowHostCrash:
		return errors.New("crashing the host: the lab file does not allow it: allow_host_crash")
	case d.Shell == nil:
		return errors.New("crashing the host: the lab file gives no ssh to it")
	case d.cfg.Host == "":
		return fmt.Errorf("crashing the host: %w", errNoHost)
	}
	if err := d.bears(ctx); err != nil {
		return err
	}
	if err := d.comesBack(ctx, j); err != nil {
		return err
	}
	return vsphere.CrashKernel(ctx, func(ctx context.Context, line string) error {
		_, err := d.Shell.Run(ctx, line, nil)
		return err
	})
}

// Tune changes an option of the host under fault.
func (d *Driver) Tune(ctx context.Context, key, value string, j drivers.Journal) error {
	old, err := d.option(ctx, key)
	if err == nil {
		err = vsphere.CheckValue(old, value)
	}
	if err != nil {
		return fmt.Errorf("tuning %s: %w", key, err)
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opSet, Args: map[string]string{"key": key, "value": fmt.Sprint(old)}, Takes: hostBack}
	if err := j(ctx, u); err != nil {
		return fmt.Errorf("noting the old %s before changing it: %w", key, err)
	}
	if err := d.set(ctx, key, old, value); err != nil {
		return fmt.Errorf("tuning %s: %w", key, err)
	}
	return nil
}

func (d *Driver) option(ctx context.Context, key string) (v any, err error) {
	p, err := d.find(ctx)
	if err != nil {
		return nil, err
	}
	if p.target.Value == "" {
		return nil, errNoHost
	}
	err = d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) (err error) {
		v, err = vsphere.Option(ctx, c, p.options[p.target], key)
		return err
	})
	return v, err
}

func (d *Driver) set(ctx context.Context, key string, old any, value string) error {
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	return d.conn.Call(ctx, setBound, func(ctx context.Context, c *vim25.Client) error {
		return vsphere.SetOption(ctx, c, p.options[p.target], key, old, value)
	})
}

// Undo puts one change back.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	switch u.Op {
	case opSet:
		return d.putBack(ctx, u.Args["key"], u.Args["value"])
	case opServe:
		return d.serveAgain(ctx)
	case opClear:
		return d.clear(ctx, u.Args["disk"])
	}
	return "", drivers.ErrUnknownUndo
}

// putBack waits for the host when it is away.
func (d *Driver) putBack(ctx context.Context, key, value string) (drivers.UndoResult, error) {
	if err := d.awaitHost(ctx); err != nil {
		return "", fmt.Errorf("putting %s back to %s: %w", key, value, err)
	}
	now, err := d.option(ctx, key)
	if err == nil && fmt.Sprint(now) == value {
		return drivers.NothingLeft, nil
	}
	if err == nil {
		err = d.set(ctx, key, now, value)
	}
	if err != nil {
		return "", fmt.Errorf("putting %s back to %s: %w", key, value, err)
	}
	return drivers.Undone, nil
}

// awaitHost waits until the host under fault is connected.
func (d *Driver) awaitHost(ctx context.Context) error {
	tick := time.NewTicker(everyLook)
	defer tick.Stop()
	for {
		p, err := d.find(ctx)
		if err == nil && p.target.Value == "" {
			return errNoHost
		}
		if err == nil {
			hosts, _, err := d.inventory(ctx, p)
			for _, h := range hosts {
				if err == nil && h.Self == p.target && h.Runtime.ConnectionState == types.HostSystemConnectionStateConnected {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the host %s is not there: %w", d.cfg.Host, ctx.Err())
		case <-tick.C:
		}
	}
}

func (d *Driver) serveAgain(ctx context.Context) (drivers.UndoResult, error) {
	was, err := d.under(ctx)
	if err == nil && was == "serves" {
		return drivers.NothingLeft, nil
	}
	if err == nil {
		err = d.below(ctx, d.cfg.Stall.End)
	}
	if err != nil {
		return "", fmt.Errorf("making the disk serve again: %w", err)
	}
	return drivers.Undone, nil
}

// clear tells the tool to forget; whether it had anything to forget shows in the disk.
func (d *Driver) clear(ctx context.Context, disk string) (drivers.UndoResult, error) {
	if d.Shell == nil || d.cfg.FaultTool == "" {
		return "", errors.New("clearing the disk's fault: the lab file does not give ssh to the host and fault_tool any more")
	}
	p, err := d.find(ctx)
	if err != nil {
		return "", err
	}
	media, err := d.media(ctx, p, map[ref]bool{p.target: true})
	if err != nil {
		return "", fmt.Errorf("looking how the disk %s is: %w", disk, err)
	}
	if media[p.diskName(p.target, disk)] == "ok" {
		return drivers.NothingLeft, nil
	}
	if err := d.inShell(ctx, d.tool("-c", disk)); err != nil {
		return "", fmt.Errorf("clearing the fault of the disk %s: %w", disk, err)
	}
	return drivers.Undone, nil
}
