package iscsiproxy

// This file is the control socket, both ends of it.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// injectRequest is the body of POST /v1/faults.
type injectRequest struct {
	Kind Kind  `json:"kind"`
	Rule *Rule `json:"rule,omitempty"`
}

type errorReply struct {
	Error string `json:"error"`
}

// Serve answers the control protocol, HTTP with JSON, on a unix socket of mode 0600 until ctx ends:
//
//	POST   /v1/faults       {"kind":"stall","rule":{"lun":1}} gives the Fault; the rule has the Action's fields too
//	DELETE /v1/faults/{id}  restores one; DELETE /v1/faults restores all
//	GET    /v1/state        gives the State
//	GET    /v1/events       gives Events from now on, one a line
//
// A socket file that is left over from a dead process is replaced.
func (p *Proxy) Serve(ctx context.Context, socketPath string) error {
	if c, err := net.DialTimeout("unix", socketPath, time.Second); err == nil {
		_ = c.Close()
		return fmt.Errorf("iscsiproxy: control socket %s is in use", socketPath)
	}
	_ = os.Remove(socketPath)
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", socketPath)
	if err != nil {
		return fmt.Errorf("iscsiproxy: control socket: %w", err)
	}
	if err := os.Chmod(socketPath, 0o600); err != nil {
		_ = ln.Close()
		return fmt.Errorf("iscsiproxy: control socket: %w", err)
	}
	srv := &http.Server{Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("iscsiproxy: control socket: %w", err)
	}
	return nil
}

func (p *Proxy) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("POST /v1/faults", func(w http.ResponseWriter, r *http.Request) {
		var in injectRequest
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			answer(w, http.StatusBadRequest, errorReply{err.Error()})
			return
		}
		f, err := p.Inject(in.Kind, in.Rule)
		if err != nil {
			answer(w, http.StatusBadRequest, errorReply{err.Error()})
			return
		}
		answer(w, http.StatusOK, f)
	})
	restored := func(w http.ResponseWriter, err error) {
		if err != nil {
			answer(w, http.StatusInternalServerError, errorReply{err.Error()})
			return
		}
		answer(w, http.StatusOK, p.State())
	}
	m.HandleFunc("DELETE /v1/faults/{id}", func(w http.ResponseWriter, r *http.Request) { restored(w, p.Restore(r.PathValue("id"))) })
	m.HandleFunc("DELETE /v1/faults", func(w http.ResponseWriter, _ *http.Request) { restored(w, p.RestoreAll()) })
	m.HandleFunc("GET /v1/state", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, p.State()) })
	m.HandleFunc("GET /v1/events", p.stream)
	return m
}

func (p *Proxy) stream(w http.ResponseWriter, r *http.Request) {
	ch, stop := p.Subscribe()
	defer stop()
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc, enc := http.NewResponseController(w), json.NewEncoder(w)
	if rc.Flush() != nil {
		return
	}
	for {
		select {
		case e := <-ch:
			if enc.Encode(e) != nil || rc.Flush() != nil {
				return
			}
		case <-r.Context().Done():
			return
		case <-p.ctx.Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// Client speaks to a Proxy's control socket, from another process for instance.
type Client struct{ http http.Client }

// NewClient makes a client; it connects when it is used.
func NewClient(socketPath string) *Client {
	return &Client{http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socketPath)
	}}}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Inject starts a fault; see Proxy.Inject.
func (c *Client) Inject(ctx context.Context, kind Kind, rule *Rule) (f Fault, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/faults", injectRequest{kind, rule}, &f)
	return f, err
}

// Restore ends one fault; it is no error when it is not there.
func (c *Client) Restore(ctx context.Context, id string) error {
	return c.do(ctx, http.MethodDelete, "/v1/faults/"+id, nil, nil)
}

// RestoreAll ends every fault.
func (c *Client) RestoreAll(ctx context.Context) error {
	return c.do(ctx, http.MethodDelete, "/v1/faults", nil, nil)
}

// State takes a snapshot.
func (c *Client) State(ctx context.Context) (s State, err error) {
	err = c.do(ctx, http.MethodGet, "/v1/state", nil, &s)
	return s, err
}

// Events calls fn for every event until ctx ends, which is no error, or the proxy does. started, if not nil,
// is closed when no later event can be missed.
func (c *Client) Events(ctx context.Context, started chan<- struct{}, fn func(Event)) error {
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if started != nil {
		close(started)
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		var e Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("iscsiproxy: event: %w", err)
		}
		fn(e)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("iscsiproxy: events: %w", err)
	}
	return io.ErrUnexpectedEOF
}

func (c *Client) do(ctx context.Context, method, path string, in, out any) error {
	resp, err := c.send(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(resp.Body).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("iscsiproxy: %s %s: %w", method, path, err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("iscsiproxy: %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://iscsiproxy"+path, body)
	if err != nil {
		return nil, fmt.Errorf("iscsiproxy: %s %s: %w", method, path, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("iscsiproxy: %s %s: %w", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		var e errorReply
		_ = json.NewDecoder(resp.Body).Decode(&e)
		return nil, fmt.Errorf("iscsiproxy: %s %s: %s: %s", method, path, resp.Status, e.Error)
	}
	return resp, nil
}
