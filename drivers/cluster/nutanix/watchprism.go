// This file watches through Prism, which may live on the very cluster that is broken: that it goes silent is an observation.

package nutanix

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// lookAPI asks the smallest thing, and tells whether Prism answers.
func (w *watcher) lookAPI(ctx context.Context, since time.Duration) {
	_, err := ask(ctx, w.d, v2+"cluster/", readCluster)
	switch {
	case err == nil:
		w.state(ctx, since, whole, drivers.TopicAPI, "answers", "")
	case answered(err):
		w.state(ctx, since, whole, drivers.TopicAPI, "answers", w.d.cause(err))
	default:
		w.state(ctx, since, whole, drivers.TopicAPI, "silent", w.d.cause(err))
	}
}

// tolerance asks what failures of a domain the cluster tolerates.
func (d *Driver) tolerance(ctx context.Context, domain string) (tolerance, error) {
	return ask(ctx, d, v2+"cluster/domain_fault_tolerance_status/"+domain, readTolerance(domain))
}

// lookTolerance tells whether the cluster has all its redundancy. A disk that stays broken is none of it once its data has been
// copied: the cluster can lose the next one.
func (w *watcher) lookTolerance(ctx context.Context, since time.Duration) {
	var bytes int64
	ok, why := true, ""
	for _, domain := range []string{domainDisk, domainNode} {
		t, err := w.d.tolerance(ctx, domain)
		if err != nil {
			return // lookAPI tells of silence
		}
		if t.failures < 1 || t.computing {
			ok, why = false, domain+": "+t.weakest+" tolerates "+strconv.Itoa(t.failures)
		}
		bytes = max(bytes, t.unprotected)
	}
	w.sample(ctx, whole, drivers.TopicUnprotected, float64(bytes))
	healing := "idle"
	if bytes > 0 {
		ok, healing = false, "running"
	}
	w.state(ctx, since, whole, drivers.TopicHealing, healing, "")
	w.state(ctx, since, whole, drivers.TopicResilient, map[bool]string{true: "yes", false: "no"}[ok], why)
}

// lookDisks tells which disks the cluster uses.
func (w *watcher) lookDisks() func(context.Context, time.Duration) {
	known := map[string]bool{}
	return func(ctx context.Context, since time.Duration) {
		disks, err := ask(ctx, w.d, v2+"disks/", readDisks)
		if err != nil {
			return
		}
		there := map[string]bool{}
		for _, k := range disks {
			known[k.serial], there[k.serial] = true, true
			w.state(ctx, since, ofDisk+k.serial, drivers.TopicDisk, map[bool]string{true: "online", false: "offline"}[k.online], "")
		}
		for serial := range known {
			if !there[serial] {
				w.state(ctx, since, ofDisk+serial, drivers.TopicDisk, "absent", "")
			}
		}
	}
}

// lookHosts tells one boot of a host from the next.
func (w *watcher) lookHosts(ctx context.Context, since time.Duration) {
	hosts, err := ask(ctx, w.d, v2+"hosts/", readHosts)
	if err != nil {
		return
	}
	for _, h := range hosts {
		w.state(ctx, since, ofHost+h.name, drivers.TopicBoot, time.UnixMicro(h.boot).UTC().Format(time.DateTime), h.state)
	}
}

// lookVMs tells where VMs run, and HA of a host that is under way.
func (w *watcher) lookVMs(ctx context.Context, since time.Duration) {
	l, err := w.d.find(ctx)
	if err != nil {
		return
	}
	vms, err := ask(ctx, w.d, v2+"vms/", readVMs)
	if err != nil {
		if !answered(err) {
			w.lookCentral(ctx, since, l)
		}
		return
	}
	w.leaveCentral(ctx, since)
	w.mu.Lock()
	for _, v := range vms {
		w.names[v.uuid] = v.name
	}
	w.mu.Unlock()
	for _, v := range vms {
		place := "nowhere"
		if n := l.byHost(v.host); n != nil && v.on {
			place = n.host
		}
		w.state(ctx, since, ofVM+v.name, drivers.TopicPlace, place, "")
	}
	if h, err := ask(ctx, w.d, v2+"ha/", readHA); err == nil {
		is := "idle"
		if len(h.failing) > 0 {
			is = "failing over"
		}
		w.state(ctx, since, whole, "ha", is, strings.Join(h.failing, " "))
	}
}

// lookTasks tells of what was done: the audit lists what users called for, the task list also what the cluster does itself.
func (w *watcher) lookTasks() func(context.Context, time.Duration) {
	var calls, tasks fresh
	var recent []task
	return func(ctx context.Context, since time.Duration) {
		audits, err := ask(ctx, w.d, v2+"audits/", readAudits)
		if err != nil {
			w.state(ctx, since, whole, auditing, "silent", w.d.cause(err))
		} else {
			w.state(ctx, since, whole, auditing, "followed", "")
		}
		for _, t := range pick(audits, &calls) {
			recent = append(recent, t)
			w.task(ctx, since, t, "administrator")
		}
		b, err := w.d.prism.call(ctx, w.d.t.prism, http.MethodPost, v2+"tasks/list", map[string]any{"include_completed": true})
		if err != nil {
			return
		}
		list, err := readTasks(b)
		if err != nil {
			return
		}
		for _, t := range pick(list, &tasks) {
			asked := slices.ContainsFunc(recent, func(a task) bool {
				return a.operation == t.operation && time.Duration(max(a.at-t.at, t.at-a.at))*time.Microsecond < 5*time.Second
			})
			if !asked { // else it was told of as a call
				w.task(ctx, since, t, "cluster")
			}
		}
	}
}

func (w *watcher) task(ctx context.Context, since time.Duration, t task, by string) {
	attrs := map[string]string{"by": by}
	if len(t.vms) > 0 {
		names := make([]string, len(t.vms))
		for i, id := range t.vms {
			names[i] = w.name(id)
		}
		attrs["vm"] = strings.Join(names, " ")
	}
	w.event(ctx, since, whole, drivers.TopicTask, t.operation, t.user, attrs)
}

// pick returns the tasks that are new.
func pick(ts []task, f *fresh) []task {
	ids := make([]string, len(ts))
	for i, t := range ts {
		ids[i] = t.uuid
	}
	return slices.DeleteFunc(slices.Clone(ts), notIn(f.new(ids)))
}

func notIn(ids []string) func(task) bool {
	return func(t task) bool { return !slices.Contains(ids, t.uuid) }
}

// lookReads tells where VMs' reads come from, where Prism tells it: bytes within its own last interval.
func (w *watcher) lookReads() func(context.Context, time.Duration) {
	return func(ctx context.Context, _ time.Duration) {
		list, err := ask(ctx, w.d, v1+"vms/", readReads)
		if err != nil {
			return
		}
		for _, r := range list {
			if name := w.name(r.uuid); r.told && name != r.uuid { // who is no VM of vms/, or is not known yet, has no lane
				w.sample(ctx, ofVM+name, localIO, float64(r.local))
				w.sample(ctx, ofVM+name, remoteIO, float64(r.remote))
			}
		}
	}
}
