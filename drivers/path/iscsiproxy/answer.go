package iscsiproxy

// This file is the response path: what becomes of a PDU of the target.

import "github.com/allpathsdown/allpathsdown/drivers/iscsi"

// answer looks at a PDU of the target.
func (h *half) answer(hdr *iscsi.Header, unit []byte) ([]byte, verdict) {
	pr, op := h.pr, hdr.Opcode()
	switch op {
	case iscsi.OpLoginResp:
		h.loginEnd(hdr, unit)
		h.nextStat, h.expCmd, h.maxCmd = hdr.StatSN()+1, hdr.ExpCmdSN(), hdr.MaxCmdSN()
		if hdr[36] == loginRedirected {
			return h.readdress(hdr, unit)
		}
		return nil, pass
	case iscsi.OpTextResp:
		if instead, v := h.readdress(hdr, unit); v != pass {
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
	switch op {
	case iscsi.OpSCSIResp, iscsi.OpDataIn, iscsi.OpR2T:
		pr.mu.Lock()
		if t := pr.tasks[hdr.ITT()]; t != nil {
			instead, v, done := h.answered(t, hdr, unit)
			if done {
				delete(pr.tasks, hdr.ITT())
				pr.settle()
			}
			if v != pass {
				pr.mu.Unlock()
				return instead, v
			}
		}
		pr.mu.Unlock()
		has, _ = statSN(hdr) // a Data-In may have lost its status
	}
	if d := pr.delta.Load(); has && d != 0 {
		hdr.SetStatSN(hdr.StatSN() - uint32(d))
		h.redigest(hdr, unit)
	}
	return nil, pass
}

// answered does to one PDU of a command what the fault that has hit it says, and tells whether it was the last one.
// Whoever takes a StatSN away counts it in delta. pr.mu is held.
func (h *half) answered(t *task, hdr *iscsi.Header, unit []byte) (instead []byte, v verdict, done bool) {
	pr, op := h.pr, hdr.Opcode()
	final := op == iscsi.OpSCSIResp || op == iscsi.OpDataIn && hdr.Flags()&iscsi.DataInStatus != 0
	gone := func() ([]byte, verdict, bool) {
		t.f.pdus.Add(1)
		if final {
			pr.delta.Add(1)
		}
		return nil, drop, final
	}
	switch {
	case t.lost && !t.pending: // the target never had it, and has told so already
		return nil, pass, false
	case t.over:
		return gone()
	case t.lost && t.f.Kind == Status:
		return h.status(t, hdr), replace, true
	case t.lost:
		t.pending = false
		_, v, _ = gone()
		return nil, v, false
	}
	switch t.f.Kind {
	case Status: // executed
		if op == iscsi.OpDataIn && !final {
			return gone()
		}
		if final {
			return h.status(t, hdr), replace, true
		}
	case AckLost:
		if op == iscsi.OpR2T {
			return nil, pass, false
		}
		if final {
			h.note(t.f, "ack-lost", &t.h)
		}
		return gone()
	case Delay, Hold:
		if !final {
			return nil, pass, false
		}
		return h.late(t, hdr, unit)
	case R2T:
		if op == iscsi.OpR2T {
			h.note(t.f, "hold", &t.h)
			pr.hold(t, made{h: *hdr})
			return nil, drop, false
		}
	case CorruptData, CorruptDigest:
		if op == iscsi.OpDataIn && hdr.DataLen() > 0 {
			h.corrupt(t, hdr)
		}
	}
	return nil, pass, final
}

// status is a SCSI Response with the status and sense of the fault, in place of the target's PDU hdr and under the same
// sequence numbers (RFC 7143 section 11.4). Nothing was transferred as far as the initiator learns.
func (h *half) status(t *task, hdr *iscsi.Header) []byte {
	r := *hdr
	clear(r[1:20])
	r[0], r[1], r[3] = iscsi.OpSCSIResp, iscsi.FinalBit, t.f.Rule.Status
	r.SetITT(hdr.ITT())
	r.SetWord(20, 0)
	clear(r[36:])
	if n := t.h.EDTL(); n > 0 && t.h.Flags()&(iscsi.CmdRead|iscsi.CmdWrite) != 0 {
		r[1] |= iscsi.Underflow
		r.SetResidual(n)
	}
	r.SetStatSN(hdr.StatSN() - uint32(h.pr.delta.Load()))
	var data []byte
	if s := t.f.sense; len(s) > 0 {
		data = append([]byte{byte(len(s) >> 8), byte(len(s))}, s...)
	}
	return h.wire(nil, &r, data)
}

// late holds the answer of a command back. Data goes on at once; the status that may come with its last PDU is held as a
// SCSI Response of its own (RFC 7143 section 11.7.3 allows either), so that little is kept.
func (h *half) late(t *task, hdr *iscsi.Header, unit []byte) (instead []byte, v verdict, done bool) {
	pr := h.pr
	m := made{h: *hdr}
	if hdr.Opcode() == iscsi.OpSCSIResp {
		m.data = append([]byte(nil), h.text(hdr, unit)...)
		v = drop
	} else {
		m.h[0], m.h[1], m.h[2] = iscsi.OpSCSIResp, iscsi.FinalBit|hdr.Flags()&(iscsi.Underflow|iscsi.Overflow), 0
		clear(m.h[4:16])
		m.h.SetWord(20, 0)
		m.h.SetWord(36, hdr.DataSN()+1) // ExpDataSN: how many Data-In PDUs there were (section 11.4.8)
		m.h.SetWord(40, 0)
		hdr[1] &^= iscsi.DataInStatus | iscsi.Underflow | iscsi.Overflow
		hdr[3] = 0
		hdr.SetStatSN(0)
		hdr.SetResidual(0)
		h.redigest(hdr, unit)
		v = pass
	}
	pr.delta.Add(1)
	h.note(t.f, "hold", &t.h)
	pr.hold(t, m)
	return nil, v, true
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
		m := &pr.inject[i]
		if !m.raw {
			m.h.SetStatSN(h.nextStat - uint32(pr.delta.Load()))
			m.h.SetExpCmdSN(h.expCmd)
			m.h.SetMaxCmdSN(h.maxCmd)
			if _, uses := statSN(&m.h); uses {
				pr.delta.Add(-1)
			}
		}
		out = h.wire(out, &m.h, m.data)
		h.hangup = h.hangup || m.last
	}
	clear(pr.inject)
	pr.inject = pr.inject[:0]
	pr.settle()
	return out
}
