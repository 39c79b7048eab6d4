// This file turns the messages of one agent into observations.

package watch

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// blockedAfter is how long a read or a write is outstanding before it counts as blocked, by the guest's own clock.
const blockedAfter = time.Second

// handler follows one agent. It is used by one goroutine.
type handler struct {
	o *Observer
	a *Agent

	read, write ioState
	folder      ioState
	full        int // looks running at a disk that was busy all the time
	fullSince   time.Duration
	busyAt      time.Duration // when the look before was
	rounds      uint64
	roundsAt    int64
	loaded      map[string]uint64 // acknowledged records of the extra writers
	loadedAt    int64
	last        time.Duration // where the message before was placed: messages come in order
}

// ioState follows the reads, or the writes of the log.
type ioState struct {
	topic   string
	pending bool
	began   Span
	beganT  int64
	failed  string // the error that was told last
}

func newHandler(o *Observer, a *Agent) *handler {
	return &handler{
		o: o, a: a, read: ioState{topic: "disk"}, write: ioState{topic: "write"}, folder: ioState{topic: "folder"}, loaded: map[string]uint64{},
	}
}

func (h *handler) handle(m agent.Message, arrived time.Duration) {
	lo, hi := h.a.clock.place(m.T, arrived)
	s := Span{lo, hi}
	switch m.Type {
	case agent.TypeBeat:
		h.o.beat(s, arrived)
		h.cpu(m, s)
	case agent.TypeRead:
		h.io(&h.read, "read", m, s)
	case agent.TypeWrite:
		if m.IO.Phase == agent.Done && m.IO.Error == "" {
			h.o.g.acknowledge(h.a.Hello.Instance, m.IO.Path, m.IO.Writer, m.IO.Seq)
		}
		h.io(&h.write, "write", m, s)
	case agent.TypeFolder:
		h.io(&h.folder, "folder", m, s)
	case agent.TypeBusy:
		h.busy(m.Busy.Percent, s)
	case agent.TypeLoad:
		h.load(m, s)
	case agent.TypeSystem:
		h.system(*m.System, s)
	case agent.TypeKmsg:
		attrs := map[string]string{"ktime": strconv.FormatFloat(m.Kmsg.At, 'f', 6, 64)}
		if m.Kmsg.Dropped > 0 {
			attrs["dropped"] = strconv.FormatUint(m.Kmsg.Dropped, 10)
		}
		h.o.Event("kmsg", m.Kmsg.Level, m.Kmsg.Text, s, attrs)
	}
	h.outstanding(&h.read, m.T, s)
	h.outstanding(&h.write, m.T, s)
	h.outstanding(&h.folder, m.T, s)
}

// What a disk's active time, in percent, has to be in so many looks running before it counts as full.
const (
	fullFrom  = 95
	fullLooks = 2
)

// busy tells of the disk's active time since the look before.
func (h *handler) busy(percent float64, s Span) {
	h.o.Sample("busy", percent, s)
	from := s
	if h.busyAt != 0 { // it holds for the time since then
		from.Lo = min(h.busyAt, s.Lo)
	}
	h.busyAt = s.Lo
	switch {
	case percent < fullFrom:
		h.full = 0
		h.o.State("busy", "normal", "", from, nil)
		return
	case h.full == 0:
		h.fullSince = from.Lo
	}
	if h.full++; h.full >= fullLooks {
		h.o.State("busy", "full", "", Span{h.fullSince, s.Hi}, nil)
	}
}

// outstanding tells of a call that does not return. Messages come in the order in which they were sent, so this one proves
// that until its time no end was reported.
func (h *handler) outstanding(st *ioState, t int64, s Span) {
	if st.pending && time.Duration(t-st.beganT) > blockedAfter {
		h.o.State(st.topic, "blocked", "", Span{st.began.Lo, s.Hi}, nil)
	}
}

func (h *handler) io(st *ioState, kind string, m agent.Message, s Span) {
	if m.IO.Phase == agent.Start {
		st.pending, st.began, st.beganT = true, s, m.T
		return
	}
	long := st.pending && time.Duration(m.T-st.beganT) > blockedAfter
	if long { // it ended before another message could tell that it was blocked
		h.o.State(st.topic, "blocked", "", Span{st.began.Lo, s.Lo}, nil)
	}
	st.pending = false
	if m.IO.Error != "" {
		if m.IO.Error != st.failed && kind != "folder" {
			h.o.Event(kind+"-error", kind+"-error", m.IO.Error, s, nil)
		}
		st.failed = m.IO.Error
		h.o.State(st.topic, "error", m.IO.Error, s, nil)
		return
	}
	st.failed = ""
	h.o.Sample(kind, m.IO.Seconds, s)
	h.o.State(st.topic, "ok", "", s, nil)
}

func (h *handler) cpu(m agent.Message, s Span) {
	if dt := time.Duration(m.T - h.roundsAt).Seconds(); h.roundsAt != 0 && dt > 0 && m.Beat.Rounds >= h.rounds {
		h.o.Sample("cpu", float64(m.Beat.Rounds-h.rounds)/dt, s)
	}
	h.rounds, h.roundsAt = m.Beat.Rounds, m.T
}

// load tells of the extra writers together: blocked when one has waited for a second, error when one was refused.
func (h *handler) load(m agent.Message, s Span) {
	value, text, from := "none", "", s
	var sum uint64
	for _, w := range m.Load.Writers {
		if w.Acked > 0 {
			h.o.g.acknowledge(h.a.Hello.Instance, w.Path, w.Writer, w.Acked)
		}
		sum += w.Acked - min(h.loaded[w.Path], w.Acked)
		h.loaded[w.Path] = w.Acked
		waited := time.Duration(m.T - w.Since)
		switch {
		case w.Error != "" && value != "error":
			value, text, from = "error", w.Error, s
		case w.Since != 0 && waited > blockedAfter && value != "error":
			value, from.Lo = "blocked", min(from.Lo, s.Lo-waited)
		case value == "none":
			value = "working"
		}
	}
	idle := m.Load.Wanted == 0 && len(m.Load.Writers) == 0
	if !idle && value == "none" {
		value = "working"
	}
	if dt := time.Duration(m.T - h.loadedAt).Seconds(); h.loadedAt != 0 && dt > 0.1 {
		h.o.Sample("load", float64(sum)/dt, s)
	}
	h.loadedAt = m.T
	if idle {
		h.loadedAt = 0
	}
	h.o.State("load", value, text, from, nil)
}

func (h *handler) system(sys agent.System, s Span) {
	if h.last == 0 {
		h.last = s.Lo
	}
	since := Span{h.last, s.Hi} // it was looked at a second ago
	h.last = s.Lo
	h.a.system.Store(&sys)
	if sys.FS != "" {
		h.o.State("fs", sys.FS, sys.Mount, since, nil)
	}
	if sys.Device != "" {
		h.o.State("device", sys.Device, "", since, map[string]string{
			"scsi_timeout": strconv.FormatFloat(sys.Timeout, 'g', -1, 64),
		})
	}
}

// acknowledge remembers how far a file of the log was acknowledged.
func (g *Guest) acknowledge(instance, path string, writer int, seq uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f, ok := g.acked[path]
	if !ok {
		if !strings.Contains(path, fmt.Sprintf("acklog-%s-%d", instance, writer)) {
			return // not a log of this agent
		}
		f = agent.LogFile{Path: path, Instance: instance, Writer: writer}
	}
	f.Acked = max(f.Acked, seq)
	if g.acked == nil {
		g.acked = map[string]agent.LogFile{}
	}
	g.acked[path] = f
}
