// Package qemu drives virtual machines of QEMU on this machine: power through the launcher that owns the processes, all
// else over QMP with deadlines of its own. A machine whose QMP stops answering is frozen, and that is an observation.
package qemu

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Config names the launcher and how its host is shown.
type Config struct {
	Launcher string `yaml:"launcher" json:"launcher"` // its Unix socket
	Lanes    string `yaml:"lanes" json:"lanes"`       // what its machines' lanes are called before the slash: "vm", or "box" under another hypervisor
}

func init() {
	drivers.Register(drivers.Registration{Name: "hypervisor/qemu", Title: "QEMU's virtual machines on this machine", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return &Driver{env: env, lanes: cmp.Or(c.Lanes, "vm"), l: NewLauncher(c.Launcher)}, nil
		}})
}

// Driver is a QEMU host in a lab. Its lane is the host's; its machines have the lanes "vm/NAME" (or "box/NAME" where another
// driver reports them as its own), always embedded, for their QEMU is a real one whatever the host's storage stack is.
type Driver struct {
	env   drivers.Env
	lanes string
	l     *Launcher
}

const (
	pollEvery  = 250 * time.Millisecond // how often a monitor is asked
	stalledAt  = 2 * time.Second        // silence of a monitor that counts as a stall: a busy machine alone makes one of 1.1 s (measured)
	quick      = 3 * time.Second        // bound of a call that needs no storage
	powerBound = 30 * time.Second       // QEMU opens its disk when it starts
	resetBound = 10 * time.Second       // a frozen machine takes none
)

// VMLane is the lane of a machine.
func (d *Driver) VMLane(vm string) drivers.Lane {
	return drivers.Lane{Role: drivers.Hypervisor, Name: d.lanes + "/" + vm, Provenance: drivers.Embedded}
}

// Probe asks the launcher for its state and each running machine for its version.
func (d *Driver) Probe(ctx context.Context) error {
	if _, err := d.state(ctx); err != nil {
		return &drivers.Operator{Cause: "the launcher of the virtual machines does not answer", Impact: "no machine can be switched or watched",
			Do: "apd lab status shows what runs", Err: err}
	}
	return nil
}

func (d *Driver) state(ctx context.Context) (HostState, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	var s HostState
	err := d.l.Get(ctx, "/state", &s)
	return s, err
}

// Settings returns the host's storage knobs by their own names.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	s, err := d.state(ctx)
	return s.Settings, err
}

// Observe follows the launcher's events on the host's lane and asks every machine's monitor on the machine's lane: states
// "power" (on, off) and "monitor" (answers, stalled), "run" (QEMU's run state), samples "monitor" (seconds to answer; while
// it is silent, the silence so far). The host's state "manageable" (yes, no) says whether the launcher answers.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.follow(ctx, emit) })
	watched, lost := map[string]bool{}, false
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	last := d.env.Clock.Now()
	for {
		start := d.env.Clock.Now()
		s, err := d.state(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := d.env.Clock.Now()
		o := drivers.Observation{Lo: last, Hi: now, Lane: d.env.Lane, Kind: drivers.State, Topic: "manageable", Value: "yes"}
		if err != nil {
			o.Value, o.Text = "no", err.Error()
		}
		emit(o)
		if gone := errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT); gone && !lost {
			lost = true
			emit(drivers.Observation{Lo: last, Hi: now, Lane: d.env.Lane, Kind: drivers.Event, Topic: drivers.LabFailure, Value: "launcher-ended",
				Text: "the launcher of the machines ended, and they with it: " + err.Error()})
		}
		for _, vm := range s.VMs {
			o := drivers.Observation{Lo: last, Hi: now, Lane: d.VMLane(vm.Name), Kind: drivers.State, Topic: "power", Value: "off"}
			if vm.On {
				o.Value = "on"
			}
			emit(o)
			if !watched[vm.Name] {
				watched[vm.Name] = true
				wg.Go(func() { d.watch(ctx, vm, emit) })
			}
		}
		last = start
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// follow turns the launcher's events into observations, mapped over the machine's monotonic clock.
func (d *Driver) follow(ctx context.Context, emit func(drivers.Observation)) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return
	}
	offset := d.env.Clock.Now() - time.Duration(ts.Nano())
	since := ts.Nano()
	for ctx.Err() == nil {
		_ = d.l.Events(ctx, since, func(e HostEvent) { // a launcher that is gone shows as "manageable: no"
			since = max(since, e.Mono)
			at := max(time.Duration(e.Mono)+offset, 0) // a state from before this run holds from its beginning
			lane := d.env.Lane
			if e.VM != "" {
				lane = d.VMLane(e.VM)
			}
			emit(drivers.Observation{Lo: at, Hi: at, Lane: lane, Kind: e.Kind, Topic: e.Topic, Value: e.Value, Text: e.Text, Attrs: e.Attrs})
		})
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// watch asks one machine's monitor until ctx ends, reconnecting when its QEMU was started anew.
func (d *Driver) watch(ctx context.Context, vm VMState, emit func(drivers.Observation)) {
	lane := d.VMLane(vm.Name)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var q *QMP
	heard := d.env.Clock.Now() // when the monitor last answered, or the first try
	for {
		select {
		case <-ctx.Done():
			if q != nil {
				q.Close()
			}
			return
		case <-tick.C:
		}
		if q == nil {
			dctx, cancel := context.WithTimeout(ctx, quick)
			conn, err := DialQMP(dctx, vm.QMP, nil)
			cancel()
			if errors.Is(err, ErrStalled) { // it takes connections, and says nothing
				now := d.env.Clock.Now()
				emit(drivers.Observation{Lo: heard, Hi: now, Lane: lane, Kind: drivers.State, Topic: "monitor", Value: "stalled"})
				emit(drivers.Observation{Lo: heard, Hi: now, Lane: lane, Kind: drivers.Sample, Topic: "monitor", Num: (now - heard).Seconds()})
			}
			if err != nil {
				if !errors.Is(err, ErrStalled) {
					heard = d.env.Clock.Now() // off, or starting: the state "power" says which
				}
				continue
			}
			q = conn
		}
		if !d.ask(ctx, q, lane, emit, &heard) {
			q.Close()
			q = nil
		}
	}
}

// ask measures one query-status. While QEMU is silent it samples the silence once a second, without giving the query up.
func (d *Driver) ask(ctx context.Context, q *QMP, lane drivers.Lane, emit func(drivers.Observation), heard *time.Duration) bool {
	start := d.env.Clock.Now()
	silent := start // the last moment of which silence is known
	var st struct{ Status string }
	answered := make(chan error, 1)
	go func() { answered <- q.Do(ctx, "query-status", nil, &st) }()
	at := func(kind drivers.Kind, topic, value string, lo time.Duration, num float64) {
		emit(drivers.Observation{Lo: lo, Hi: d.env.Clock.Now(), Lane: lane, Kind: kind, Topic: topic, Value: value, Num: num})
	}
	wait := time.NewTimer(stalledAt)
	defer wait.Stop()
	for {
		select {
		case err := <-answered:
			if err != nil {
				return false
			}
			now := d.env.Clock.Now()
			at(drivers.Sample, "monitor", "", now, (now - start).Seconds())
			at(drivers.State, "monitor", "answers", silent, 0)
			at(drivers.State, "run", st.Status, silent, 0)
			*heard = now
			return true
		case <-wait.C:
			at(drivers.State, "monitor", "stalled", *heard, 0)
			silent = d.env.Clock.Now()
			at(drivers.Sample, "monitor", "", start, (d.env.Clock.Now() - start).Seconds())
			wait.Reset(time.Second)
		}
	}
}

// PowerOn starts the machine; it needs its storage.
func (d *Driver) PowerOn(ctx context.Context, vm string) error { return d.power(ctx, vm, "on") }

// PowerOff ends the machine at once, as the power switch does, whatever its storage does.
func (d *Driver) PowerOff(ctx context.Context, vm string) error { return d.power(ctx, vm, "off") }

func (d *Driver) power(ctx context.Context, vm, to string) error {
	ctx, cancel := context.WithTimeout(ctx, powerBound)
	defer cancel()
	if err := d.l.Post(ctx, "/vms/"+vm+"/"+to, nil, nil); err != nil {
		return fmt.Errorf("switching %s %s: %w", vm, to, err)
	}
	return nil
}

// Reset presses the machine's reset button. A machine that is off is switched on: what is asked for is one that starts anew.
func (d *Driver) Reset(ctx context.Context, vm string) error {
	s, err := d.vm(ctx, vm)
	if err != nil {
		return err
	}
	if !s.On {
		return d.PowerOn(ctx, vm)
	}
	ctx, cancel := context.WithTimeout(ctx, resetBound)
	defer cancel()
	if err := d.l.Post(ctx, "/vms/"+vm+"/reset", nil, nil); err != nil {
		return fmt.Errorf("resetting %s: %w", vm, err)
	}
	return nil
}

func (d *Driver) vm(ctx context.Context, name string) (VMState, error) {
	s, err := d.state(ctx)
	if err != nil {
		return VMState{}, err
	}
	for _, vm := range s.VMs {
		if vm.Name == name {
			return vm, nil
		}
	}
	return VMState{}, fmt.Errorf("this host has no machine %q", name)
}

// Screenshot takes a picture of the machine's screen through the launcher, as PNG.
func (d *Driver) Screenshot(ctx context.Context, vm string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	file := filepath.Join(d.env.ScratchDir, "screen-"+strings.ReplaceAll(vm, "/", "_")+".png")
	defer os.Remove(file)
	if err := d.l.Post(ctx, "/vms/"+vm+"/screenshot", map[string]string{"file": file}, nil); err != nil {
		return nil, fmt.Errorf("taking a picture of %s: %w", vm, err)
	}
	b, err := os.ReadFile(file)
	if err == nil && len(b) == 0 {
		err = errors.New("QEMU wrote an empty picture")
	}
	return b, err
}

// Undo knows nothing: what this driver does to machines is not undone by itself.
func (d *Driver) Undo(context.Context, drivers.Undo) (drivers.UndoResult, error) {
	return "", drivers.ErrUnknownUndo
}

// Close drops the connections; the machines go on.
func (d *Driver) Close() error { d.l.Close(); return nil }
