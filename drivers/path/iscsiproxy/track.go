package iscsiproxy

import (
	"bytes"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// lost is a command (or an abort that took a CmdSN) that the target never sees. In its place goes a TEST UNIT
// READY with the same ITT and CmdSN: a hole in CmdSN would stop everything behind it (RFC 7143 section 4.2.2.1).
type lost struct {
	f       *fault
	h       iscsi.Header
	pending bool // the answer to the TEST UNIT READY is still to come, and to be swallowed
	over    bool // aborted: to be forgotten when the answer has come
}

// request looks at a PDU of the initiator.
func (h *half) request(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr := h.pr
	op := hdr.Opcode()
	if op == iscsi.OpLoginReq {
		if k, err := iscsi.ParseKeys(text(hdr, unit)); err == nil && k.Get("InitiatorName") != "" {
			pr.mu.Lock()
			pr.initiator = k.Get("InitiatorName")
			pr.mu.Unlock()
		}
		return nil, pass
	}
	if op == iscsi.OpSCSICmd && len(*pr.p.rules.Load()) > 0 {
		if f := pr.p.hit(hdr, pr.name()); f != nil {
			return h.lose(f, hdr, "lost"), replace
		}
	}
	if !pr.tracking.Load() {
		return nil, pass
	}
	pr.mu.Lock()
	defer pr.mu.Unlock()
	switch t := pr.tasks[hdr.ITT()]; op {
	case iscsi.OpSCSICmd:
		if t != nil {
			delete(pr.tasks, hdr.ITT()) // the tag is used again: the initiator has given the old task up
		}
	case iscsi.OpDataOut:
		if t != nil {
			t.f.pdus.Add(1)
			return nil, drop
		}
	case iscsi.OpTMFReq:
		switch hdr.Flags() & 0x7f {
		case iscsi.TMFAbortTask:
			if t = pr.tasks[hdr.RefTag()]; t != nil {
				return h.abort(t, hdr)
			}
		case iscsi.TMFAbortTaskSet, iscsi.TMFClearTaskSet, iscsi.TMFLUNReset:
			for itt, t := range pr.tasks {
				if t.h.LUN() == hdr.LUN() {
					pr.forget(itt, t)
				}
			}
		}
	}
	if d := pr.delta.Load(); d != 0 {
		hdr.SetExpStatSN(hdr.ExpStatSN() + uint32(d))
		h.redigest(hdr, unit)
	}
	return nil, pass
}

// lose notes a command as lost and returns the TEST UNIT READY that goes on instead.
func (h *half) lose(f *fault, hdr *iscsi.Header, what string) []byte {
	pr := h.pr
	pr.mu.Lock()
	pr.tasks[hdr.ITT()] = &lost{f: f, h: *hdr, pending: true}
	pr.tracking.Store(true)
	pr.mu.Unlock()
	h.affected(f, what, hdr)
	return h.substitute(hdr)
}

func (h *half) substitute(hdr *iscsi.Header) []byte {
	tur := *hdr
	tur[0] = hdr[0]&iscsi.ImmediateBit | iscsi.OpSCSICmd
	tur[1] = iscsi.FinalBit | iscsi.AttrSimple
	tur[4] = 0
	tur.SetDataLen(0)
	tur.SetEDTL(0)
	clear(tur.CDB())
	tur.SetExpStatSN(hdr.ExpStatSN() + uint32(h.pr.delta.Load()))
	return h.wire(nil, &tur)
}

// abort serves ABORT TASK of a lost command. pr.mu is held.
func (h *half) abort(t *lost, hdr *iscsi.Header) ([]byte, verdict) {
	pr := h.pr
	if t.f.Kind == Swallow {
		r := iscsi.Header{0: iscsi.OpTMFResp, 1: iscsi.FinalBit, 2: iscsi.TMFComplete}
		r.SetITT(hdr.ITT())
		pr.inject = append(pr.inject, r)
		pr.forget(t.h.ITT(), t)
		if pr.isReady() {
			_ = pr.down.src.SetReadDeadline(past) // it writes; only one goroutine may
		}
	}
	named := t.h
	v, instead := drop, []byte(nil)
	if !hdr.Immediate() {
		pr.tasks[hdr.ITT()] = &lost{f: t.f, h: *hdr, pending: true, over: true}
		v, instead = replace, h.substitute(hdr)
	}
	pr.mu.Unlock()
	h.affected(t.f, "abort", &named)
	pr.mu.Lock()
	return instead, v
}

// forget drops a task for good, or as soon as its answer has been swallowed. pr.mu is held.
func (pr *pair) forget(itt uint32, t *lost) {
	if t.over = true; !t.pending {
		delete(pr.tasks, itt)
	}
}

func (h *half) affected(f *fault, what string, hdr *iscsi.Header) {
	f.pdus.Add(1)
	lba, n, _ := iscsi.Extent(hdr.CDB())
	h.pr.p.emit(Event{What: what, Fault: f.ID, Kind: f.Kind, Conn: h.pr.id, Initiator: h.pr.name(),
		Op: hdr.CDB()[0], LUN: hdr.LUN().Number(), LBA: lba, Blocks: n, ITT: hdr.ITT()})
}

// answer looks at a PDU of the target.
func (h *half) answer(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr := h.pr
	op := hdr.Opcode()
	switch op {
	case iscsi.OpLoginResp:
		h.loginEnd(hdr, unit)
		h.nextStat, h.expCmd, h.maxCmd = hdr.StatSN()+1, hdr.ExpCmdSN(), hdr.MaxCmdSN()
		return nil, pass
	case iscsi.OpTextResp:
		if instead, v := h.portals(hdr, unit); v != pass {
			h.nextStat = hdr.StatSN() + 1
			return instead, v
		}
	}
	h.expCmd, h.maxCmd = hdr.ExpCmdSN(), hdr.MaxCmdSN()
	has, uses := statSN(hdr)
	if has {
		h.nextStat = hdr.StatSN()
		if uses {
			h.nextStat++
		}
	}
	if !pr.tracking.Load() {
		return nil, pass
	}
	if op == iscsi.OpSCSIResp {
		pr.mu.Lock()
		t := pr.tasks[hdr.ITT()]
		if t != nil && t.pending {
			t.pending = false
			if t.over {
				delete(pr.tasks, hdr.ITT())
			}
			pr.delta.Add(1)
			pr.mu.Unlock()
			t.f.pdus.Add(1)
			return nil, drop
		}
		pr.mu.Unlock()
	}
	if d := pr.delta.Load(); has && d != 0 {
		hdr.SetStatSN(hdr.StatSN() - uint32(d))
		h.redigest(hdr, unit)
	}
	return nil, pass
}

// statSN tells whether a PDU carries a StatSN, and whether it uses it up (RFC 7143 sections 11.4 to 11.19).
func statSN(hdr *iscsi.Header) (has, uses bool) {
	switch hdr.Opcode() {
	case iscsi.OpDataIn:
		s := hdr.Flags()&iscsi.DataInStatus != 0
		return s, s
	case iscsi.OpR2T:
		return true, false
	case iscsi.OpNopIn:
		return true, hdr.ITT() != iscsi.NoTag
	}
	return true, true
}

// injected are the PDUs that wait for a border, with their sequence numbers.
func (h *half) injected() (out []byte) {
	pr := h.pr
	pr.mu.Lock()
	defer pr.mu.Unlock()
	for i := range pr.inject {
		r := &pr.inject[i]
		r.SetStatSN(h.nextStat - uint32(pr.delta.Load()))
		r.SetExpCmdSN(h.expCmd)
		r.SetMaxCmdSN(h.maxCmd)
		pr.delta.Add(-1)
		out = h.wire(out, r)
	}
	pr.inject = pr.inject[:0]
	return out
}

// text is the data segment of a PDU that is there as a whole, before digests are on or after.
func text(hdr *iscsi.Header, unit []byte) []byte {
	off, n := iscsi.HeaderLen+hdr.AHSLen(), hdr.DataLen()
	if off+n > len(unit) {
		return nil
	}
	return unit[off : off+n]
}

// loginEnd notes what digests the full feature phase will have. Both directions change with the final Login
// Response: the initiator sends nothing between it and its last request.
func (h *half) loginEnd(hdr *iscsi.Header, unit []byte) {
	if k, err := iscsi.ParseKeys(text(hdr, unit)); err == nil {
		if v := k.Get("HeaderDigest"); v != "" {
			h.want.Header = v == "CRC32C"
		}
		if v := k.Get("DataDigest"); v != "" {
			h.want.Data = v == "CRC32C"
		}
	}
	if hdr.Flags()&iscsi.LoginTransit != 0 && hdr.Flags()&3 == iscsi.StageFull && hdr[36] == 0 {
		h.pr.hdgst.Store(h.want.Header)
		h.pr.ddgst.Store(h.want.Data)
	}
}

// portals puts the path's own address into the answer to SendTargets in place of the target's: an initiator that
// discovers through the path shall not leave it.
func (h *half) portals(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	off := 0
	if h.pr.hdgst.Load() {
		off = 4
	}
	n := hdr.DataLen()
	if len(unit) < iscsi.HeaderLen+off+n {
		return nil, pass
	}
	body := unit[iscsi.HeaderLen+off:][:n]
	old := []byte("TargetAddress=" + h.pr.p.cfg.Target + ",")
	if !bytes.Contains(body, old) {
		return nil, pass
	}
	q := iscsi.PDU{Header: *hdr, Data: bytes.ReplaceAll(body, old, []byte("TargetAddress="+h.pr.p.addr+","))}
	q.SetStatSN(hdr.StatSN() - uint32(h.pr.delta.Load()))
	return iscsi.AppendPDU(nil, &q, iscsi.Digests{Header: h.pr.hdgst.Load(), Data: h.pr.ddgst.Load()}), replace
}
