// This file decides which changes become a line: each at once while they are few, and summed up when they flap, when
// there are many guests, or when there were many lines already.

package reports

import (
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// The limits. A 20-minute outage gives at most burst+20 lines of changes and 20 of states, whatever flaps.
const (
	burst      = 10               // lines of changes at once
	perToken   = time.Minute      // one more line for each
	holdOff    = 10 * time.Second // between two lines of the same lane and topic
	holdMost   = 160 * time.Second
	fewGuests  = 4 // above, guests are summed up
	namesShown = 6
)

type laneState struct {
	lane   drivers.Lane
	topics []*topicState
}

type topicState struct {
	topic   string
	event   bool
	value   string // the last that was seen
	before  string // what held when the fault began
	faulted string // the fault that before belongs to

	shown   string        // the value of the last line
	printed time.Duration // when that line was printed
	hold    time.Duration // how long the next one has to wait; 0: never printed
	changes int           // not printed yet
	at      time.Duration // of the last of them
	text    string
}

// Observation prints a change of a state, or an event, at once. Samples and quiet topics are not printed, nor what a
// state is at first while nothing is broken.
func (c *Console) Observation(o drivers.Observation) {
	if o.Kind == drivers.Sample || c.quiet(o.Topic) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(o.Hi)
	l := c.laneOf(o.Lane)
	t, fresh := l.topicOf(o.Topic, o.Kind == drivers.Event)
	if t.faulted != c.fault {
		t.faulted, t.before = c.fault, t.value
	}
	if !t.event {
		if !fresh && t.value == o.Value {
			return
		}
		t.value = o.Value
		if fresh && c.fault == "" {
			t.before, t.shown = o.Value, o.Value
			return
		}
	}
	t.value = o.Value
	if t.changes == 0 {
		c.pending++
	}
	t.changes++
	t.at, t.text = o.Hi, o.Text
	if o.Lane.Role == drivers.Guest && c.guests > fewGuests {
		return // the next Tick sums them up
	}
	if c.due(t) && c.tokens > 0 {
		c.change([]*laneState{l}, []*topicState{t})
	}
}

func (c *Console) laneOf(l drivers.Lane) *laneState {
	s := c.byLane[l]
	if s == nil {
		s = &laneState{lane: l}
		c.byLane[l] = s
		c.lanes = append(c.lanes, s)
		if l.Role == drivers.Guest {
			c.guests++
		}
	}
	return s
}

func (l *laneState) topicOf(topic string, event bool) (t *topicState, fresh bool) {
	for _, t := range l.topics {
		if t.topic == topic && t.event == event {
			return t, false
		}
	}
	t = &topicState{topic: topic, event: event}
	l.topics = append(l.topics, t)
	return t, true
}

func (c *Console) due(t *topicState) bool {
	return t.changes > 0 && (t.hold == 0 || c.now-t.printed >= t.hold)
}

// change prints one line for equal changes of one or several lanes.
func (c *Console) change(ls []*laneState, ts []*topicState) {
	t := ts[0]
	what := t.topic + ": "
	switch {
	case t.event:
		what += t.value
	case t.shown == "":
		what += t.value
	case t.shown == t.value:
		what += "back to " + t.value
	default:
		what += t.shown + " -> " + t.value
	}
	who := lane(ls[0].lane)
	if len(ls) > 1 {
		var names []string
		for _, l := range ls {
			names = append(names, l.lane.Name)
		}
		slices.Sort(names)
		who = fmt.Sprintf("%d %ss (%s", len(ls), ls[0].lane.Role, strings.Join(names[:min(len(names), namesShown)], " "))
		if n := len(names) - namesShown; n > 0 {
			who += fmt.Sprintf(" +%d", n)
		}
		who += ")"
	}
	var notes []string
	if t.text != "" && len(ls) == 1 {
		notes = append(notes, cut(oneLine(t.text), 80))
	}
	at, changes := t.at, 0
	for _, t := range ts {
		at = max(at, t.at)
		changes += t.changes
	}
	if changes > len(ts) {
		notes = append(notes, several(changes, "change")+" since the last line")
	}
	s := c.mark(at) + who + " " + what
	if len(notes) > 0 {
		s += "  (" + strings.Join(notes, "; ") + ")"
	}
	c.line(s)
	c.tokens--
	for _, t := range ts {
		switch {
		case t.changes > 1:
			t.hold = min(max(t.hold*2, holdOff), holdMost)
		case t.hold == 0 || c.now-t.printed >= 2*t.hold:
			t.hold = holdOff
		}
		t.shown, t.printed, t.changes = t.value, c.now, 0
		c.pending--
	}
}

// flush prints what was held back and may be printed now, equal changes in one line.
func (c *Console) flush() {
	if c.pending == 0 || c.tokens == 0 {
		return
	}
	type group struct {
		ls []*laneState
		ts []*topicState
	}
	by := map[string]*group{}
	var keys []string
	for _, l := range c.lanes {
		for _, t := range l.topics {
			if !c.due(t) {
				continue
			}
			k := strings.Join([]string{string(l.lane.Role), t.topic, t.shown, t.value, fmt.Sprint(t.event)}, "\x00")
			if by[k] == nil {
				by[k] = &group{}
				keys = append(keys, k)
			}
			by[k].ls = append(by[k].ls, l)
			by[k].ts = append(by[k].ts, t)
		}
	}
	sort.SliceStable(keys, func(i, j int) bool { return len(by[keys[i]].ls) > len(by[keys[j]].ls) })
	for _, k := range keys {
		if c.tokens == 0 {
			return
		}
		c.change(by[k].ls, by[k].ts)
	}
}

// states is the line with the states of all lanes.
func (c *Console) states() string {
	head := "RUNNING"
	switch {
	case c.fault != "" && c.over:
		head = "MENDED"
	case c.fault != "":
		head = "OUTAGE"
	case c.phase != "":
		head = strings.ToUpper(c.phase)
	}
	tail := ""
	if c.pending > 0 {
		n := 0
		for _, l := range c.lanes {
			for _, t := range l.topics {
				n += t.changes
			}
		}
		tail = "  (" + several(n, "change") + " held back)"
	}
	var parts []string
	for _, role := range []drivers.Role{drivers.Target, drivers.Path, drivers.Hypervisor, drivers.Cluster, drivers.Guest} {
		parts = append(parts, c.roleStates(role)...)
	}
	line := c.mark(c.now) + fmt.Sprintf("%-9s", head)
	room := c.room() - wide(c.o.Prefix) - wide(tail)
	for i, p := range parts {
		more := ""
		if left := len(parts) - i - 1; left > 0 {
			more = fmt.Sprintf("  +%d", left)
		}
		if wide(line)+2+wide(p)+wide(more) > room {
			line += fmt.Sprintf("  +%d", len(parts)-i)
			break
		}
		line += "  " + p
	}
	return line + tail
}

// roleStates is one entry a lane, or one an equal state where there are many lanes.
func (c *Console) roleStates(role drivers.Role) []string {
	var out, labels []string
	count := map[string]int{}
	n := 0
	for _, l := range c.lanes {
		if l.lane.Role != role {
			continue
		}
		s := l.label(c.fault)
		if s == "" {
			continue
		}
		n++
		name := l.lane.Name
		if name == "" {
			name = string(role)
		}
		out = append(out, oneLine(name)+"="+s)
		if count[s] == 0 {
			labels = append(labels, s)
		}
		count[s]++
	}
	if n <= fewGuests {
		return out
	}
	sort.SliceStable(labels, func(i, j int) bool { return count[labels[i]] > count[labels[j]] })
	out = nil
	for _, s := range labels {
		out = append(out, several(count[s], string(role))+"="+s)
	}
	return out
}

// label is a lane's state in a word or two: what changed since the fault began, or its first topic.
func (l *laneState) label(fault string) string {
	var first string
	var changed []string
	for _, t := range l.topics {
		if t.event {
			continue
		}
		v := cut(oneLine(t.value), 24)
		if first == "" {
			first = v
		}
		if t.faulted == fault && t.before != t.value {
			if len(l.topics) > 1 {
				v = cut(oneLine(t.topic), 16) + ":" + v
			}
			changed = append(changed, v)
		}
	}
	if len(changed) == 0 {
		return first
	}
	if n := len(changed) - 3; n > 0 {
		changed = append(changed[:3], fmt.Sprintf("+%d", n))
	}
	return strings.Join(changed, ",")
}

func several(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

func lane(l drivers.Lane) string {
	if l.Name == "" || l.Name == string(l.Role) {
		return string(l.Role)
	}
	return string(l.Role) + "/" + l.Name
}
