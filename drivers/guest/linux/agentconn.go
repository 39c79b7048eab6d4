// This file puts the agent into the guest, runs it, and speaks with it.

package linux

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/binary"
)

func defaultBinary(ctx context.Context, goos, goarch string) ([]byte, error) {
	return binary.Binary(ctx, goos, goarch)
}

// openLimit bounds the way from the first packet to the agent's hello.
const openLimit = 45 * time.Second

// place stores what comes on standard input as $name in memory and makes it a program. Where /run may not hold programs
// (some distributions mount it noexec), /dev/shm is the next. It prints where the program is.
const place = `umask 077; for d in /run/apd /dev/shm/apd; do mkdir -p $d || exit; f=$d/agent-$name
if [ -z "$from" ]; then cat >$f || exit; else cp $from $f && rm -f $from || exit; fi
chmod 700 $f; if $f -version >/dev/null 2>&1; then echo $f; exit 0; fi; from=$f; done; rm -f $from; exit 126`

// agentConn is a running agent.
type agentConn struct {
	c     *client
	hello agent.Hello
	begun time.Duration // when it was dialled
	clock clockMap
	lines *agent.Reader

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

// errGone is the answer to a command whose agent ended.
var errGone = errors.New("the connection to the agent ended")

// machines are the architectures by the words of uname -m.
var machines = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}

// openAgent puts a new agent into the guest and runs it. A quiet one takes commands and does nothing else.
func (d *Driver) openAgent(ctx context.Context, quiet bool) (*agentConn, error) {
	ctx, cancel := d.bound(ctx, openLimit)
	defer cancel()
	a := &agentConn{
		begun: d.env.Clock.Now(), send: make(chan []byte, 16), gone: make(chan struct{}),
		waiting: map[string]chan answer{}, pings: map[string]time.Duration{},
	}
	c, err := d.dial(ctx)
	if err != nil {
		return nil, err
	}
	a.c = c
	if err := d.startAgent(ctx, a, quiet); err != nil {
		c.end()
		return nil, err
	}
	c.free()
	return a, nil
}

func (d *Driver) startAgent(ctx context.Context, a *agentConn, quiet bool) error {
	machine, err := a.c.command(ctx, "uname -m", nil)
	if err != nil {
		return fmt.Errorf("asking for the architecture: %w", err)
	}
	arch, ok := machines[machine]
	if !ok {
		return fmt.Errorf("no agent for a machine of the kind %q", machine)
	}
	program, err := d.binary(ctx, "linux", arch)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.instances++
	instance := fmt.Sprintf("%s-%d", d.run, d.instances)
	d.mu.Unlock()
	path, err := a.c.command(ctx, "name="+instance+" from=; "+place, bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("putting the agent into the guest: %w (%.200s)", err, path)
	}
	path = path[strings.LastIndexByte(path, '\n')+1:]

	s, err := a.c.NewSession()
	if err != nil {
		return fail(stageSession, err, ctx.Err() != nil)
	}
	in, err := s.StdinPipe()
	if err != nil {
		return fmt.Errorf("the agent's input: %w", err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return fmt.Errorf("the agent's output: %w", err)
	}
	line := fmt.Sprintf("exec %s -remove -instance %s -keep %s %s", path, instance, d.run, d.agentArgs)
	if quiet {
		line += " -quiet"
	}
	if err := s.Start(line); err != nil {
		return fail(stageCommand, err, ctx.Err() != nil)
	}
	a.lines = agent.NewReader(out)
	m, err := a.next()
	if err != nil {
		return fmt.Errorf("waiting for the agent's hello: %w", fail(stageCommand, err, ctx.Err() != nil))
	}
	if m.Type != agent.TypeHello || m.Hello.Protocol != agent.Protocol {
		return fmt.Errorf("the agent began with %q of protocol version %d, not with a hello of version %d: build it anew with `make build`",
			m.Type, protocolOf(m), agent.Protocol)
	}
	a.hello = *m.Hello
	a.system.Store(&a.hello.System)
	a.heard.Store(int64(d.env.Clock.Now()))
	go a.writeIn(in)
	return nil
}

func protocolOf(m agent.Message) int {
	if m.Hello == nil {
		return 0
	}
	return m.Hello.Protocol
}

// next returns the next good message; lines that are none (a profile that talks) are skipped.
func (a *agentConn) next() (agent.Message, error) {
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
func (a *agentConn) writeIn(in io.Writer) {
	for {
		select {
		case b := <-a.send:
			if _, err := in.Write(b); err != nil {
				a.c.end() // the reader sees it and tells
				return
			}
		case <-a.gone:
			return
		}
	}
}

// serve reads the agent's messages and gives them to handle, until the connection ends. It is called once.
func (a *agentConn) serve(now func() time.Duration, handle func(m agent.Message, arrived time.Duration)) {
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
		w <- answer{err: errGone}
	}
	a.mu.Unlock()
	close(a.gone)
	a.c.end()
}

func (a *agentConn) answer(m agent.Message, arrived time.Duration) {
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
func (a *agentConn) ping(now time.Duration) {
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
func (a *agentConn) queue(c agent.Command) bool {
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

// call sends a command and waits for its reply.
func (a *agentConn) call(ctx context.Context, c agent.Command) (agent.Reply, error) {
	w := make(chan answer, 1)
	a.mu.Lock()
	select {
	case <-a.gone:
		a.mu.Unlock()
		return agent.Reply{}, errGone
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
func (a *agentConn) ended() bool {
	select {
	case <-a.gone:
		return true
	default:
		return false
	}
}

// why says in a few words why a connection to an agent could not be made.
func why(err error) string {
	var e *loginError
	var exit *ssh.ExitError
	switch {
	case errors.As(err, &e):
		return e.words()
	case errors.As(err, &exit):
		return fmt.Sprintf("the guest cannot run it: exit status %d", exit.ExitStatus())
	}
	return err.Error()
}
