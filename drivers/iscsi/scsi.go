package iscsi

import "encoding/binary"

// SCSI operation codes (SBC-4, SPC-5) that the harness builds or recognises.
const (
	TestUnitReady     byte = 0x00
	RequestSense      byte = 0x03
	Read6             byte = 0x08
	Write6            byte = 0x0a
	Inquiry           byte = 0x12
	ReadCapacity10    byte = 0x25
	Read10            byte = 0x28
	Write10           byte = 0x2a
	WriteVerify10     byte = 0x2e
	SyncCache10       byte = 0x35
	WriteSame10       byte = 0x41
	Unmap             byte = 0x42
	Read16            byte = 0x88
	CompareAndWrite   byte = 0x89
	Write16           byte = 0x8a
	WriteVerify16     byte = 0x8e
	SyncCache16       byte = 0x91
	WriteSame16       byte = 0x93
	ServiceActionIn16 byte = 0x9e
	ReportLUNs        byte = 0xa0
	Read12            byte = 0xa8
	Write12           byte = 0xaa
	WriteVerify12     byte = 0xae
	SAReadCapacity16  byte = 0x10 // service action of ServiceActionIn16
)

// SAM-5 section 5.3.1 status codes.
const (
	StatusGood        byte = 0x00
	StatusCheck       byte = 0x02
	StatusBusy        byte = 0x08
	StatusReservation byte = 0x18
	StatusTaskSetFull byte = 0x28
	StatusTaskAborted byte = 0x40
)

// Class sorts operation codes by what they do to the medium.
type Class byte

// The classes. Sync is a cache flush: it has no data and matters as a write that must be durable.
const (
	ClassOther Class = iota
	ClassRead
	ClassWrite
	ClassSync
)

// String is the word used in rules and events.
func (c Class) String() string { return [...]string{"other", "read", "write", "sync"}[c&3] }

// OpClass sorts an operation code. COMPARE AND WRITE, WRITE SAME, WRITE AND VERIFY and UNMAP are writes.
func OpClass(op byte) Class {
	switch op {
	case Read6, Read10, Read12, Read16:
		return ClassRead
	case Write6, Write10, Write12, Write16, WriteVerify10, WriteVerify12, WriteVerify16,
		WriteSame10, WriteSame16, CompareAndWrite, Unmap:
		return ClassWrite
	case SyncCache10, SyncCache16:
		return ClassSync
	}
	return ClassOther
}

// Extent is the first logical block and the number of blocks that a CDB addresses; ok is false for a
// command that addresses none (or names them in its data, as UNMAP) and for a CDB that is too short.
func Extent(cdb []byte) (lba uint64, blocks uint32, ok bool) {
	if len(cdb) < 6 {
		return 0, 0, false
	}
	be := binary.BigEndian
	switch op := cdb[0]; {
	case op == Read6 || op == Write6:
		n := uint32(cdb[4])
		if n == 0 {
			n = 256 // SBC-4: zero means 256 in the six byte commands
		}
		return uint64(cdb[1]&0x1f)<<16 | uint64(be.Uint16(cdb[2:])), n, true
	case len(cdb) < 10:
		return 0, 0, false
	case op == Read10 || op == Write10 || op == WriteVerify10 || op == SyncCache10 || op == WriteSame10:
		return uint64(be.Uint32(cdb[2:])), uint32(be.Uint16(cdb[7:])), true
	case len(cdb) < 12:
		return 0, 0, false
	case op == Read12 || op == Write12 || op == WriteVerify12:
		return uint64(be.Uint32(cdb[2:])), be.Uint32(cdb[6:]), true
	case len(cdb) < 16:
		return 0, 0, false
	case op == Read16 || op == Write16 || op == WriteVerify16 || op == SyncCache16 || op == WriteSame16:
		return be.Uint64(cdb[2:]), be.Uint32(cdb[10:]), true
	case op == CompareAndWrite:
		return be.Uint64(cdb[2:]), uint32(cdb[13]), true
	}
	return 0, 0, false
}

// CDBReadWrite builds READ(16) or WRITE(16): op is Read16 or Write16, lba and n are in logical blocks.
func CDBReadWrite(op byte, lba uint64, n uint32) []byte {
	c := make([]byte, 16)
	c[0] = op
	binary.BigEndian.PutUint64(c[2:], lba)
	binary.BigEndian.PutUint32(c[10:], n)
	return c
}

// CDBTestUnitReady builds TEST UNIT READY.
func CDBTestUnitReady() []byte { return make([]byte, 6) }

// CDBSyncCache builds SYNCHRONIZE CACHE(10) for the whole unit.
func CDBSyncCache() []byte { return []byte{SyncCache10, 0, 0, 0, 0, 0, 0, 0, 0, 0} }

// CDBInquiry builds INQUIRY; page below 0 asks for the standard data, otherwise for that VPD page.
// n is the allocation length in bytes.
func CDBInquiry(page int, n uint16) []byte {
	c := []byte{Inquiry, 0, 0, byte(n >> 8), byte(n), 0}
	if page >= 0 {
		c[1], c[2] = 1, byte(page)
	}
	return c
}

// CDBReadCapacity16 builds READ CAPACITY(16) with an allocation length of 32 bytes.
func CDBReadCapacity16() []byte {
	return []byte{ServiceActionIn16, SAReadCapacity16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}
}

// CDBReportLUNs builds REPORT LUNS with allocation length n in bytes.
func CDBReportLUNs(n uint32) []byte {
	c := make([]byte, 12)
	c[0] = ReportLUNs
	binary.BigEndian.PutUint32(c[6:], n)
	return c
}

// Sense keys (SPC-5 table 48).
const (
	SenseNoSense       byte = 0x0
	SenseNotReady      byte = 0x2
	SenseMediumError   byte = 0x3
	SenseHardwareError byte = 0x4
	SenseIllegalReq    byte = 0x5
	SenseUnitAttention byte = 0x6
	SenseAborted       byte = 0xb
	SenseMiscompare    byte = 0xe
)

// Sense is the part of sense data that a decision is made on: sense key, additional sense code and
// its qualifier (SPC-5 section 4.4).
type Sense struct{ Key, ASC, ASCQ byte }

// Fixed builds fixed format sense data, 18 bytes, response code 70h (SPC-5 section 4.4.3).
func (s Sense) Fixed() []byte {
	b := make([]byte, 18)
	b[0], b[2], b[7], b[12], b[13] = 0x70, s.Key, 10, s.ASC, s.ASCQ
	return b
}

// Segment is Fixed as the data segment of a SCSI Response: a two byte length first (RFC 7143
// section 11.4.7).
func (s Sense) Segment() []byte { return append([]byte{0, 18}, s.Fixed()...) }

// ParseSense reads fixed (70h, 71h) and descriptor (72h, 73h) sense data; ok is false for anything else.
func ParseSense(b []byte) (s Sense, ok bool) {
	if len(b) < 4 {
		return Sense{}, false
	}
	switch b[0] & 0x7f {
	case 0x70, 0x71:
		s.Key = b[2] & 0xf
		if len(b) > 13 {
			s.ASC, s.ASCQ = b[12], b[13]
		}
		return s, true
	case 0x72, 0x73:
		return Sense{b[1] & 0xf, b[2], b[3]}, true
	}
	return Sense{}, false
}

// ParseSenseSegment reads the data segment of a SCSI Response and returns the raw sense data in it,
// aliasing b. A segment whose length field exceeds it gives what is there.
func ParseSenseSegment(b []byte) []byte {
	if len(b) < 2 {
		return nil
	}
	n := int(binary.BigEndian.Uint16(b))
	return b[2:min(2+n, len(b))]
}
