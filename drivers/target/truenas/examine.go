// This file looks at how the NAS is set up, for what would make a run's claims mean less.

package truenas

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Examine looks at the system before anything is broken. What cannot be looked at is a finding of its own.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	if ctx.Err() != nil {
		return nil // nobody waits for it
	}
	out := []drivers.Finding{d.networks(ctx), d.certificate()}
	blind := func(what string, err error) {
		out = append(out, drivers.Finding{What: what, Say: "It cannot be looked at: " + d.login.scrub(d.operator(err).Error())})
	}
	s, err := d.find(ctx)
	if err != nil {
		blind("the system's setup", err)
		return out
	}
	if svc, err := within(ctx, d.t.quick, s.service); err != nil {
		blind("the service starts at boot", err)
	} else {
		out = append(out, atBoot(s, svc))
	}
	l, err := within(ctx, 4*d.t.quick, s.layout)
	switch {
	case errors.Is(err, errNotTold) || status(err) == http.StatusNotFound:
	case err != nil:
		blind("the target of the lab file", err)
	default:
		out = append(out, d.named(l), d.alone(l))
	}
	d.remember(ctx, s)
	d.mu.Lock()
	first, known := d.first[d.cfg.LUN]
	d.mu.Unlock()
	if known {
		out = append(out, first.finding())
	}
	if list, err := within(ctx, d.t.quick, s.sessions); err == nil {
		out = append(out, d.strangers(list))
	}
	return out
}

// networks tells whether cutting the path leaves the management alone.
func (d *Driver) networks(ctx context.Context) drivers.Finding {
	f := drivers.Finding{What: "management is apart from storage"}
	storage, _, _ := net.SplitHostPort(d.portal)
	a, aerr := addresses(ctx, d.login.url.Hostname())
	b, berr := addresses(ctx, storage)
	switch {
	case aerr != nil || berr != nil:
		f.Say = "Whether url and portal are different addresses is not known: a name cannot be resolved. Write addresses."
	case slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) }):
		f.Say = "The API is reached at the portal's own address. When that path is cut, the system can neither be watched nor mended. Reach it at an address on another network."
	default:
		f.OK = true
	}
	return f
}

func addresses(ctx context.Context, host string) ([]string, error) {
	if ip := net.ParseIP(host); ip != nil {
		return []string{ip.String()}, nil
	}
	return within(ctx, defaults.quick, func(ctx context.Context) ([]string, error) { return net.DefaultResolver.LookupHost(ctx, host) })
}

func (d *Driver) certificate() drivers.Finding {
	f := drivers.Finding{What: "the API is reached over TLS", OK: d.login.url.Scheme == "https"}
	if !f.OK {
		f.Say = "It is plain HTTP on this machine's own loopback. Use https anywhere else."
	}
	return f
}

func atBoot(s *system, svc service) drivers.Finding {
	f := drivers.Finding{What: "the service starts at boot", OK: svc.enable}
	if !f.OK {
		f.Say = "It does not. After a reboot the target stays away until the undo starts the service, so the time until it is back says nothing about the product. Enable it at boot."
		if s.api == apiV1 {
			f.Say = "It does not, and REST v1.0 cannot start it without changing that, so it will not be stopped here. Enable it at boot."
		}
	}
	return f
}

// named tells whether the lab file's target and LUN are there.
func (d *Driver) named(l layout) drivers.Finding {
	f := drivers.Finding{What: "the target and LUN of the lab file are there"}
	var names []string
	for _, t := range l.targets {
		names = append(names, t.iqn)
		if !strings.EqualFold(t.iqn, d.cfg.Target) {
			continue
		}
		var luns []string
		for _, one := range t.luns {
			luns = append(luns, fmt.Sprintf("%d (%s)", one.number, one.extent))
			if one.number != d.cfg.LUN {
				continue
			}
			f.OK = !one.off
			if one.off {
				f.Say = fmt.Sprintf("The extent %s of LUN %d is switched off. Enable it.", one.extent, one.number)
			}
			return f
		}
		f.Say = fmt.Sprintf("The target has no LUN %d, but %s. Write one of them as lun.", d.cfg.LUN, listed(luns))
		return f
	}
	f.Say = fmt.Sprintf("The system has no target %s, but %s. Write one of them as target.", d.cfg.Target, listed(names))
	return f
}

// alone tells whether the outage is of the target under test only.
func (d *Driver) alone(l layout) drivers.Finding {
	f := drivers.Finding{What: "one target with one LUN", OK: true}
	var others []string
	luns := 0
	for _, t := range l.targets {
		if strings.EqualFold(t.iqn, d.cfg.Target) {
			luns = len(t.luns)
		} else {
			others = append(others, t.iqn)
		}
	}
	switch {
	case len(others) > 0:
		f.OK = false
		f.Say = "Stopping the service takes these away too: " + listed(others) + ". Whoever uses them loses their disks. Use a system that has no other target."
	case luns != 1:
		f.OK = false
		f.Say = fmt.Sprintf("The target has %d LUNs. All of them go together, and what is said of one datastore may be of another. Leave one.", luns)
	}
	return f
}

// finding tells whether what the LUN is made of is well before anything is broken.
func (s stored) finding() drivers.Finding {
	f := drivers.Finding{What: "what the LUN is made of is well"}
	if ill, _ := s.compare(stored{}, false); len(ill) > 0 {
		f.Say = "It is not: " + strings.Join(ill, "; ") + ". What a run does to it cannot be told from that. Mend it first."
		return f
	}
	f.OK = true
	return f
}

// strangers tells who else is logged in to other targets.
func (d *Driver) strangers(list []session) drivers.Finding {
	f := drivers.Finding{What: "nobody uses another target", OK: true}
	var who []string
	for _, s := range list {
		if s.target != "" && !strings.EqualFold(s.target, d.cfg.Target) {
			who = append(who, s.initiator)
		}
	}
	if len(who) > 0 {
		f.OK = false
		f.Say = "These are logged in to other targets: " + listed(who) + ". They lose them with the service. Log them out."
	}
	return f
}

// listed writes a list for people, and no more than five of it.
func listed(s []string) string {
	switch {
	case len(s) == 0:
		return "none"
	case len(s) > 5:
		return strings.Join(s[:5], ", ") + fmt.Sprintf(" and %d more", len(s)-5)
	}
	return strings.Join(s, ", ")
}
