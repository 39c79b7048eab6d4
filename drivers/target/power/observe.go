// This file reports the power, and looks at how the controller is reached.

package power

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Observe reports the power.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	tick := time.NewTicker(d.pace.every)
	defer tick.Stop()
	before := d.env.Clock.Now()
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		s, err := d.status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := d.env.Clock.Now()
		say := func(topic, value, text string) {
			emit(drivers.Observation{Lo: before, Hi: now, Lane: d.env.Lane, Kind: drivers.State, Topic: topic, Value: value, Text: text})
		}
		if err != nil {
			say("bmc", "silent", first(err))
		} else {
			say("bmc", "answers", "")
			say("power", map[bool]string{true: "on", false: "off"}[s.on], s.word)
			before = start
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Examine says whether the controller has an address of its own, and what keeps the login from others.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	host, _, _ := net.SplitHostPort(d.bmc.address())
	f := drivers.Finding{What: "the controller is not reached by the storage's address", OK: true, Say: "it is " + host}
	in, cancel := context.WithTimeout(ctx, d.pace.call)
	defer cancel()
	own := addresses(in, host)
	if portal, _, err := net.SplitHostPort(d.env.Portal); err == nil {
		for a := range addresses(in, portal) {
			if own[a] {
				f.OK, f.Say = false, "it is "+a+", which the storage uses too: a target without power could not be switched on again"
			}
		}
	} else {
		f.Say += "; the storage's address is not known here"
	}
	if ctx.Err() != nil {
		return nil // nobody waits for it any more
	}
	return []drivers.Finding{f, {What: "the login to the controller is secret", OK: true, Say: strings.Join(d.bmc.secrecy(), "; ")}}
}

// addresses returns a host's addresses, or the name itself where it has none.
func addresses(ctx context.Context, host string) map[string]bool {
	out := map[string]bool{host: true}
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	for _, a := range all {
		out[a.Unmap().String()] = err == nil
	}
	return out
}
