// This file reports what is seen of the target: on the wire, and over SSH. Neither ever waits for the other.

package overssh

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// probeEvery is how often the portal is looked at while observing.
const probeEvery = time.Second

// Observe tells, every second, the state "service" (serving or stopped, on the wire), and more rarely the state "shell" (answers or
// silent), the state "boot" and the sample "sessions" (how many the target counts; a look at the wire is one too).
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.watchWire(ctx, emit) })
	wg.Go(func() { d.watchShell(ctx, emit) })
	wg.Wait()
	return nil
}

func (d *Driver) seen(lo time.Duration, kind drivers.Kind, topic, value, text string) drivers.Observation {
	return drivers.Observation{Lo: lo, Hi: d.env.Clock.Now(), Lane: d.env.Lane, Kind: kind, Topic: topic, Value: value, Text: text}
}

func (d *Driver) watchWire(ctx context.Context, emit func(drivers.Observation)) {
	type sight struct {
		w   Wire
		err error
	}
	before := d.env.Clock.Now()
	for ctx.Err() == nil {
		select {
		case d.eyes <- struct{}{}:
		case <-ctx.Done():
			return
		}
		start := d.env.Clock.Now()
		lctx, cancel := context.WithTimeout(ctx, hangPatience)
		told, ended := make(chan sight, 1), make(chan struct{})
		go func() {
			defer close(ended)
			d.look(lctx, func(w Wire, err error) { told <- sight{w, err} })
		}()
		tell := func(s sight) {
			if ctx.Err() != nil {
				return
			}
			o := d.seen(before, drivers.State, "service", "serving", "")
			if s.w != Serving {
				o.Value, o.Text = "stopped", string(s.w)
				if s.err != nil {
					o.Text = s.err.Error()
				}
			}
			o.Attrs = map[string]string{"wire": string(s.w)}
			emit(o)
		}
		silence := time.NewTimer(d.t.answer)
		for waiting := true; waiting; {
			select {
			case s := <-told:
				tell(s)
				before, waiting = start, false
			case <-silence.C: // one that hangs is told each second, by the login that hangs
				tell(sight{w: Silent})
				before = d.env.Clock.Now()
				start = before
				silence.Reset(probeEvery)
			}
		}
		silence.Stop()
		<-ended
		cancel()
		<-d.eyes
		_ = pause(ctx, probeEvery-(d.env.Clock.Now()-start))
	}
}

func (d *Driver) watchShell(ctx context.Context, emit func(drivers.Observation)) {
	before := d.env.Clock.Now()
	var last *survey // the one before, when nothing was broken
	told := map[string]bool{}
	accident := func(lo time.Duration, value, text string) {
		if !told[value] {
			told[value] = true
			emit(d.seen(lo, drivers.Event, drivers.LabFailure, value, text))
		}
	}
	for ctx.Err() == nil {
		start := d.env.Clock.Now()
		acts, _ := d.quiet()
		s, err := d.survey(ctx, [2]string{partSessions, d.sys.Sessions})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			emit(d.seen(before, drivers.State, "shell", "silent", err.Error()))
		} else {
			emit(d.seen(before, drivers.State, "shell", "answers", ""))
			emit(d.seen(before, drivers.State, "boot", s.boot, ""))
			if n, err := d.sys.Count(s.parts[partSessions]); err == nil {
				o := d.seen(start, drivers.Sample, "sessions", "", "")
				o.Num = float64(n)
				emit(o)
			}
			// Only what was whole in two looks with no act in between can have broken by itself.
			if now, whole := d.quiet(); whole && now == acts {
				if last != nil && !sameBoot(last.boot, s.boot) {
					accident(before, "target-rebooted", "the target has rebooted without being asked to")
				}
				if last != nil && last.state.Word == On && s.stateErr == nil && s.state.Word != On {
					accident(before, "target-ended", "the target's service ended without being asked to: it is "+strings.ToValidUTF8(clip(s.state.Word), ""))
				}
				last = s
			} else {
				last = nil
			}
		}
		before = start
		_ = pause(ctx, d.t.lookEach)
	}
}
