package iscsiproxy

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// Kind is a kind of fault.
type Kind string

// The kinds. Those from Stall on take a Rule.
const (
	Cut       Kind = "cut"       // connections closed (FIN), new ones refused (RST)
	Reset     Kind = "reset"     // connections reset (RST), new ones refused (RST)
	Blackhole Kind = "blackhole" // silence: nothing goes on in either direction, connections stay
	LinkDown  Kind = "link-down" // as Blackhole on the wire, reported as a link event
	Stall     Kind = "stall"     // commands that match are lost, ABORT TASK for them is not answered
	Swallow   Kind = "swallow"   // commands that match are lost, ABORT TASK for them is answered "function complete"
)

// Rule chooses SCSI commands. The zero Rule matches every one.
type Rule struct {
	LUN       *int   `json:"lun,omitempty"`       // nil: any
	Class     string `json:"class,omitempty"`     // read, write, sync, io (those three), any; empty is any
	FirstLBA  uint64 `json:"first_lba,omitempty"` // blocks; a command matches that touches FirstLBA to LastLBA
	LastLBA   uint64 `json:"last_lba,omitempty"`  // 0: no upper end
	Initiator string `json:"initiator,omitempty"` // InitiatorName of the login; empty: any
	Nth       int    `json:"nth,omitempty"`       // the first of the matching commands that is hit; 0 is 1
	Count     int    `json:"count,omitempty"`     // how many are hit from there; 0: no limit
}

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

	conns, matched, pdus, discarded atomic.Int64
}

func (f *fault) snapshot() Fault {
	out := f.Fault
	out.Connections, out.Matched, out.PDUs, out.Discarded = f.conns.Load(), f.matched.Load(), f.pdus.Load(), f.discarded.Load()
	return out
}

// kinds is the table of what each kind does to the path as a whole.
var kinds = map[Kind]struct{ refuse, silent, rule bool }{
	Cut: {refuse: true}, Reset: {refuse: true},
	Blackhole: {silent: true}, LinkDown: {silent: true},
	Stall: {rule: true}, Swallow: {rule: true},
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
		if !slices.Contains([]string{"", "any", "io", "read", "write", "sync"}, r.Class) {
			return Fault{}, fmt.Errorf("iscsiproxy: class %q is not one of read, write, sync, io, any", r.Class)
		}
		rule = &r
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return Fault{}, net.ErrClosed
	}
	p.nFault++
	f := &fault{Fault: Fault{ID: strconv.Itoa(p.nFault), Kind: kind, Rule: rule, Since: time.Now()}, num: p.nFault}
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
		for pr := range p.pairs {
			pr.shut(kind == Reset)
		}
	}
	if k.silent {
		for pr := range p.pairs {
			pr.kickWrites()
		}
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
	return f.snapshot(), nil
}

// publish makes the set of faults known to the forwarders. p.mu is held.
func (p *Proxy) publish() {
	var rules []*fault
	silent := false
	for _, f := range p.faults {
		if kinds[f.Kind].rule {
			rules = append(rules, f)
		}
		silent = silent || kinds[f.Kind].silent
	}
	slices.SortFunc(rules, func(a, b *fault) int { return a.num - b.num })
	p.rules.Store(&rules)
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
	p.mu.Unlock()
	if f != nil {
		p.restored(f)
	}
	return err
}

// RestoreAll ends every fault.
func (p *Proxy) RestoreAll() error {
	p.mu.Lock()
	old := p.faults
	p.faults = make(map[string]*fault)
	err := p.mend()
	p.mu.Unlock()
	for _, f := range old {
		p.restored(f)
	}
	return err
}

func (p *Proxy) restored(f *fault) {
	what := "restore"
	if f.Kind == LinkDown {
		what = "link.up"
	}
	p.emit(Event{What: what, Fault: f.ID, Kind: f.Kind})
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

// hit is the first active fault whose rule chooses this command, nil if none.
func (p *Proxy) hit(h *iscsi.Header, initiator string) *fault {
	for _, f := range *p.rules.Load() {
		if f.Rule.matches(h, initiator) {
			n, nth := f.matched.Add(1), int64(max(1, f.Rule.Nth))
			if n >= nth && (f.Rule.Count == 0 || n < nth+int64(f.Rule.Count)) {
				return f
			}
		}
	}
	return nil
}

func (r *Rule) matches(h *iscsi.Header, initiator string) bool {
	if r.LUN != nil && h.LUN().Number() != *r.LUN {
		return false
	}
	if r.Initiator != "" && r.Initiator != initiator {
		return false
	}
	class := iscsi.OpClass(h.CDB()[0])
	switch r.Class {
	case "read", "write", "sync":
		if class.String() != r.Class {
			return false
		}
	case "io":
		if class == iscsi.ClassOther {
			return false
		}
	}
	if r.FirstLBA == 0 && r.LastLBA == 0 {
		return true
	}
	lba, n, ok := iscsi.Extent(h.CDB())
	if !ok {
		return false
	}
	last := lba + uint64(max(1, n)) - 1
	return last >= r.FirstLBA && (r.LastLBA == 0 || lba <= r.LastLBA)
}
