// This file is one WebSocket with JSON-RPC on it: calls that wait for their answers, and what errors say.

package truenas

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// What JSON-RPC errors mean (tag TS-25.10.0, api/base/server/ws_handler/rpc.py).
const (
	codeNoMethod  = -32601
	codeBadParams = -32602
	codeCall      = -32001
	codeTooMany   = -32000
)

// errnoNotAuthenticated is the middleware's own ENOTAUTHENTICATED (tag TS-25.04.0, service_exception.py).
const errnoNotAuthenticated = 207

// rpcError is the error of a call. Its text has no secret in it.
type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Data    struct {
		Errno  int    `json:"error"`
		Name   string `json:"errname"`
		Reason string `json:"reason"`
	} `json:"data"`
	method string
}

func (e *rpcError) Error() string {
	s := fmt.Sprintf("%s: error %d, %s", e.method, e.Code, e.Message)
	if e.Data.Name != "" {
		s += " (" + e.Data.Name + ")"
	}
	if e.Data.Reason != "" {
		s += ": " + e.Data.Reason
	}
	return s
}

// reply is a message from the server: an answer when it has an id, else a notification.
type reply struct {
	ID     *int            `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  *rpcError       `json:"error"`
}

// readReply reads one message. ok is false for notifications, and for what is no answer to a call of this client.
func readReply(b []byte) (r reply, ok bool) {
	r, err := decode[reply](b)
	return r, err == nil && r.ID != nil
}

// link is one connection.
type link struct {
	ws *websocket.Conn

	mu      sync.Mutex
	next    int
	waiting map[int]chan reply
	heard   time.Time // when the last message came
	broken  error
}

// errBroken is matched by calls whose connection ended: whether the server made them is not known.
var errBroken = errors.New("the connection to the API ended")

// listen hands out the answers until the connection ends.
func (l *link) listen() {
	for {
		_, b, err := l.ws.Read(context.Background())
		l.mu.Lock()
		if err != nil {
			l.broken = fmt.Errorf("%w: %v", errBroken, err)
			for _, ch := range l.waiting {
				close(ch)
			}
			l.waiting = nil
			l.mu.Unlock()
			_ = l.ws.CloseNow()
			return
		}
		l.heard = time.Now()
		if r, ok := readReply(b); ok && l.waiting[*r.ID] != nil {
			l.waiting[*r.ID] <- r
			delete(l.waiting, *r.ID)
		}
		l.mu.Unlock()
	}
}

func (l *link) ended() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// call makes one call. A server that has said nothing since, when ctx ends, is given up with its connection: after a
// power cut nobody else tells that it is gone.
func (l *link) call(ctx context.Context, method string, params []any) (json.RawMessage, error) {
	ch := make(chan reply, 1)
	l.mu.Lock()
	if l.broken != nil {
		defer l.mu.Unlock()
		return nil, l.broken
	}
	l.next++
	id := l.next
	l.waiting[id] = ch
	l.mu.Unlock()
	sent := time.Now()
	if params == nil {
		params = []any{}
	}
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": id, "method": method, "params": params})
	if err != nil {
		return nil, fmt.Errorf("writing a call: %w", err)
	}
	if err := l.ws.Write(ctx, websocket.MessageText, b); err != nil {
		_ = l.ws.CloseNow()
		return nil, fmt.Errorf("%s: %w: %v", method, errBroken, err)
	}
	select {
	case r, ok := <-ch:
		switch {
		case !ok:
			return nil, fmt.Errorf("%s: %w", method, l.ended())
		case r.Error != nil:
			r.Error.method = method
			return nil, r.Error
		}
		return r.Result, nil
	case <-ctx.Done():
		l.mu.Lock()
		delete(l.waiting, id)
		silent := l.heard.Before(sent)
		l.mu.Unlock()
		if silent {
			_ = l.ws.CloseNow()
		}
		return nil, fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}
