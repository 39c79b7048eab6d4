package iscsiproxy

// This file changes bytes of one PDU while they pass, however the stream is cut, and keeps or breaks its digests.

import (
	"hash/crc32"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// mangle is where in the present PDU bytes are changed. Offsets count from the first byte of its header.
type mangle struct {
	on   bool
	flip int // the byte that is changed
	from int // start of the data segment
	end  int // end of data and padding, where the data digest is
	sum  bool
	crc  uint32 // of what has passed of data and padding, so that the digest is right again
	pos  int    // of the next byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// corrupt has one byte of the PDU changed whose header is hdr: its first data byte under a right digest, or else the first
// byte of its digest. It is done once for a command.
func (h *half) corrupt(t *task, hdr *iscsi.Header) {
	if t.done || t.f.Kind != CorruptData && t.f.Kind != CorruptDigest {
		return
	}
	t.done = true
	hd, dd := h.pr.hdgst.Load(), h.pr.ddgst.Load()
	m := mangle{on: true, from: iscsi.HeaderLen + hdr.AHSLen()}
	hdrEnd := m.from
	if hd {
		m.from += 4
	}
	m.end = m.from + hdr.DataLen() + iscsi.Pad(hdr.DataLen())
	switch {
	case t.f.Kind == CorruptData:
		m.flip, m.sum = m.from, dd
	case dd:
		m.flip = m.end
	default:
		m.flip = hdrEnd
	}
	h.mangle = m
	h.note(t.f, "corrupt", &t.h)
}

// pass changes b, the next bytes of the PDU, in place.
func (m *mangle) pass(b []byte) {
	at := m.pos
	m.pos += len(b)
	if i := m.flip - at; i >= 0 && i < len(b) {
		b[i] ^= 0xff
	}
	if !m.sum {
		return
	}
	if lo, hi := max(m.from-at, 0), min(m.end-at, len(b)); lo < hi {
		m.crc = crc32.Update(m.crc, castagnoli, b[lo:hi])
	}
	for i := max(m.end-at, 0); i < len(b); i++ { // the digest, little endian as iscsi.AppendPDU stores it
		b[i] = byte(m.crc >> (8 * (at + i - m.end)))
	}
}
