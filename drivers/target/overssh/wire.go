// This file looks at the target as an initiator does. What a system says of itself is only half of the truth.

package overssh

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

// Wire is what an initiator sees.
type Wire string

// What can be seen, the whole of it first.
const (
	Serving    Wire = "serving"
	Refused    Wire = "refused"      // no connection: there is no listener
	Closed     Wire = "closed"       // a connection, and then its end
	Silent     Wire = "silent"       // no answer at all
	Rejected   Wire = "login-reject" // an answer to the login, with a status of refusal
	NoUnit     Wire = "lun-gone"     // 5/25/00
	Unready    Wire = "not-ready"    // sense key 2
	Failing    Wire = "failing"      // any other status of a command
	Unanswered Wire = "hang"         // a good login, and no answer to a command
)

// Gone is what an initiator may see of a portal whose service is stopped; an answer to the login is not among it.
var Gone = []Wire{Refused, Closed, Silent}

// hangPatience is how long one login waits for its command. A command that a target holds back keeps its session from ending
// there, so no new ones are made meanwhile.
const hangPatience = time.Minute

// look logs in, asks whether the unit is ready, tells what it saw, and then logs out.
func (d *Driver) look(ctx context.Context, tell func(Wire, error)) {
	s, err := iscsi.Dial(ctx, iscsi.Config{Portal: d.c.Portal, InitiatorName: d.c.Initiator, TargetName: d.c.Target, NoopInterval: -1})
	if err != nil {
		tell(unconnected(err), err)
		return
	}
	defer s.Close()
	err = s.TestReady(ctx, iscsi.NewLUN(d.c.LUN))
	tell(answered(err), err)
	if err == nil {
		_ = s.Logout(ctx) // polite only: istgt takes 1 s for it
	}
}

// see is one look that waits no longer than a healthy target needs.
func (d *Driver) see(ctx context.Context) (Wire, error) {
	ctx, cancel := context.WithTimeout(ctx, d.t.answer)
	defer cancel()
	var w Wire
	var err error
	d.look(ctx, func(seen Wire, e error) { w, err = seen, e; cancel() })
	return w, err
}

// unconnected says what a failed login was.
func unconnected(err error) Wire {
	var login *iscsi.LoginError
	var timeout net.Error
	switch {
	case errors.As(err, &login):
		return Rejected
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.As(err, &timeout) && timeout.Timeout(),
		errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Silent
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Closed
	}
	return Failing
}

// answered says what the end of a command after a good login was.
func answered(err error) Wire {
	var status *iscsi.StatusError
	switch {
	case err == nil:
		return Serving
	case !errors.As(err, &status):
		if errors.Is(err, iscsi.ErrConnection) {
			return Closed
		}
		return Unanswered
	case status.Status == iscsi.StatusCheck && status.Sense.Key == 5 && status.Sense.ASC == 0x25: // SPC-4 table 56
		return NoUnit
	case status.Status == iscsi.StatusCheck && status.Sense.Key == 2:
		return Unready
	}
	return Failing
}

// isGone tells whether no login is answered.
func isGone(w Wire) bool { return slices.Contains(Gone, w) }
