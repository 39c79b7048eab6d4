// This file shuts the port, and gives it back its state.

package switchport

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gosnmp/gosnmp"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const opRestore = "port-restore"

// BreakKinds lists the one fault.
func (d *Driver) BreakKinds() []drivers.FaultKind { return []drivers.FaultKind{drivers.LinkDown} }

// BreakPath shuts the port.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	if kind != drivers.LinkDown {
		return fmt.Errorf("this path cannot do %s", kind)
	}
	p, err := d.usable(ctx)
	if err != nil {
		return err
	}
	u := drivers.Undo{Driver: d.env.ID, Op: opRestore, Args: map[string]string{"index": strconv.Itoa(p.index), "name": p.name, "admin": statusName(p.admin)}}
	if err := j(ctx, u); err != nil {
		return err
	}
	if p.admin == adminDown {
		return nil // nothing to do, and nothing for the undo
	}
	if err := d.set(ctx, p.index, adminDown); err != nil {
		return err
	}
	for end := time.Now().Add(d.pace.settle); ; {
		if p, err = d.read(ctx, p.index); err == nil && p.oper != adminUp {
			return nil
		}
		if time.Now().After(end) { // agents cache it; whether the wire is cut is for the wire to say
			d.env.Logf("%s: the port is shut, and the switch says %v later that its link is still up", d.env.ID, d.pace.settle)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the link to go: %w", context.Cause(ctx))
		case <-time.After(d.pace.settle / 50):
		}
	}
}

// set writes ifAdminStatus and reads it back.
func (d *Driver) set(ctx context.Context, index, admin int) error {
	err := d.with(ctx, d.pace.answer, func(g *gosnmp.GoSNMP) error {
		_, err := check(g.Set([]gosnmp.SnmpPDU{{Name: ifAdminStatus + "." + strconv.Itoa(index), Type: gosnmp.Integer, Value: admin}}))
		return err
	})
	if err != nil {
		return d.blame(err)
	}
	for end := time.Now().Add(d.pace.settle); ; {
		p, err := d.read(ctx, index)
		if err == nil && p.admin == admin {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it says %s", statusName(p.admin))
		}
		if time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("the port %d was set to %s, which does not show: %w", index, statusName(admin), err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(d.pace.settle / 50):
		}
	}
}

// Undo gives the port the state that it had. A switch that has started anew may have given the index to another port: the name
// decides then. A port that was down before was not touched, and is not now.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opRestore {
		return "", drivers.ErrUnknownUndo
	}
	old := map[string]int{"up": adminUp, "down": adminDown, "testing": adminTesting}[u.Args["admin"]]
	index, err := strconv.Atoi(u.Args["index"])
	if old == 0 || err != nil || index < 1 {
		return "", fmt.Errorf("the undo's port %q or state %q cannot be", u.Args["index"], u.Args["admin"])
	}
	if old == adminDown {
		return drivers.NothingLeft, nil
	}
	p, err := d.read(ctx, index)
	if name := u.Args["name"]; name != "" && (err == nil && p.name != name || isGone(err)) {
		p, err = d.find(ctx, name)
	}
	if err != nil {
		return "", d.blame(err)
	}
	if p.admin == old {
		return drivers.NothingLeft, nil
	}
	return drivers.Undone, d.set(ctx, p.index, old)
}

func isGone(err error) bool {
	_, gone := err.(*notOne)
	return gone
}
