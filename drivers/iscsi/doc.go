// Package iscsi speaks iSCSI (RFC 7143) at the wire: it reads and writes PDUs, builds and parses
// login text keys, SCSI CDBs and sense data, and runs an initiator Session with many commands in flight.
//
// It is a tool to observe with, not a product initiator: one connection per session, error recovery
// level 0, no CHAP, no SNACK, and nothing is ever retried behind the caller's back, because a hidden
// retry would hide the very outage that is being measured. When a connection is lost every outstanding
// task fails with an error that matches ErrConnection; whoever wants a new session dials again.
//
// Words follow RFC 7143: BHS (basic header segment), AHS, ITT (initiator task tag), TTT (target transfer
// tag), CmdSN, StatSN, EDTL (expected data transfer length), R2T (ready to transfer).
package iscsi
