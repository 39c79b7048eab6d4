// This file makes single calls to Prism Element: bounded, without redirects and without a second try, each on a connection of its
// own. A client that tried again would hide the very outage that is to be seen.

package nutanix

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// bodyLimit bounds an answer, in bytes: a thousand VMs are some MiB.
const bodyLimit = 16 << 20

// The generations of Prism Element's REST.
const (
	v1 = "/PrismGateway/services/rest/v1/"
	v2 = "/PrismGateway/services/rest/v2.0/"
)

// statusError is an answer with a status other than 2xx.
type statusError struct {
	status       int
	method, path string
	text         string
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

// silence is a call that got no answer in time.
type silence struct{ limit time.Duration }

func (e *silence) Error() string { return "did not answer within " + e.limit.String() }

type prism struct {
	host, user, password string
	http                 *http.Client
}

func newPrism(address, user, password string, t tlstrust.Trust, dial drivers.Dial) *prism {
	return &prism{host: address, user: user, password: password, http: t.Client(dial)}
}

// call makes one call within a limit and returns the body of a 2xx. No text of its errors has the password in it.
func (p *prism) call(ctx context.Context, limit time.Duration, method, path string, body any) ([]byte, error) {
	in, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	b, err := p.do(in, method, path, body)
	switch {
	case err == nil:
		return b, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w (%w)", context.Cause(ctx), err)
	case in.Err() != nil:
		return nil, fmt.Errorf("%s %s: %w", method, path, &silence{limit})
	}
	return nil, err
}

func (p *prism) do(ctx context.Context, method, path string, body any) ([]byte, error) {
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("writing a request: %w", err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+p.host+path, send)
	if err != nil {
		return nil, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "allpathsdown")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.SetBasicAuth(p.user, p.password)
	resp, err := p.http.Do(req)
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
		return nil, &statusError{status: resp.StatusCode, method: method, path: path, text: p.quote(readProblem(b))}
	case err != nil:
		return nil, fmt.Errorf("%s %s: reading the answer: %w", method, path, err)
	case len(b) > bodyLimit:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, bodyLimit)
	}
	return b, nil
}

// ask makes a call that only reads, and reads its answer.
func ask[T any](ctx context.Context, d *Driver, path string, read func([]byte) (T, error)) (T, error) {
	var none T
	b, err := d.prism.call(ctx, d.t.prism, http.MethodGet, path, nil)
	if err != nil {
		return none, err
	}
	v, err := read(b)
	if err != nil {
		return none, fmt.Errorf("GET %s: %w", path, err)
	}
	return v, nil
}

func (p *prism) close() { p.http.CloseIdleConnections() }

// secret reads a password out of a file, or else out of a variable.
func secret(file, key string, getenv func(string) string) (string, error) {
	if file == "" {
		if s := getenv(key); s != "" {
			return s, nil
		}
		return "", errors.New("no password is given")
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading password_file: %w", err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", errors.New("password_file is empty")
	}
	return s, nil
}

// textLimit bounds what is quoted, in bytes.
const textLimit = 400

// quote prepares words for people: one line, without the password, not too long.
func (p *prism) quote(text string) string {
	if len(p.password) >= 3 {
		for _, s := range []string{p.password, base64.StdEncoding.EncodeToString([]byte(p.user + ":" + p.password))} {
			text = strings.ReplaceAll(text, s, "***")
		}
	}
	text = strings.ToValidUTF8(strings.Join(strings.Fields(text), " "), "?")
	if len(text) > textLimit {
		text = strings.ToValidUTF8(text[:textLimit], "") + " ..."
	}
	return text
}

func quoted(s string) string {
	if s == "" {
		return "not given"
	}
	return fmt.Sprintf("%q", s)
}
