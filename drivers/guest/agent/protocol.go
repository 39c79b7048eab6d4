// Package agent is what the driver of a guest and the agent resident in that guest say to each other: JSON lines in both
// directions, and the records of the acknowledged-write log. It is the same for every guest operating system.
//
// The agent speaks first, with one "hello"; it goes on speaking whatever happens to the disk, because it runs from memory.
// Every message carries the agent's own monotonic clock, so that the driver can place it within the error of a ping.
package agent

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Protocol is the version of this protocol. A driver refuses an agent of another version.
const Protocol = 1

// MaxLine is the longest line, in bytes, that a reader accepts.
const MaxLine = 1 << 20

// The types of a Message.
const (
	TypeHello  = "hello"
	TypeBeat   = "beat"
	TypeRead   = "read"
	TypeWrite  = "write"
	TypeLoad   = "load"
	TypeKmsg   = "kmsg"
	TypeSystem = "system"
	TypeBusy   = "busy"
	TypeFolder = "folder"
	TypeReply  = "reply"
)

// The commands that the agent takes. One that was started with pipes ends when its standard input ends; one that listens
// stays when its client goes, and ends when it is told to or has been alone for too long.
const (
	CmdPing       = "ping"
	CmdDropCaches = "drop-caches"
	CmdLoad       = "load"
	CmdVerify     = "verify"
	CmdSeed       = "seed"
	CmdEnd        = "end" // an agent that listens answers, then ends
)

// The phases of an IO.
const (
	Start = "start"
	Done  = "done"
)

// The results of a check of the seed data.
const (
	SeedOK      = "ok"
	SeedDamaged = "damaged"
	SeedAbsent  = "absent"
)

// Message is one line from the agent. Exactly the part that its Type names is set.
type Message struct {
	Type   string  `json:"type"`
	T      int64   `json:"t"` // the guest's monotonic clock, ns
	Hello  *Hello  `json:"hello,omitempty"`
	Beat   *Beat   `json:"beat,omitempty"`
	IO     *IO     `json:"io,omitempty"`
	Load   *Load   `json:"load,omitempty"`
	Kmsg   *Kmsg   `json:"kmsg,omitempty"`
	System *System `json:"system,omitempty"`
	Busy   *Busy   `json:"busy,omitempty"`
	Reply  *Reply  `json:"reply,omitempty"`
}

// Hello is what the agent says of its guest when it starts, and again to every new client when it listens.
type Hello struct {
	Protocol   int     `json:"protocol"`
	Instance   string  `json:"instance"`
	BootID     string  `json:"boot_id"`
	Uptime     float64 `json:"uptime"` // seconds since the guest's boot
	Kernel     string  `json:"kernel"`
	OS         string  `json:"os"`          // PRETTY_NAME of os-release; on Windows its product name
	OSID       string  `json:"os_id"`       // ID of os-release; "windows"
	OSVersion  string  `json:"os_version"`  // VERSION_ID of os-release; on Windows major.minor.build.revision
	RootDevice string  `json:"root_device"` // what is read: the system disk, or a file (see Without)
	RootFS     string  `json:"root_fs"`
	WriteCache string  `json:"write_cache,omitempty"` // "write back" or "write through", empty when not known
	Locked     string  `json:"locked,omitempty"`      // why memory is not locked; empty when it is
	System     System  `json:"system"`
	// Without names what this agent cannot do here, with the reason: "disk" (a file on it is read instead), "busy", "folder".
	Without map[string]string `json:"without,omitempty"`
	Linux   *Linux            `json:"linux,omitempty"` // of a Linux guest
}

// Beat is the heartbeat.
type Beat struct {
	Rounds  uint64 `json:"rounds"`            // of the CPU worker since the agent's start
	Dropped uint64 `json:"dropped,omitempty"` // messages that did not fit in the queue since the agent's start
}

// Busy is how busy the system disk was since the last time, sent every second. Percent is the part of that time, 0 to 100,
// in which at least one request was outstanding: what Windows calls the disk's active time.
type Busy struct {
	Percent float64 `json:"percent"`
}

// IO is one step of a read, of a write of the log, or of the listing of a folder.
type IO struct {
	Phase   string  `json:"phase"` // Start or Done
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"` // the operating system's words and the error's name; Done only
	Path    string  `json:"path,omitempty"`  // the log file, or the folder
	Writer  int     `json:"writer,omitempty"`
	Seq     uint64  `json:"seq,omitempty"` // the record; a Done without Error acknowledges it
}

// Load is the state of the extra writers, sent every quarter of a second while there are any, and once when they have gone.
type Load struct {
	Wanted  int          `json:"wanted"`
	Writers []LoadWriter `json:"writers,omitempty"`
}

// LoadWriter is one extra writer. Acked acknowledges all records of Path up to it.
type LoadWriter struct {
	Writer int    `json:"writer"`
	Path   string `json:"path"`
	Acked  uint64 `json:"acked"`
	Since  int64  `json:"since,omitempty"` // when the outstanding write was begun, on the guest's monotonic clock, ns
	Error  string `json:"error,omitempty"` // of the last attempt
}

// Kmsg is one line of the kernel's log.
type Kmsg struct {
	Level   string  `json:"level"` // "err", "warning", ...
	Text    string  `json:"text"`
	At      float64 `json:"at"`                // the kernel's own time stamp, seconds since boot
	Dropped uint64  `json:"dropped,omitempty"` // lines left out before this one, because there were too many
}

// System is the state of the root file system and its disk, sent every second.
type System struct {
	FS      string  `json:"fs,omitempty"`      // "rw" or "ro"
	Mount   string  `json:"mount,omitempty"`   // its line in the mount table
	Device  string  `json:"device,omitempty"`  // "running", "offline", ...; empty when the disk has no such state
	Timeout float64 `json:"timeout,omitempty"` // the disk's command timeout in seconds, 0 when it has none
}

// Reply answers one command.
type Reply struct {
	ID    string       `json:"id"`
	Error string       `json:"error,omitempty"`
	Files []FileResult `json:"files,omitempty"`
	Seed  string       `json:"seed,omitempty"`
	Text  string       `json:"text,omitempty"` // details for people
}

// Command is one line to the agent.
type Command struct {
	Type  string    `json:"type"`
	ID    string    `json:"id"`
	N     int       `json:"n,omitempty"`
	Files []LogFile `json:"files,omitempty"`
}

// LogFile is a file of the acknowledged-write log and how far it was acknowledged.
type LogFile struct {
	Path     string `json:"path"`
	Instance string `json:"instance"`
	Writer   int    `json:"writer"`
	Acked    uint64 `json:"acked"`
}

// LineError is a line that is not a message. The reader goes on behind it.
type LineError struct {
	Line string // its beginning
	Err  error
}

// Error shows the line's beginning.
func (e *LineError) Error() string {
	return fmt.Sprintf("not a line of the protocol: %.80q: %v", e.Line, e.Err)
}

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// ErrLong is the cause of a LineError for a line of more than MaxLine bytes.
var ErrLong = errors.New("the line is too long")

// Reader reads lines of JSON. It holds at most MaxLine bytes.
type Reader struct{ r *bufio.Reader }

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{bufio.NewReaderSize(r, 64<<10)} }

// Next reads one line into v, a pointer to a Message or a Command. A bad line is a *LineError, after which Next can be
// called again; every other error is r's own. A last line without its end is not a line.
func (r *Reader) Next(v any) error {
	var line []byte
	for {
		part, err := r.r.ReadSlice('\n')
		switch {
		case len(line)+len(part) > MaxLine:
			head := string(append(line, part...)[:80])
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.r.ReadSlice('\n')
			}
			if err != nil {
				return err
			}
			return &LineError{head, ErrLong}
		case errors.Is(err, bufio.ErrBufferFull):
			line = append(line, part...)
			continue
		case err != nil:
			return err
		}
		line = append(line, part...)
		if err := json.Unmarshal(line, v); err != nil {
			return &LineError{string(line[:min(len(line), 80)]), err}
		}
		return nil
	}
}

// Valid tells whether the message carries the part that its type names. Types not known are valid: a newer agent may say more.
func (m *Message) Valid() bool {
	switch m.Type {
	case TypeHello:
		return m.Hello != nil
	case TypeBeat:
		return m.Beat != nil
	case TypeRead, TypeWrite, TypeFolder:
		return m.IO != nil
	case TypeLoad:
		return m.Load != nil
	case TypeKmsg:
		return m.Kmsg != nil
	case TypeSystem:
		return m.System != nil
	case TypeBusy:
		return m.Busy != nil
	case TypeReply:
		return m.Reply != nil
	}
	return m.Type != ""
}
