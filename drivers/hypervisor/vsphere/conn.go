// This file gives the way to a vSphere server to drivers of other things behind it: the same login, the same trust, the same
// sessions, clocks, events and words for what goes wrong.

package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Conn is the way to a vCenter or an ESXi. Its session is begun when it is first needed, and anew when the server has forgotten it.
type Conn struct {
	id    string
	api   *api
	clock clockMap
	now   func() time.Duration
}

// Connect makes the way that a configuration names: its url, user, password_file, thumbprint and ca_file, or govc's variables. It
// talks to nobody yet.
func Connect(env drivers.Env, cfg Config) (*Conn, error) {
	a, err := apiFor(env, cfg, func(cause, do string, err error) error {
		return &drivers.Operator{Cause: env.ID + ": " + cause, Impact: "The server cannot be used", Do: do, Err: err}
	})
	if err != nil {
		return nil, err
	}
	return &Conn{id: env.ID, api: a, now: env.Clock.Now}, nil
}

// Call makes a call that is over after limit at the latest; 0 is the limit of one that only reads.
func (c *Conn) Call(ctx context.Context, limit time.Duration, f func(context.Context, *vim25.Client) error) error {
	if limit == 0 {
		limit = quick
	}
	return c.api.callFor(ctx, limit, func(ctx context.Context, v *visit) error { return f(ctx, v.Client) })
}

// Within bounds f, which is no call of the API, in the same way and with the same words.
func Within(ctx context.Context, limit time.Duration, f func(context.Context) error) error {
	return within(ctx, limit, f)
}

// Host is the server's name as the configuration has it.
func (c *Conn) Host() string { return c.api.url.Host }

// Cause names what is wrong in a few words, without secrets.
func (c *Conn) Cause(err error) string { return c.api.scrub(cause(err)) }

// Scrub takes the password out of a text.
func (c *Conn) Scrub(text string) string { return c.api.scrub(text) }

// Operator makes an error for the person who runs the lab.
func (c *Conn) Operator(err error) error { return c.api.operator(c.id, err) }

// Unsupported tells that the server does not have a method, an object or an option.
func Unsupported(err error) bool { return unsupported(err) }

// Gone tells that an object no longer exists.
func Gone(err error) bool { _, absent := gone(err); return absent }

// Listen sets who is told what happens to the session.
func (c *Conn) Listen(say func(value, text string)) { c.api.listen(say) }

// Close ends the session and the connections.
func (c *Conn) Close() { c.api.close() }

// Compare asks for the server's time, so that Place knows how the clocks compare.
func (c *Conn) Compare(ctx context.Context) error {
	return c.api.call(ctx, func(ctx context.Context, v *visit) error {
		sent := c.now()
		t, err := serverTime(ctx, v)
		if err != nil {
			return err
		}
		c.clock.compare(sent, c.now(), t)
		return nil
	})
}

// Place returns when the server's clock showed t, and whether that is known.
func (c *Conn) Place(t time.Time) (lo, hi time.Duration, ok bool) { return c.clock.place(t, c.now()) }

// Events follows the events of a part of the inventory.
type Events struct {
	c     *Conn
	above ref
	tail  *tail
}

// Follow begins to follow the events of a thing and of all below it.
func (c *Conn) Follow(above types.ManagedObjectReference) *Events {
	return &Events{c: c, above: above, tail: newTail(c.now)}
}

// Read returns the events that were not read yet. lost says, once, that some of them may be missing.
func (e *Events) Read(ctx context.Context) (fresh []types.BaseEvent, lost string, err error) {
	err = e.c.api.callFor(ctx, feedBound, func(ctx context.Context, v *visit) error {
		more, err := e.tail.read(ctx, v, e.above)
		fresh = append(fresh, more...)
		return err
	})
	if Gone(err) {
		e.tail.visit = nil
	}
	lost, e.tail.missed = e.tail.missed, ""
	return fresh, lost, err
}

// Describe puts an event into words: its type's id, its text, its details.
func Describe(e types.BaseEvent) (id, text string, attrs map[string]string) { return describe(e) }

// Log follows one log of one host.
type Log struct {
	c    *Conn
	host ref
	tail logTail
}

// Log begins to follow a host's log from its end: "vmkernel", "vobd", "hostd".
func (c *Conn) Log(host types.ManagedObjectReference, key string) *Log {
	return &Log{c: c, host: host, tail: logTail{key: key}}
}

// Read returns the lines that were added since the last Read; the first returns none.
func (l *Log) Read(ctx context.Context) (lines []string, err error) {
	err = l.c.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		lines, err = l.tail.read(ctx, v.Client, l.host)
		return err
	})
	return lines, err
}

// Option reads an option of an option manager; one that is not there is an error.
func Option(ctx context.Context, c soap.RoundTripper, manager types.ManagedObjectReference, key string) (any, error) {
	return option(ctx, c, manager, key)
}

// SetOption gives an option another value, of the type that its old one has, and looks whether that took.
func SetOption(ctx context.Context, c soap.RoundTripper, manager types.ManagedObjectReference, key string, old any, text string) error {
	next, err := like(old, text)
	if err != nil {
		return err
	}
	o := types.OptionValue{Key: key, Value: next}
	if _, err := methods.UpdateOptions(ctx, c, &types.UpdateOptions{This: manager, ChangedValue: []types.BaseOptionValue{&o}}); err != nil {
		return err
	}
	now, err := option(ctx, c, manager, key)
	if err != nil {
		return fmt.Errorf("looking whether it took: %w", err)
	}
	if fmt.Sprint(now) != fmt.Sprint(next) {
		return fmt.Errorf("the host took %v and still says %v", next, now)
	}
	return nil
}

// CheckValue tells whether a text can be a value of the type that the old one has.
func CheckValue(old any, text string) error { _, err := like(old, text); return err }

// Older compares dotted versions.
func Older(a, b string) bool { return older(a, b) }
