package iscsiproxy

// This file has the words of a fault: its kind, the rule that chooses what it hits, and the action that says how.
// What each kind does on the wire is in request.go, answer.go and login.go.

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// Kind is a kind of fault.
type Kind string

// Faults of the whole path. They take no Rule.
const (
	Cut       Kind = "cut"       // connections closed (FIN), new ones refused (RST)
	Reset     Kind = "reset"     // connections reset (RST), new ones refused (RST)
	Refuse    Kind = "refuse"    // new connections refused (RST), those that are there stay
	Blackhole Kind = "blackhole" // silence: nothing goes on in either direction, connections stay
	LinkDown  Kind = "link-down" // as Blackhole on the wire, reported as a link event
)

// Faults of single SCSI commands, chosen by a Rule. All but the last leave the connection and every other command alone.
const (
	Stall         Kind = "stall"           // never reaches the target, ABORT TASK for it is not answered
	Swallow       Kind = "swallow"         // never reaches the target, ABORT TASK for it is answered "function complete"
	Status        Kind = "status"          // answered with Action.Status; never reaches the target unless Action.Executed
	AckLost       Kind = "ack-lost"        // executed by the target, its answer (data and status) is lost
	Delay         Kind = "delay"           // executed by the target, told Action.DelayMS after the target's answer
	Hold          Kind = "hold"            // executed by the target, told when the fault is restored
	R2T           Kind = "r2t"             // its R2Ts are held for Action.DelayMS, 0: until the fault is restored
	CorruptData   Kind = "corrupt-data"    // one byte of its data is changed, under digests that are right again
	CorruptDigest Kind = "corrupt-digest"  // its data digest (without one, its header digest) is wrong
	Drop          Kind = "drop-connection" // the connection that carries it is reset as it comes
)

// Faults of the rest of the protocol. Their Rule chooses by initiator; TMF also by LUN and function.
const (
	TMF           Kind = "tmf"            // task management is answered by the proxy with Action.Answer, or ignored
	NopIgnore     Kind = "nop-ignore"     // NOP-Out has no answer, all else goes on: half alive
	LoginRefuse   Kind = "login-refuse"   // answered with the status Action.Login, then closed
	LoginRedirect Kind = "login-redirect" // answered "target moved" to Action.Address, then closed
	LoginSlow     Kind = "login-slow"     // held for Action.DelayMS, 0: until the fault is restored
	Async         Kind = "async"          // one Asynchronous Message, now, to each connection that is logged in
)

// Rule chooses SCSI commands, task management, logins or connections, by the kind of the fault. The zero Rule matches
// every one. Action, in the same JSON object, says what becomes of them.
type Rule struct {
	LUN       *int   `json:"lun,omitempty"`       // nil: any
	Class     string `json:"class,omitempty"`     // read, write, sync, io (those three), any; empty is any
	Opcode    *int   `json:"opcode,omitempty"`    // SCSI operation code, 0 to 255; nil: any
	FirstLBA  uint64 `json:"first_lba,omitempty"` // blocks; a command matches that touches FirstLBA to LastLBA
	LastLBA   uint64 `json:"last_lba,omitempty"`  // 0: no upper end
	Function  byte   `json:"function,omitempty"`  // task management function, 1 to 8 (RFC 7143 section 11.5.1); 0: any
	Initiator string `json:"initiator,omitempty"` // InitiatorName of the login; empty: any
	Nth       int    `json:"nth,omitempty"`       // the first of the matching ones that is hit; 0 is 1
	Count     int    `json:"count,omitempty"`     // how many are hit from there; 0: no limit
	Action
}

// Action says how a fault does what its Kind says. Each field belongs to the kinds that its comment names.
type Action struct {
	DelayMS  int    `json:"delay_ms,omitempty"` // Delay, R2T, LoginSlow: milliseconds
	Status   byte   `json:"status,omitempty"`   // Status: SAM-5 status code; 8 BUSY, 40 TASK SET FULL, 24 RESERVATION CONFLICT
	Sense    string `json:"sense,omitempty"`    // Status 2, Async 0: "key/asc/ascq" in hexadecimal, or whole sense data in hexadecimal
	Executed bool   `json:"executed,omitempty"` // Status: the target executes the command all the same
	Answer   *int   `json:"answer,omitempty"`   // TMF: response code (RFC 7143 section 11.6.1); nil: none at all
	Login    int    `json:"login,omitempty"`    // LoginRefuse: class*256 + detail (section 11.13.5); LoginRedirect: 0x101 (default), 0x102
	Address  string `json:"address,omitempty"`  // LoginRedirect: host:port, perhaps with ",group"
	Event    int    `json:"event,omitempty"`    // Async: code, 0 to 4 (section 11.9.1); 2 and 3 close the connection (FIN) too
	Params   [3]int `json:"params,omitzero"`    // Async: Parameter1 to 3, 16 bits each (section 11.9.2)
}

// place is where a kind is decided on.
type place byte

const (
	onPath    place = iota // the path as a whole
	onCommand              // a SCSI Command of the initiator
	onTask                 // a Task Management Function Request
	onNop                  // a NOP-Out
	onLogin                // the first Login Request of a connection
	onAll                  // every connection, at once
)

// kinds is the table of what each kind does to the path as a whole, and where it is decided on.
var kinds = map[Kind]struct {
	refuse, silent bool
	rule           bool
	at             place
}{
	Cut: {refuse: true}, Reset: {refuse: true}, Refuse: {refuse: true},
	Blackhole: {silent: true}, LinkDown: {silent: true},
	Stall: {rule: true, at: onCommand}, Swallow: {rule: true, at: onCommand}, Status: {rule: true, at: onCommand},
	AckLost: {rule: true, at: onCommand}, Delay: {rule: true, at: onCommand}, Hold: {rule: true, at: onCommand},
	R2T: {rule: true, at: onCommand}, CorruptData: {rule: true, at: onCommand}, CorruptDigest: {rule: true, at: onCommand},
	Drop: {rule: true, at: onCommand},
	TMF:  {rule: true, at: onTask}, NopIgnore: {rule: true, at: onNop}, Async: {rule: true, at: onAll},
	LoginRefuse: {rule: true, at: onLogin}, LoginRedirect: {rule: true, at: onLogin}, LoginSlow: {rule: true, at: onLogin},
}

// check finds what a rule says that its kind cannot do, and fills in defaults.
func (r *Rule) check(kind Kind) error {
	at := kinds[kind].at
	no := func(bad bool, format string, a ...any) error {
		if !bad {
			return nil
		}
		return fmt.Errorf("iscsiproxy: "+format, a...)
	}
	if kind == LoginRedirect && r.Login == 0 {
		r.Login = 0x101
	}
	scsi := r.Class != "" || r.Opcode != nil || r.FirstLBA != 0 || r.LastLBA != 0
	needsSense := kind == Status && r.Status == iscsi.StatusCheck || kind == Async && r.Event == 0
	class := r.Login >> 8
	_, err := r.sense()
	return errors.Join(
		no(!slices.Contains([]string{"", "any", "io", "read", "write", "sync"}, r.Class), "class %q is not one of read, write, sync, io, any", r.Class),
		no(r.Opcode != nil && (*r.Opcode < 0 || *r.Opcode > 255), "there is no SCSI operation code like that"),
		no(r.LastLBA != 0 && r.LastLBA < r.FirstLBA, "last_lba %d is before first_lba %d", r.LastLBA, r.FirstLBA),
		no(r.Nth < 0 || r.Count < 0, "nth and count cannot be negative"),
		no(at != onCommand && scsi, "%s chooses no SCSI commands: no class, opcode or LBA", kind),
		no(at != onCommand && at != onTask && r.LUN != nil, "%s knows no LUN", kind),
		no(at != onTask && r.Function != 0, "%s knows no task management function", kind),
		no(r.Function > iscsi.TMFTaskReassign, "there is no task management function %d", r.Function),
		no(r.DelayMS < 0 || r.DelayMS > maxDelay, "delay_ms is 0 to %d", maxDelay),
		no(r.DelayMS != 0 && kind != Delay && kind != R2T && kind != LoginSlow, "%s takes no delay_ms", kind),
		no(kind == Delay && r.DelayMS == 0, "delay needs delay_ms (hold lasts until it is restored)"),
		no((kind == Status) != (r.Status != 0), "status needs a status other than GOOD, and only status has one"),
		no(r.Executed && kind != Status, "%s takes no executed", kind),
		no(needsSense != (r.Sense != ""), "sense goes with status 2 (CHECK CONDITION) and with Asynchronous Message 0, and they need it"),
		err,
		no(r.Answer != nil && kind != TMF, "%s takes no answer", kind),
		no(r.Answer != nil && (*r.Answer < 0 || *r.Answer > 255), "answer is 0 to 255"),
		no(kind == LoginRefuse && class != 2 && class != 3, "a refused login has a status of class 2 or 3, such as 0x301, and not %#x", r.Login),
		no(kind == LoginRedirect && class != 1, "a redirected login has a status of class 1, and not %#x", r.Login),
		no(r.Login != 0 && kind != LoginRefuse && kind != LoginRedirect, "%s takes no login", kind),
		no((kind == LoginRedirect) != (r.Address != ""), "login-redirect needs an address, and only it has one"),
		no(len(r.Address) > 255 || strings.ContainsRune(r.Address, 0), "address is no address"),
		no(kind != Async && (r.Event != 0 || r.Params != [3]int{}), "%s takes no event or params", kind),
		no(r.Event < 0 || r.Event > 4, "there is no Asynchronous Message %d", r.Event),
	)
}

// maxDelay is a day in milliseconds.
const maxDelay = 24 * 60 * 60 * 1000

func (a *Action) delay() time.Duration { return time.Duration(a.DelayMS) * time.Millisecond }

// sense is the sense data of the action: given as three numbers, in fixed format (SPC-5 section 4.4.3).
func (a *Action) sense() ([]byte, error) {
	if a.Sense == "" {
		return nil, nil
	}
	if !strings.Contains(a.Sense, "/") {
		b, err := hex.DecodeString(a.Sense)
		if err != nil || len(b) < 8 || len(b) > 252 {
			return nil, fmt.Errorf("iscsiproxy: sense %.80q is neither key/asc/ascq nor 8 to 252 bytes in hexadecimal", a.Sense)
		}
		return b, nil
	}
	var v [3]byte
	parts := strings.Split(a.Sense, "/")
	for i := range v {
		if len(parts) != len(v) {
			return nil, fmt.Errorf("iscsiproxy: sense %.80q is not key/asc/ascq", a.Sense)
		}
		n, err := strconv.ParseUint(parts[i], 16, 8)
		if err != nil || i == 0 && n > 15 {
			return nil, fmt.Errorf("iscsiproxy: sense %.80q is not key/asc/ascq in hexadecimal", a.Sense)
		}
		v[i] = byte(n)
	}
	return iscsi.Sense{Key: v[0], ASC: v[1], ASCQ: v[2]}.Fixed(), nil
}
