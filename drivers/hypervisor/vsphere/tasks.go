// This file follows the tasks that run on the lab's machines, whoever started them.

package vsphere

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// taskWatch knows how far the tasks were at the last look.
type taskWatch struct {
	d     *Driver
	began time.Duration
	known map[ref]types.TaskInfoState
}

func newTaskWatch(d *Driver, began time.Duration) *taskWatch {
	return &taskWatch{d: d, began: began, known: map[ref]types.TaskInfoState{}}
}

func ended(s types.TaskInfoState) bool {
	return s == types.TaskInfoStateSuccess || s == types.TaskInfoStateError
}

// look reads the tasks that are new or not over.
func (w *taskWatch) look(ctx context.Context, l lookout.Look, p *place, found map[ref]props) error {
	var open []ref
	lanes := map[ref]drivers.Lane{}
	for vm, of := range found {
		for _, t := range get[types.ArrayOfManagedObjectReference](of, "recentTask").ManagedObjectReference {
			lanes[t] = w.d.VMLane(p.names[vm])
			if !ended(w.known[t]) {
				open = append(open, t)
			}
		}
	}
	for t := range w.known {
		if _, recent := lanes[t]; !recent {
			delete(w.known, t)
		}
	}
	var infos map[ref]props
	err := w.d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
		infos, err = retrieve(ctx, v, want{open, []string{"info"}})
		return err
	})
	if _, over := gone(err); over {
		return nil // one was dropped just now: the next look does without it
	}
	if err != nil {
		return fmt.Errorf("reading the tasks of the machines: %w", err)
	}
	for t, of := range infos {
		if info, ok := of["info"].(types.TaskInfo); ok {
			w.tell(l, t, lanes[t], info)
		}
	}
	return nil
}

// tell reports what has become of a task since the last look. One that had ended before this run is nothing new.
func (w *taskWatch) tell(l lookout.Look, t ref, lane drivers.Lane, info types.TaskInfo) {
	was := w.known[t]
	w.known[t] = info.State
	if was == info.State || was == "" && info.CompleteTime != nil && w.before(*info.CompleteTime, l.At) {
		return
	}
	name := info.DescriptionId
	if name == "" {
		name = info.Name
	}
	attrs := map[string]string{"key": info.Key}
	if was == "" || was == types.TaskInfoStateQueued {
		if started := info.StartTime; started != nil {
			w.at(l, *started).Event(lane, "vsphere.task", name+".running", "", attrs)
		} else if info.State == types.TaskInfoStateRunning {
			l.Event(lane, "vsphere.task", name+".running", "", attrs)
		}
	}
	if !ended(info.State) {
		return
	}
	text := ""
	if info.State == types.TaskInfoStateError {
		text = w.d.api.scrub(faultText(info.Error))
	}
	over := l
	if info.CompleteTime != nil {
		over = w.at(l, *info.CompleteTime)
		if info.StartTime != nil {
			attrs = map[string]string{"key": info.Key, "seconds": strconv.FormatFloat(info.CompleteTime.Sub(*info.StartTime).Seconds(), 'f', 3, 64)}
		}
	}
	over.Event(lane, "vsphere.task", name+"."+string(info.State), text, attrs)
}

// at is the look at a moment of the server's clock.
func (w *taskWatch) at(l lookout.Look, t time.Time) lookout.Look {
	if lo, hi, ok := w.d.clock.place(t, l.At); ok {
		return l.Between(lo, hi)
	}
	return l
}

func (w *taskWatch) before(t time.Time, now time.Duration) bool {
	_, hi, ok := w.d.clock.place(t, now)
	return ok && hi < w.began
}
