// This file connects anew, again and again.

package rdp

import (
	"context"
	"time"
)

// tryConnections makes one connection after another, never two at a time.
func (p *Prober) tryConnections(ctx context.Context, r *reporter) {
	t := time.NewTicker(p.cfg.Every)
	defer t.Stop()
	known := time.Duration(-1) // the last moment for which the attempt before speaks
	told := ""                 // the certificate
	for {
		a := p.Try(ctx, p.cfg.Logon)
		if ctx.Err() != nil {
			return
		}
		if a.Way == wayOurs { // says nothing about the guest
			p.cfg.Logf("rdp: %s: the client for logons is broken: %v", p.cfg.Address, a.Err)
		} else {
			p.tell(r, a, known, &told)
			switch {
			case a.Way == "":
				known = a.Ended
			case !a.Paused:
				known = a.Begun // a failure says that this connection, begun then, did not work
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell reports an attempt. known is the last moment for which the one before speaks, -1 when there was none.
func (p *Prober) tell(r *reporter, a Attempt, known time.Duration, told *string) {
	s := span{a.Begun, a.Ended}
	if a.Trust != "" && *told != a.Certificate {
		*told = a.Certificate
		r.event("rdp.certificate", a.Trust, "", s, map[string]string{"sha256": a.Certificate})
	}
	if a.Way == "" {
		r.sample("rdp.new", (a.Ended - a.Begun).Seconds(), s)
	}
	if known >= 0 {
		s.lo = known
	}
	attrs := map[string]string{}
	for k, v := range map[string]string{"way": a.Way, "protocol": a.Protocol, "credssp": a.CredSSP, "certificate": a.Certificate, "depth": string(a.Depth)} {
		if v != "" {
			attrs[k] = v
		}
	}
	if a.Err != nil {
		attrs["error"] = a.Err.Error()
	}
	r.state("rdp.new", string(a.Stage), a.words(), s, attrs)
}
