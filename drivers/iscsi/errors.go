package iscsi

import (
	"errors"
	"fmt"
)

// ErrConnection is matched by every error that means the session's connection is gone: reset, closed,
// silent for too long, protocol error, logout. The text says which.
var ErrConnection = errors.New("iscsi: connection lost")

// ErrNoopTimeout is matched, beside ErrConnection, when the target was silent for longer than the NOP-Out
// interval and timeout.
var ErrNoopTimeout = errors.New("iscsi: no answer to NOP-Out")

// ErrClosed is matched, beside ErrConnection, when this side closed the session.
var ErrClosed = errors.New("iscsi: session closed by the initiator")

// ErrTaskAborted is matched by the error of a task that AbortTask or LUNReset ended.
var ErrTaskAborted = errors.New("iscsi: task aborted")

// ErrRejected is matched by the error of a task whose PDU the target answered with Reject.
var ErrRejected = errors.New("iscsi: PDU rejected by the target")

// LoginError is a login answered with a status class other than success (RFC 7143 section 11.13.5).
type LoginError struct {
	Class, Detail byte
	Address       string // TargetAddress of a redirection (class 1), else ""
}

var loginText = map[uint16]string{
	0x0101: "target moved temporarily", 0x0102: "target moved permanently",
	0x0200: "initiator error", 0x0201: "authentication failure", 0x0202: "authorization failure",
	0x0203: "target not found", 0x0204: "target removed", 0x0205: "unsupported version",
	0x0206: "too many connections", 0x0207: "missing parameter", 0x0208: "cannot include in session",
	0x0209: "session type not supported", 0x020a: "session does not exist", 0x020b: "invalid request during login",
	0x0300: "target error", 0x0301: "service unavailable", 0x0302: "out of resources",
}

// Error names the status as the RFC does.
func (e *LoginError) Error() string {
	code := uint16(e.Class)<<8 | uint16(e.Detail)
	s := fmt.Sprintf("iscsi: login refused with status 0x%04x (%s)", code, loginText[code])
	if e.Address != "" {
		s += ", redirected to " + e.Address
	}
	return s
}

// StatusError is a SCSI command that the device answered with a status other than GOOD.
type StatusError struct {
	Op     byte
	Status byte
	Sense  Sense // valid when Status is StatusCheck
}

// Error gives opcode, status and sense in hexadecimal.
func (e *StatusError) Error() string {
	if e.Status == StatusCheck {
		return fmt.Sprintf("scsi: command 0x%02x: CHECK CONDITION, sense %x/%02x/%02x", e.Op, e.Sense.Key, e.Sense.ASC, e.Sense.ASCQ)
	}
	return fmt.Sprintf("scsi: command 0x%02x: status 0x%02x", e.Op, e.Status)
}

// lost makes an error that matches ErrConnection and, when it says more, its cause.
func lost(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConnection, fmt.Errorf(format, args...))
}
