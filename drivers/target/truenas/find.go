// This file finds out what the system is, and speaks of it in one way whatever its API.

package truenas

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// nas is what each generation of the API can do. None of its answers proves that a change was made.
type nas interface {
	service(ctx context.Context) (service, error)
	control(ctx context.Context, start bool) error // starts or stops the service; returns when the request was answered
	reboot(ctx context.Context) error
	boot(ctx context.Context) (boot, error)           // errNotTold where the version has no way
	sessions(ctx context.Context) ([]session, error)  // likewise
	layout(ctx context.Context) (layout, error)       // likewise
	volume(ctx context.Context, l lun) (int64, error) // how many bytes its file or volume has; errGone, errNotTold
	pool(ctx context.Context, name string) (pool, error)
	close()
}

// system is a NAS that was found.
type system struct {
	nas
	version version
	api     string
}

// find returns what the system is. It asks until somebody got an answer, and remembers that.
func (d *Driver) find(ctx context.Context) (*system, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	d.mu.Lock()
	s := d.sys
	d.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s, err := d.identify(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.sys = s
	d.mu.Unlock()
	return s, nil
}

// identify asks for the versions, the newest API first: /api/versions is there from 25.04 on (tag TS-25.04.0, main.py).
func (d *Driver) identify(ctx context.Context) (*system, error) {
	get := func(as auth, path string) ([]byte, error) {
		return within(ctx, d.t.quick, func(ctx context.Context) ([]byte, error) { return d.http.do(ctx, as, http.MethodGet, path, nil) })
	}
	b, err := get(nobody, "/api/versions")
	if err != nil && status(err) == 0 {
		return nil, err
	}
	if err == nil && d.cfg.API != apiV2 && d.cfg.API != apiV1 && len(readVersions(b)) > 0 {
		return d.identifyRPC(ctx)
	}
	if s := status(err); s/100 == 3 {
		return nil, err // all of it is elsewhere: on https
	}
	newer := err == nil && len(readVersions(b)) > 0
	as := best
	b, err = get(as, "/api/v2.0/system/version")
	if status(err) == http.StatusUnauthorized && d.login.key != "" && d.login.password != "" {
		as = basic // no keys before 12.0
		b, err = get(as, "/api/v2.0/system/version")
	}
	switch s := status(err); {
	case err == nil:
		if text := readVersion(b); text != "" {
			return d.restful(text, as)
		}
	case s == 0 || s == http.StatusUnauthorized || s == http.StatusForbidden:
		return nil, err
	}
	if newer && status(err)/100 == 4 { // 26 on: there is no REST any more
		return nil, &otherGeneration{version{text: "this TrueNAS", major: 26}, d.cfg.API}
	}
	v2err := err
	b, err = get(basic, "/api/v1.0/system/version/")
	switch s := status(err); {
	case err == nil:
		if text := readVersionV1(b); text != "" {
			return d.restful(text, basic)
		}
		return nil, errNoAPI
	case s == 0 || s == http.StatusUnauthorized || s == http.StatusForbidden || s >= 500:
		return nil, err
	case status(v2err) >= 500:
		return nil, v2err
	}
	return nil, errNoAPI
}

// restful makes a system that speaks REST.
func (d *Driver) restful(text string, as auth) (*system, error) {
	v, err := parseVersion(text)
	if err != nil {
		return nil, err
	}
	api, err := v.choose(d.cfg.API)
	if err != nil {
		return nil, err
	}
	switch api {
	case apiV1:
		return &system{&v1{d.http, v}, v, api}, nil
	case apiRPC:
		return nil, errors.New("it has JSON-RPC, and does not list its versions")
	}
	return &system{&v2{d.http, v, as}, v, api}, nil
}

// identifyRPC logs in and asks for the version.
func (d *Driver) identifyRPC(ctx context.Context) (*system, error) {
	r := newRPC(d.http, d.t)
	text, err := within(ctx, d.t.quick, r.version)
	if err != nil {
		r.close()
		return nil, err
	}
	v, err := parseVersion(text)
	if err == nil {
		_, err = v.choose(apiRPC)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	r.has = v
	return &system{r, v, apiRPC}, nil
}

// service is what the API says of the iSCSI service.
type service struct {
	state  string // RUNNING, STOPPED, CRASHED, UNKNOWN
	enable bool   // whether it starts at boot
}

const (
	running = "RUNNING"
	stopped = "STOPPED"
	unknown = "UNKNOWN"
)

// boot identifies a boot of the system, as far as the version tells.
type boot struct {
	id    string        // the kernel's boot id: from 25.04 on
	up    time.Duration // since it booted, whole or not; 0: not told
	since string        // when it booted, in the system's own words
}

func (b boot) told() bool { return b.id != "" || b.up > 0 || b.since != "" }

// after tells whether b is of a later boot than old. Both ids decide; without them an uptime that went down does, and
// without that a time of boot that is another one.
func (b boot) after(old boot) bool {
	switch {
	case b.id != "" && old.id != "":
		return b.id != old.id
	case b.up > 0 && old.up > 0:
		return b.up < old.up
	}
	return b.since != "" && old.since != "" && b.since != old.since
}

// session is an initiator that is logged in.
type session struct{ initiator, address, target string }

// layout is what the system offers.
type layout struct {
	targets []target
}

// target is one with its LUNs.
type target struct {
	iqn  string
	luns []lun
}

// lun is one extent behind a target.
type lun struct {
	number int
	extent string
	off    bool // it is switched off
	locked bool // its dataset is encrypted, and nobody has unlocked it
	kind   string
	path   string // of its file, or of its device without /dev/
}
