package tlstrust

// This file makes the HTTP client of a harness: without redirects, each request on a connection of its own, since connections do
// not outlive a reboot and nobody tells a client so.

import (
	"context"
	"net"
	"net/http"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Client makes one that trusts nobody else. dial nil is the network's own way. Each request needs a deadline of its own.
func (t Trust) Client(dial drivers.Dial) *http.Client {
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	tr := &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10, DialContext: dial}
	tr.DialTLSContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		conn, err := t.Over(ctx, raw, address)
		if err != nil {
			raw.Close()
		}
		return conn, err
	}
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
