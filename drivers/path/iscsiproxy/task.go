package iscsiproxy

// This file is what a connection remembers while a fault concerns it: the commands that were hit, PDUs that are held,
// and PDUs of the proxy's own that wait for a border between the target's. All of it is bounded.

import (
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

const (
	maxTasks = 1 << 14 // commands that one connection remembers; a target's command window is far smaller
	maxMade  = 4096    // PDUs that wait for an initiator that does not read
)

// task is a command (or a request that took a CmdSN) that a fault has hit.
type task struct {
	f       *fault
	h       iscsi.Header // the request
	lost    bool         // the target never sees it; a TEST UNIT READY went in its place, see substitute
	pending bool         // the answer to the TEST UNIT READY is still to come, and not for the initiator
	over    bool         // aborted: to be forgotten when that answer has come, or the target's own, which is dropped
	done    bool         // what the fault does once has been done
}

// made is a PDU for the initiator, sent at the next border; StatSN and the command window are set then.
type made struct {
	h    iscsi.Header
	data []byte
	raw  bool // its sequence numbers are right already
	last bool // the connection is closed behind it
}

// held is a PDU of the target that waits.
type held struct {
	made
	f     *fault
	cmd   iscsi.Header // the command that it belongs to
	timer *time.Timer  // nil: until the fault is restored
}

// remember notes a command that was hit. It is false when there are too many: the connection is reset then.
func (pr *pair) remember(t *task) bool {
	pr.mu.Lock()
	ok := len(pr.tasks) < maxTasks
	if ok {
		pr.dropHeld(func(it *held) bool { return it.h.ITT() == t.h.ITT() })
		pr.tasks[t.h.ITT()] = t
		pr.tracking.Store(true)
	}
	pr.mu.Unlock()
	if !ok {
		pr.limit("more than %d commands are lost or late", maxTasks)
	}
	return ok
}

// limit resets a connection that would grow without end.
func (pr *pair) limit(format string, a ...any) {
	pr.p.note(pr, "limit", format, a...)
	pr.shut(true)
}

// forget drops a task for good, or as soon as its answer has been swallowed. pr.mu is held.
func (pr *pair) forget(itt uint32, t *task) {
	if t.over = true; !t.pending {
		delete(pr.tasks, itt)
	}
}

// settle goes back to the fast path when nothing is remembered. pr.mu is held.
func (pr *pair) settle() {
	if len(pr.tasks)+len(pr.inject)+len(pr.held) == 0 && pr.delta.Load() == 0 {
		pr.tracking.Store(false)
	}
}

// push queues a PDU for the initiator. pr.mu is held.
func (pr *pair) push(m made) {
	pr.inject = append(pr.inject, m)
	pr.tracking.Store(true)
	pr.kickDown()
}

// kickDown wakes the only goroutine that may write to the initiator.
func (pr *pair) kickDown() {
	if pr.isReady() {
		_ = pr.down.src.SetReadDeadline(past)
	}
}

// hold keeps a PDU back for the time that its fault says. pr.mu is held.
func (pr *pair) hold(t *task, m made) {
	select {
	case <-t.f.ended: // it was restored meanwhile
		pr.push(m)
		return
	default:
	}
	it := &held{made: m, f: t.f, cmd: t.h}
	if pr.held == nil {
		pr.held = make(map[*held]struct{})
	}
	pr.held[it] = struct{}{}
	if d := t.f.Rule.delay(); d > 0 {
		it.timer = time.AfterFunc(d, func() { pr.release(it) })
	}
}

// release lets a PDU go on whose time has come.
func (pr *pair) release(it *held) {
	pr.mu.Lock()
	_, ok := pr.held[it]
	if ok {
		delete(pr.held, it)
		pr.push(it.made)
	}
	pr.mu.Unlock()
	if ok {
		pr.affected(it.f, "release", &it.cmd)
	}
}

// letGo lets all go on that a fault has held, and returns the commands concerned.
func (pr *pair) letGo(f *fault) (cmds []iscsi.Header) {
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for it := range pr.held {
		if it.f == f {
			if it.timer != nil {
				it.timer.Stop()
			}
			delete(pr.held, it)
			pr.push(it.made)
			cmds = append(cmds, it.cmd)
		}
	}
	return cmds
}

// dropHeld throws held PDUs away and returns the answer among them, if there is one. pr.mu is held.
func (pr *pair) dropHeld(which func(*held) bool) (answer *held) {
	for it := range pr.held {
		if which(it) {
			if it.timer != nil {
				it.timer.Stop()
			}
			delete(pr.held, it)
			if it.h.Opcode() == iscsi.OpSCSIResp {
				answer = it
			}
		}
	}
	return answer
}

// note is something to tell of when no lock is held.
type note struct {
	f    *fault
	what string
	h    iscsi.Header
}

func (h *half) note(f *fault, what string, hdr *iscsi.Header) {
	h.notes = append(h.notes, note{f, what, *hdr})
}

// affected tells of a command, or a request, that a fault has touched. pr.mu is not held.
func (pr *pair) affected(f *fault, what string, hdr *iscsi.Header) {
	e := Event{What: what, Conn: pr.id, Initiator: pr.name(), LUN: hdr.LUN().Number(), ITT: hdr.ITT()}
	if hdr.Opcode() == iscsi.OpSCSICmd {
		e.Op = hdr.CDB()[0]
		e.LBA, e.Blocks, _ = iscsi.Extent(hdr.CDB())
	}
	f.pdus.Add(1)
	e.Fault, e.Kind = f.ID, f.Kind
	pr.p.emit(e)
}

// told tells of a PDU that belongs to no command.
func (pr *pair) told(f *fault, what, detail string) {
	f.pdus.Add(1)
	pr.p.emit(Event{What: what, Fault: f.ID, Kind: f.Kind, Conn: pr.id, Initiator: pr.name(), Detail: detail})
}

// tell sends an Asynchronous Message (RFC 7143 section 11.9) to the connections that are logged in. p.mu is held.
func (p *Proxy) tell(f *fault) (told []*pair) {
	r := f.Rule
	for pr := range p.pairs {
		if !pr.full.Load() || r.Initiator != "" && r.Initiator != pr.name() || !f.counts() {
			continue
		}
		m := made{last: r.Event == asyncDropConnection || r.Event == asyncDropSession}
		m.h[0], m.h[1], m.h[36] = iscsi.OpAsync, iscsi.FinalBit, byte(r.Event)
		m.h.SetITT(iscsi.NoTag)
		for i, v := range r.Params {
			m.h[38+2*i], m.h[39+2*i] = byte(v>>8), byte(v)
		}
		if len(f.sense) > 0 {
			m.data = append([]byte{0, byte(len(f.sense))}, f.sense...)
		}
		pr.mu.Lock()
		pr.push(m)
		pr.mu.Unlock()
		told = append(told, pr)
	}
	return told
}

// Codes of an Asynchronous Message behind which the connection goes (RFC 7143 section 11.9.1).
const (
	asyncDropConnection = 2
	asyncDropSession    = 3
)
