// Package drivers is the contract between the harness and the systems of a lab: what a driver is, what it may be able
// to do (its powers), what it sees (observations) and how what it did is undone (Undo). It holds no vendor's types.
package drivers

import (
	"context"
	"net"
	"time"
)

// Role is the part that a system plays in a lab.
type Role string

// The roles, in causal order: what fails first stands first.
const (
	Target     Role = "target"     // the storage array or NAS
	Path       Role = "path"       // everything between host and target
	Hypervisor Role = "hypervisor" // a host, its storage stack and its virtual machines
	Cluster    Role = "cluster"    // a distributed store
	Guest      Role = "guest"      // an operating system in a virtual machine
)

// Provenance says what kind of system an observation was made on.
type Provenance string

// The provenances, strongest first.
const (
	Real     Provenance = "real"     // a system of the lab file
	Embedded Provenance = "embedded" // a real kernel, a real iSCSI wire, a real daemon on this machine
	Modelled Provenance = "modelled" // our own stand-in; never evidence about the product it models
)

// Lane is one actor on the time axis.
type Lane struct {
	Role       Role
	Name       string
	Provenance Provenance
}

// Kind is the sort of an observation.
type Kind string

// The kinds: a state holds until the next state of the same lane and topic, an event happens once, a sample is a number.
const (
	State  Kind = "state"
	Event  Kind = "event"
	Sample Kind = "sample"
)

// Observation is one fact that somebody saw. Lo is the last time at which it was not yet so, Hi the first at which it
// was seen, both on the harness's one monotonic Clock; Lo == Hi means that the moment itself was seen.
type Observation struct {
	Lo, Hi time.Duration
	Lane   Lane
	Kind   Kind
	Topic  string            // what it is about: "disk", "ssh.held", "power", ...
	Value  string            // the state, or the event's type
	Num    float64           // a sample's number, in the topic's documented unit
	Text   string            // exact words seen, never interpreted
	Attrs  map[string]string // details that claims and reports read by name; never a secret
}

// LabFailure is the topic of the event that a driver emits when the lab itself broke: a process that nobody asked to end has
// ended. Whatever a claim would make of what follows, it says nothing about the fault.
const LabFailure = "lab-failure"

// Clock is the one time axis of a run: time since its zero, monotonic.
type Clock struct{ Zero time.Time }

// Now returns the time since the clock's zero.
func (c Clock) Now() time.Duration { return time.Since(c.Zero) }

// At places a moment of this process (one that still has its monotonic reading) on the clock.
func (c Clock) At(t time.Time) time.Duration { return t.Sub(c.Zero) }

// Undo says how to put one thing back, as data: another process can replay it hours later. Args carries the old value.
type Undo struct {
	Driver string            `json:"driver"` // the name of the driver in the lab, see Env.ID
	Op     string            `json:"op"`
	Args   map[string]string `json:"args,omitempty"`
	Until  time.Time         `json:"until,omitzero"` // the far side's own dead-man timer, where one is armed
	Takes  time.Duration     `json:"takes,omitzero"` // ns; at the most, when that is more than UsualUndo: a NAS that boots
}

// UsualUndo is how long putting one thing back may take: a NAS that starts a service needs seconds.
const UsualUndo = 90 * time.Second

// Limit bounds the undo, whoever replays it.
func (u Undo) Limit() time.Duration { return max(u.Takes, UsualUndo) }

// UndoResult tells a change put back from one that was already gone.
type UndoResult string

// What Driver.Undo can report.
const (
	Undone      UndoResult = "undone"
	NothingLeft UndoResult = "nothing left"
)

// Journal makes an Undo durable. A power calls it with the old value *before* it changes anything, and changes nothing
// when it returns an error.
type Journal func(ctx context.Context, u Undo) error

// Driver is what every driver can do.
type Driver interface {
	// Probe checks that the system is reachable, credentials good and versions known. Its errors are Operator errors.
	Probe(ctx context.Context) error
	// Observe reports what it sees until ctx ends; every call inside has its own deadline, so that a system that hangs
	// is itself an observation. It returns nil when ctx ended. emit may be called from several goroutines.
	Observe(ctx context.Context, emit func(Observation)) error
	// Undo puts one change back. It is idempotent and needs nothing but u and the driver's configuration.
	Undo(ctx context.Context, u Undo) (UndoResult, error)
	// Close releases what the driver holds on this machine. It changes nothing in the lab.
	Close() error
}

// FaultKind names one way in which storage fails. Systems treat each kind differently, so they are never mixed.
type FaultKind string

// The faults that this version injects; NoFault injects nothing and must let nothing be confirmed.
const (
	NoFault     FaultKind = "none"
	ServiceStop FaultKind = "service-stop"  // the target's daemon goes: connections reset, new ones refused
	Reboot      FaultKind = "target-reboot" // the whole target goes and comes back; with a direct cable its link does too
	Reset       FaultKind = "reset"         // the path resets connections and refuses new ones
	Blackhole   FaultKind = "blackhole"     // the path swallows nothing and delivers nothing
	LinkDown    FaultKind = "link-down"     // the cable is out
	HostCrash   FaultKind = "host-crash"    // a host itself goes down (a purple screen), and comes back by itself

	PowerCut    FaultKind = "target-power-cut" // the whole target loses its power: nothing is written back, no connection is ended
	LoginReject FaultKind = "login-reject"     // sessions end, and logins are answered with a refusal: PDL-shaped
	LUNGone     FaultKind = "lun-gone"         // commands end with 5/25/00, LOGICAL UNIT NOT SUPPORTED: PDL-shaped
	NotReady    FaultKind = "not-ready"        // commands end with sense key 2, NOT READY
	IOError     FaultKind = "io-error"         // reads and writes end with 3/11/00, an unrecovered read error
	Slow        FaultKind = "slow"             // commands are answered late
	Swallow     FaultKind = "swallow"          // one command is lost, its abort is answered
	Stall       FaultKind = "stall"            // one command is lost, its abort is not answered
	Hang        FaultKind = "hang"             // logins are answered, no command of a device is
)

// Powers: what a driver may be able to do, one method each, found by type assertion.
type (
	// ServiceStopper stops the target's iSCSI service (a login rejection is not this power).
	ServiceStopper interface {
		StopService(ctx context.Context, j Journal) error
	}
	// TargetRebooter takes the whole target down; the undo, or the target itself, brings it back.
	TargetRebooter interface {
		RebootTarget(ctx context.Context, j Journal) error
	}
	// PowerCutter takes the target's power away; the undo, or the target itself, brings it back.
	PowerCutter interface {
		CutPower(ctx context.Context, j Journal) error
	}
	// HostCrasher takes a host down by a kernel panic. It comes back by itself; what j is given makes it do so.
	HostCrasher interface {
		CrashHost(ctx context.Context, j Journal) error
	}
	// ManagementRestarter restarts the host's management service, which leaves its machines alone.
	ManagementRestarter interface {
		RestartManagement(ctx context.Context) error
	}
	// PathBreaker breaks the storage in one of the ways that BreakKinds lists: on the path, at the target or at the host's NIC.
	PathBreaker interface {
		BreakKinds() []FaultKind
		BreakPath(ctx context.Context, kind FaultKind, j Journal) error
	}
	// IOStaller loses single commands on their way to the target.
	IOStaller interface {
		StallIO(ctx context.Context, s StallRule, j Journal) error
	}
	// VMPower switches virtual machines; vm is the name that the hypervisor knows. Each call lasts until its task has ended
	// or ctx has; a task that goes on then is ErrStillRunning, which is an outcome and no failure.
	VMPower interface {
		VMLane(vm string) Lane // the lane on which this driver reports the machine
		PowerOn(ctx context.Context, vm string) error
		PowerOff(ctx context.Context, vm string) error
		Reset(ctx context.Context, vm string) error
	}
	// Console takes a picture of a virtual machine's screen, as PNG.
	Console interface {
		Screenshot(ctx context.Context, vm string) ([]byte, error)
	}
	// Settings reads the knobs that windows depend on, by the product's own names, numbers in the product's units.
	Settings interface {
		Settings(ctx context.Context) (map[string]string, error)
	}
	// Tuner changes one of the Settings, by the same name and in the same unit. The undo puts the old value back.
	Tuner interface {
		Tune(ctx context.Context, key, value string, j Journal) error
	}
	// Examiner looks at how the system is set up, before anything is broken.
	Examiner interface {
		Examine(ctx context.Context) []Finding
	}
	// CacheDropper makes a guest forget what it has read, and leaves it alone for a moment so that it stays forgotten.
	CacheDropper interface {
		DropCaches(ctx context.Context) error
	}
	// WriteVerifier reads back every write that the guest was told is on disk: one "acklog" event with the attributes
	// acked, found, missing, corrupt and disorder (numbers), and one "seed" event (ok or damaged).
	WriteVerifier interface {
		VerifyWrites(ctx context.Context) ([]Observation, error)
	}
	// Halter shuts a guest down in order, so that its file system is clean on the LUN.
	Halter interface {
		Halt(ctx context.Context) error
	}
	// Loader gives a guest work: n parallel writers that wait for the disk at each record. 0 is the idle log writer alone.
	Loader interface {
		Load(ctx context.Context, writers int) error
	}
	// ImageChecker examines a LUN from the target's side while no host uses it. Value of the result is "clean", "damaged", or
	// "stored": the LUN is there and whole, and nobody could look into what is in it, for the reason in the attribute contents.
	ImageChecker interface {
		CheckImage(ctx context.Context, lun int) (Observation, error)
	}
)

// Finding is one thing that an Examiner looked at. One that is not OK does not keep a run from beginning: it says what the
// run's claims will mean less for.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Say  string `json:"say,omitempty"` // what was found, what it means, what to do
}

// StallRule picks the commands that StallIO loses.
type StallRule struct {
	LUN         int
	Op          string // "read", "write" or "any"
	Count       int    // how many commands, 0 for all until undone
	AnswerAbort bool   // true: swallow, false: stall
}

// Env is what a driver is given when it is opened.
type Env struct {
	ID         string // its name in the lab, the one Undo.Driver carries: "target", "path", "guest/a", ...
	Lane       Lane
	Clock      Clock
	Portal     string                        // the address under test, where the role needs to know it
	VMs        []string                      // the lab's machines, as the hypervisor knows them
	Dial       Dial                          // how to connect; nil is the network's own way
	Decode     func(config any) error        // strict: an unknown key is an error with its line
	Logf       func(format string, a ...any) // for people; never a secret
	ScratchDir string                        // a folder of this run's own
}

// Dial connects as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)
