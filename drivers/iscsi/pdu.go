package iscsi

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
)

// Digests says which CRC32C digests a connection carries (RFC 7143 section 13.1). Both are off until
// the login phase has ended.
type Digests struct{ Header, Data bool }

// MaxDataSegment is the MaxRecvDataSegmentLength in bytes that this package declares (section 13.12).
const MaxDataSegment = 262144

var (
	// ErrDigest is matched by errors of a PDU whose CRC32C is wrong.
	ErrDigest = errors.New("iscsi: digest mismatch")
	// ErrFormat is matched by errors of a PDU or text that breaks RFC 7143's layout.
	ErrFormat = errors.New("iscsi: malformed")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	zeroPad    [4]byte
)

// Digest is the CRC32C of the given parts as one run of bytes, in wire order when stored little endian
// (RFC 7143 section 13.1).
func Digest(parts ...[]byte) uint32 {
	var c uint32
	for _, p := range parts {
		c = crc32.Update(c, castagnoli, p)
	}
	return c
}

// Pad is the number of padding bytes after n data bytes (RFC 7143 section 11.2.3).
func Pad(n int) int { return -n & 3 }

// PDU is one protocol data unit in memory. AHS and Data are without padding and digests.
type PDU struct {
	Header
	AHS  []byte
	Data []byte
}

// Reader takes PDUs off a stream. It is not safe for concurrent use. The zero Digests mean none;
// set Digests when the login phase has ended, between two PDUs.
type Reader struct {
	Digests Digests
	MaxData int // largest DataSegmentLength accepted, in bytes

	br   *bufio.Reader
	dgst [4]byte
	ahs  []byte
	pad  [4]byte
}

// NewReader reads from r through a 64 KiB buffer and accepts data segments up to maxData bytes.
func NewReader(r io.Reader, maxData int) *Reader {
	return &Reader{MaxData: maxData, br: bufio.NewReaderSize(r, 64<<10)}
}

// ReadHeader reads a BHS with its AHS and checks the header digest. The data segment has to be taken
// with ReadData or Skip before the next ReadHeader. The AHS is valid until then.
// An end of stream before the first byte is io.EOF; within a header it is io.ErrUnexpectedEOF.
func (r *Reader) ReadHeader(h *Header) (ahs []byte, err error) {
	if _, err := io.ReadFull(r.br, h[:]); err != nil {
		return nil, err
	}
	if n := h.AHSLen(); n > 0 {
		if cap(r.ahs) < n {
			r.ahs = make([]byte, n, 1020)
		}
		ahs = r.ahs[:n]
		if err := r.full(ahs); err != nil {
			return nil, fmt.Errorf("reading %d bytes of AHS: %w", n, err)
		}
	}
	if r.Digests.Header {
		if err := r.full(r.dgst[:]); err != nil {
			return nil, fmt.Errorf("reading header digest: %w", err)
		}
		if binary.LittleEndian.Uint32(r.dgst[:]) != Digest(h[:], ahs) {
			return nil, fmt.Errorf("header of opcode 0x%02x: %w", h.Opcode(), ErrDigest)
		}
	}
	if n := h.DataLen(); n > r.MaxData {
		return nil, fmt.Errorf("opcode 0x%02x: data segment of %d bytes exceeds %d: %w", h.Opcode(), n, r.MaxData, ErrFormat)
	}
	return ahs, nil
}

// ReadData reads the data segment that h announces into dst, which must be exactly h.DataLen() long,
// then padding and data digest.
func (r *Reader) ReadData(h *Header, dst []byte) error {
	n := h.DataLen()
	if n == 0 {
		return nil
	}
	if len(dst) != n {
		return fmt.Errorf("buffer of %d bytes for a data segment of %d: %w", len(dst), n, ErrFormat)
	}
	if err := r.full(dst); err != nil {
		return fmt.Errorf("reading %d data bytes: %w", n, err)
	}
	pad := r.pad[:Pad(n)]
	if err := r.full(pad); err != nil {
		return fmt.Errorf("reading padding: %w", err)
	}
	if r.Digests.Data {
		if err := r.full(r.dgst[:]); err != nil {
			return fmt.Errorf("reading data digest: %w", err)
		}
		if binary.LittleEndian.Uint32(r.dgst[:]) != Digest(dst, pad) {
			return fmt.Errorf("data of opcode 0x%02x: %w", h.Opcode(), ErrDigest)
		}
	}
	return nil
}

// Skip reads and throws away the data segment that h announces, digest unchecked.
func (r *Reader) Skip(h *Header) error {
	n := h.DataLen()
	if n == 0 {
		return nil
	}
	n += Pad(n)
	if r.Digests.Data {
		n += 4
	}
	if _, err := r.br.Discard(n); err != nil {
		return fmt.Errorf("skipping %d data bytes: %w", n, noEOF(err))
	}
	return nil
}

// ReadPDU reads a whole PDU into p, reusing the capacity of p.Data.
func (r *Reader) ReadPDU(p *PDU) error {
	ahs, err := r.ReadHeader(&p.Header)
	if err != nil {
		return err
	}
	p.AHS = append(p.AHS[:0], ahs...)
	n := p.DataLen()
	if cap(p.Data) < n {
		p.Data = make([]byte, n)
	}
	p.Data = p.Data[:n]
	return r.ReadData(&p.Header, p.Data)
}

// full reads a continuation, where the end of the stream is always unexpected.
func (r *Reader) full(b []byte) error {
	_, err := io.ReadFull(r.br, b)
	return noEOF(err)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadPDU reads one PDU, allocating it. It may take up to 16 bytes behind the PDU off r as well, so it
// suits tests and captures; connections use a Reader.
func ReadPDU(r io.Reader, d Digests, maxData int) (*PDU, error) {
	rd := &Reader{Digests: d, MaxData: maxData, br: bufio.NewReaderSize(r, 16)}
	p := new(PDU)
	return p, rd.ReadPDU(p)
}

// AppendPDU appends p as it goes on the wire: BHS with the lengths set from p, AHS, digests, data,
// padding. The AHS must be a multiple of four bytes long.
func AppendPDU(dst []byte, p *PDU, d Digests) []byte {
	p.SetDataLen(len(p.Data))
	p.Header[4] = byte(len(p.AHS) / 4)
	dst = append(dst, p.Header[:]...)
	dst = append(dst, p.AHS...)
	if d.Header {
		dst = binary.LittleEndian.AppendUint32(dst, Digest(p.Header[:], p.AHS))
	}
	if len(p.Data) > 0 {
		pad := zeroPad[:Pad(len(p.Data))]
		dst = append(append(dst, p.Data...), pad...)
		if d.Data {
			dst = binary.LittleEndian.AppendUint32(dst, Digest(p.Data, pad))
		}
	}
	return dst
}

// WritePDU writes p in one Write: header and data in two writes would cost a delayed ACK.
func WritePDU(w io.Writer, p *PDU, d Digests) error {
	if _, err := w.Write(AppendPDU(nil, p, d)); err != nil {
		return fmt.Errorf("writing opcode 0x%02x: %w", p.Opcode(), err)
	}
	return nil
}

// batch gathers PDUs into one writev: headers and small data are copied together, large data is
// referenced.
type batch struct {
	head []byte // storage of everything that is copied
	vec  net.Buffers
	cut  int // start in head of the run that is not yet in vec
	keep net.Buffers
}

const copyBelow = 4096 // data up to here is cheaper to copy than to reference (one iovec each)

func (b *batch) reset() {
	b.head, b.keep, b.cut = b.head[:0], b.keep[:0], 0
}

// room tells whether a PDU with n data bytes fits without moving head, which vec points into.
func (b *batch) room(n int) bool {
	need := HeaderLen + 12
	if n <= copyBelow {
		need += n + 4
	}
	return len(b.head)+need <= cap(b.head) && len(b.keep) < 512
}

func (b *batch) add(h *Header, data []byte, d Digests) {
	h.SetDataLen(len(data))
	if len(data) <= copyBelow {
		p := PDU{Header: *h, Data: data}
		b.head = AppendPDU(b.head, &p, d)
		return
	}
	b.head = append(b.head, h[:]...)
	if d.Header {
		b.head = binary.LittleEndian.AppendUint32(b.head, Digest(h[:]))
	}
	b.keep = append(b.keep, b.head[b.cut:], data)
	b.cut = len(b.head)
	pad := zeroPad[:Pad(len(data))]
	b.head = append(b.head, pad...)
	if d.Data {
		b.head = binary.LittleEndian.AppendUint32(b.head, Digest(data, pad))
	}
}

func (b *batch) writeTo(w io.Writer) error {
	if b.cut < len(b.head) {
		b.keep = append(b.keep, b.head[b.cut:])
		b.cut = len(b.head)
	}
	if len(b.keep) == 1 {
		_, err := w.Write(b.keep[0])
		return err
	}
	b.vec = b.keep
	_, err := b.vec.WriteTo(w)
	clear(b.keep)
	return err
}
