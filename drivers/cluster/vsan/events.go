// This file follows the vCenter's events: what the cluster did by itself, and what hosts say of stuck I/Os.

package vsan

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// The events of something that was done, by the ids of vSphere: by the cluster itself, or by whoever the event names.
var (
	byCluster = []string{"com.vmware.vc.ha.VmRestartedByHAEvent", "VmRestartedOnAlternateHostEvent", "com.vmware.vc.HA.DasHostFailedEvent",
		"com.vmware.vc.HA.ClusterFailoverActionCompletedEvent", "DrsVmMigratedEvent"}
	bySomebody = []string{"VmMigratedEvent", "VmPoweredOffEvent", "VmResettingEvent"}
)

// feed turns events into observations.
type feed struct {
	d      *Driver
	events *vsphere.Events
	began  time.Duration
}

func (f *feed) look(ctx context.Context, now func() lookout.Look) error {
	d := f.d
	p, err := d.find(ctx)
	if err != nil {
		return err
	}
	if f.events == nil {
		if err := d.conn.Compare(ctx); err != nil {
			return err
		}
		f.events, f.began = d.conn.Follow(p.cluster), d.env.Clock.Now()
	}
	fresh, lost, err := f.events.Read(ctx)
	l := now()
	if lost != "" {
		l.Event(f.d.lane(whole), topicLost, "lost", lost, nil)
	}
	for _, e := range fresh {
		if lo, hi, ok := d.conn.Place(e.GetEvent().CreatedTime); ok && hi >= f.began {
			f.tell(l.Between(lo, hi), p, e)
		}
	}
	return err
}

func (f *feed) tell(l lookout.Look, p *place, e types.BaseEvent) {
	id, text, attrs := vsphere.Describe(e)
	text = f.d.conn.Scrub(text)
	switch {
	case strings.Contains(id, "lsom.stuckio"):
		lane := whole
		if name := device(text); name != "" {
			if h := e.GetEvent().Host; h != nil {
				name = p.diskName(h.Host, name)
			}
			lane = "disk/" + name
		}
		l.Event(f.d.lane(lane), drivers.TopicStuckIO, id, text, attrs)
	case slices.Contains(byCluster, id):
		attrs["by"] = "cluster"
		l.Event(f.d.lane(whole), drivers.TopicTask, id, text, attrs)
	case slices.Contains(bySomebody, id):
		attrs["by"] = "cluster"
		if e.GetEvent().UserName != "" {
			attrs["by"] = "administrator"
		}
		l.Event(f.d.lane(whole), drivers.TopicTask, id, text, attrs)
	}
}
