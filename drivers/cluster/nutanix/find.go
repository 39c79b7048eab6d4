// This file finds out what the cluster is made of, and runs scripts on its machines.

package nutanix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// node is a host with its CVM.
type node struct {
	uuid, host, hostAddr string
	cvm, cvmAddr         string
}

// domain is what libvirt calls the CVM: as Prism does.
func (n *node) domain() string { return n.cvm }

// layout is the cluster as it was when it was first seen. Who is who does not change while it is under test.
type layout struct {
	name, version string
	nodes         []*node
	target        *node // whose CVM is under fault; nil when none is named
	disk          disk  // the disk under fault; zero when none is named
	disks         map[string][]disk
}

// serials are the disks of a node's CVM.
func (l *layout) serials(n *node) []string {
	var out []string
	for _, d := range l.disks[n.cvmAddr] {
		out = append(out, d.serial)
	}
	return out
}

func (l *layout) byHost(uuid string) *node {
	for _, n := range l.nodes {
		if n.uuid == uuid {
			return n
		}
	}
	return nil
}

// find returns the layout, which it asks Prism for once.
func (d *Driver) find(ctx context.Context) (*layout, error) {
	d.mu.Lock()
	l := d.layout
	d.mu.Unlock()
	if l != nil {
		return l, nil
	}
	l, err := d.ask(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.layout == nil {
		d.layout = l
	}
	return d.layout, nil
}

func (d *Driver) ask(ctx context.Context) (*layout, error) {
	c, err := ask(ctx, d, v2+"cluster/", readCluster)
	if err != nil {
		return nil, err
	}
	hosts, err := ask(ctx, d, v2+"hosts/", readHosts)
	if err != nil {
		return nil, err
	}
	cvms, err := ask(ctx, d, v1+"vms?filterCriteria=is_cvm==1", readControllers)
	if err != nil {
		return nil, err
	}
	disks, err := ask(ctx, d, v2+"disks/", readDisks)
	if err != nil {
		return nil, err
	}
	l := &layout{name: c.name, version: c.version, disks: map[string][]disk{}}
	for _, h := range hosts {
		if is := strings.ToLower(h.hypervisor); strings.Contains(is, "vmware") != (d.cfg.Hypervisor == esxi) {
			return nil, misnamed("the host "+h.name+" runs "+h.hypervisor+", and hypervisor is "+d.cfg.Hypervisor, "Write the hypervisor that the cluster has")
		}
		n := &node{uuid: h.uuid, host: h.name, hostAddr: h.address, cvmAddr: h.cvm, cvm: h.cvm}
		for _, c := range cvms {
			if c.host == h.uuid {
				n.cvm = c.name
			}
		}
		l.nodes = append(l.nodes, n)
		if d.cfg.Controller != "" && (d.cfg.Controller == n.cvm || d.cfg.Controller == n.cvmAddr) {
			l.target = n
		}
	}
	for _, k := range disks {
		l.disks[k.cvm] = append(l.disks[k.cvm], k)
		if d.cfg.Disk != "" && (d.cfg.Disk == k.serial || d.cfg.Disk == k.id) {
			l.disk = k
		}
	}
	switch n := l.target; {
	case d.cfg.Controller != "" && n == nil:
		return nil, misnamed("the cluster has no CVM "+d.cfg.Controller, "Write controller: and a CVM's name or address")
	case d.cfg.Host != "" && n != nil && d.cfg.Host != n.host && d.cfg.Host != n.hostAddr:
		return nil, misnamed("the CVM "+n.cvm+" runs on "+n.host+", and not on "+d.cfg.Host, "Write the host that you mean to break")
	case d.cfg.Disk != "" && l.disk.serial == "":
		return nil, misnamed("the cluster has no disk "+d.cfg.Disk, "Write disk: and a serial number")
	case d.cfg.Disk != "" && l.disk.cvm != n.cvmAddr:
		return nil, misnamed("the disk "+d.cfg.Disk+" belongs to the CVM "+l.disk.cvm+", and not to "+n.cvm, "Write a disk of the CVM under fault")
	}
	return l, nil
}

// misnamed is an Operator error about a lab file that names something else than what is there.
func misnamed(cause, do string) error {
	return &drivers.Operator{Cause: cause, Impact: "It is not known what would be broken, so nothing is", Do: do}
}

// onCVM runs a script on a node's CVM.
func (d *Driver) onCVM(ctx context.Context, n *node, limit time.Duration, s script, args ...string) (answers, error) {
	if s.name == lookCVM.name {
		args = append([]string{fmt.Sprint(int(d.t.read / (100 * time.Millisecond)))}, args...)
	}
	return d.run(ctx, "the CVM "+n.cvm, d.cfg.CVMs.at(n.cvmAddr), limit, s, args)
}

// onHost runs one on a node's host.
func (d *Driver) onHost(ctx context.Context, n *node, limit time.Duration, s script, args ...string) (answers, error) {
	return d.run(ctx, "the host "+n.host, d.cfg.Hosts.at(n.hostAddr), limit, s, args)
}

// onBacking runs one where the disk under fault is made.
func (d *Driver) onBacking(ctx context.Context, limit time.Duration, s script, args ...string) (answers, error) {
	if d.cfg.Backing == nil {
		return nil, misnamed("what the disk is made of is not named", "Write backing: with ssh and pid_file")
	}
	return d.run(ctx, "the machine behind the disk", d.cfg.Backing.SSH, limit, s, args)
}

func (l Login) at(address string) sshell.Config {
	return sshell.Config{Address: net.JoinHostPort(address, l.Port), User: l.User, KeyFile: l.KeyFile, KnownHosts: l.KnownHosts}
}

// machineError is a script that could not be run, or failed.
type machineError struct {
	machine, script string
	err             error
}

func (e *machineError) Error() string { return e.script + " on " + e.machine + ": " + e.err.Error() }
func (e *machineError) Unwrap() error { return e.err }

func (d *Driver) run(ctx context.Context, machine string, c sshell.Config, limit time.Duration, s script, args []string) (answers, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	shell, err := sshell.New(c, d.env.Dial)
	if err != nil {
		return nil, &machineError{machine, s.name, err}
	}
	out, err := shell.Run(in, s.sh, strings.NewReader(s.text(args...)))
	switch {
	case err == nil:
		return readAnswers(out), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	case in.Err() != nil:
		err = &silence{limit}
	}
	return nil, &machineError{machine, s.name, err}
}

// did runs a script that changes something, and tells whether it found it changed already.
func did(a answers, err error) (drivers.UndoResult, error) {
	switch {
	case err != nil:
		return "", err
	case a.one("same") == "yes":
		return drivers.NothingLeft, nil
	case a.one("done") == "yes":
		return drivers.Undone, nil
	}
	return "", errors.New("the machine does not say that it is done")
}
