// This file takes the interface down and brings it up again.

package sshlink

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/path/internal/farside"
)

const opRestore = "link-restore"

// BreakKinds lists the one fault.
func (d *Driver) BreakKinds() []drivers.FaultKind { return []drivers.FaultKind{drivers.LinkDown} }

// BreakPath takes the interface down: the timer is armed, the undo journalled, and only then is the interface touched, by a script
// that first looks whether the timer still runs. One that is down already is left alone, and so will the undo leave it.
func (d *Driver) BreakPath(ctx context.Context, kind drivers.FaultKind, j drivers.Journal) error {
	if kind != drivers.LinkDown {
		return fmt.Errorf("this path cannot do %s", kind)
	}
	v, err := d.usable(ctx)
	if err != nil {
		return err
	}
	u := undo{system: v.system, nic: d.c.Interface, old: v.links[d.c.Interface].state(), lost: v.lost}
	if u.old == "down" {
		return j(ctx, u.data(d.env.ID, time.Time{}))
	}
	u.timer = farside.NewTimer("link")
	until, err := d.host.Arm(ctx, d.pace.act, u.timer, d.c.Seconds, strings.Join(u.commands(), "\n"))
	if err != nil {
		return d.host.Blame(err)
	}
	if err := j(ctx, u.data(d.env.ID, until)); err != nil {
		if derr := d.host.Disarm(ctx, d.pace.act, u.timer); derr != nil && d.env.Logf != nil {
			d.env.Logf("%s: a dead-man timer stays armed; it will bring %s up, which it is: %v", d.env.ID, u.nic, derr)
		}
		return err
	}
	d.broken.Store(true)
	out, err := d.host.Script(ctx, d.pace.act, downScript(u))
	switch {
	case err != nil:
		return fmt.Errorf("taking %s down: %w", u.nic, err)
	case strings.Contains(out, "unarmed"):
		return errors.New("the dead-man timer does not run any more, so the interface was left up")
	case !strings.HasSuffix(out, "now down"):
		return fmt.Errorf("%s was told to go down and is not: %s", u.nic, out)
	}
	return nil
}

// Undo brings the interface to its old state and ends the timer.
func (d *Driver) Undo(ctx context.Context, data drivers.Undo) (drivers.UndoResult, error) {
	if data.Op != opRestore {
		return "", drivers.ErrUnknownUndo
	}
	u, err := undoOf(data)
	if err != nil {
		return "", err
	}
	d.broken.Store(false)
	if u.old == "down" {
		return drivers.NothingLeft, nil // nothing was done: an undo never cuts anything
	}
	out, err := d.host.Script(ctx, d.pace.act, upScript(u))
	if err != nil {
		return "", d.host.Blame(err)
	}
	lines := strings.Split(out, "\n")
	has := func(l string) bool {
		for _, x := range lines {
			if strings.TrimSpace(x) == l {
				return true
			}
		}
		return false
	}
	var failed []string
	for _, l := range lines {
		if c, ok := strings.CutPrefix(l, "failed "); ok {
			failed = append(failed, c)
		}
	}
	switch {
	case !has("now up"):
		return "", fmt.Errorf("%s was told to go up and is not: %s", u.nic, out)
	case len(failed) > 0:
		return "", fmt.Errorf("%s is up, but not all that it had came back: %s", u.nic, strings.Join(failed, "; "))
	case has("was up") && !has("timer armed"):
		return drivers.NothingLeft, nil
	}
	return drivers.Undone, nil
}

// undo is what an Undo carries. Linux forgets an interface's routes and IPv6 addresses when it goes down; lost has them.
type undo struct {
	system, nic, old, timer string
	lost                    lost
}

// lost is what Linux forgets, in ip's own words without the interface's name.
type lost struct{ addrs6, routes4, routes6 []string }

func (u undo) data(id string, until time.Time) drivers.Undo {
	return drivers.Undo{Driver: id, Op: opRestore, Until: until, Args: map[string]string{"system": u.system, "interface": u.nic, "state": u.old, "timer": u.timer,
		"addresses6": strings.Join(u.lost.addrs6, "\n"), "routes4": strings.Join(u.lost.routes4, "\n"), "routes6": strings.Join(u.lost.routes6, "\n")}}
}

// words are an address or a route that may stand in a shell script.
var words = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 .:/_-]*$`)

// undoOf reads an Undo. It comes from a file and goes into a shell: nothing is taken on trust.
func undoOf(data drivers.Undo) (undo, error) {
	a := data.Args
	u := undo{system: a["system"], nic: a["interface"], old: a["state"], timer: a["timer"]}
	bad := func(key string) error { return fmt.Errorf("the undo's %s is %q, which cannot be", key, a[key]) }
	switch {
	case u.system != linux && u.system != freeBSD:
		return u, bad("system")
	case !ifName.MatchString(u.nic):
		return u, bad("interface")
	case u.old != "up" && u.old != "down":
		return u, bad("state")
	case u.old == "up" && !farside.IsTimer(u.timer):
		return u, bad("timer")
	}
	for key, into := range map[string]*[]string{"addresses6": &u.lost.addrs6, "routes4": &u.lost.routes4, "routes6": &u.lost.routes6} {
		for l := range strings.Lines(a[key]) {
			l = strings.TrimSpace(l)
			if !words.MatchString(l) {
				return u, bad(key)
			}
			*into = append(*into, l)
		}
	}
	return u, nil
}

// commands bring the interface up with what it had.
func (u undo) commands() []string {
	if u.system == freeBSD {
		return []string{"ifconfig " + u.nic + " up"}
	}
	out := []string{"ip link set dev " + u.nic + " up"}
	for _, a := range u.lost.addrs6 {
		out = append(out, "ip -6 addr replace "+a+" dev "+u.nic)
	}
	for _, r := range u.lost.routes4 {
		out = append(out, "ip -4 route replace "+r+" dev "+u.nic)
	}
	for _, r := range u.lost.routes6 {
		out = append(out, "ip -6 route replace "+r+" dev "+u.nic)
	}
	return out
}

func downScript(u undo) string {
	down := "ip link set dev " + u.nic + " down"
	if u.system == freeBSD {
		down = "ifconfig " + u.nic + " down"
	}
	return linkState + "apd_armed " + u.timer + " || { echo unarmed; exit 0; }\n" + down + " || exit 1\necho \"now $(apd_link " + u.nic + ")\""
}

// upScript ends the timer last: a connection that breaks before that still has it.
func upScript(u undo) string {
	var b strings.Builder
	b.WriteString(linkState + "echo \"was $(apd_link " + u.nic + ")\"\n")
	for i, c := range u.commands() {
		if i == 0 {
			b.WriteString(c + " || exit 1\n")
			continue
		}
		b.WriteString(c + " >/dev/null 2>&1 || echo 'failed " + c + "'\n")
	}
	b.WriteString("echo \"now $(apd_link " + u.nic + ")\"\napd_disarm " + u.timer + " && echo timer armed\n:")
	return b.String()
}
