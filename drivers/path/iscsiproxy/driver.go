package iscsiproxy

// This file is the driver of a path: what the harness may do to a proxy that runs elsewhere.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// DriverConfig names the control socket of a running path.
type DriverConfig struct {
	Control string `yaml:"control" json:"control"`
}

func init() {
	drivers.Register(drivers.Registration{Name: "path/iscsiproxy", Title: "a proxy on the wire that understands iSCSI", Type: (*Driver)(nil), Config: DriverConfig{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c DriverConfig
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return NewDriver(env, c), nil
		}})
}

// NewDriver opens the driver of a running path; it connects when it is used.
func NewDriver(env drivers.Env, c DriverConfig) *Driver {
	return &Driver{env: env, c: NewClient(c.Control)}
}

// Driver breaks the path that a Proxy stands in.
type Driver struct {
	env drivers.Env
	c   *Client
}

const (
	callTimeout = 5 * time.Second // of one call of the control socket
	opRestore   = "restore"
)

// Probe checks that the proxy answers and forwards.
func (d *Driver) Probe(ctx context.Context) error {
	s, err := d.state(ctx)
	if err == nil && len(s.Faults) > 0 {
		err = fmt.Errorf("it still has the fault %s", s.Faults[0].Kind)
	}
	if err != nil {
		return &drivers.Operator{Cause: "the path's proxy is not ready", Impact: "the path cannot be broken", Do: "start it, or restore it with: apd lab restore", Err: err}
	}
	return nil
}

func (d *Driver) state(ctx context.Context) (State, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return d.c.State(ctx)
}

// Observe reports the path's faults: events "path" (fault, restore, link.down, link.up, and malformed, limit, leak), an
// event "pdu" for each PDU that a fault has hit, by the names of Event.What, and once there is one the state "hit" (yes, no).
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	say := func(kind drivers.Kind, topic, value, text string, attrs map[string]string) {
		now := d.env.Clock.Now()
		emit(drivers.Observation{Lo: now, Hi: now, Lane: d.env.Lane, Kind: kind, Topic: topic, Value: value, Text: text, Attrs: attrs})
	}
	hit := false
	for ctx.Err() == nil {
		err := d.c.Events(ctx, nil, func(e Event) {
			switch e.What {
			case "fault", "restore", "link.down", "link.up":
				say(drivers.Event, "path", e.What, string(e.Kind)+" "+e.Detail, nil)
				if e.What == "restore" && hit {
					hit = false
					say(drivers.State, "hit", "no", "", nil)
				}
			case "malformed", "limit", "leak":
				say(drivers.Event, "path", e.What, e.Detail, map[string]string{"initiator": e.Initiator})
			default: // what a fault has hit; the rest is connections that come and go, which is not the path's doing
				if e.Fault == "" {
					return
				}
				say(drivers.Event, "pdu", e.What, e.Detail, map[string]string{"initiator": e.Initiator, "lun": strconv.Itoa(e.LUN),
					"op": fmt.Sprintf("0x%02x", e.Op), "lba": strconv.FormatUint(e.LBA, 10), "bytes": strconv.Itoa(e.Bytes)})
				if !hit {
					hit = true
					say(drivers.State, "hit", "yes", e.What, nil)
				}
			}
		})
		if ctx.Err() != nil {
			return nil
		}
		say(drivers.Event, "path", "control-lost", fmt.Sprint(err), nil)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
	return nil
}

// injection is one fault of the proxy.
type injection struct {
	kind Kind
	rule *Rule
}

// slowBy is how late the fault slow makes answers: later than anybody calls an answer, and within the shortest timeout that a
// guest of a lab in a box has.
const slowBy = 1500 * time.Millisecond

// breaks are the contract's faults as the proxy's.
var breaks = map[drivers.FaultKind][]injection{
	drivers.Reset: {{Reset, nil}}, drivers.Blackhole: {{Blackhole, nil}}, drivers.LinkDown: {{LinkDown, nil}},
	// As a target does whose portal group is disabled: it says goodbye, and 0301h (service unavailable) to who comes again.
	drivers.LoginReject: {{LoginRefuse, &Rule{Action: Action{Login: 0x301}}}, {Async, &Rule{Action: Action{Event: asyncDropSession}}}},
	drivers.LUNGone:     {{Status, &Rule{Action: Action{Status: iscsi.StatusCheck, Sense: "5/25/0"}}}},
	drivers.NotReady: {{Status, &Rule{Class: "io", Action: Action{Status: iscsi.StatusCheck, Sense: "2/4/0"}}},
		{Status, &Rule{Opcode: &testUnitReady, Action: Action{Status: iscsi.StatusCheck, Sense: "2/4/0"}}}},
	drivers.IOError: {{Status, &Rule{Class: "io", Action: Action{Status: iscsi.StatusCheck, Sense: "3/11/0"}}}},
	drivers.Slow:    {{Delay, &Rule{Action: Action{DelayMS: int(slowBy / time.Millisecond)}}}},
	drivers.Hang:    {{Stall, nil}},
}

var testUnitReady = 0

// BreakKinds lists the faults that this path can have.
func (d *Driver) BreakKinds() []drivers.FaultKind {
	return slices.Sorted(maps.Keys(breaks))
}

// BreakPath breaks the whole path, or every LUN behind it.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	list, ok := breaks[kind]
	if !ok {
		return fmt.Errorf("this path cannot do %s", kind)
	}
	return d.inject(ctx, j, list...)
}

// StallIO loses commands on their way to the target.
func (d *Driver) StallIO(ctx context.Context, s drivers.StallRule, j drivers.Journal) error {
	k := Stall
	if s.AnswerAbort {
		k = Swallow
	}
	r := &Rule{Class: s.Op, Count: s.Count}
	if r.Class == "" || r.Class == "any" {
		r.Class = "io" // not the harness's own TEST UNIT READY, which is how it sees that all else goes on
	}
	if s.LUN != 0 {
		r.LUN = &s.LUN
	}
	return d.Inject(ctx, k, r, j)
}

// Inject starts a fault of any kind; see Proxy.Inject.
func (d *Driver) Inject(ctx context.Context, k Kind, r *Rule, j drivers.Journal) error {
	return d.inject(ctx, j, injection{k, r})
}

// inject journals which faults were there before, for the proxy names a new one only when it is made.
func (d *Driver) inject(ctx context.Context, j drivers.Journal, list ...injection) error {
	s, err := d.state(ctx)
	if err != nil {
		return fmt.Errorf("asking the path for its state: %w", err)
	}
	var before []string
	for _, f := range s.Faults {
		before = append(before, f.ID)
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opRestore, Args: map[string]string{"keep": strings.Join(before, ",")}}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, i := range list {
		if _, err := d.c.Inject(ctx, i.kind, i.rule); err != nil {
			return err
		}
	}
	return nil
}

// Undo restores every fault that was not there before. A proxy that is gone has none.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opRestore {
		return "", drivers.ErrUnknownUndo
	}
	s, err := d.state(ctx)
	if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ECONNREFUSED) {
		return drivers.NothingLeft, nil
	}
	if err != nil {
		return "", fmt.Errorf("asking the path for its state: %w", err)
	}
	keep := strings.Split(u.Args["keep"], ",")
	res := drivers.NothingLeft
	for _, f := range s.Faults {
		if slices.Contains(keep, f.ID) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		err := d.c.Restore(ctx, f.ID)
		cancel()
		if err != nil {
			return res, fmt.Errorf("restoring %s: %w", f.Kind, err)
		}
		res = drivers.Undone
	}
	return res, nil
}

// Close drops idle connections; the path stays as it is.
func (d *Driver) Close() error { d.c.Close(); return nil }
