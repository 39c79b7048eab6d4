package iscsiproxy

// This file is the request path: what becomes of a PDU of the initiator.

import "github.com/allpathsdown/allpathsdown/drivers/iscsi"

// request looks at a PDU of the initiator.
func (h *half) request(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr, op := h.pr, hdr.Opcode()
	if h.deaf {
		return nil, drop
	}
	switch op {
	case iscsi.OpLoginReq:
		return h.login(hdr, unit)
	case iscsi.OpSCSICmd:
		if len(*pr.p.rules.Load()) > 0 {
			if f := pr.p.hit(hdr, pr.name()); f != nil {
				if instead, v := h.command(f, hdr, unit); v != pass {
					return instead, v
				}
				return h.ack(hdr, unit)
			}
		}
	case iscsi.OpTMFReq:
		if f := first(&pr.p.tasks, func(r *Rule) bool { return r.managed(hdr, pr.name()) }); f != nil {
			return h.manage(f, hdr)
		}
	case iscsi.OpNopOut:
		if hdr.ITT() != iscsi.NoTag { // not an answer to the target's own
			if f := first(&pr.p.nops, func(r *Rule) bool { return r.Initiator == "" || r.Initiator == pr.name() }); f != nil {
				pr.affected(f, "nop", hdr)
				return h.ignore(f, hdr)
			}
		}
	}
	watch := pr.p.watching()
	if watch == nil && !pr.tracking.Load() {
		return nil, pass
	}
	pr.mu.Lock()
	defer pr.mu.Unlock()
	switch t := pr.tasks[hdr.ITT()]; op {
	case iscsi.OpSCSICmd:
		if t != nil { // the tag is used again: the initiator has given the old task up
			delete(pr.tasks, hdr.ITT())
		}
		if len(pr.held) > 0 {
			pr.dropHeld(func(it *held) bool { return it.h.ITT() == hdr.ITT() })
		}
		if watch != nil && len(pr.tasks) < maxTasks {
			pr.tasks[hdr.ITT()] = &task{f: watch, h: *hdr}
			pr.tracking.Store(true)
		}
	case iscsi.OpDataOut:
		if t != nil && t.lost {
			t.f.pdus.Add(1)
			return nil, drop
		}
		if t != nil && hdr.DataLen() > 0 {
			h.corrupt(t, hdr)
		}
	case iscsi.OpTMFReq:
		switch hdr.Flags() & 0x7f {
		case iscsi.TMFAbortTask:
			if instead, v := h.abort(hdr); v != pass {
				return instead, v
			}
		case iscsi.TMFAbortTaskSet, iscsi.TMFClearTaskSet, iscsi.TMFLUNReset:
			for itt, t := range pr.tasks {
				if t.h.LUN() == hdr.LUN() {
					pr.forget(itt, t)
				}
			}
			pr.dropHeld(func(it *held) bool { return it.cmd.LUN() == hdr.LUN() })
		}
	}
	return h.ack(hdr, unit)
}

// ack puts ExpStatSN into the target's numbers.
func (h *half) ack(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	if d := h.pr.delta.Load(); d != 0 {
		hdr.SetExpStatSN(hdr.ExpStatSN() + uint32(d))
		h.redigest(hdr, unit)
	}
	return nil, pass
}

// command begins what a fault does to a command that its rule has chosen.
func (h *half) command(f *fault, hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr := h.pr
	t := &task{f: f, h: *hdr}
	what := ""
	switch f.Kind {
	case Drop:
		pr.affected(f, "drop", hdr)
		pr.shut(true)
		return nil, drop
	case Stall, Swallow:
		t.lost, what = true, "lost"
	case Status:
		t.lost, what = !f.Rule.Executed, "status"
	case CorruptDigest:
		if !pr.hdgst.Load() && !pr.ddgst.Load() {
			pr.told(f, "corrupt", "nothing to corrupt: this connection has no digests")
			pr.mu.Lock()
			delete(pr.tasks, hdr.ITT())
			pr.mu.Unlock()
			return nil, pass
		}
	}
	t.pending = t.lost
	if !pr.remember(t) {
		return nil, drop
	}
	if what != "" {
		pr.affected(f, what, hdr)
	}
	if t.lost {
		return h.substitute(hdr), replace
	}
	if hdr.DataLen() > 0 {
		h.corrupt(t, hdr)
	}
	return nil, pass
}

// substitute is a TEST UNIT READY with the ITT and CmdSN of a request that the target shall not see: a hole in CmdSN
// would stop everything behind it (RFC 7143 section 4.2.2.1).
func (h *half) substitute(hdr *iscsi.Header) []byte {
	tur := *hdr
	tur[0] = hdr[0]&iscsi.ImmediateBit | iscsi.OpSCSICmd
	tur[1] = iscsi.FinalBit | iscsi.AttrSimple
	tur[4] = 0
	tur.SetDataLen(0)
	tur.SetEDTL(0)
	clear(tur.CDB())
	tur.SetExpStatSN(hdr.ExpStatSN() + uint32(h.pr.delta.Load()))
	return h.wire(nil, &tur, nil)
}

// ignore keeps a request that is no SCSI command from the target, and its CmdSN from being missed.
func (h *half) ignore(f *fault, hdr *iscsi.Header) ([]byte, verdict) {
	if hdr.Immediate() {
		return nil, drop
	}
	if !h.pr.remember(&task{f: f, h: *hdr, lost: true, pending: true, over: true}) {
		return nil, drop
	}
	return h.substitute(hdr), replace
}

// watching is a fault by which a LUN reset may be answered "function complete" without the target, nil if there is none:
// whose answers then still come has to be known.
func (p *Proxy) watching() *fault {
	if l := p.tasks.Load(); l != nil && len(*l) > 0 {
		return (*l)[0]
	}
	return nil
}

// manage serves a Task Management Function Request that a fault has chosen: the target never sees it.
func (h *half) manage(f *fault, hdr *iscsi.Header) ([]byte, verdict) {
	pr := h.pr
	pr.affected(f, "tmf", hdr)
	if f.Rule.Answer == nil {
		return h.ignore(f, hdr)
	}
	pr.mu.Lock()
	h.answerTMF(hdr, byte(*f.Rule.Answer))
	if *f.Rule.Answer == int(iscsi.TMFComplete) { // the target goes on; what it answers is no longer wanted
		if hdr.Flags()&0x7f == iscsi.TMFAbortTask {
			itt := hdr.RefTag()
			pr.dropHeld(func(it *held) bool { return it.h.ITT() == itt })
			if t := pr.tasks[itt]; t == nil && len(pr.tasks) < maxTasks {
				pr.tasks[itt] = &task{f: f, h: iscsi.Header{}, over: true}
				pr.tasks[itt].h.SetITT(itt)
			} else if t != nil {
				pr.disown(itt, t)
			}
		} else {
			for itt, t := range pr.tasks {
				if t.h.LUN() == hdr.LUN() {
					pr.disown(itt, t)
				}
			}
			pr.dropHeld(func(it *held) bool { return it.cmd.LUN() == hdr.LUN() })
		}
	}
	full := len(pr.inject) > maxMade
	pr.mu.Unlock()
	if full {
		pr.limit("more than %d answers wait for an initiator that does not read", maxMade)
	}
	return h.ignore(f, hdr)
}

// disown ends a task for the initiator. If the target has it, its answer is still to come and will be dropped. pr.mu is held.
func (pr *pair) disown(itt uint32, t *task) {
	if t.over = true; t.lost && !t.pending {
		delete(pr.tasks, itt)
	}
}

// answerTMF makes a Task Management Function Response (RFC 7143 section 11.6). pr.mu is held.
func (h *half) answerTMF(hdr *iscsi.Header, response byte) {
	m := made{h: iscsi.Header{0: iscsi.OpTMFResp, 1: iscsi.FinalBit, 2: response}}
	m.h.SetITT(hdr.ITT())
	h.pr.push(m)
}

// abort serves ABORT TASK of a command that a fault has hit. pr.mu is held.
func (h *half) abort(hdr *iscsi.Header) ([]byte, verdict) {
	pr, itt := h.pr, hdr.RefTag()
	t := pr.tasks[itt]
	if it := pr.dropHeld(func(it *held) bool { return it.h.ITT() == itt }); it != nil {
		// The target has answered and has nothing to abort; the initiator has been told nothing.
		t = &task{f: it.f, h: it.cmd, lost: true}
	}
	switch {
	case t == nil:
		return nil, pass
	case !t.lost: // the target has it
		if t.f.Kind != AckLost {
			delete(pr.tasks, itt)
		}
		return nil, pass
	case t.f.Kind != Stall:
		h.answerTMF(hdr, iscsi.TMFComplete)
		if pr.tasks[itt] == t {
			pr.forget(itt, t)
		}
	}
	h.note(t.f, "abort", &t.h)
	if hdr.Immediate() {
		return nil, drop
	}
	pr.tasks[hdr.ITT()] = &task{f: t.f, h: *hdr, lost: true, pending: true, over: true}
	return h.substitute(hdr), replace
}
