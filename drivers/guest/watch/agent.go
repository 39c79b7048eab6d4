// This file speaks with one running agent, over whatever connection its driver made.

package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// Agent is a connection to a running agent.
type Agent struct {
	Hello agent.Hello

	begun time.Duration // when it was dialled
	clock *clockMap
	lines *agent.Reader
	end   func()        // ends the connection; never blocks
	left  chan struct{} // closed when it was ended from here
	once  sync.Once

	system atomic.Pointer[agent.System] // the newest

	heard atomic.Int64  // when the last message came, ns on the harness's clock
	send  chan []byte   // to the writer of the agent's input
	gone  chan struct{} // closed when the connection ended

	mu      sync.Mutex
	nextID  int
	waiting map[string]chan answer
	pings   map[string]time.Duration // when they were sent
	err     error                    // why it ended
}

type answer struct {
	agent.Reply
	err error
}

// ErrGone is the answer to a command whose agent ended.
var ErrGone = errors.New("the connection to the agent ended")

// HelloError is a connection that ended or failed before the agent had said a word.
type HelloError struct{ Err error }

func (e *HelloError) Error() string { return "waiting for the agent's hello: " + e.Err.Error() }

// Unwrap returns the connection's own error.
func (e *HelloError) Unwrap() error { return e.Err }

// Join takes a connection to an agent: out is what the agent says, in takes commands, and end ends both without blocking.
// begun is when it was begun, now the harness's clock. It waits for the hello as long as out lets it. Its error is a
// *HelloError, or says what was wrong with the hello; end is the caller's then.
func Join(begun time.Duration, now func() time.Duration, in io.Writer, out io.Reader, end func()) (*Agent, error) {
	a := &Agent{
		begun: begun, clock: &clockMap{}, lines: agent.NewReader(out), end: end, left: make(chan struct{}), send: make(chan []byte, 16), gone: make(chan struct{}),
		waiting: map[string]chan answer{}, pings: map[string]time.Duration{},
	}
	m, err := a.next()
	if err != nil {
		return nil, &HelloError{err}
	}
	if m.Type != agent.TypeHello || m.Hello.Protocol != agent.Protocol {
		return nil, fmt.Errorf("the agent began with %q of protocol version %d, not with a hello of version %d: build it anew with `make build`",
			m.Type, protocolOf(m), agent.Protocol)
	}
	a.Hello = *m.Hello
	a.system.Store(&a.Hello.System)
	a.heard.Store(int64(now()))
	go a.writeIn(in)
	return a, nil
}

// System is the newest state of the guest's disk that the agent told.
func (a *Agent) System() agent.System { return *a.system.Load() }

// Compared tells whether the clock of the agent that is observed has been compared with the harness's.
func (g *Guest) Compared() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.current == nil {
		return false
	}
	c := g.current.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known
}

// End ends the connection.
func (a *Agent) End() {
	a.once.Do(func() { close(a.left) })
	a.end()
}

func protocolOf(m agent.Message) int {
	if m.Hello == nil {
		return 0
	}
	return m.Hello.Protocol
}

// next returns the next good message; lines that are none (a profile that talks) are skipped.
func (a *Agent) next() (agent.Message, error) {
	for {
		var m agent.Message
		err := a.lines.Next(&m)
		var bad *agent.LineError
		switch {
		case errors.As(err, &bad):
		case err != nil:
			return m, err
		case m.Valid():
			return m, nil
		}
	}
}

// writeIn is the one goroutine that writes to the agent: a write can block for ever.
func (a *Agent) writeIn(in io.Writer) {
	for {
		select {
		case b := <-a.send:
			if _, err := in.Write(b); err != nil {
				a.end() // the reader sees it and tells
				return
			}
		case <-a.gone:
			return
		case <-a.left:
			return
		}
	}
}

// serve reads the agent's messages and gives them to handle, until the connection ends. It is called once.
func (a *Agent) serve(now func() time.Duration, handle func(m agent.Message, arrived time.Duration)) {
	var err error
	for {
		var m agent.Message
		if m, err = a.next(); err != nil {
			break
		}
		arrived := now()
		a.heard.Store(int64(arrived))
		if m.Type == agent.TypeReply {
			a.answer(m, arrived)
			continue
		}
		handle(m, arrived)
	}
	a.mu.Lock()
	a.err = err
	for id, w := range a.waiting {
		delete(a.waiting, id)
		w <- answer{err: ErrGone}
	}
	a.mu.Unlock()
	close(a.gone)
	a.end()
}

func (a *Agent) answer(m agent.Message, arrived time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := m.Reply.ID
	if sent, ok := a.pings[id]; ok {
		delete(a.pings, id)
		a.clock.ping(sent, arrived, m.T)
	}
	if w, ok := a.waiting[id]; ok {
		delete(a.waiting, id)
		w <- answer{Reply: *m.Reply}
	}
}

// ping compares the clocks; it does not wait for the answer. Pings that were never answered are few: the queue is bounded.
func (a *Agent) ping(now time.Duration) {
	a.mu.Lock()
	a.nextID++
	id := strconv.Itoa(a.nextID)
	if len(a.pings) > 32 {
		clear(a.pings)
	}
	a.pings[id] = now
	a.mu.Unlock()
	a.queue(agent.Command{Type: agent.CmdPing, ID: id})
}

// queue hands a command to the writer, and tells whether there was room.
func (a *Agent) queue(c agent.Command) bool {
	b, err := json.Marshal(c)
	if err != nil {
		return false
	}
	select {
	case a.send <- append(b, '\n'):
		return true
	default:
		return false
	}
}

// Call sends a command and waits for its reply.
func (a *Agent) Call(ctx context.Context, c agent.Command) (agent.Reply, error) {
	w := make(chan answer, 1)
	a.mu.Lock()
	select {
	case <-a.gone:
		a.mu.Unlock()
		return agent.Reply{}, ErrGone
	default:
	}
	a.nextID++
	c.ID = strconv.Itoa(a.nextID)
	a.waiting[c.ID] = w
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		delete(a.waiting, c.ID)
		a.mu.Unlock()
	}()
	if !a.queue(c) {
		return agent.Reply{}, errors.New("the agent takes no more commands")
	}
	select {
	case p := <-w:
		if p.err != nil {
			return agent.Reply{}, p.err
		}
		if p.Error != "" {
			return p.Reply, fmt.Errorf("the agent: %s", p.Error)
		}
		return p.Reply, nil
	case <-ctx.Done():
		return agent.Reply{}, fmt.Errorf("waiting for the agent to answer %s: %w", c.Type, ctx.Err())
	}
}

// ended tells whether the connection has ended.
func (a *Agent) ended() bool {
	select {
	case <-a.gone:
		return true
	default:
		return false
	}
}
