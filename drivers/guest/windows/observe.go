// This file runs the observation: the agent's loop, the looks through WinRM, the event logs after a boot, and what is plugged
// in, each beside the others.

package windows

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// The pace of the looks through WinRM. Each makes a process in the guest. A look that hangs is told after silentAfter and waited
// for until lookLimit, so that a guest that hangs is asked once a minute and not filled with shells, and so that the end of a
// hang is seen at once: what was asked is answered then.
const (
	lookEvery   = 10 * time.Second
	againAfter  = 2 * time.Second
	silentAfter = 5 * time.Second
	lookLimit   = time.Minute
)

// rereads are when the logs are read again after the reading before: some events are written minutes after a boot.
var rereads = []time.Duration{0, 15 * time.Second, 30 * time.Second, time.Minute, 3 * time.Minute}

// observer is one run of Observe.
type observer struct {
	*watch.Reporter
	d     *Driver
	boots chan watch.Boot // holds the newest
}

// Observe reports until ctx ends. Only one Observe of a driver runs at a time.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	o := &observer{Reporter: watch.NewReporter(d.env.Clock, d.env.Lane, emit), d: d, boots: make(chan watch.Boot, 1)}
	o.Ordered = true
	booted := ""
	agents, err := d.agents.Begin(o.Reporter, func(b watch.Boot) {
		another := booted != "" && booted != b.ID
		booted = b.ID
		select { // a boot that was not looked at yet is older than this one, and its sign of life is the one that counts
		case before := <-o.boots:
			if before.ID != b.ID {
				b.Since, b.First = min(b.Since, before.Since), before.First
			}
		default:
		}
		o.boots <- b
		if r, ok := d.RDP.(interface{ Booted() }); ok && another {
			r.Booted()
		}
	})
	if err != nil {
		return err
	}
	defer agents.End()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(d.closed, cancel)()
	if d.cfg.HTTP && ctx.Err() == nil {
		o.Event("winrm", "plain-http", "the lab file wants WinRM without TLS", watch.At(o.Clock.Now()), nil)
	}
	var wg sync.WaitGroup
	wg.Go(func() { agents.Keep(ctx) })
	wg.Go(func() { agents.WatchSilence(ctx) })
	wg.Go(func() { o.look(ctx) })
	wg.Go(func() { o.followBoots(ctx) })
	if d.RDP != nil {
		wg.Go(func() {
			if err := d.RDP.Observe(ctx, emit); err != nil && ctx.Err() == nil {
				d.env.Logf("%s: what looks at its remote desktop ended: %v", d.env.ID, err)
			}
		})
	}
	wg.Wait()
	return nil
}

// look asks through a new WinRM connection, again and again.
func (o *observer) look(ctx context.Context) {
	for ctx.Err() == nil {
		err := o.lookOnce(ctx)
		pause := lookEvery
		if err != nil {
			pause = againAfter
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

func (o *observer) lookOnce(ctx context.Context) error {
	look, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	begun := o.Clock.Now()
	done := make(chan error, 1)
	go func() {
		_, err := o.d.run(look, scriptAlive, nil, nil)
		done <- err
	}()
	silent := time.NewTicker(silentAfter)
	defer silent.Stop()
	told := false
	var err error
	for waiting := true; waiting; {
		select {
		case err = <-done:
			waiting = false
		case <-silent.C:
			told = true
			now := o.Clock.Now()
			o.State("winrm", "silent", "", watch.Between(begun, now), nil)
			o.Sample("winrm", (now - begun).Seconds(), watch.At(now))
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := o.Clock.Now()
	s := watch.Between(begun, now)
	var e *callError
	switch {
	case err == nil:
		if told { // the answer came now and not earlier
			s.Lo = now
		}
		o.Sample("winrm", (now - begun).Seconds(), watch.Between(begun, now))
		o.State("winrm", "answers", "", s, nil)
	case errors.As(err, &e) && e.way == byTimeout:
		o.State("winrm", "silent", "", s, nil)
	case errors.As(err, &e):
		o.State("winrm", "refused", e.words(), s, map[string]string{"error": fmt.Sprintf("%.300s", e.err)})
	default: // a script that does nothing failed: PowerShell itself cannot run
		o.State("winrm", "refused", stageScript+" "+byFailure, s, map[string]string{"error": fmt.Sprintf("%.300s", err)})
	}
	return err
}

// followBoots reads the event logs: once at the beginning, to know what is old, and after each new boot what is new.
func (o *observer) followBoots(ctx context.Context) {
	known := map[string]bool{}
	var since time.Time // of the guest's clock: nothing older is asked for
	boot := ""
	for {
		var b watch.Boot
		select {
		case b = <-o.boots:
		case <-ctx.Done():
			return
		}
		if b.ID == boot {
			continue
		}
		boot = b.ID
		if !o.readAll(ctx, &b, known, &since) {
			return
		}
	}
}

// readAll reads the logs of one boot as often as rereads says; a newer boot ends that. It is false when ctx ended.
func (o *observer) readAll(ctx context.Context, b *watch.Boot, known map[string]bool, since *time.Time) bool {
	first := b.First && since.IsZero()
	if !first {
		o.State("logs", "unread", "booted anew", watch.At(o.Clock.Now()), nil)
	}
	for i := 0; i < len(rereads); {
		t := time.NewTimer(rereads[i])
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return false
		}
		if len(o.boots) > 0 && i > 0 {
			return true
		}
		from := *since
		if from.IsZero() { // what happened before the driver looked is none of its business; it only has to know it
			from = time.Unix(0, 0)
		}
		begun := o.Clock.Now()
		now, events, err := o.d.readLogs(ctx, from)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			o.State("logs", "unread", why(err), watch.Between(begun, o.Clock.Now()), nil)
			if i == 0 { // the same reading again, when WinRM is there
				if !drivers.Wait(ctx, againAfter) {
					return false
				}
				if len(o.boots) > 0 {
					return true
				}
				continue
			}
			i++
			continue
		}
		for _, e := range events {
			if known[e.key] {
				continue
			}
			known[e.key] = true
			if !first {
				o.tell(e, *b)
			}
		}
		o.State("logs", "read", b.ID, watch.Between(begun, o.Clock.Now()), nil)
		if first { // everything that is there is old; from now on the time bounds what is asked for
			*since = now
			return true
		}
		i++
	}
	return true
}

// tell reports what an event of the logs says. A crash was over when the guest booted.
func (o *observer) tell(e found, b watch.Boot) {
	now := o.Clock.Now()
	s := watch.Between(b.Since, now)
	if e.topic == "bugcheck" || e.topic == "kernel-power" {
		s.Hi = min(now, max(b.Since, b.Started))
	}
	attrs := map[string]string{"logged": e.guest}
	if e.name != "" {
		attrs["name"] = e.name
	}
	o.Event(e.topic, e.value, e.text, s, attrs)
}
