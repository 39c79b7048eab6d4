// This file puts the agent into the guest, starts it outside of WinRM, and connects to it.

package windows

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/link"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// How long what belongs to an agent may take: to push it (megabytes, a shell's way), to place and start it, to reach it, and
// to wait until it listens.
const (
	pushLimit   = 5 * time.Minute
	startLimit  = time.Minute
	dialLimit   = 5 * time.Second
	listenLimit = 20 * time.Second
	listenEvery = 500 * time.Millisecond
)

// machines are the architectures by the words of PROCESSOR_ARCHITECTURE.
var machines = map[string]string{"AMD64": "amd64", "ARM64": "arm64"}

// startReply is the reply of scriptStart.
type startReply struct {
	Running bool   `json:"running"`
	PID     uint32 `json:"pid"`
	Result  uint32 `json:"result"` // of Win32_Process.Create: 0 is good
}

// placeReply is the reply of scriptPlace and scriptPush.
type placeReply struct {
	Path   string `json:"path"`
	SHA256 string `json:"sha256"`
}

func parsePlace(b []byte) (placeReply, error) {
	var p placeReply
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("where the agent lies: %w", err)
	}
	if p.Path == "" {
		return p, errors.New("the guest does not say where the agent lies")
	}
	p.SHA256 = strings.ToLower(p.SHA256)
	return p, nil
}

func parseStart(b []byte) (startReply, error) {
	var s startReply
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("what became of the start: %w", err)
	}
	if !s.Running && s.Result == 0 && s.PID == 0 {
		return s, errors.New("the guest started the agent and names no process")
	}
	return s, nil
}

// openAgent connects to the agent of this run. When there is none in the guest it starts one, and before that puts it there.
// An agent that runs and cannot be reached is left alone: it holds what the guest's memory is judged by.
func (d *Driver) openAgent(ctx context.Context, _ bool) (*watch.Agent, error) {
	d.opening.Lock()
	defer d.opening.Unlock()
	ctx, cancel := d.bound(ctx, pushLimit+startLimit+listenLimit)
	defer cancel()
	if ctx.Err() != nil {
		return nil, &callError{stageTCP, byTimeout, ctx.Err()}
	}
	d.mu.Lock()
	client, instance := d.client, d.instance
	d.mu.Unlock()
	if client != nil {
		a, err := d.dialAgent(ctx, client)
		if err == nil {
			return a, nil
		}
		var e *agentError
		if errors.As(err, &e) && e.way != byRefusal && e.way != byClosing && e.way != byTimeout {
			return nil, err // somebody answers there, and not our agent
		}
	}
	if err := d.placeAgent(ctx); err != nil {
		return nil, err
	}
	client, err := d.startAgent(ctx, instance)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithTimeout(ctx, listenLimit)
	defer cancel()
	for { // it was started a moment ago and is not listening yet
		a, err := d.dialAgent(ctx, client)
		if err == nil {
			return a, nil
		}
		t := time.NewTimer(listenEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

// agentError is an agent that could not be reached.
type agentError struct {
	way string
	err error
}

func (e *agentError) Error() string { return "reaching the agent: " + e.err.Error() }
func (e *agentError) Unwrap() error { return e.err }

// dialAgent connects to an agent that listens.
func (d *Driver) dialAgent(ctx context.Context, client *link.Client) (*watch.Agent, error) {
	begun := d.env.Clock.Now()
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	conn, err := client.Dial(ctx, d.env.Dial, d.agentAddress())
	if err != nil {
		return nil, &agentError{fail(stageTCP, err, ctx.Err() != nil).way, err}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	a, err := watch.Join(begun, d.env.Clock.Now, conn, conn, func() { endConn(conn) })
	if !stop() && err == nil {
		err = ctx.Err()
		a.End()
	}
	if err != nil {
		endConn(conn)
		return nil, &agentError{fail(stageTCP, err, ctx.Err() != nil).way, err}
	}
	return a, nil
}

// endConn closes a connection without waiting for its peer to read the farewell.
func endConn(conn net.Conn) {
	if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
		_ = t.NetConn().Close()
	}
	_ = conn.Close()
}

// placeAgent makes sure that the agent lies in the guest: once a driver, and again after a boot, which may have lost it.
func (d *Driver) placeAgent(ctx context.Context) error {
	d.mu.Lock()
	arch := d.arch
	d.mu.Unlock()
	if arch == "" {
		f, err := d.facts(ctx)
		if err != nil {
			return fmt.Errorf("asking for the architecture: %w", err)
		}
		var ok bool
		if arch, ok = machines[f.Arch]; !ok {
			return fmt.Errorf("no agent for a machine of the kind %q", f.Arch)
		}
	}
	program, err := d.Binary(ctx, "windows", arch)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(program)
	hash := hex.EncodeToString(sum[:])
	name := "agent-" + hash[:16] + ".exe"
	b, err := d.runFor(ctx, startLimit, scriptPlace, map[string]any{"name": name}, nil)
	if err != nil {
		return fmt.Errorf("looking for the agent in the guest: %w", err)
	}
	p, err := parsePlace(b)
	if err != nil {
		return err
	}
	if p.SHA256 != hash {
		if err := d.push(ctx, name, hash, program); err != nil {
			return fmt.Errorf("putting the agent into the guest: %w", err)
		}
	}
	d.mu.Lock()
	d.placed, d.arch = name, arch
	d.mu.Unlock()
	return nil
}

// push writes the agent, packed, and compares what lies there then.
func (d *Driver) push(ctx context.Context, name, hash string, program []byte) error {
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err == nil {
		_, err = z.Write(program)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return fmt.Errorf("packing it: %w", err)
	}
	b, err := d.runFor(ctx, pushLimit, scriptPush, map[string]any{"name": name}, lines(&packed))
	if err != nil {
		return err
	}
	p, err := parsePlace(b)
	if err != nil {
		return err
	}
	if p.SHA256 != hash {
		return fmt.Errorf("it did not arrive whole: its SHA-256 is %.64q there and %q here", p.SHA256, hash)
	}
	return nil
}

// startAgent starts a new agent, unless the one before still runs, and returns its other half.
func (d *Driver) startAgent(ctx context.Context, old string) (*link.Client, error) {
	id, client, err := link.New(net.JoinHostPort("0.0.0.0", strconv.Itoa(d.cfg.AgentPort)))
	if err != nil {
		return nil, fmt.Errorf("making the agent's identity: %w", err)
	}
	secret, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("writing the agent's identity: %w", err)
	}
	d.mu.Lock()
	d.instances++
	instance := fmt.Sprintf("%s-%d", d.name, d.instances)
	name := d.placed
	d.mu.Unlock()
	b, err := d.runFor(ctx, startLimit, scriptStart, map[string]any{"name": name, "old": old, "instance": instance, "keep": d.name}, lines(bytes.NewReader(secret)))
	if err != nil {
		return nil, fmt.Errorf("starting the agent: %w", err)
	}
	s, err := parseStart(b)
	switch {
	case err != nil:
		return nil, err
	case s.Running:
		return nil, fmt.Errorf("the agent runs (process %d) and cannot be reached at %s: a firewall may be between, see firewall in the lab file", s.PID, d.agentAddress())
	case s.Result != 0:
		return nil, fmt.Errorf("the guest does not start the agent: Win32_Process.Create returned %d", s.Result)
	}
	d.mu.Lock()
	d.client, d.instance = client, instance
	d.mu.Unlock()
	return client, nil
}

// runFor is run with a deadline of its own.
func (d *Driver) runFor(ctx context.Context, limit time.Duration, s script, args any, input io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return d.run(ctx, s, args, input)
}

// why says in a few words why an agent could not be reached or started.
func why(err error) string {
	var e *callError
	var a *agentError
	switch {
	case errors.As(err, &a):
		return "agent " + a.way
	case errors.As(err, &e):
		return "winrm " + e.words()
	}
	return err.Error()
}
