// This file is what the driver can do: load, verify writes, halt, and open the firewall for its agent.

package windows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The limits of powers whose contexts have no nearer deadline.
const (
	loadLimit     = 60 * time.Second
	verifyLimit   = 10 * time.Minute
	haltLimit     = 3 * time.Minute
	firewallLimit = time.Minute
)

// Load gives the guest n extra writers, 0 to 64, in place of those it has. They end with the agent: with a reboot.
func (d *Driver) Load(ctx context.Context, n int) error {
	ctx, cancel := d.bound(ctx, loadLimit)
	defer cancel()
	return d.agents.Load(ctx, n)
}

// VerifyWrites reads back, past the caches, every record whose acknowledgement arrived since the driver was opened, and the
// seed data. A file that cannot be read is an error, not damage: nothing is known about it.
func (d *Driver) VerifyWrites(ctx context.Context) ([]drivers.Observation, error) {
	ctx, cancel := d.bound(ctx, verifyLimit)
	defer cancel()
	return d.agents.VerifyWrites(ctx, d.env.Lane)
}

// haltLook is how often Halt looks whether the guest is down already, and how long one look may take.
const haltLook = time.Second

// Halt shuts the guest down in order. It returns when nothing in the guest takes connections any more, which is before it is
// off: the hypervisor knows when that is.
func (d *Driver) Halt(ctx context.Context) error {
	ctx, cancel := d.bound(ctx, haltLimit)
	defer cancel()
	if _, err := d.run(ctx, scriptHalt, nil, nil); err != nil {
		return fmt.Errorf("%s: halting it: %w", d.env.ID, err)
	}
	dial := d.env.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	for {
		look, cancel := context.WithTimeout(ctx, haltLook)
		conn, err := dial(look, "tcp", d.cfg.Address)
		cancel()
		if ctx.Err() != nil {
			if conn != nil {
				_ = conn.Close()
			}
			return fmt.Errorf("%s: waiting for it to halt: %w", d.env.ID, ctx.Err())
		}
		if err != nil {
			return nil
		}
		_ = conn.SetReadDeadline(time.Now().Add(haltLook))
		_, err = conn.Read(make([]byte, 1))
		_ = conn.Close()
		if !errors.Is(err, os.ErrDeadlineExceeded) { // a service waits for its client to speak; this one hung up
			return nil
		}
		if !drivers.Wait(ctx, haltLook) {
			return fmt.Errorf("%s: waiting for it to halt: %w", d.env.ID, ctx.Err())
		}
	}
}

// opFirewall is the undo that closes the agent's port again.
const opFirewall = "firewall"

// OpenFirewall opens the agent's port in the guest's own firewall, where the lab file says that it may; else it does nothing.
// A rule of that name is this driver's own, from a run that was not undone.
func (d *Driver) OpenFirewall(ctx context.Context, j drivers.Journal) error {
	if !d.cfg.Firewall {
		return nil
	}
	ctx, cancel := d.bound(ctx, firewallLimit)
	defer cancel()
	rule := "apd-agent-" + strconv.Itoa(d.cfg.AgentPort)
	u := drivers.Undo{Driver: d.env.ID, Op: opFirewall, Args: map[string]string{"rule": rule, "port": strconv.Itoa(d.cfg.AgentPort)}}
	if err := j(ctx, u); err != nil {
		return fmt.Errorf("%s: before opening its firewall: %w", d.env.ID, err)
	}
	if _, err := d.firewall(ctx, u, true); err != nil {
		return fmt.Errorf("%s: opening its firewall: %w", d.env.ID, err)
	}
	return nil
}

// firewall opens or closes the port and tells whether it was open.
func (d *Driver) firewall(ctx context.Context, u drivers.Undo, open bool) (was bool, err error) {
	port, err := strconv.ParseUint(u.Args["port"], 10, 16)
	if err != nil || u.Args["rule"] != "apd-agent-"+u.Args["port"] {
		return false, fmt.Errorf("the undo names the rule %.40q and the port %.10q", u.Args["rule"], u.Args["port"])
	}
	b, err := d.run(ctx, scriptFirewall, map[string]any{"rule": u.Args["rule"], "port": port, "open": open}, nil)
	if err != nil {
		return false, err
	}
	var r struct {
		Was *bool `json:"was"`
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Was == nil {
		return false, &callError{stageScript, byFailure, fmt.Errorf("what became of the firewall's rule: %.60q", b)}
	}
	return *r.Was, nil
}

// Undo closes the agent's port again. Nothing else that this driver does is undone.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opFirewall {
		return "", drivers.ErrUnknownUndo
	}
	ctx, cancel := d.bound(ctx, firewallLimit)
	defer cancel()
	was, err := d.firewall(ctx, u, false)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: closing its firewall again: %w", d.env.ID, err)
	case !was:
		return drivers.NothingLeft, nil
	}
	return drivers.Undone, nil
}
