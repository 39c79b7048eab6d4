// This file holds a session open from before the fault, as somebody does who left a window open.
//
// A desktop that stands still sends nothing, and TCP alone would only show that the guest's kernel lives. So the guest is asked
// for its screen from time to time: [MS-RDPBCGR] 2.2.11.3, what a client sends when its window is made small and large again.

package rdp

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The pace and the limit of the held session.
const (
	refreshEvery = 5 * time.Second
	unresponsive = 5 * time.Second
	lookEvery    = time.Second
	refreshLimit = time.Second // to ask for it, which is done on this machine alone
)

// keepHeld opens the session and holds it. One that dropped stays dropped until the guest booted anew.
func (p *Prober) keepHeld(ctx context.Context, r *reporter) {
	for ctx.Err() == nil {
		begun := p.clock.Now()
		h, err := p.openHeld(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.cfg.Logf("rdp: %s: the session to hold cannot be opened yet: %v", p.cfg.Address, err)
			}
			wait(ctx.Done(), heldAgain)
			continue
		}
		select { // a boot from before this session means nothing to it
		case <-p.boots:
		default:
		}
		h.watch(ctx, r, begun)
		h.s.Close()
		select {
		case <-p.boots:
		case <-ctx.Done():
		}
	}
}

// held is an open session.
type held struct {
	p     *Prober
	s     Session
	heard atomic.Int64  // the last byte from the guest, ns on the harness's clock
	news  chan struct{} // has one when there was a byte
}

// openHeld makes sure of the certificate and logs on.
func (p *Prober) openHeld(ctx context.Context) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, heldLimit)
	defer cancel()
	a := p.Try(ctx, None)
	if a.Way != "" {
		return nil, &LogonError{Way: a.Way, Err: a.Err}
	}
	h := &held{p: p, news: make(chan struct{}, 1)}
	h.heard.Store(int64(a.Ended))
	var err error
	h.s, err = p.cfg.Client.Open(ctx, p.target(a.Certificate), func() {
		h.heard.Store(int64(p.clock.Now()))
		select {
		case h.news <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// watch reports until the session has ended or ctx has.
func (h *held) watch(ctx context.Context, r *reporter, begun time.Duration) {
	now := h.p.clock.Now()
	r.state("rdp.held", "connected", "", span{begun, now}, nil)
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	const none = time.Duration(-1)
	asked, again := none, none // when the refresh that waits for a byte was sent; and when one was sent last
	for {
		select {
		case <-h.p.boots: // the guest forgot the session, but no packet has told so yet
			r.state("rdp.held", "dropped", "the guest booted anew", span{h.last(), h.p.clock.Now()}, nil)
			h.p.Booted()
			return
		case <-h.s.Ended():
			h.over(ctx, r)
			return
		case <-ctx.Done():
			return
		case <-h.news:
			if heard := h.last(); asked != none && heard >= asked {
				s := span{asked, heard}
				r.sample("rdp.held", (heard - asked).Seconds(), s)
				if heard-asked >= unresponsive {
					s.lo = heard
				}
				r.state("rdp.held", "connected", "", s, nil)
				asked = none
			}
		case <-t.C:
			now := h.p.clock.Now()
			if asked != none && now-asked >= unresponsive {
				r.state("rdp.held", "unresponsive", "", span{h.last(), now}, nil)
			}
			if again != none && now-again < refreshEvery {
				continue
			}
			if again = now; asked == none {
				asked = now
			}
			rctx, cancel := context.WithTimeout(ctx, refreshLimit)
			if err := h.s.Refresh(rctx); err != nil && ctx.Err() == nil {
				h.p.cfg.Logf("rdp: %s: the held session cannot ask for its screen: %v", h.p.cfg.Address, err)
			}
			cancel()
		}
	}
}

// last is when the guest was heard last.
func (h *held) last() time.Duration { return time.Duration(h.heard.Load()) }

// over tells how the session ended.
func (h *held) over(ctx context.Context, r *reporter) {
	if ctx.Err() != nil {
		return // it was closed here
	}
	s, why := span{h.last(), h.p.clock.Now()}, h.s.Why()
	if why.ByGuest {
		r.state("rdp.held", "dropped", why.Text, s, nil)
		return
	}
	r.event(drivers.LabFailure, "rdp", why.Text, s, nil)
	r.state("rdp.held", "unknown", why.Text, s, nil)
}
