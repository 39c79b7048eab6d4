package iscsiproxy

// This file finds the PDUs in a stream without waiting for whole ones: what goes on unchanged is never copied.

import (
	"encoding/binary"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// verdict is what becomes of a PDU.
type verdict byte

const (
	pass    verdict = iota // goes on, perhaps changed in place
	drop                   // is thrown away
	replace                // is thrown away; half.unit goes on instead
)

// scan looks at what is in buf and returns the bytes that may go on, in place unless something was left out
// or put in, and how many bytes of buf are done with. An incomplete header stays for the next time.
func (h *half) scan() (out []byte, pos int) {
	in := h.buf[:h.have]
	if h.blind {
		return in, len(in)
	}
	run := 0 // start of the bytes that go on unchanged
	h.alt = h.alt[:0]
	cut := false
	split := func() {
		h.alt = append(h.alt, in[run:pos]...)
		cut = true
	}
	for {
		if h.left == 0 && !h.toTarget && h.pr.tracking.Load() {
			if add := h.injected(); len(add) > 0 {
				split()
				h.alt, run = append(h.alt, add...), pos
			}
		}
		if pos == len(in) {
			break
		}
		if h.left > 0 {
			n := min(h.left, len(in)-pos)
			if h.mangle.on {
				h.mangle.pass(in[pos : pos+n])
				h.mangle.on = n < h.left
			}
			pos, h.left = pos+n, h.left-n
			if h.dropping {
				run = pos
			}
			continue
		}
		if len(in)-pos < iscsi.HeaderLen {
			break
		}
		hdr := (*iscsi.Header)(in[pos : pos+iscsi.HeaderLen])
		need, total := h.lengths(hdr)
		known := h.known(hdr)
		if known && len(in)-pos < need {
			break
		}
		if !known || !h.intact(hdr, in[pos:pos+need]) {
			h.blind = true // its lengths mean nothing, and so where the next one begins
			h.pr.p.note(h.pr, "malformed", "%s: header %x", h.from(), hdr[:8])
			pos = len(in)
			break
		}
		unit, v := h.inspect(hdr, in[pos:pos+need])
		h.left, h.dropping = total, v != pass
		if v != pass {
			split()
			h.alt, run = append(h.alt, unit...), pos
		}
	}
	if !cut {
		return in[run:pos], pos
	}
	if run < pos {
		h.alt = append(h.alt, in[run:pos]...)
	}
	return h.alt, pos
}

// lengths gives how much of a PDU has to be there before it is looked at, and its length on the wire.
func (h *half) lengths(hdr *iscsi.Header) (need, total int) {
	need = iscsi.HeaderLen + hdr.AHSLen()
	if h.pr.hdgst.Load() {
		need += 4
	}
	total = need
	if n := hdr.DataLen(); n > 0 {
		total += n + iscsi.Pad(n)
		if h.pr.ddgst.Load() {
			total += 4
		}
	}
	switch hdr.Opcode() {
	case iscsi.OpLoginReq, iscsi.OpLoginResp, iscsi.OpTextResp, iscsi.OpSCSIResp: // their text, or sense, is read
		if total <= len(h.buf) {
			need = total
		}
	}
	return need, total
}

// known tells whether a header can be one: an operation code of the right side, and no reserved bit (RFC 7143 section
// 11.2.1). Vendor specific ones are.
func (h *half) known(hdr *iscsi.Header) bool {
	op := hdr.Opcode()
	switch {
	case hdr[0]&0x80 != 0:
		return false
	case h.toTarget:
		return op <= iscsi.OpLogout || op == iscsi.OpSNACK || op >= 0x1c && op <= 0x1e
	}
	return op >= iscsi.OpNopIn && op <= iscsi.OpLogoutResp || op == iscsi.OpR2T || op == iscsi.OpAsync || op >= 0x3c && op <= iscsi.OpReject
}

// intact checks the header digest: where it is wrong the length of the PDU may be too.
func (h *half) intact(hdr *iscsi.Header, unit []byte) bool {
	if !h.pr.hdgst.Load() {
		return true
	}
	n := iscsi.HeaderLen + hdr.AHSLen()
	return binary.LittleEndian.Uint32(unit[n:]) == iscsi.Digest(unit[:n])
}

// from says whose bytes this direction carries.
func (h *half) from() string {
	if h.toTarget {
		return "from the initiator"
	}
	return "from the target"
}

// wire appends a PDU with the digests of the connection.
func (h *half) wire(dst []byte, hdr *iscsi.Header, data []byte) []byte {
	p := iscsi.PDU{Header: *hdr, Data: data}
	return iscsi.AppendPDU(dst, &p, iscsi.Digests{Header: h.pr.hdgst.Load(), Data: h.pr.ddgst.Load()})
}

// redigest renews the header digest of a PDU that was changed in place; unit is its header, AHS, digest.
func (h *half) redigest(hdr *iscsi.Header, unit []byte) {
	if h.pr.hdgst.Load() {
		n := iscsi.HeaderLen + hdr.AHSLen()
		binary.LittleEndian.PutUint32(unit[n:], iscsi.Digest(unit[:n]))
	}
}

func (h *half) inspect(hdr *iscsi.Header, unit []byte) (instead []byte, v verdict) {
	if h.toTarget {
		instead, v = h.request(hdr, unit)
	} else {
		instead, v = h.answer(hdr, unit)
	}
	if len(h.notes) > 0 {
		for i := range h.notes {
			h.pr.affected(h.notes[i].f, h.notes[i].what, &h.notes[i].h)
		}
		h.notes = h.notes[:0]
	}
	return instead, v
}
