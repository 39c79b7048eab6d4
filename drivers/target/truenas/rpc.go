// This file keeps the session of JSON-RPC: one connection, logged in when it is first needed and again when it is
// gone, which it is after each reboot.

package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// rpc is the system behind the connection.
type rpc struct {
	web *web
	t   timing
	has version

	turn chan struct{} // has one while somebody connects

	mu     sync.Mutex
	now    *link
	denied error // of the last login, if it was refused
	at     time.Time
	closed bool
}

func newRPC(w *web, t timing) *rpc { return &rpc{web: w, t: t, turn: make(chan struct{}, 1)} }

// again is how long a refused login is not repeated: the system counts them, and slows down or locks out whoever goes on.
const again = 30 * time.Second

var errClosed = errors.New("the driver is closed")

func (r *rpc) link(ctx context.Context) (*link, error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	r.mu.Lock()
	l, closed, denied := r.now, r.closed, r.denied
	if time.Since(r.at) > again {
		denied = nil
	}
	r.mu.Unlock()
	switch {
	case closed:
		return nil, errClosed
	case denied != nil:
		return nil, denied
	case l != nil && l.ended() == nil:
		return l, nil
	}
	l, err := r.connect(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if errors.Is(err, errAccess) {
			r.denied, r.at = err, time.Now()
		}
		return nil, err
	}
	if r.closed {
		_ = l.ws.CloseNow()
		return nil, errClosed
	}
	r.now, r.denied = l, nil
	return l, nil
}

// connect dials and logs in. The URL's scheme was checked before: no key goes over anything but TLS or loopback.
func (r *rpc) connect(ctx context.Context) (*link, error) {
	u := *r.web.login.url
	u.Scheme = map[string]string{"https": "wss", "http": "ws"}[u.Scheme]
	ws, resp, err := websocket.Dial(ctx, u.String()+"/api/current", &websocket.DialOptions{HTTPClient: r.web.http})
	if err != nil {
		if resp != nil && resp.StatusCode != 101 {
			return nil, &statusError{status: resp.StatusCode, method: "GET", path: "/api/current"}
		}
		return nil, fmt.Errorf("opening the WebSocket: %w", err)
	}
	ws.SetReadLimit(bodyLimit)
	l := &link{ws: ws, waiting: map[int]chan reply{}, heard: time.Now()}
	go l.listen()
	if err := r.enter(ctx, l); err != nil {
		_ = ws.CloseNow()
		return nil, err
	}
	return l, nil
}

// enter logs in (tag TS-25.04.0, plugins/auth.py, login_ex).
func (r *rpc) enter(ctx context.Context, l *link) error {
	lg := r.web.login
	if lg.key != "" && lg.user == "" {
		b, err := l.call(ctx, "auth.login_with_api_key", []any{lg.key})
		if err != nil {
			return r.enterError(err)
		}
		if ok, err := decode[bool](b); err != nil || !ok {
			return &accessError{"AUTH_ERR"}
		}
		return nil
	}
	arg := map[string]any{"mechanism": "PASSWORD_PLAIN", "username": lg.user, "password": lg.password}
	if lg.key != "" {
		arg = map[string]any{"mechanism": "API_KEY_PLAIN", "username": lg.user, "api_key": lg.key}
	}
	b, err := l.call(ctx, "auth.login_ex", []any{arg})
	if err != nil {
		return r.enterError(err)
	}
	v, err := decode[struct {
		Type string `json:"response_type"`
	}](b)
	if err != nil {
		return err
	}
	if v.Type != "SUCCESS" {
		return &accessError{lg.quote(v.Type)}
	}
	return nil
}

// enterError keeps errors of the login apart from those of other calls.
func (r *rpc) enterError(err error) error {
	var e *rpcError
	if errors.As(err, &e) && e.Code == codeCall {
		return &accessError{strings.TrimSpace(e.Data.Name + " " + r.web.login.quote(e.Data.Reason))}
	}
	return r.clean(err)
}

// clean takes secrets out of the words of an error.
func (r *rpc) clean(err error) error {
	var e *rpcError
	if errors.As(err, &e) {
		e.Message, e.Data.Reason, e.Data.Name = r.web.login.quote(e.Message), r.web.login.quote(e.Data.Reason), r.web.login.quote(e.Data.Name)
	}
	return err
}

// call makes a call on the connection that there is, or on a new one.
func (r *rpc) call(ctx context.Context, method string, params ...any) (json.RawMessage, error) {
	l, err := r.link(ctx)
	if err != nil {
		return nil, err
	}
	b, err := l.call(ctx, method, params)
	var e *rpcError
	if errors.As(err, &e) && e.Data.Errno == errnoNotAuthenticated {
		_ = l.ws.CloseNow() // the session has expired: the next call logs in again
	}
	return b, r.clean(err)
}

func (r *rpc) close() {
	r.mu.Lock()
	l := r.now
	r.now, r.closed = nil, true
	r.mu.Unlock()
	if l != nil {
		_ = l.ws.CloseNow()
	}
}
