// This file speaks QMP, QEMU's machine protocol (docs/interop/qmp-spec): one JSON object a line over a Unix socket.

package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// QMP is one connection to a QEMU's monitor. QEMU serves one client a socket. Commands are answered in order; a command
// whose caller gave up is still waited for by the reader, so a later answer is never taken for that of another.
type QMP struct {
	conn   net.Conn
	mu     sync.Mutex
	next   int
	wait   map[int]chan reply
	closed chan struct{}
	err    error
	events func(name string, data json.RawMessage)
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *struct{ Class, Desc string }
	ID     int             `json:"id"`
	Event  string          `json:"event"`
	Data   json.RawMessage `json:"data"`
}

// ErrStalled is returned when QEMU did not answer within the caller's deadline.
var ErrStalled = errors.New("QEMU does not answer its monitor")

// DialQMP connects and leaves negotiation mode. events, which may be nil, is called for each asynchronous event.
func DialQMP(ctx context.Context, socket string, events func(string, json.RawMessage)) (*QMP, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connecting to the monitor: %w", err)
	}
	q := &QMP{conn: conn, wait: map[int]chan reply{}, closed: make(chan struct{}), events: events}
	go q.read()
	if err := q.Do(ctx, "qmp_capabilities", nil, nil); err != nil {
		conn.Close()
		return nil, err
	}
	return q, nil
}

func (q *QMP) read() {
	sc := bufio.NewScanner(q.conn)
	sc.Buffer(make([]byte, 0, 1<<14), 1<<22)
	for sc.Scan() {
		var r reply
		if json.Unmarshal(sc.Bytes(), &r) != nil {
			continue
		}
		if r.Event != "" {
			if q.events != nil {
				q.events(r.Event, r.Data)
			}
			continue
		}
		q.mu.Lock()
		ch := q.wait[r.ID]
		delete(q.wait, r.ID)
		q.mu.Unlock()
		if ch != nil {
			ch <- r
		}
	}
	q.mu.Lock()
	q.err = fmt.Errorf("the monitor's connection ended: %w", errors.Join(sc.Err(), net.ErrClosed))
	q.mu.Unlock()
	close(q.closed)
}

// Do runs a command and decodes its answer into out, which may be nil. It returns ErrStalled, wrapped, when ctx ends first.
func (q *QMP) Do(ctx context.Context, cmd string, args any, out any) error {
	q.mu.Lock()
	if q.err != nil {
		q.mu.Unlock()
		return q.err
	}
	q.next++
	id := q.next
	ch := make(chan reply, 1)
	q.wait[id] = ch
	q.mu.Unlock()
	b, err := json.Marshal(struct {
		Execute string `json:"execute"`
		Args    any    `json:"arguments,omitempty"`
		ID      int    `json:"id"`
	}{cmd, args, id})
	if err != nil {
		return fmt.Errorf("%s: %w", cmd, err)
	}
	if dl, ok := ctx.Deadline(); ok {
		q.conn.SetWriteDeadline(dl)
	} else {
		q.conn.SetWriteDeadline(time.Time{})
	}
	if _, err := q.conn.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("%s: sending to the monitor: %w", cmd, err)
	}
	select {
	case r := <-ch:
		if r.Error != nil {
			return fmt.Errorf("%s: QEMU says: %s", cmd, r.Error.Desc)
		}
		if out != nil {
			if err := json.Unmarshal(r.Return, out); err != nil {
				return fmt.Errorf("%s: reading QEMU's answer: %w", cmd, err)
			}
		}
		return nil
	case <-q.closed:
		return q.err
	case <-ctx.Done():
		return fmt.Errorf("%s: %w: %w", cmd, ErrStalled, ctx.Err())
	}
}

// Done is closed when the connection has ended.
func (q *QMP) Done() <-chan struct{} { return q.closed }

// Close ends the connection; QEMU goes on.
func (q *QMP) Close() error { return q.conn.Close() }
