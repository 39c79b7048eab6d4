package iscsiproxy

// This file is the life of a fault: injected, counted, restored.

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// Fault is one active fault with its counters.
type Fault struct {
	ID          string    `json:"id"`
	Kind        Kind      `json:"kind"`
	Rule        *Rule     `json:"rule,omitempty"`
	Since       time.Time `json:"since"`
	Connections int64     `json:"connections"` // cut, reset, silenced at the start, or refused to go on
	Matched     int64     `json:"matched"`     // commands that the rule chose by everything but Nth and Count
	PDUs        int64     `json:"pdus"`        // PDUs changed, swallowed or made
	Discarded   int64     `json:"discarded"`   // bytes thrown away because their sender had closed
}

// State is a snapshot of a path.
type State struct {
	Listen        string  `json:"listen"`
	Target        string  `json:"target"`
	Refusing      bool    `json:"refusing"`
	Silent        bool    `json:"silent"`
	Connections   int     `json:"connections"`
	Accepted      int     `json:"accepted"`       // since the start
	Faults        []Fault `json:"faults"`         // active, oldest first
	SkippedEvents int     `json:"skipped_events"` // by subscribers that were too slow
}

type fault struct {
	Fault // ID, Kind, Rule, Since
	num   int
	ended chan struct{} // closed when it is restored
	sense []byte        // of its Action

	conns, matched, pdus, discarded atomic.Int64
}

func (f *fault) snapshot() Fault {
	out := f.Fault
	out.Connections, out.Matched, out.PDUs, out.Discarded = f.conns.Load(), f.matched.Load(), f.pdus.Load(), f.discarded.Load()
	return out
}

// Inject starts a fault and returns it with its ID. When it returns the fault is in force: no byte that it
// is to hold goes on, no command that it is to lose gets through. rule is for kinds that take one.
func (p *Proxy) Inject(kind Kind, rule *Rule) (Fault, error) {
	k, ok := kinds[kind]
	if !ok {
		return Fault{}, fmt.Errorf("iscsiproxy: no fault of kind %q", kind)
	}
	switch {
	case k.rule && rule == nil:
		rule = new(Rule)
	case !k.rule && rule != nil:
		return Fault{}, fmt.Errorf("iscsiproxy: a fault of kind %q takes no rule", kind)
	}
	if rule != nil {
		r := *rule
		if err := r.check(kind); err != nil {
			return Fault{}, err
		}
		rule = &r
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Fault{}, net.ErrClosed
	}
	p.nFault++
	f := &fault{Fault: Fault{ID: strconv.Itoa(p.nFault), Kind: kind, Rule: rule, Since: time.Now()}, num: p.nFault, ended: make(chan struct{})}
	if rule != nil {
		f.sense, _ = rule.sense()
	}
	p.faults[f.ID] = f
	p.publish()
	if !k.rule {
		f.conns.Store(int64(len(p.pairs)))
	}
	if k.refuse {
		if p.ln != nil {
			_ = p.ln.Close() // first: nobody may come in again while the others go
			p.ln = nil
		}
	}
	if kind == Cut || kind == Reset {
		for pr := range p.pairs {
			pr.shut(kind == Reset)
		}
	}
	if k.silent {
		for pr := range p.pairs {
			pr.kickWrites()
		}
	}
	var told []*pair
	if kind == Async {
		told = p.tell(f)
	}
	p.mu.Unlock()
	if k.silent {
		p.gate.Lock() // a barrier: every write that had passed the check has ended
		//lint:ignore SA2001 nothing is to be done inside
		p.gate.Unlock()
	}
	what := "fault"
	if kind == LinkDown {
		what = "link.down"
	}
	p.emit(Event{What: what, Fault: f.ID, Kind: kind})
	for _, pr := range told {
		pr.told(f, "async", "")
	}
	return f.snapshot(), nil
}

// publish makes the set of faults known to the forwarders. p.mu is held.
func (p *Proxy) publish() {
	sets := map[place][]*fault{}
	silent := false
	for _, f := range p.faults {
		at := kinds[f.Kind].at
		sets[at] = append(sets[at], f)
		silent = silent || kinds[f.Kind].silent
	}
	for at, to := range map[place]*atomic.Pointer[[]*fault]{onCommand: &p.rules, onTask: &p.tasks, onNop: &p.nops, onLogin: &p.logins} {
		set := sets[at]
		slices.SortFunc(set, func(a, b *fault) int { return a.num - b.num })
		to.Store(&set)
	}
	if p.silent.Load() && !silent {
		p.silences.Add(1)
	}
	if was := p.silent.Swap(silent); silent && !was {
		p.opened = make(chan struct{})
	} else if was && !silent {
		close(p.opened)
		for pr := range p.pairs {
			pr.kickReads()
		}
	}
}

// Cut closes all connections and refuses new ones until it is restored.
func (p *Proxy) Cut() (Fault, error) { return p.Inject(Cut, nil) }

// Reset resets all connections and refuses new ones until it is restored.
func (p *Proxy) Reset() (Fault, error) { return p.Inject(Reset, nil) }

// Blackhole makes the path silent until it is restored. Bytes are delayed, not lost, except those of an endpoint
// that closes its connection meanwhile. New connections are accepted and get no answer.
func (p *Proxy) Blackhole() (Fault, error) { return p.Inject(Blackhole, nil) }

// LinkDown is Blackhole, reported as a link event.
func (p *Proxy) LinkDown() (Fault, error) { return p.Inject(LinkDown, nil) }

// Stall loses the commands that match; aborts of them stay without answer too. Commands that were lost stay lost
// when the fault is restored: it is their initiator's business to abort and repeat them.
func (p *Proxy) Stall(r Rule) (Fault, error) { return p.Inject(Stall, &r) }

// Swallow loses the commands that match; aborts of them are answered "function complete".
func (p *Proxy) Swallow(r Rule) (Fault, error) { return p.Inject(Swallow, &r) }

// Restore ends one fault. To restore what is not there (any more) is no error. An error means that the path
// could not listen again.
func (p *Proxy) Restore(id string) error {
	p.mu.Lock()
	f := p.faults[id]
	delete(p.faults, id)
	err := p.mend()
	tell := func() {}
	if f != nil {
		tell = p.over(f)
	}
	p.mu.Unlock()
	tell()
	return err
}

// RestoreAll ends every fault.
func (p *Proxy) RestoreAll() error {
	p.mu.Lock()
	old := p.faults
	p.faults = make(map[string]*fault)
	err := p.mend()
	var tell []func()
	for _, f := range old {
		tell = append(tell, p.over(f))
	}
	p.mu.Unlock()
	for _, t := range tell {
		t()
	}
	return err
}

// over lets go what a fault that is out of force has held. p.mu is held; what is returned tells of it, without p.mu.
func (p *Proxy) over(f *fault) (tell func()) {
	close(f.ended) // first: whoever would hold something from here on sees it
	gone := map[*pair][]iscsi.Header{}
	for pr := range p.pairs {
		if cmds := pr.letGo(f); len(cmds) > 0 {
			gone[pr] = cmds
		}
	}
	return func() {
		for pr, cmds := range gone {
			for i := range cmds {
				pr.affected(f, "release", &cmds[i])
			}
		}
		what := "restore"
		if f.Kind == LinkDown {
			what = "link.up"
		}
		p.emit(Event{What: what, Fault: f.ID, Kind: f.Kind})
	}
}

// mend brings the path into line with the faults that are left. p.mu is held.
func (p *Proxy) mend() error {
	p.publish()
	if p.ln != nil || p.closed {
		return nil
	}
	for _, f := range p.faults {
		if kinds[f.Kind].refuse {
			return nil
		}
	}
	ln, err := net.Listen("tcp", p.addr)
	if err != nil {
		return fmt.Errorf("iscsiproxy: listening again: %w", err)
	}
	p.ln = ln
	p.wg.Go(func() { p.accept(ln) })
	return nil
}

// State takes a snapshot.
func (p *Proxy) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Listen: p.addr, Target: p.cfg.Target, Refusing: p.ln == nil, Silent: p.silent.Load(),
		Connections: len(p.pairs), Accepted: p.nextID, Faults: []Fault{}, SkippedEvents: p.skipped}
	var list []*fault
	for _, f := range p.faults {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *fault) int { return a.num - b.num })
	for _, f := range list {
		s.Faults = append(s.Faults, f.snapshot())
	}
	return s
}
