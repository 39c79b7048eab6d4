// This file keeps the session: one client, logged in when it is first needed and again when the host has forgotten it.

package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// visit is one login: everything that the server keeps for it goes with it.
type visit struct {
	*vim25.Client
	sessions *session.Manager
}

// api is the way to the server.
type api struct {
	login
	trust    tlstrust.Trust
	insecure bool // GOVC_INSECURE is set, which is not heeded
	dial     drivers.Dial

	turn chan struct{} // has one while somebody logs in

	mu      sync.Mutex
	now     *visit // nil when nobody is logged in
	expired bool   // there was a session, and the server has forgotten it
	closed  bool
	version string                   // of the API, once it was asked for
	say     func(value, text string) // tells what happens to the session, while somebody observes
}

func newAPI(l login, t tlstrust.Trust, dial drivers.Dial) *api {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	return &api{login: l, trust: t, dial: dial, turn: make(chan struct{}, 1), say: func(string, string) {}}
}

var errClosed = errors.New("the driver is closed")

// call makes a call that only reads.
func (a *api) call(ctx context.Context, f func(context.Context, *visit) error) error {
	return a.callFor(ctx, quick, f)
}

// callFor makes a call that is over after limit at the latest. A session that has expired is begun anew, once.
func (a *api) callFor(ctx context.Context, limit time.Duration, f func(context.Context, *visit) error) error {
	for again := false; ; again = true {
		v, err := a.visit(ctx)
		if err != nil {
			return err
		}
		err = within(ctx, limit, func(ctx context.Context) error { return f(ctx, v) })
		if again || !notAuthenticated(err) {
			return err
		}
		a.forget(v)
	}
}

// visit returns the session, after a login when there is none.
func (a *api) visit(ctx context.Context) (*visit, error) {
	var got *visit
	err := within(ctx, quick, func(ctx context.Context) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		select {
		case a.turn <- struct{}{}:
			defer func() { <-a.turn }()
		case <-ctx.Done():
			return ctx.Err()
		}
		v, err := a.current()
		if err == nil && v == nil {
			v, err = a.enter(ctx)
		}
		got = v
		return err
	})
	return got, err
}

func (a *api) current() (*visit, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, errClosed
	}
	return a.now, nil
}

// enter connects and logs in.
func (a *api) enter(ctx context.Context) (*visit, error) {
	c := soap.NewClient(a.url, false)
	c.UserAgent = "allpathsdown"
	t := c.DefaultTransport()
	t.Proxy, t.DialContext = nil, a.dialTCP
	t.DialTLSContext = a.dialTLS
	t.MaxIdleConnsPerHost, t.IdleConnTimeout = 8, 30*time.Second
	if err := a.negotiate(ctx, c); err != nil {
		c.CloseIdleConnections()
		return nil, fmt.Errorf("asking for the API's versions: %w", err)
	}
	vc, err := vim25.NewClient(ctx, c)
	if err != nil {
		c.CloseIdleConnections()
		return nil, fmt.Errorf("asking what the API has: %w", err)
	}
	v := &visit{Client: vc, sessions: session.NewManager(vc)}
	if err := v.sessions.Login(ctx, url.UserPassword(a.user, a.password)); err != nil {
		c.CloseIdleConnections()
		return nil, fmt.Errorf("logging in: %w", err)
	}
	a.mu.Lock()
	again, say := a.expired, a.say
	a.now, a.expired = v, false
	a.mu.Unlock()
	if again {
		say("re-login", "")
	}
	return v, nil
}

// dialTCP and dialTLS are how the transport gets its connections. They have a bound of their own: a transport dials on
// behind the back of a request that has ended, and hands what it got to the next one.
func (a *api) dialTCP(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = within(ctx, quick, func(ctx context.Context) error {
		conn, err = a.dial(ctx, network, address)
		return err
	})
	return conn, err
}

func (a *api) dialTLS(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = within(ctx, quick, func(ctx context.Context) error {
		raw, err := a.dial(ctx, network, address)
		if err != nil {
			return err
		}
		if conn, err = a.trust.Over(ctx, raw, address); err != nil {
			raw.Close()
		}
		return err
	})
	return conn, err
}

// forget drops a session that the server no longer knows.
func (a *api) forget(v *visit) {
	a.mu.Lock()
	was := a.now == v
	if was {
		a.now, a.expired = nil, true
	}
	say := a.say
	a.mu.Unlock()
	if was {
		say("session-expired", "the server no longer knows the session")
		v.CloseIdleConnections()
	}
}

// listen sets who is told what happens to the session.
func (a *api) listen(say func(value, text string)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say = say
}

// farewell is how long a logout may take: a host that hangs does not keep anybody here.
const farewell = time.Second

// close logs out, so that no session is left on the host, and drops the connections.
func (a *api) close() {
	a.mu.Lock()
	v := a.now
	a.now, a.closed = nil, true
	a.mu.Unlock()
	if v == nil {
		return
	}
	_ = within(context.Background(), farewell, v.sessions.Logout) // an idle session ends by itself
	v.CloseIdleConnections()
}

func notAuthenticated(err error) bool {
	return err != nil && fault.Is(err, &types.NotAuthenticated{})
}

// serverTime asks for the server's clock.
func serverTime(ctx context.Context, v *visit) (time.Time, error) {
	t, err := methods.GetCurrentTime(ctx, v)
	if err != nil {
		return time.Time{}, fmt.Errorf("asking for the time: %w", err)
	}
	return *t, nil
}
