// This file talks to a controller over Redfish. One session is kept for all calls, for controllers have few of them, and ended by
// close; each call has a context of its own.

package power

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stmcginnis/gofish"
	"github.com/stmcginnis/gofish/redfish"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// redfishBMC is a controller that speaks Redfish.
type redfishBMC struct {
	endpoint, at   string // https://host:port, host:port
	user, password string
	system         string // as configured
	trust          tlstrust.Trust
	http           *http.Client

	turn    chan struct{} // has one while somebody logs in
	mu      sync.Mutex
	session *gofish.Session
	uri     string // of the system, once it is found
}

func newRedfish(c Redfish, dial drivers.Dial) (*redfishBMC, error) {
	text := c.URL
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" && strings.Trim(u.Path, "/") != "redfish/v1" {
		return nil, errors.New("redfish.url is not https://host")
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	b := &redfishBMC{at: net.JoinHostPort(u.Hostname(), port), user: c.User, system: strings.TrimSpace(c.System), turn: make(chan struct{}, 1)}
	b.endpoint = "https://" + b.at
	if b.user == "" {
		return nil, errors.New("redfish.user is not given")
	}
	if c.Thumbprint != "" && c.CAFile != "" {
		return nil, errors.New("thumbprint and ca_file are both given")
	}
	if b.trust, err = tlstrust.New(tlstrust.Config{Thumbprint: c.Thumbprint, CAFile: c.CAFile}); err != nil {
		return nil, err
	}
	if b.password, err = secret(c.PasswordFile, "REDFISH_PASSWORD"); err != nil {
		return nil, err
	}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	// Every connection goes to the configured address, whatever the links in the controller's answers say: they get our token.
	transport := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.secure(ctx, dial) },
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("the controller leads to a connection that is not secured")
		}}
	b.http = &http.Client{Transport: bounded{transport}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return b, nil
}

// secure connects to the controller and makes sure that it is the one.
func (b *redfishBMC) secure(ctx context.Context, dial drivers.Dial) (net.Conn, error) {
	raw, err := dial(ctx, "tcp", b.at)
	if err != nil {
		return nil, err
	}
	conn, err := b.trust.Over(ctx, raw, b.at)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// bounded limits what an answer may bring, and keeps connections open, which the library does not: agreeing on TLS takes a small
// processor a second.
type bounded struct{ *http.Transport }

const mostBytes = 8 << 20

func (t bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Close = false
	resp, err := t.Transport.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, mostBytes), resp.Body}
	}
	return resp, err
}

func (b *redfishBMC) address() string { return b.at }

func (b *redfishBMC) secrecy() []string {
	if b.trust.Pinned() {
		return []string{"TLS to the pinned certificate"}
	}
	return []string{"TLS to a certificate that authorities vouch for"}
}

// connect returns a client with the session, which it makes when there is none.
func (b *redfishBMC) connect(ctx context.Context) (*gofish.APIClient, error) {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b.mu.Lock()
	session := b.session
	b.mu.Unlock()
	c, err := gofish.ConnectContext(ctx, gofish.ClientConfig{Endpoint: b.endpoint, Username: b.user, Password: b.password, Session: session, HTTPClient: b.http})
	if err != nil {
		if s := httpStatus(err); session == nil && (s == http.StatusUnauthorized || s == http.StatusForbidden || s == http.StatusBadRequest) {
			return nil, fmt.Errorf("%w (%v)", errLogin, b.tidy(err))
		}
		return nil, err
	}
	if session == nil {
		if session, err = c.GetSession(); err != nil || session.Token == "" {
			return nil, errors.New("the controller gave no session")
		}
		b.mu.Lock()
		b.session = session
		b.mu.Unlock()
	}
	return c, nil
}

// with calls f with the system; once more, in a new session, when the controller has ended the old one.
func (b *redfishBMC) with(ctx context.Context, f func(*redfish.ComputerSystem) error) error {
	b.mu.Lock()
	old := b.session
	b.mu.Unlock()
	err := b.once(ctx, f)
	if old != nil && httpStatus(err) == http.StatusUnauthorized {
		b.mu.Lock()
		if b.session == old || b.session != nil && *b.session == *old {
			b.session = nil
		}
		b.mu.Unlock()
		err = b.once(ctx, f)
	}
	return b.tidy(err)
}

func (b *redfishBMC) once(ctx context.Context, f func(*redfish.ComputerSystem) error) error {
	c, err := b.connect(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	uri := b.uri
	b.mu.Unlock()
	if uri != "" {
		s, err := redfish.GetComputerSystem(c, uri)
		if err != nil {
			return err
		}
		return f(s)
	}
	all, err := c.Service.Systems()
	if err != nil && len(all) == 0 {
		return err
	}
	s, err := choose(all, b.system)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.uri = s.ODataID
	b.mu.Unlock()
	return f(s)
}

func (b *redfishBMC) status(ctx context.Context) (out status, err error) {
	err = b.with(ctx, func(s *redfish.ComputerSystem) error {
		out, err = statusOf(string(s.PowerState))
		return err
	})
	return out, err
}

func (b *redfishBMC) can(ctx context.Context, a action) (ok bool, err error) {
	err = b.with(ctx, func(s *redfish.ComputerSystem) error {
		_, ok = resetType(a, s.SupportedResetTypes)
		return nil
	})
	return ok, err
}

func (b *redfishBMC) do(ctx context.Context, a action) error {
	return b.with(ctx, func(s *redfish.ComputerSystem) error {
		r, ok := resetType(a, s.SupportedResetTypes)
		if !ok {
			return fmt.Errorf("the controller has no way for %q: it lists %v", a, s.SupportedResetTypes)
		}
		return s.Reset(r)
	})
}

// close ends the session; a controller that is silent ends it by itself later.
func (b *redfishBMC) close() {
	b.mu.Lock()
	session := b.session
	b.session = nil
	b.mu.Unlock()
	if session != nil && session.ID != "" {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if r, err := http.NewRequestWithContext(ctx, http.MethodDelete, b.endpoint+session.ID, nil); err == nil {
			r.Header.Set("X-Auth-Token", session.Token)
			if resp, err := b.http.Do(r); err == nil {
				resp.Body.Close()
			}
		}
	}
	b.http.CloseIdleConnections()
}

// CloseIdleConnections is what http.Client looks for.
func (t bounded) CloseIdleConnections() { t.Transport.CloseIdleConnections() }
