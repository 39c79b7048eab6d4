// This file is the launcher's protocol: HTTP with JSON over a Unix socket. The launcher is the process that owns the QEMU
// processes (it must drain their trace pipes), starts them and kills them; fixtures/embedded has one.

package qemu

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// HostEvent is something that happened in the launcher: in its storage stack, or to a QEMU process.
type HostEvent struct {
	Mono  int64             `json:"mono"` // CLOCK_MONOTONIC of this machine, ns
	VM    string            `json:"vm,omitempty"`
	Kind  drivers.Kind      `json:"kind"` // state or event
	Topic string            `json:"topic"`
	Value string            `json:"value"`
	Text  string            `json:"text,omitempty"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

// HostState is what the launcher says of itself.
type HostState struct {
	Host     string            `json:"host"` // "esxi" or "qemu"
	Settings map[string]string `json:"settings"`
	VMs      []VMState         `json:"vms"`
	NAS      *VMState          `json:"nas,omitempty"` // the machine that the target runs on, where it does
}

// VMState is one virtual machine as the launcher knows it.
type VMState struct {
	Name string `json:"name"`
	On   bool   `json:"on"`
	PID  int    `json:"pid,omitempty"`
	QMP  string `json:"qmp"`
}

// Launcher is a client of a launcher's socket.
type Launcher struct {
	socket string
	hc     *http.Client
}

// NewLauncher returns a client; it does not connect yet.
func NewLauncher(socket string) *Launcher {
	return &Launcher{socket: socket, hc: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// Get decodes the answer of a GET of path.
func (l *Launcher) Get(ctx context.Context, path string, out any) error {
	return l.do(ctx, http.MethodGet, path, nil, out)
}

// Post sends in as JSON to path and decodes the answer into out; both may be nil.
func (l *Launcher) Post(ctx context.Context, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("asking the launcher: %w", err)
		}
		body = bytes.NewReader(b)
	}
	return l.do(ctx, http.MethodPost, path, body, out)
}

func (l *Launcher) do(ctx context.Context, method, path string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://launcher"+path, body)
	if err != nil {
		return fmt.Errorf("asking the launcher: %w", err)
	}
	res, err := l.hc.Do(req)
	if err != nil {
		return fmt.Errorf("asking the launcher %s: %w", path, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		msg, _ := io.ReadAll(io.LimitReader(res.Body, 2000))
		return fmt.Errorf("the launcher refuses %s: %s", path, strings.TrimSpace(string(msg)))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the launcher's answer to %s: %w", path, err)
	}
	return nil
}

// Events calls fn for every state that holds at since (CLOCK_MONOTONIC, ns) and every event after it, until ctx ends or
// the launcher goes.
func (l *Launcher) Events(ctx context.Context, since int64, fn func(HostEvent)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://launcher/events?since=%d", since), nil)
	if err != nil {
		return fmt.Errorf("following the launcher: %w", err)
	}
	res, err := l.hc.Do(req)
	if err != nil {
		return fmt.Errorf("following the launcher: %w", err)
	}
	defer res.Body.Close()
	sc := bufio.NewScanner(res.Body)
	for sc.Scan() {
		var e HostEvent
		if json.Unmarshal(sc.Bytes(), &e) == nil {
			fn(e)
		}
	}
	return sc.Err()
}

// Close drops idle connections.
func (l *Launcher) Close() { l.hc.CloseIdleConnections() }
