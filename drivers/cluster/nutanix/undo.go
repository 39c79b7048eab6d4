// This file puts back what a power did, from the undo's data alone: neither Prism nor this process's memory is asked, since both may
// be gone.

package nutanix

import (
	"context"
	"fmt"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Undo puts one change back. It is idempotent.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	a := u.Args
	n := &node{cvm: a[argDomain], cvmAddr: a[argCVM], host: a[argHost], hostAddr: a[argHost]}
	cvm := func(s script, args ...string) (drivers.UndoResult, error) {
		return d.put(did(d.onCVM(ctx, n, d.t.act, s, args...)))
	}
	switch u.Op {
	case opThaw:
		return d.put(did(d.onBacking(ctx, d.t.act, thaw, a[argPID])))
	case opUnthrottle:
		return cvm(unthrottle, a[argNumber], a[argGroup])
	case opState:
		return cvm(setState, a[argDevice], a[argOld])
	case opRescan:
		return cvm(rescan, a[argSerial], a[argSCSIHost])
	case opWriteBack:
		d.mu.Lock()
		d.restored = true
		d.mu.Unlock()
		return cvm(writeBack, a[argFile], a[argOld])
	case opStart:
		is, err := d.onCVM(ctx, n, d.t.act, lookStargate)
		if err != nil {
			return "", d.operator(err)
		}
		if daemon(is.one("stargate")) == "up" {
			return drivers.NothingLeft, nil
		}
		return cvm(startStargate)
	case opWake:
		is, err := d.onCVM(ctx, n, d.t.act, lookStargate)
		if err != nil {
			return "", d.operator(err)
		}
		if is.one("stopped") == "0" {
			return drivers.NothingLeft, nil
		}
		return cvm(wakeStargate)
	case opRun, opResume:
		return d.runAgain(ctx, n)
	}
	return "", fmt.Errorf("%w: %q", drivers.ErrUnknownUndo, u.Op)
}

func (d *Driver) put(r drivers.UndoResult, err error) (drivers.UndoResult, error) {
	if err != nil {
		return "", d.operator(err)
	}
	return r, nil
}

// runAgain has a CVM run, whatever became of it meanwhile: one that was suspended may have been destroyed by somebody.
func (d *Driver) runAgain(ctx context.Context, n *node) (drivers.UndoResult, error) {
	is, err := d.onHost(ctx, n, d.t.act, domainState, n.domain())
	if err != nil {
		return "", d.operator(err)
	}
	s := start
	switch is.one("domain") {
	case running:
		return drivers.NothingLeft, nil
	case paused:
		s = resume
	}
	r, err := d.put(did(d.onHost(ctx, n, d.t.act, s, n.domain())))
	if err != nil {
		return "", err
	}
	return r, d.await(ctx, n, d.t.settle, running)
}
