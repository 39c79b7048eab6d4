package iscsi

import "encoding/binary"

// HeaderLen is the length in bytes of the basic header segment (RFC 7143 section 11.2).
const HeaderLen = 48

// Opcodes of PDUs that an initiator sends (RFC 7143 section 11.2.1.2).
const (
	OpNopOut   byte = 0x00
	OpSCSICmd  byte = 0x01
	OpTMFReq   byte = 0x02
	OpLoginReq byte = 0x03
	OpTextReq  byte = 0x04
	OpDataOut  byte = 0x05
	OpLogout   byte = 0x06
	OpSNACK    byte = 0x10
)

// Opcodes of PDUs that a target sends (RFC 7143 section 11.2.1.2).
const (
	OpNopIn      byte = 0x20
	OpSCSIResp   byte = 0x21
	OpTMFResp    byte = 0x22
	OpLoginResp  byte = 0x23
	OpTextResp   byte = 0x24
	OpDataIn     byte = 0x25
	OpLogoutResp byte = 0x26
	OpR2T        byte = 0x31
	OpAsync      byte = 0x32
	OpReject     byte = 0x3f
)

// Bits of bytes 0 and 1 of the BHS.
const (
	ImmediateBit byte = 0x40 // byte 0: the command takes no CmdSN (section 11.2.1.1)
	FinalBit     byte = 0x80 // byte 1: last PDU of a sequence (section 11.2.1.3)

	CmdRead  byte = 0x40 // SCSI Command: data is expected from the target (section 11.3.1)
	CmdWrite byte = 0x20 // SCSI Command: data is expected from the initiator (section 11.3.1)

	DataInStatus byte = 0x01 // SCSI Data-In: S bit, the PDU carries the status (section 11.7.2)
	Underflow    byte = 0x02 // U: residual count holds bytes not transferred (section 11.4.1)
	Overflow     byte = 0x04 // O: residual count holds bytes that did not fit (section 11.4.1)

	LoginTransit  byte = 0x80 // Login: T bit (section 11.12.1)
	LoginContinue byte = 0x40 // Login: C bit (section 11.12.2)
)

// NoTag is the reserved value of ITT and TTT (RFC 7143 section 11.2.1.8).
const NoTag uint32 = 0xffffffff

// Task attributes: low three bits of byte 1 of a SCSI Command (RFC 7143 section 11.3.1).
const (
	AttrUntagged byte = 0
	AttrSimple   byte = 1
	AttrOrdered  byte = 2
	AttrHeadOfQ  byte = 3
	AttrACA      byte = 4
)

// Functions of a Task Management Function Request (RFC 7143 section 11.5.1).
const (
	TMFAbortTask       byte = 1
	TMFAbortTaskSet    byte = 2
	TMFClearACA        byte = 3
	TMFClearTaskSet    byte = 4
	TMFLUNReset        byte = 5
	TMFTargetWarmReset byte = 6
	TMFTargetColdReset byte = 7
	TMFTaskReassign    byte = 8
)

// Responses to a Task Management Function Request (RFC 7143 section 11.6.1).
const (
	TMFComplete     byte = 0
	TMFNoTask       byte = 1
	TMFNoLUN        byte = 2
	TMFStillAlleg   byte = 3
	TMFNoReassign   byte = 4
	TMFNotSupported byte = 5
	TMFAuthFailed   byte = 6
	TMFRejected     byte = 255
)

// Header is a basic header segment as it is on the wire. Its accessors never allocate.
// Which accessor is meaningful depends on the opcode; the comments name the byte offsets.
type Header [HeaderLen]byte

// Opcode is byte 0 without the immediate bit.
func (h *Header) Opcode() byte { return h[0] & 0x3f }

// Immediate tells whether the I bit of byte 0 is set.
func (h *Header) Immediate() bool { return h[0]&ImmediateBit != 0 }

// Flags is byte 1.
func (h *Header) Flags() byte { return h[1] }

// Final tells whether the F bit of byte 1 is set.
func (h *Header) Final() bool { return h[1]&FinalBit != 0 }

// AHSLen is the length of the additional header segments in bytes (byte 4, in words).
func (h *Header) AHSLen() int { return int(h[4]) * 4 }

// DataLen is DataSegmentLength in bytes without padding (bytes 5 to 7).
func (h *Header) DataLen() int { return int(h[5])<<16 | int(h[6])<<8 | int(h[7]) }

// SetDataLen sets DataSegmentLength; n must be below 1<<24.
func (h *Header) SetDataLen(n int) { h[5], h[6], h[7] = byte(n>>16), byte(n>>8), byte(n) }

// LUN is the eight byte LUN field (bytes 8 to 15).
func (h *Header) LUN() LUN { return LUN(binary.BigEndian.Uint64(h[8:])) }

// SetLUN sets bytes 8 to 15.
func (h *Header) SetLUN(l LUN) { binary.BigEndian.PutUint64(h[8:], uint64(l)) }

// Word reads the four byte field at an offset that this package has no name for.
func (h *Header) Word(off int) uint32 { return binary.BigEndian.Uint32(h[off:]) }

// SetWord writes the four byte field at an offset.
func (h *Header) SetWord(off int, v uint32) { binary.BigEndian.PutUint32(h[off:], v) }

// ITT is the initiator task tag (bytes 16 to 19).
func (h *Header) ITT() uint32 { return h.Word(16) }

// SetITT sets bytes 16 to 19.
func (h *Header) SetITT(v uint32) { h.SetWord(16, v) }

// TTT is the target transfer tag (bytes 20 to 23).
func (h *Header) TTT() uint32 { return h.Word(20) }

// SetTTT sets bytes 20 to 23.
func (h *Header) SetTTT(v uint32) { h.SetWord(20, v) }

// EDTL is the expected data transfer length of a SCSI Command in bytes (bytes 20 to 23).
func (h *Header) EDTL() uint32 { return h.Word(20) }

// SetEDTL sets bytes 20 to 23.
func (h *Header) SetEDTL(v uint32) { h.SetWord(20, v) }

// RefTag is the referenced task tag of a task management request (bytes 20 to 23).
func (h *Header) RefTag() uint32 { return h.Word(20) }

// CmdSN is bytes 24 to 27 of a request.
func (h *Header) CmdSN() uint32 { return h.Word(24) }

// SetCmdSN sets bytes 24 to 27 of a request.
func (h *Header) SetCmdSN(v uint32) { h.SetWord(24, v) }

// ExpStatSN is bytes 28 to 31 of a request.
func (h *Header) ExpStatSN() uint32 { return h.Word(28) }

// SetExpStatSN sets bytes 28 to 31 of a request.
func (h *Header) SetExpStatSN(v uint32) { h.SetWord(28, v) }

// StatSN is bytes 24 to 27 of a response.
func (h *Header) StatSN() uint32 { return h.Word(24) }

// SetStatSN sets bytes 24 to 27 of a response.
func (h *Header) SetStatSN(v uint32) { h.SetWord(24, v) }

// ExpCmdSN is bytes 28 to 31 of a response.
func (h *Header) ExpCmdSN() uint32 { return h.Word(28) }

// SetExpCmdSN sets bytes 28 to 31 of a response.
func (h *Header) SetExpCmdSN(v uint32) { h.SetWord(28, v) }

// MaxCmdSN is bytes 32 to 35 of a response.
func (h *Header) MaxCmdSN() uint32 { return h.Word(32) }

// SetMaxCmdSN sets bytes 32 to 35 of a response.
func (h *Header) SetMaxCmdSN(v uint32) { h.SetWord(32, v) }

// CDB is the command descriptor block of a SCSI Command (bytes 32 to 47), aliasing the header.
func (h *Header) CDB() []byte { return h[32:48] }

// DataSN is bytes 36 to 39 of Data-In and Data-Out, and R2TSN of R2T.
func (h *Header) DataSN() uint32 { return h.Word(36) }

// SetDataSN sets bytes 36 to 39.
func (h *Header) SetDataSN(v uint32) { h.SetWord(36, v) }

// BufferOffset is bytes 40 to 43 of Data-In, Data-Out and R2T.
func (h *Header) BufferOffset() uint32 { return h.Word(40) }

// SetBufferOffset sets bytes 40 to 43.
func (h *Header) SetBufferOffset(v uint32) { h.SetWord(40, v) }

// Residual is bytes 44 to 47 of SCSI Response and of Data-In with status; for R2T it is the
// desired data transfer length.
func (h *Header) Residual() uint32 { return h.Word(44) }

// SetResidual sets bytes 44 to 47.
func (h *Header) SetResidual(v uint32) { h.SetWord(44, v) }

// SNLess compares serial numbers modulo 2^32 (RFC 7143 section 4.2.2, RFC 1982).
func SNLess(a, b uint32) bool { return int32(a-b) < 0 }

// LUN is a logical unit number as the eight bytes of the wire (SAM-5 section 4.7), big endian.
type LUN uint64

// NewLUN encodes a plain number: peripheral device addressing below 256, flat space addressing from
// there to 16383 (SAM-5 sections 4.7.7.2 and 4.7.7.3).
func NewLUN(n int) LUN {
	if n < 256 {
		return LUN(uint64(n) << 48)
	}
	return LUN(uint64(0x4000|n&0x3fff) << 48)
}

// Number is the plain number of a LUN made by NewLUN.
func (l LUN) Number() int {
	v := int(l >> 48)
	if v&0xc000 == 0x4000 {
		return v & 0x3fff
	}
	return v & 0xff
}
