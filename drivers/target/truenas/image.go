// This file checks a LUN from the target's side, after a run: whether its extent is there and as large as it was, by the API and on the
// wire, and whether the pool below is well. No API shows what is in a LUN, so nothing is ever told as clean here.

package truenas

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// stored is what a LUN is made of at one time.
type stored struct {
	lun
	gone  bool  // its file or volume is not there
	bytes int64 // of its file or volume; -1: this version does not tell
	wire  int64 // of the LUN, as an initiator sees it; -1: it is not served
	pool  *pool // nil: it is on none
	lost  bool  // it should be on a pool, and that is not there
}

// CheckImage tells the event "image" of one LUN. Its Value is damaged when its extent or the pool below is, and otherwise stored: it is
// there and whole, and nobody has looked into it. Attrs: lun, what (extent, size, pool), store, size (bytes, as an initiator
// sees it), pool and contents (why they were not looked into).
func (d *Driver) CheckImage(ctx context.Context, number int) (drivers.Observation, error) {
	at := d.env.Clock.Now()
	o := drivers.Observation{Lo: at, Hi: at, Lane: d.env.Lane, Kind: drivers.Event, Topic: "image", Attrs: map[string]string{"lun": strconv.Itoa(number)}}
	s, err := d.find(ctx)
	if err != nil {
		return o, d.operator(err)
	}
	l, err := d.lunOf(ctx, s, number)
	if err != nil {
		return o, d.operator(err)
	}
	now, err := d.look(ctx, s, l)
	if err != nil {
		return o, d.operator(err)
	}
	d.mu.Lock()
	first, known := d.first[number]
	d.mu.Unlock()
	damage, before := now.compare(first, known && first.path == now.path)
	o.Hi, o.Value = d.env.Clock.Now(), "stored"
	if len(damage) > 0 {
		o.Value = "damaged"
	}
	o.Text = d.login.scrub(strings.Join(append(damage, before...), "; "))
	o.Attrs["what"], o.Attrs["store"], o.Attrs["size"] = now.what(), now.path, strconv.FormatInt(now.wire, 10)
	o.Attrs["contents"] = strings.Join(append([]string{"not looked into: the system's API shows no contents"}, before...), "; ")
	if now.pool != nil {
		o.Attrs["pool"] = now.pool.name + " " + now.pool.state
	}
	return o, nil
}

// unsaid is an error that says why nothing can be said of a LUN.
func (d *Driver) unsaid(cause, do string) error {
	return &drivers.Operator{Cause: d.env.ID + ": " + cause, Impact: "nothing can be said of damage to it", Do: do}
}

// lunOf finds one LUN of the target.
func (d *Driver) lunOf(ctx context.Context, s *system, number int) (lun, error) {
	l, err := within(ctx, 4*d.t.quick, s.layout)
	if err != nil {
		return lun{}, err
	}
	for _, t := range l.targets {
		if !strings.EqualFold(t.iqn, d.cfg.Target) {
			continue
		}
		for _, one := range t.luns {
			switch {
			case one.number != number:
			case one.extent == "":
				return lun{}, d.unsaid(fmt.Sprintf("LUN %d has no extent", number), "Associate one with it, or check lun")
			case one.off:
				return lun{}, d.unsaid(fmt.Sprintf("the extent %s of LUN %d is switched off", one.extent, number), "Enable it")
			case one.locked:
				return lun{}, d.unsaid(fmt.Sprintf("the extent %s of LUN %d is on a dataset that is locked", one.extent, number), "Unlock it: after a reboot nobody else does")
			default:
				return one, nil
			}
		}
		return lun{}, d.unsaid(fmt.Sprintf("the target %s has no LUN %d", t.iqn, number), "Check lun")
	}
	return lun{}, d.unsaid("the system has no target "+d.cfg.Target, "Check target")
}

// look looks at what a LUN is made of.
func (d *Driver) look(ctx context.Context, s *system, l lun) (stored, error) {
	out := stored{lun: l, bytes: -1, wire: -1}
	if l.kind == extentFile || l.kind == extentZvol {
		n, err := within(ctx, d.t.quick, func(ctx context.Context) (int64, error) { return s.volume(ctx, l) })
		switch {
		case errors.Is(err, errGone):
			out.gone = true
		case errors.Is(err, errNotTold):
		case err != nil:
			return out, err
		default:
			out.bytes = n
		}
	}
	if name := l.poolOf(); name != "" {
		p, err := within(ctx, d.t.quick, func(ctx context.Context) (pool, error) { return s.pool(ctx, name) })
		switch {
		case errors.Is(err, errGone):
			out.lost = true
		case err != nil:
			return out, err
		default:
			out.pool = &p
		}
	}
	n, err := d.capacity(ctx, l.number)
	switch w := wireOf(err); {
	case err == nil:
		out.wire = n
	case w == rejects && !refusesLogin(err):
	default:
		svc, serr := within(ctx, d.t.quick, s.service)
		if serr != nil {
			return out, serr
		}
		return out, d.notServed(svc, w, err)
	}
	return out, nil
}

// refusesLogin tells a target that lets nobody in from one that serves and lacks a LUN.
func refusesLogin(err error) bool {
	var login *iscsi.LoginError
	return errors.As(err, &login)
}

// compare says what is damaged, and what is ill but was so before.
func (s stored) compare(first stored, known bool) (damage, before []string) {
	bad := func(f string, a ...any) { damage = append(damage, fmt.Sprintf(f, a...)) }
	if s.lost {
		bad("the pool %s is not there", s.poolOf())
	}
	if s.gone {
		bad("the extent %s is not there: %s", s.extent, s.path)
	}
	if s.wire < 0 {
		bad("the target answers, and does not serve LUN %d", s.number)
	}
	if known {
		if s.bytes >= 0 && first.bytes >= 0 && s.bytes != first.bytes {
			bad("the extent %s has %d bytes, and had %d when the driver first saw it", s.extent, s.bytes, first.bytes)
		}
		if s.wire >= 0 && first.wire >= 0 && s.wire != first.wire {
			bad("LUN %d has %d bytes on the wire, and had %d when the driver first saw it", s.number, s.wire, first.wire)
		}
	}
	if s.pool != nil && len(s.pool.ill) > 0 {
		say := "the pool " + s.pool.name + " is not well: " + s.pool.text()
		if known && first.pool != nil && first.pool.text() == s.pool.text() {
			before = append(before, say+" (as it was when the driver first saw it)")
		} else {
			damage = append(damage, say)
		}
	}
	return damage, before
}

// what says what it is.
func (s stored) what() string {
	w := "a " + s.kind
	switch {
	case s.gone:
		w += ", gone"
	case s.bytes >= 0:
		w += fmt.Sprintf(", %d bytes", s.bytes)
	}
	if s.pool != nil {
		w += ", pool " + s.pool.name + " " + s.pool.state
	}
	return w
}

// capacity asks the LUN itself how large it is, in bytes.
func (d *Driver) capacity(ctx context.Context, number int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, d.t.quick)
	defer cancel()
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: d.portal, InitiatorName: initiator, TargetName: d.cfg.Target, NoopInterval: -1})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if err := s.TestReady(ctx, iscsi.NewLUN(number)); err != nil {
		return 0, err
	}
	cdb := iscsi.CDBReadCapacity16()
	r, err := s.Do(ctx, iscsi.Command{LUN: iscsi.NewLUN(number), CDB: cdb, InLen: 32})
	if err == nil {
		err = r.Err(cdb[0])
	}
	if err != nil {
		return 0, err
	}
	n, err := readCapacity(r.Data)
	if err == nil {
		_ = s.Logout(ctx)
	}
	return n, err
}

// readCapacity reads READ CAPACITY (16): the last block and the length of one (SBC-3 table 66).
func readCapacity(b []byte) (int64, error) {
	if len(b) < 12 {
		return 0, fmt.Errorf("the capacity has %d bytes", len(b))
	}
	last, length := binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])
	if last >= 1<<40 || length == 0 || length > 1<<16 {
		return 0, fmt.Errorf("the capacity is %d blocks of %d bytes", last, length)
	}
	return int64(last+1) * int64(length), nil
}

// remember looks at every LUN of the target when the system is first seen, so that a check can tell what has changed since. What
// cannot be looked at then is not known later.
func (d *Driver) remember(ctx context.Context, s *system) {
	d.mu.Lock()
	known := d.first != nil
	d.mu.Unlock()
	if known {
		return
	}
	l, err := within(ctx, 4*d.t.quick, s.layout)
	if err != nil {
		return
	}
	first := map[int]stored{}
	for _, t := range l.targets {
		if !strings.EqualFold(t.iqn, d.cfg.Target) {
			continue
		}
		for _, one := range t.luns[:min(len(t.luns), maxFirst)] {
			if now, err := d.look(ctx, s, one); err == nil {
				first[one.number] = now
			}
		}
	}
	if ctx.Err() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = first
}

// maxFirst bounds how many LUNs are looked at beforehand.
const maxFirst = 32

// volume asks v1.0 for a pool's volumes. Of a file it tells nothing; v2.0, which stands beside it, does from 11.1 on.
func (a *v1) volume(ctx context.Context, l lun) (int64, error) {
	if l.kind == extentFile {
		if !a.has.atLeast(11, 1) {
			return 0, errNotTold
		}
		return (&v2{a.web, a.has, basic}).stat(ctx, l.path)
	}
	top, name, _ := strings.Cut(l.dataset(), "/")
	b, err := a.get(ctx, "/api/v1.0/storage/volume/"+url.PathEscape(top)+"/zvols/?limit=0")
	if status(err) == http.StatusNotFound {
		return 0, errGone // with its pool
	}
	if err != nil {
		return 0, err
	}
	return readZvols(b, name)
}

func (a *v1) pool(ctx context.Context, name string) (pool, error) {
	volumes, err := a.get(ctx, "/api/v1.0/storage/volume/?limit=0")
	if err != nil {
		return pool{}, err
	}
	if p, err := readPoolV1(volumes, []byte("[]"), name); err != nil || p.state != "HEALTHY" {
		return p, err // one that is not imported has no status to ask for
	}
	tree, err := a.get(ctx, "/api/v1.0/storage/volume/"+url.PathEscape(name)+"/status/")
	if err != nil {
		return pool{}, err
	}
	return readPoolV1(volumes, tree, name)
}

// stat asks for the size of a file. A method of one argument takes it as the body (tag TS-24.10.2, restful.py).
func (a *v2) stat(ctx context.Context, path string) (int64, error) {
	b, err := a.call(ctx, http.MethodPost, "filesystem/stat", path)
	if notThere(err) {
		return 0, errGone
	}
	if err != nil {
		return 0, err
	}
	return readStat(b)
}

func (a *v2) volume(ctx context.Context, l lun) (int64, error) {
	switch {
	case !a.has.atLeast(11, 2): // as its layout, and there is no pool.dataset
		return (&v1{a.web, a.has}).volume(ctx, l)
	case l.kind == extentFile:
		return a.stat(ctx, l.path)
	}
	b, err := a.call(ctx, http.MethodGet, "pool/dataset?id="+url.QueryEscape(l.dataset()), nil)
	if err != nil {
		return 0, err
	}
	return readDataset(b, l.dataset())
}

func (a *v2) pool(ctx context.Context, name string) (pool, error) {
	if !a.has.atLeast(11, 2) {
		return (&v1{a.web, a.has}).pool(ctx, name)
	}
	b, err := a.call(ctx, http.MethodGet, "pool?name="+url.QueryEscape(name), nil)
	if err != nil {
		return pool{}, err
	}
	return readPool(b, name)
}

func (r *rpc) volume(ctx context.Context, l lun) (int64, error) {
	if l.kind == extentFile {
		b, err := r.call(ctx, "filesystem.stat", l.path)
		if notThere(err) {
			return 0, errGone
		}
		if err != nil {
			return 0, err
		}
		return readStat(b)
	}
	b, err := r.call(ctx, "pool.dataset.query", []any{[]any{"id", "=", l.dataset()}})
	if err != nil {
		return 0, err
	}
	return readDataset(b, l.dataset())
}

func (r *rpc) pool(ctx context.Context, name string) (pool, error) {
	b, err := r.call(ctx, "pool.query", []any{[]any{"name", "=", name}})
	if err != nil {
		return pool{}, err
	}
	return readPool(b, name)
}

// notThere tells that the system answered with ENOENT (2): a CallError's errno, which REST gives in its body and JSON-RPC in its data.
func notThere(err error) bool {
	var r *rpcError
	var s *statusError
	const enoent = 2
	return errors.As(err, &r) && (r.Data.Errno == enoent || r.Data.Name == "ENOENT") || errors.As(err, &s) && s.errno == enoent && s.status != http.StatusUnauthorized
}
