// This file starts the observers, each on its own, so that none keeps the others waiting.

package vsan

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// whole is the lane of the cluster as a whole.
const whole = "cluster"

// The topics that are this product's own.
const (
	topicMember     = "member"
	topicObjects    = "objects"
	topicCompliance = "compliance"
	topicPower      = "power"
	topicLost       = "events-lost"
	topicLog        = "kernel-log"
	topicWatch      = "watch"
)

// report takes what is seen for emit.
func (d *Driver) report(emit func(drivers.Observation)) *lookout.Report {
	return &lookout.Report{Changes: true, Clock: d.env.Clock, Emit: emit, Lane: d.lane(whole), Topic: topicWatch, Logf: d.env.Logf, Cause: d.conn.Cause}
}

// Observe looks at everything until ctx ends.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	r := d.report(emit)
	defer r.End()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.watchAPI(ctx, r) })
	wg.Go(func() {
		r.Watch(ctx, "hosts and machines", everyLook, (&hostWatch{d: d, boots: map[ref]time.Time{}}).look)
	})
	wg.Go(func() { r.Watch(ctx, "membership", everyDisk, d.lookMembers) })
	wg.Go(func() { r.Watch(ctx, "objects", everyCount, d.lookObjects) })
	wg.Go(func() { r.Watch(ctx, "compliance", everyDisk, d.lookCompliance) })
	wg.Go(func() { r.Watch(ctx, "disks", everyDisk, (&diskWatch{d: d, known: map[string]ref{}}).look) })
	wg.Go(func() { r.Watch(ctx, "events", everyEvent, (&feed{d: d}).look) })
	if d.cfg.Host != "" {
		wg.Go(func() { r.Watch(ctx, "the kernel's log", everyLog, (&kernelWatch{d: d}).look) })
	}
	if d.cfg.Stall != nil {
		wg.Go(func() { r.Watch(ctx, "what the disk does", everyLook, d.lookUnder) })
	}
	return nil
}

// watchAPI asks for the vCenter's time: the smallest call there is. One that did not answer was not answering when it was asked.
func (d *Driver) watchAPI(ctx context.Context, r *lookout.Report) {
	last := d.env.Clock.Now()
	r.Watch(ctx, "time", everyLook, func(ctx context.Context, _ func() lookout.Look) error {
		start := d.env.Clock.Now()
		err := d.conn.Compare(ctx)
		if ctx.Err() != nil {
			return err
		}
		l := r.Between(last, d.env.Clock.Now())
		last = start
		if err != nil {
			l.State(d.lane(whole), drivers.TopicAPI, "silent", d.conn.Cause(err), nil)
			return err
		}
		l.State(d.lane(whole), drivers.TopicAPI, "answers", "", nil)
		return nil
	})
}

// bootJitter is by how much a host's own account of when it booted may vary without a boot.
const bootJitter = 2 * time.Second

// hostWatch looks at hosts and machines.
type hostWatch struct {
	d     *Driver
	boots map[ref]time.Time // as last told
}

func (h *hostWatch) look(ctx context.Context, now func() lookout.Look) error {
	d := h.d
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	hosts, vms, err := d.inventory(ctx, p)
	if err != nil {
		if vsphere.Gone(err) {
			d.place.Lose()
		}
		return err
	}
	l := now()
	for _, one := range hosts {
		lane, up := "host/"+p.hostName[one.Self], "down"
		if one.Runtime.ConnectionState == types.HostSystemConnectionStateConnected {
			up = "up"
		}
		l.State(h.d.lane(lane), drivers.TopicHost, up, string(one.Runtime.ConnectionState), nil)
		if t := one.Runtime.BootTime; t != nil {
			if t.Sub(h.boots[one.Self]).Abs() > bootJitter {
				h.boots[one.Self] = *t
			}
			l.State(h.d.lane(lane), drivers.TopicBoot, h.boots[one.Self].UTC().Format(time.RFC3339Nano), "", nil)
		}
	}
	for _, vm := range vms {
		lane, boot := "vm/"+vm.Name, "none"
		if t := vm.Runtime.BootTime; t != nil {
			boot = t.UTC().Format(time.RFC3339Nano)
		}
		if vm.Runtime.Host != nil {
			l.State(h.d.lane(lane), drivers.TopicPlace, p.hostName[*vm.Runtime.Host], "", nil)
		}
		l.State(h.d.lane(lane), topicPower, string(vm.Runtime.PowerState), "", nil)
		l.State(h.d.lane(lane), drivers.TopicBoot, boot, "", nil)
	}
	return nil
}

// inventory reads the hosts and all machines on them that belong to nobody but people: those of a solution come and go with it.
func (d *Driver) inventory(ctx context.Context, p *place) (hosts []mo.HostSystem, vms []mo.VirtualMachine, err error) {
	err = d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) error {
		pc := property.DefaultCollector(c)
		hosts, vms = nil, nil
		if err := pc.Retrieve(ctx, p.hosts, []string{"runtime.connectionState", "runtime.bootTime", "vm"}, &hosts); err != nil {
			return err
		}
		var refs []ref
		for _, h := range hosts {
			refs = append(refs, h.Vm...)
		}
		if len(refs) == 0 {
			return nil
		}
		return pc.Retrieve(ctx, refs, []string{"name", "config.managedBy", "runtime.host", "runtime.bootTime", "runtime.powerState"}, &vms)
	})
	own := vms[:0]
	for _, vm := range vms {
		if vm.Config == nil || vm.Config.ManagedBy == nil {
			own = append(own, vm)
		}
	}
	return hosts, own, err
}

func (d *Driver) lookMembers(ctx context.Context, now func() lookout.Look) error {
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for _, h := range p.hosts { // one that is away must not keep the others from being asked
		wg.Go(func() {
			in, word, err := d.member(ctx, p, h)
			value := "no"
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				word = d.conn.Cause(err)
			case in:
				value = "yes"
			}
			now().State(d.lane("host/"+p.hostName[h]), topicMember, value, word, nil)
		})
	}
	wg.Wait()
	return nil
}

func (d *Driver) lookObjects(ctx context.Context, now func() lookout.Look) error {
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	o, err := d.objects(ctx, p)
	if err != nil {
		return err
	}
	l := now()
	l.Sample(d.lane(whole), drivers.TopicUnprotected, float64(o.left))
	l.State(d.lane(whole), topicObjects, o.String(), "", nil)
	resilient, healing := "yes", "idle"
	if !o.whole() {
		resilient = "no"
	}
	if o.left > 0 || o.copies > 0 {
		healing = "running"
	}
	l.State(d.lane(whole), drivers.TopicHealing, healing, "", nil)
	l.State(d.lane(whole), drivers.TopicResilient, resilient, strings.Join(o.lacks(), "; "), nil)
	return nil
}

func (d *Driver) lookCompliance(ctx context.Context, now func() lookout.Look) error {
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	_, vms, err := d.inventory(ctx, p)
	if err != nil || len(vms) == 0 {
		return err
	}
	var refs []ref
	for _, vm := range vms {
		refs = append(refs, vm.Self)
	}
	status, err := d.compliance(ctx, refs)
	if err == nil {
		now().State(d.lane(whole), topicCompliance, status, "", nil)
	}
	return err
}
