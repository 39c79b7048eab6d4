// Package wire has the few bytes of RDP that a probe speaks itself: the TPKT frame, the X.224 connection with the choice of a
// security protocol, and the first round trip of CredSSP. Both directions are here, so that a stand-in can answer.
//
// The sections named are those of [MS-RDPBCGR], [MS-CSSP] and [MS-NLMP] of Microsoft's Open Specifications.
package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Protocol is a set of security protocols: RDP_NEG_REQ, [MS-RDPBCGR] 2.2.1.1.1, and RDP_NEG_RSP, 2.2.1.2.1.
type Protocol uint32

// The protocols. RDP, the empty set, is the old security without TLS.
const (
	RDP      Protocol = 0
	SSL      Protocol = 1 // TLS
	Hybrid   Protocol = 2 // CredSSP over TLS (NLA)
	HybridEx Protocol = 8 // CredSSP, and a word on whether the user may log on
)

// String names one protocol.
func (p Protocol) String() string {
	switch p {
	case RDP:
		return "rdp"
	case SSL:
		return "tls"
	case Hybrid:
		return "credssp"
	case HybridEx:
		return "credssp-ex"
	}
	return fmt.Sprintf("0x%08x", uint32(p))
}

// Failure is why a server will not go on: RDP_NEG_FAILURE, [MS-RDPBCGR] 2.2.1.2.2.
type Failure uint32

// failures are the names of the specification.
var failures = map[Failure]string{
	1: "SSL_REQUIRED_BY_SERVER",
	2: "SSL_NOT_ALLOWED_BY_SERVER",
	3: "SSL_CERT_NOT_ON_SERVER",
	4: "INCONSISTENT_FLAGS",
	5: "HYBRID_REQUIRED_BY_SERVER",
	6: "SSL_WITH_USER_AUTH_REQUIRED_BY_SERVER",
}

// Error is the failure's name.
func (f Failure) Error() string {
	if name, ok := failures[f]; ok {
		return name
	}
	return fmt.Sprintf("the failure 0x%08x", uint32(f))
}

// The frame and the TPDUs: [T123] section 8 and [X224] 13.3 and 13.4 as [MS-RDPBCGR] 4.1.1 and 4.1.2 show them.
const (
	tpktVersion   = 3
	tpktHeader    = 4
	x224Fixed     = 7 // length indicator, code, two references, class
	codeRequest   = 0xe0
	codeConfirm   = 0xd0
	typeRequest   = 1 // RDP_NEG_REQ
	typeResponse  = 2 // RDP_NEG_RSP
	typeFailure   = 3 // RDP_NEG_FAILURE
	negotiation   = 8 // the length of each of them
	maxConnection = tpktHeader + 256
)

// errNotRDP is told of bytes that no RDP peer sends.
var errNotRDP = errors.New("this is not RDP")

// readTPKT reads one frame of at most limit bytes and returns what is in it.
func readTPKT(r io.Reader, limit int) ([]byte, error) {
	var h [tpktHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return nil, fmt.Errorf("reading a TPKT header: %w", err)
	}
	n := int(binary.BigEndian.Uint16(h[2:]))
	if h[0] != tpktVersion || n < tpktHeader+1 {
		return nil, fmt.Errorf("%w: a TPKT header of % x", errNotRDP, h)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: a TPKT frame of %d bytes where %d are enough", errNotRDP, n, limit)
	}
	b := make([]byte, n-tpktHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("reading a TPKT frame: %w", err)
	}
	return b, nil
}

// tpdu puts a connection TPDU with one negotiation structure, or none, into a frame.
func tpdu(code byte, middle []byte, kind byte, value uint32, with bool) []byte {
	b := []byte{tpktVersion, 0, 0, 0, 0, code, 0, 0, 0, 0, 0}
	b = append(b, middle...)
	if with {
		b = append(b, kind, 0, negotiation, 0)
		b = binary.LittleEndian.AppendUint32(b, value)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[tpktHeader] = byte(len(b) - tpktHeader - 1)
	return b
}

// ConnectionRequest is the Client X.224 Connection Request PDU, [MS-RDPBCGR] 2.2.1.1, without a cookie or a routing token.
func ConnectionRequest(p Protocol) []byte {
	return tpdu(codeRequest, nil, typeRequest, uint32(p), true)
}

// ConnectionConfirm is the Server X.224 Connection Confirm PDU, [MS-RDPBCGR] 2.2.1.2, with the protocol that the server chose.
func ConnectionConfirm(p Protocol) []byte {
	return tpdu(codeConfirm, nil, typeResponse, uint32(p), true)
}

// ConnectionFailure is the same PDU with an RDP_NEG_FAILURE.
func ConnectionFailure(f Failure) []byte {
	return tpdu(codeConfirm, nil, typeFailure, uint32(f), true)
}

// negotiated takes a connection TPDU apart: its code, and the variable part.
func negotiated(b []byte, code byte) ([]byte, error) {
	if len(b) < x224Fixed || int(b[0]) != len(b)-1 || b[1]&0xf0 != code {
		return nil, fmt.Errorf("%w: a TPDU of % x where 0x%02x was due", errNotRDP, b[:min(len(b), x224Fixed)], code)
	}
	return b[x224Fixed:], nil
}

// ReadConfirm reads what a server answers to a ConnectionRequest. A server that says no gives a Failure; one that says nothing
// of security protocols knows only RDP ([MS-RDPBCGR] 2.2.1.2: the structure is optional).
func ReadConfirm(r io.Reader) (Protocol, error) {
	b, err := readTPKT(r, maxConnection)
	if err != nil {
		return 0, err
	}
	b, err = negotiated(b, codeConfirm)
	switch {
	case err != nil:
		return 0, err
	case len(b) == 0:
		return RDP, nil
	case len(b) != negotiation || binary.LittleEndian.Uint16(b[2:]) != negotiation:
		return 0, fmt.Errorf("%w: a negotiation of % x", errNotRDP, b[:min(len(b), negotiation)])
	}
	value := binary.LittleEndian.Uint32(b[4:])
	switch b[0] {
	case typeResponse:
		return Protocol(value), nil
	case typeFailure:
		return 0, Failure(value)
	}
	return 0, fmt.Errorf("%w: a negotiation of the type 0x%02x", errNotRDP, b[0])
}

// ReadRequest reads what a client asks for. A client that asks for nothing knows only RDP. A cookie or routing token (a line
// that ends with CR and LF) is passed over, and so is what follows the negotiation.
func ReadRequest(r io.Reader) (Protocol, error) {
	b, err := readTPKT(r, maxConnection)
	if err != nil {
		return 0, err
	}
	b, err = negotiated(b, codeRequest)
	if err != nil {
		return 0, err
	}
	if i := bytes.Index(b, []byte("\r\n")); i >= 0 && b[0] != typeRequest {
		b = b[i+2:]
	}
	if len(b) == 0 {
		return RDP, nil
	}
	if len(b) < negotiation || b[0] != typeRequest || binary.LittleEndian.Uint16(b[2:]) != negotiation {
		return 0, fmt.Errorf("%w: a negotiation of % x", errNotRDP, b[:min(len(b), negotiation)])
	}
	return Protocol(binary.LittleEndian.Uint32(b[4:])), nil
}
