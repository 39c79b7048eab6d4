// This file makes single HTTP requests: bounded, without redirects, each on a connection of its own, since connections do
// not outlive a reboot and nobody tells a client so.

package truenas

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// bodyLimit bounds an answer, in bytes. A list of a thousand targets has less than 1 MiB.
const bodyLimit = 8 << 20

// statusError is an answer with a status other than 2xx.
type statusError struct {
	status int
	method string
	path   string
	text   string // of the body, for people
	errno  int    // of the body, where the middleware gives one; 0: it does not
}

func (e *statusError) Error() string {
	s := fmt.Sprintf("%s %s was answered with %d %s", e.method, e.path, e.status, http.StatusText(e.status))
	if e.text != "" {
		s += ": " + e.text
	}
	return s
}

// status returns the status of an answer that was none of 2xx, or 0.
func status(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return 0
}

// web is the way to the HTTP server.
type web struct {
	login login
	http  *http.Client
}

func newWeb(l login, t tlstrust.Trust, dial drivers.Dial) *web {
	return &web{login: l, http: t.Client(dial)}
}

// auth says how a request identifies itself.
type auth int

const (
	nobody auth = iota
	basic       // user and password
	best        // the API key if there is one, else user and password
)

// do makes one request and returns the body of a 2xx. body nil: none. Other answers are *statusError, and no text of an
// error contains a secret.
func (w *web) do(ctx context.Context, as auth, method, path string, body any) ([]byte, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, w.login.url.String()+path, send)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "allpathsdown")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case as == best && w.login.key != "":
		req.Header.Set("Authorization", "Bearer "+w.login.key)
	case as != nobody:
		req.SetBasicAuth(w.login.user, w.login.password)
	}
	resp, err := w.http.Do(req)
	if err != nil {
		var at *url.Error
		if errors.As(err, &at) {
			err = at.Err // without the URL, which says nothing new
		}
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, bodyLimit+1))
	switch {
	case resp.StatusCode/100 != 2:
		return nil, &statusError{status: resp.StatusCode, method: method, path: path, text: w.login.quote(readProblem(b)), errno: readErrno(b)}
	case err != nil:
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	case len(b) > bodyLimit:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, bodyLimit)
	}
	return b, nil
}

func (w *web) close() { w.http.CloseIdleConnections() }

// silence is a call that got no answer in time.
type silence struct{ limit time.Duration }

func (e *silence) Error() string { return "did not answer within " + e.limit.String() }

// within bounds a call, and tells a system that was silent from a caller who gave up.
func within[T any](ctx context.Context, limit time.Duration, f func(context.Context) (T, error)) (T, error) {
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	v, err := f(in)
	switch {
	case err == nil:
		return v, nil
	case ctx.Err() != nil:
		return none, fmt.Errorf("%w (%v)", context.Cause(ctx), err)
	case in.Err() != nil:
		return none, &silence{limit}
	}
	return none, err
}
