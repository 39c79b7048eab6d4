package iscsiproxy

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
		if len(in)-pos < need {
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
	case iscsi.OpLoginReq, iscsi.OpLoginResp, iscsi.OpTextResp: // their text is read
		if total <= len(h.buf) {
			need = total
		}
	}
	return need, total
}

// wire is a header with its digest, for a PDU without data.
func (h *half) wire(dst []byte, hdr *iscsi.Header) []byte {
	dst = append(dst, hdr[:]...)
	if h.pr.hdgst.Load() {
		dst = binary.LittleEndian.AppendUint32(dst, iscsi.Digest(hdr[:]))
	}
	return dst
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
		return h.request(hdr, unit)
	}
	return h.answer(hdr, unit)
}
