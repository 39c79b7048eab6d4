// This file looks at how the target is set up, for what would make a run's claims mean less.

package overssh

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Examine looks at the target before anything is broken.
func (d *Driver) Examine(ctx context.Context) []drivers.Finding {
	if ctx.Err() != nil {
		return nil // nobody waits for it
	}
	found := []drivers.Finding{d.apart(ctx), {What: "the target's host key is pinned", OK: true}} // sshell believes no other
	more := [][2]string{{partAtBoot, d.sys.AtBoot}}
	for i, c := range d.sys.Checks {
		more = append(more, [2]string{partCheck + strconv.Itoa(i), c.Show})
	}
	s, err := d.survey(ctx, more...)
	if err == nil {
		err = d.right(s)
	}
	if err != nil {
		return append(found, drivers.Finding{What: "the target's setup", Say: "It cannot be looked at: " + err.Error()})
	}
	boot := drivers.Finding{What: "the target's service starts at boot"}
	on, err := d.sys.Starts(s.parts[partAtBoot])
	switch {
	case err != nil:
		boot.Say = "It cannot be told: " + err.Error() + ". After a reboot the undo starts the service, later than the target would by itself."
	case !on:
		boot.Say = "It does not. A reboot of the target then lasts until the undo starts the service. Enable it."
	default:
		boot.OK = true
	}
	found = append(found, boot)
	for i, c := range d.sys.Checks {
		f := drivers.Finding{What: c.What}
		f.OK, f.Say = c.Judge(s.parts[partCheck+strconv.Itoa(i)])
		found = append(found, f)
	}
	if d.sys.Stores != "" {
		found = append(found, d.storesFound(ctx))
	}
	return found
}

// storesFound tells whether the LUNs can be checked after a run, and whether they are well before it.
func (d *Driver) storesFound(ctx context.Context) drivers.Finding {
	f := drivers.Finding{What: "what the LUNs are made of is known and well"}
	d.remember(ctx)
	d.mu.Lock()
	first, err := d.first, d.firstErr
	d.mu.Unlock()
	switch {
	case first == nil:
		f.Say = "It was not told in time. Whether a run damages them can then not be told in full."
		return f
	case err != nil:
		f.Say = "It cannot be looked at: " + err.Error() + ". Whether a run damages them cannot be told."
		return f
	}
	for _, lun := range slices.Sorted(maps.Keys(first)) {
		switch s := first[lun]; {
		case s.Kind == kindGone:
			f.Say += fmt.Sprintf("LUN %d is made of %s, which is not there. ", lun, s.Path)
		case s.Pool != nil && s.Pool.Ill() != "":
			f.Say += fmt.Sprintf("The pool %s below LUN %d is not well: %s. What a run does to it cannot be told from that. ", s.Pool.Name, lun, s.Pool.Ill())
		}
	}
	f.OK, f.Say = f.Say == "", strings.TrimSpace(f.Say)
	return f
}

// apart looks whether the way to the shell survives a fault of the way to the storage.
func (d *Driver) apart(ctx context.Context) drivers.Finding {
	f := drivers.Finding{What: "the target's management is apart from its storage"}
	ctx, cancel := context.WithTimeout(ctx, d.t.answer)
	defer cancel()
	addresses := func(hostport string) []string {
		host, _, _ := net.SplitHostPort(hostport) // both were checked when the driver was opened
		if ips, err := net.DefaultResolver.LookupHost(ctx, host); err == nil {
			return ips
		}
		return []string{host}
	}
	portal := addresses(d.c.Portal)
	for _, a := range addresses(d.c.SSH.Address) {
		if slices.Contains(portal, a) {
			f.Say = "Both are at " + a + ". A fault of the storage network then cuts the driver off too, and the target cannot be watched while it lasts. " +
				"Give ssh.address an address on another network."
			return f
		}
	}
	f.OK = true
	return f
}
