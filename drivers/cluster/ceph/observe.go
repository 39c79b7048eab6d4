package ceph

// This file watches: the cluster as it tells of itself, and beside it every disk, every daemon and the way to the gateways.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
)

const (
	askEvery    = time.Second            // of the monitor: a status is some 1 ms of its work
	diskEvery   = 500 * time.Millisecond // of each disk
	daemonEvery = 250 * time.Millisecond // of /proc
	readEvery   = 2 * time.Second        // of an object of which a copy is bad
	slow        = 10 * time.Second       // after which a monitor that has not answered is silent
)

// Observe watches until ctx ends.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.watchCluster(ctx, emit) })
	wg.Go(func() { d.watchDaemons(ctx, emit) })
	for _, o := range d.c.OSDs {
		wg.Go(func() { d.watchDisk(ctx, o, emit) })
	}
	<-ctx.Done()
	return nil
}

// states emits what changes, with the last time at which it was not so.
type states struct {
	d    *Driver
	emit func(drivers.Observation)
	seen map[string]string
	at   map[string]time.Duration // of the look before
}

func (d *Driver) states(emit func(drivers.Observation)) *states {
	return &states{d: d, emit: emit, seen: map[string]string{}, at: map[string]time.Duration{}}
}

// say tells of a look that began at a time.
func (s *states) say(lane, topic, value, text string, began time.Duration) (changed bool) {
	key := lane + " " + topic
	before, known := s.at[key]
	s.at[key] = began
	if s.seen[key] == value {
		return false
	}
	s.seen[key] = value
	now := s.d.env.Clock.Now()
	if !known {
		before = began
	}
	s.emit(drivers.Observation{Lo: before, Hi: now, Lane: s.d.lane(lane), Kind: drivers.State, Topic: topic, Value: value, Text: text})
	return true
}

func (s *states) event(lane, topic, value, text string, attrs map[string]string) {
	now := s.d.env.Clock.Now()
	s.emit(drivers.Observation{Lo: now, Hi: now, Lane: s.d.lane(lane), Kind: drivers.Event, Topic: topic, Value: value, Text: text, Attrs: attrs})
}

// every calls look at once and then with pauses, until ctx ends.
func every(ctx context.Context, pause time.Duration, look func()) {
	for {
		look()
		if !drivers.Wait(ctx, pause) {
			return
		}
	}
}

func (d *Driver) watchDisk(ctx context.Context, o OSD, emit func(drivers.Observation)) {
	s := d.states(emit)
	every(ctx, diskEvery, func() {
		began := d.env.Clock.Now()
		value, text := o.Disk.medium(ctx)
		if n, bad := d.note(o); bad && value == "serves" && d.rotsStill(ctx, o, n) {
			value, text = "rotten", fmt.Sprintf("8 bytes of the copy of %s at %d were changed", n.Object, n.Offset)
		}
		if ctx.Err() == nil {
			s.say("disk/"+o.name(), drivers.TopicMedium, value, text, began)
		}
	})
}

func (d *Driver) watchDaemons(ctx context.Context, emit func(drivers.Observation)) {
	s := d.states(emit)
	every(ctx, daemonEvery, func() {
		began := d.env.Clock.Now()
		for _, o := range d.c.OSDs {
			s.say("controller/"+o.name(), drivers.TopicDaemon, state(o.Daemon.PIDFile), "", began)
		}
		for _, g := range d.c.Gateways {
			s.say("controller/"+g.Name, drivers.TopicController, state(local.PIDFile(g.TGT)), "", began)
		}
		if b, err := os.ReadFile(d.c.Redirect); err == nil && len(d.c.Gateways) > 0 {
			to := strings.TrimSpace(string(b))
			if to == d.c.Gateways[0].Name {
				to = "local"
			}
			s.say(redirector, drivers.TopicRedirect, to, "", began)
		}
	})
}

// asker is a talk with the cluster that is begun anew after each error.
type asker struct {
	d *Driver
	t *talk
}

func (a *asker) ask(ctx context.Context, into any, question string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	if a.t == nil {
		if a.t, err = a.d.talk(); err != nil {
			return err
		}
	}
	if err := a.t.ask(ctx, into, question); err != nil {
		a.close()
		return err
	}
	return nil
}

func (a *asker) close() {
	if a.t != nil {
		a.t.close()
		a.t = nil
	}
}

func (d *Driver) watchCluster(ctx context.Context, emit func(drivers.Observation)) {
	w := &clusterWatch{states: d.states(emit), a: &asker{d: d}, repaired: map[int]int{}, logged: map[string]bool{}}
	defer w.a.close()
	every(ctx, askEvery, func() {
		began := d.env.Clock.Now()
		err := w.look(ctx, began)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			w.say("cluster", drivers.TopicAPI, "silent", err.Error(), began)
		default:
			w.say("cluster", drivers.TopicAPI, "answers", "", began)
		}
	})
}

// clusterWatch is what was seen of the cluster before.
type clusterWatch struct {
	*states
	a        *asker
	repaired map[int]int     // copies that each OSD has mended
	stuck    string          // the words about stuck I/O
	logged   map[string]bool // entries of the audit log
	read     time.Duration   // when the object with the bad copy was read last
}

func (w *clusterWatch) look(ctx context.Context, began time.Duration) error {
	var st status
	err := w.a.ask(ctx, &st, "status")
	if err == nil {
		err = st.check()
	}
	var dump osdDump
	if err == nil {
		if err = w.a.ask(ctx, &dump, "osd dump"); err == nil {
			err = dump.check()
		}
	}
	if err != nil {
		return err
	}
	for _, e := range dump.OSDs {
		value := "online"
		if *e.Up == 0 || *e.In == 0 {
			value = "offline"
		}
		name := fmt.Sprintf("osd.%d", *e.ID)
		w.say("disk/"+name, drivers.TopicDisk, value, "", began)
		for topic, flag := range map[string]int{"up": *e.Up, "in": *e.In} {
			word := map[string][2]string{"up": {"down", "up"}, "in": {"out", "in"}}[topic][min(flag, 1)]
			before := w.seen["disk/"+name+" "+topic]
			if w.say("disk/"+name, topic, word, "", began) && before != "" { // its own doing; an administrator's is in the audit log
				w.event("cluster", drivers.TopicTask, name+" "+word, "", map[string]string{"by": "cluster", "disk": name})
			}
		}
	}
	lacks := st.lacks()
	value := "yes"
	if lacks != "" {
		value = "no"
	}
	w.say("cluster", drivers.TopicResilient, value, lacks, began)
	healing := "idle"
	if st.healing() {
		healing = "running"
	}
	w.say("cluster", drivers.TopicHealing, healing, "", began)
	now := w.d.env.Clock.Now()
	w.emit(drivers.Observation{Lo: now, Hi: now, Lane: w.d.lane("cluster"), Kind: drivers.Sample, Topic: drivers.TopicUnprotected, Num: st.unprotected()})
	if stuck := st.stuck(); stuck != w.stuck {
		for _, o := range w.d.c.OSDs {
			if strings.Contains(stuck, o.name()) && !strings.Contains(w.stuck, o.name()) {
				w.event("disk/"+o.name(), drivers.TopicStuckIO, "SLOW_OPS", stuck, nil)
			}
		}
		w.stuck = stuck
	}
	return errors.Join(w.audit(ctx), w.copies(ctx, began))
}

// audit tells of what was done by a call from outside.
func (w *clusterWatch) audit(ctx context.Context) error {
	var entries []struct {
		Stamp   string `json:"stamp"`
		Seq     int64  `json:"seq"`
		Message string `json:"message"`
	}
	if err := w.a.ask(ctx, &entries, "log last 20 info audit"); err != nil {
		return err
	}
	first := len(w.logged) == 0
	if len(w.logged) > 4096 {
		w.logged = map[string]bool{}
	}
	for _, e := range entries {
		key := e.Stamp + fmt.Sprint(e.Seq)
		if w.logged[key] {
			continue
		}
		w.logged[key] = true
		cmd := prefixOf(e.Message)
		if first || cmd == "" || !strings.Contains(e.Message, "finished") && !strings.Contains(e.Message, "dispatch") {
			continue
		}
		by := "administrator"
		if fromInside(e.Message) {
			by = "cluster"
		}
		if strings.Contains(e.Message, "dispatch") { // a call is in it twice, and what is refused only so
			continue
		}
		w.event("cluster", drivers.TopicTask, cmd, e.Message, map[string]string{"by": by})
	}
	return nil
}

// fromInside tells whether a call was one of the cluster's own parts: a daemon's when it starts, and the fencing of a gateway by
// what redirects.
func fromInside(message string) bool {
	return strings.Contains(message, "entity='osd.") || strings.Contains(message, "entity='mgr.") || strings.Contains(message, "entity='mon.") ||
		strings.Contains(message, `"osd blocklist"`) || strings.Contains(message, `"osd crush create-or-move"`) || strings.Contains(message, `"osd crush set-device-class"`)
}

// prefixOf finds the command's name in an entry of the audit log: cmd=[{"prefix": "osd out", ...}].
func prefixOf(message string) string {
	_, rest, ok := strings.Cut(message, `"prefix": "`)
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, `"`)
	return name
}

// copies looks whether an OSD has mended a copy, and reads the object with the bad one, as any client may.
func (w *clusterWatch) copies(ctx context.Context, began time.Duration) error {
	o, err := w.d.osd()
	if err != nil {
		return err
	}
	n, bad := w.d.note(o)
	if bad && w.d.rotsStill(ctx, o, n) && began >= w.read+readEvery {
		w.read = began
		w.readBack(ctx, n)
	}
	var stats struct {
		OSDs []struct {
			ID       *int `json:"osd"`
			Repaired *int `json:"num_shards_repaired"`
		} `json:"osd_stats"`
	}
	if err := w.a.ask(ctx, &stats, "pg dump osds"); err != nil {
		return err
	}
	for _, s := range stats.OSDs {
		if s.ID == nil || s.Repaired == nil {
			return errors.New("ceph does not say how many copies its OSDs have mended")
		}
		before, known := w.repaired[*s.ID]
		w.repaired[*s.ID] = *s.Repaired
		if known && *s.Repaired > before {
			w.event(fmt.Sprintf("disk/osd.%d", *s.ID), drivers.TopicRepair, "mended", fmt.Sprintf("%d copies", *s.Repaired-before), nil)
		}
	}
	return nil
}

// readBack reads the object, and says whether what came is what was written: event "read" of the cluster, right, wrong or failed.
func (w *clusterWatch) readBack(ctx context.Context, n rotten) {
	ctx, cancel := context.WithTimeout(ctx, slow)
	defer cancel()
	file := filepath.Join(w.d.c.Dir, "read-back")
	defer os.Remove(file)
	began := w.d.env.Clock.Now()
	value, text := "right", ""
	if _, err := w.d.c.Run(ctx, "rados", "-p", w.d.c.Pool, "get", n.Object, file); err != nil {
		value, text = "failed", err.Error()
	} else if b, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(b, n.Sum) {
		value = "wrong"
	}
	if ctx.Err() != nil && value == "failed" {
		text = "it took too long"
	}
	w.emit(drivers.Observation{Lo: began, Hi: w.d.env.Clock.Now(), Lane: w.d.lane("cluster"), Kind: drivers.Event, Topic: "read", Value: value, Text: text,
		Attrs: map[string]string{"object": n.Object}})
}
