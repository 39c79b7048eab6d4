// This file reads the event collector, and notices when the collector does not give all there is.

package vsphere

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	pageSize   = 100              // events read at once
	maxPages   = 50               // in one look, so that a flood does not keep the look from ending
	maxSeen    = 20_000           // events remembered
	checkEvery = 15 * time.Second // how often it is checked that the collector still reads what is new
)

// stamp tells events apart. The key alone does not: a host numbers its events anew when its management service starts.
type stamp struct {
	key     int32
	created int64
}

func stampOf(e types.BaseEvent) stamp {
	return stamp{e.GetEvent().Key, e.GetEvent().CreatedTime.UnixNano()}
}

// tail is where a collector stands. It outlives one Observe, since a session has few collectors.
type tail struct {
	now       func() time.Duration
	checked   time.Duration // when it was last looked whether it reads all there is
	missed    string        // what was lost, still to be told
	lost      string        // how that is called
	visit     *visit        // the collector goes with it
	collector ref
	seen      map[stamp]bool // what it has given
	newest    stamp          // of all events seen
	unsure    bool           // an answer was lost, and the collector may have moved on with it
}

func newTail(now func() time.Duration) *tail { return &tail{now: now, seen: map[stamp]bool{}} }

// read returns the events of a part of the inventory that were not seen yet. It makes a collector when there is none in this session.
func (t *tail) read(ctx context.Context, v *visit, above ref) ([]types.BaseEvent, error) {
	if t.visit != v {
		var c ref
		err := within(ctx, quick, func(ctx context.Context) (err error) {
			c, err = collect(ctx, v, above)
			return err
		})
		if err != nil {
			return nil, err
		}
		t.visit, t.collector = v, c
		return t.reread(ctx)
	}
	if t.unsure {
		if err := rewind(ctx, t); err != nil {
			return nil, err
		}
		return t.reread(ctx)
	}
	fresh, _, err := t.drain(ctx)
	if err != nil || t.now()-t.checked < checkEvery {
		return fresh, err
	}
	t.checked = t.now()
	behind, err := t.behind(ctx)
	if err != nil || !behind {
		return fresh, err
	}
	more, _, err := t.drain(ctx) // it may have happened since
	fresh = append(fresh, more...)
	if err != nil {
		return fresh, err
	}
	if behind, err = t.behind(ctx); err != nil || !behind {
		return fresh, err
	}
	// The event at which the collector stood has left the ring: it would read nothing for ever.
	if err := rewind(ctx, t); err != nil {
		return fresh, err
	}
	more, err = t.reread(ctx)
	return append(fresh, more...), err
}

// reread reads all that a collector has, and notes when the last event seen is no longer among it.
func (t *tail) reread(ctx context.Context) ([]types.BaseEvent, error) {
	before := t.newest
	t.unsure = false
	fresh, all, err := t.drain(ctx)
	if err != nil || before == (stamp{}) || len(all) == 0 {
		return fresh, err
	}
	has := map[stamp]bool{}
	highest := int32(0)
	for _, s := range all {
		has[s], highest = true, max(highest, s.key)
	}
	if len(t.seen) > maxSeen {
		t.seen = has // what has left the ring does not come again
	}
	switch {
	case has[before]:
	case highest < before.key:
		t.lost, t.missed = "events-begin-anew", fmt.Sprintf("the last event seen had the key %d, and now the highest is %d: the server has forgotten its events", before.key, highest)
	default:
		t.lost, t.missed = "event-ring-overrun", fmt.Sprintf("the last event seen, %d, is no longer kept: some between it and %d may be missing", before.key, all[0].key)
	}
	return fresh, nil
}

// drain reads from where the collector stands to its end. fresh are those not seen yet, all are all.
func (t *tail) drain(ctx context.Context) (fresh []types.BaseEvent, all []stamp, err error) {
	for range maxPages {
		var res *types.ReadNextEventsResponse
		err := within(ctx, quick, func(ctx context.Context) (err error) {
			res, err = methods.ReadNextEvents(ctx, t.visit, &types.ReadNextEvents{This: t.collector, MaxCount: pageSize})
			return err
		})
		if err != nil {
			t.unsure = true
			return fresh, all, err
		}
		for _, e := range res.Returnval {
			s := stampOf(e)
			all = append(all, s)
			if !t.seen[s] {
				t.seen[s], t.newest = true, s
				fresh = append(fresh, e)
			}
		}
		if len(res.Returnval) == 0 {
			break
		}
	}
	return fresh, all, nil
}

// behind tells whether the collector's latest page has an event that reading on did not give.
func (t *tail) behind(ctx context.Context) (bool, error) {
	var found map[ref]props
	err := within(ctx, quick, func(ctx context.Context) (err error) {
		found, err = retrieve(ctx, t.visit, want{[]ref{t.collector}, []string{"latestPage"}})
		return err
	})
	if err != nil {
		return false, err
	}
	for _, e := range get[types.ArrayOfEvent](found[t.collector], "latestPage").Event {
		if s := stampOf(e); !t.seen[s] && s.key > t.newest.key {
			return true, nil
		}
	}
	return false, nil
}

func rewind(ctx context.Context, t *tail) error {
	return within(ctx, quick, func(ctx context.Context) error {
		_, err := methods.RewindCollector(ctx, t.visit, &types.RewindCollector{This: t.collector})
		return err
	})
}

// collect makes a collector. A vCenter's log goes back for weeks and is about everything, so there it is told what matters.
func collect(ctx context.Context, v *visit, above ref) (ref, error) {
	var filter types.EventFilterSpec
	if v.IsVC() {
		now, err := serverTime(ctx, v)
		if err != nil {
			return ref{}, err
		}
		from := now.Add(-checkEvery)
		filter.Time = &types.EventFilterSpecByTime{BeginTime: &from}
		filter.Entity = &types.EventFilterSpecByEntity{Entity: above, Recursion: types.EventFilterSpecRecursionOptionAll}
	}
	res, err := methods.CreateCollectorForEvents(ctx, v, &types.CreateCollectorForEvents{This: *v.ServiceContent.EventManager, Filter: filter})
	if err != nil {
		return ref{}, fmt.Errorf("making a collector: %w", err)
	}
	return res.Returnval, nil
}
