// This file has the building blocks of judges: windows, and the questions that most claims ask.

package claim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// Confirm, Refute and Unsure make verdicts with the moments they rest on.
func Confirm(why string, ev ...record.Moment) record.Verdict {
	return verdict(record.Confirmed, why, ev)
}

// Refute makes a refutation.
func Refute(why string, ev ...record.Moment) record.Verdict { return verdict(record.Refuted, why, ev) }

// Unsure makes a verdict that decides nothing.
func Unsure(why string, ev ...record.Moment) record.Verdict {
	return verdict(record.Inconclusive, why, ev)
}

func verdict(o record.Outcome, why string, ev []record.Moment) record.Verdict {
	v := record.Verdict{Outcome: o, Why: why}
	for _, m := range ev {
		v.Evidence = append(v.Evidence, m.Point())
	}
	return v
}

// AtMost, AtLeast and Within make windows; from says which settings they follow.
func AtMost(max float64, from string) record.Window { return record.Window{Max: &max, From: from} }

// AtLeast makes a window without an upper edge.
func AtLeast(min float64, from string) record.Window { return record.Window{Min: &min, From: from} }

// Within makes a window with two edges, both allowed.
func Within(min, max float64, from string) record.Window {
	return record.Window{Min: &min, Max: &max, From: from}
}

// Measure judges an interval against a window: confirmed when all of it lies inside, refuted when all of it lies outside,
// inconclusive when an edge of the window lies within it.
func Measure(what string, got record.Interval, unit string, w record.Window, ev ...record.Moment) record.Verdict {
	lo, hi := math.Inf(-1), math.Inf(1)
	if w.Min != nil {
		lo = *w.Min
	}
	if w.Max != nil {
		hi = *w.Max
	}
	v := verdict(record.Inconclusive, what+": an edge of the window lies within what was measured", ev)
	switch {
	case got.Lo >= lo && got.Hi <= hi:
		v.Outcome, v.Why = record.Confirmed, what
	case got.Hi < lo || got.Lo > hi:
		v.Outcome, v.Why = record.Refuted, what
	}
	v.Measured, v.Unit, v.Window = &got, unit, &w
	return v
}

// EachGuest judges every guest and joins the verdicts, see Join.
func EachGuest(run record.Run, judge func(guest drivers.Lane) record.Verdict) record.Verdict {
	return each(run.Guests(), "the record has no guest", judge)
}

// EachLinux is EachGuest for what is said of Linux alone, and EachWindows of Windows.
func EachLinux(run record.Run, judge func(guest drivers.Lane) record.Verdict) record.Verdict {
	return each(slices.DeleteFunc(run.Guests(), func(g drivers.Lane) bool { return IsWindows(run, g) }), "the record has no Linux guest", judge)
}

// EachWindows judges the Windows guests.
func EachWindows(run record.Run, judge func(guest drivers.Lane) record.Verdict) record.Verdict {
	return each(slices.DeleteFunc(run.Guests(), func(g drivers.Lane) bool { return !IsWindows(run, g) }), "the record has no Windows guest", judge)
}

// IsWindows tells whether a guest said so.
func IsWindows(run record.Run, guest drivers.Lane) bool {
	os, _ := run.Setting(guest, "os")
	return os == "windows"
}

func each(guests []drivers.Lane, none string, judge func(guest drivers.Lane) record.Verdict) record.Verdict {
	if len(guests) == 0 {
		return Unsure(none)
	}
	vs := make([]record.Verdict, len(guests))
	for i, g := range guests {
		vs[i] = judge(g)
		vs[i].Why = "guest " + g.Name + ": " + vs[i].Why
	}
	return Join(vs...)
}

// EachTimedGuest is EachLinux for judges that need the guest's SCSI timeout, in seconds.
func EachTimedGuest(run record.Run, judge func(guest drivers.Lane, timeout float64) record.Verdict) record.Verdict {
	return EachLinux(run, func(g drivers.Lane) record.Verdict {
		timeout, ok := SCSITimeout(run, g)
		if !ok {
			return Unsure("its SCSI timeout is not known")
		}
		return judge(g, timeout)
	})
}

// Join makes one verdict of several: refuted when one is, else inconclusive when one is, else confirmed. Of the measured
// values it keeps that of the verdict that decides, and of several confirmed ones the one nearest to an edge.
func Join(vs ...record.Verdict) record.Verdict {
	if len(vs) == 0 {
		return Unsure("nothing was there to be judged")
	}
	out := record.Verdict{Outcome: record.Confirmed}
	for _, o := range []record.Outcome{record.Refuted, record.Inconclusive} {
		for _, v := range vs {
			if v.Outcome == o {
				out.Outcome = o
			}
		}
		if out.Outcome == o {
			break
		}
	}
	var whys []string
	best := math.Inf(1)
	for _, v := range vs {
		if v.Outcome != out.Outcome {
			continue
		}
		if !slices.Contains(whys, v.Why) {
			whys = append(whys, v.Why)
		}
		out.Evidence = append(out.Evidence, v.Evidence...)
		out.N += v.N
		if m := margin(v); v.Measured != nil && (out.Measured == nil || m < best) {
			best = m
			out.Measured, out.Unit, out.Window = v.Measured, v.Unit, v.Window
		}
	}
	out.Why = strings.Join(whys, "; ")
	return out
}

// margin is how far a measured value lies from the nearest edge of its window.
func margin(v record.Verdict) float64 {
	if v.Measured == nil || v.Window == nil {
		return math.Inf(1)
	}
	m := math.Inf(1)
	if v.Window.Min != nil {
		m = min(m, math.Abs(v.Measured.Lo-*v.Window.Min))
	}
	if v.Window.Max != nil {
		m = min(m, math.Abs(*v.Window.Max-v.Measured.Hi))
	}
	return m
}

// who begins a sentence about a lane; a guest is named by EachGuest already.
func who(lane drivers.Lane) string {
	if lane.Role == drivers.Guest {
		return ""
	}
	return lane.Name + ": "
}

// Never confirms that a lane's topic, which somebody watched, had none of the values in the view.
func Never(run record.Run, lane drivers.Lane, topic string, values ...string) record.Verdict {
	ss := run.States(lane, topic)
	if len(ss) == 0 {
		return Unsure(fmt.Sprintf("%snobody watched %s", who(lane), topic))
	}
	if m, was := run.Ever(lane, topic, values...); was {
		return Refute(who(lane)+m.What+because(m.Text), m)
	}
	return Confirm(fmt.Sprintf("%s%s was never %s", who(lane), topic, strings.Join(values, " or ")), ss[0].Since)
}

// because adds the words seen to a sentence.
func because(text string) string {
	if text == "" {
		return ""
	}
	text, _, _ = strings.Cut(text, "\n")
	if len(text) > 120 {
		text = text[:120] + "..."
	}
	return " (" + text + ")"
}

// Ends confirms that a lane's topic has the value at the end of the view.
func Ends(run record.Run, lane drivers.Lane, topic, value string) record.Verdict {
	s, ok := run.Last(lane, topic)
	switch {
	case !ok:
		return Unsure(fmt.Sprintf("%snobody watched %s", who(lane), topic))
	case s.Value != value:
		return Refute(fmt.Sprintf("%s%s is %s%s in the end", who(lane), topic, s.Value, because(s.Text)), s.Since)
	}
	return Confirm(fmt.Sprintf("%s%s is %s in the end", who(lane), topic, value), s.Since)
}

// Again confirms that a lane's topic had the value at some time in the view. After a fault that says "works again" without
// minding a machine that is slow now and then.
func Again(run record.Run, lane drivers.Lane, topic, value string) record.Verdict {
	ss := run.States(lane, topic)
	if len(ss) == 0 {
		return Unsure(fmt.Sprintf("%snobody watched %s", who(lane), topic))
	}
	if m, was := run.Ever(lane, topic, value); was {
		return Confirm(fmt.Sprintf("%s%s is %s again", who(lane), topic, value), m)
	}
	last := ss[len(ss)-1]
	return Refute(fmt.Sprintf("%s%s is not %s again but %s%s", who(lane), topic, value, last.Value, because(last.Text)), last.Since)
}

// NoEvents confirms that a lane had no event of a topic (of any of the types, or of any at all) in the view.
func NoEvents(run record.Run, lane drivers.Lane, topic string, types ...string) record.Verdict {
	if len(types) == 0 {
		types = []string{""}
	}
	for _, typ := range types {
		if ms := run.Events(lane, topic, typ); len(ms) > 0 {
			return Refute(who(lane)+ms[0].What+because(ms[0].Text), ms[0])
		}
	}
	if !run.Heard(lane) {
		return Unsure(who(lane) + "nobody watched it")
	}
	return Confirm(who(lane)+"no "+topic, record.Moment{Lo: run.From, Hi: run.From, Lane: lane, What: "no " + topic})
}

// Cut is when a fault took the storage away: some time between its injection and when it was seen to work.
func Cut(f record.Fault) record.Moment { return f.Cut() }

// SCSITimeout returns a guest's own timeout for a command to its disk, in seconds, as it was read from the guest.
func SCSITimeout(run record.Run, guest drivers.Lane) (float64, bool) {
	s, ok := run.Setting(guest, "scsi_timeout")
	if !ok {
		return 0, false
	}
	t, err := strconv.ParseFloat(s, 64)
	return t, err == nil && t > 0
}

// VM returns the lane of a guest's machine at the hypervisor.
func VM(run record.Run, guest drivers.Lane) (drivers.Lane, bool) {
	return run.Lane(drivers.Hypervisor, "vm/"+vmName(run, guest))
}

// vmName is what the hypervisor calls a guest's machine.
func vmName(run record.Run, guest drivers.Lane) string {
	if name, ok := run.Setting(guest, "vm"); ok {
		return name
	}
	return guest.Name
}

// Machines returns every lane on which a machine was watched: the hypervisor's, and in a box that of the QEMU under it.
func Machines(run record.Run) []drivers.Lane {
	var out []drivers.Lane
	for _, l := range run.Lanes(drivers.Hypervisor) {
		if strings.Contains(l.Name, "/") && l.Name != boxHost {
			out = append(out, l)
		}
	}
	return out
}

// MachinesOf returns those of a guest's machine.
func MachinesOf(run record.Run, guest drivers.Lane) []drivers.Lane {
	return slices.DeleteFunc(Machines(run), func(l drivers.Lane) bool { return !strings.HasSuffix(l.Name, "/"+vmName(run, guest)) })
}

// boxHost is the lane on which a box with a vSphere endpoint reports its own storage stack, which no claim is about.
const boxHost = "box/host"

// Hosts returns the lanes of hosts, without those of machines.
func Hosts(run record.Run) []drivers.Lane {
	var out []drivers.Lane
	for _, l := range run.Lanes(drivers.Hypervisor) {
		if !strings.Contains(l.Name, "/") {
			out = append(out, l)
		}
	}
	return out
}

// EachHost judges every host and joins the verdicts.
func EachHost(run record.Run, judge func(host drivers.Lane) record.Verdict) record.Verdict {
	var vs []record.Verdict
	for _, h := range Hosts(run) {
		vs = append(vs, judge(h))
	}
	return Join(vs...)
}

// Watched asks only about what somebody watches on a lane: a topic of which nothing was ever seen says nothing of the rest.
func Watched(run record.Run, lane drivers.Lane, topic string, judge func() record.Verdict) []record.Verdict {
	if len(run.States(lane, topic)) == 0 {
		return nil
	}
	return []record.Verdict{judge()}
}

// Logged returns the events of a host's own event log of any of the types (vSphere's event type ids), in the order of time,
// within the view.
func Logged(run record.Run, host drivers.Lane, types ...string) []record.Moment {
	var out []record.Moment
	for _, typ := range types {
		out = append(out, run.Events(host, "event", typ)...)
	}
	slices.SortStableFunc(out, func(a, b record.Moment) int { return cmp.Compare(a.Hi, b.Hi) })
	return out
}

// NotLogged confirms that a host's event log, which was followed all the while, had none of the types in the view.
func NotLogged(run record.Run, host drivers.Lane, types ...string) record.Verdict {
	if ms := Logged(run, host, types...); len(ms) > 0 {
		return Refute(who(host)+ms[0].What+because(ms[0].Text), ms[0])
	}
	if v := followed(run, host); v.Outcome != record.Confirmed {
		return v
	}
	return Confirm(fmt.Sprintf("%sits event log has no %s", who(host), strings.Join(types, " or ")), record.Moment{Lo: run.From, Hi: run.From, Lane: host, What: "event log followed"})
}

// followed tells whether a host's event log was followed without a gap: only then does silence in it mean something.
func followed(run record.Run, host drivers.Lane) record.Verdict {
	if lost := run.Events(host, "api", "event-ring-overrun"); len(lost) > 0 {
		return Unsure(who(host)+"events were lost", lost[0])
	}
	v := Never(run, host, "manageable", "no")
	if v.Outcome == record.Refuted {
		v.Outcome = record.Inconclusive
	}
	return v
}

// HostSeconds returns a host's setting that is a time in seconds.
func HostSeconds(run record.Run, host drivers.Lane, key string) (float64, bool) {
	s, ok := run.Setting(host, key)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v > 0
}

// SameBoot confirms that a guest, a machine or a host was not rebooted within the view.
func SameBoot(run record.Run, lane drivers.Lane) record.Verdict {
	ss := run.States(lane, "boot")
	switch len(ss) {
	case 0:
		return Unsure(who(lane) + "its boot was never seen")
	case 1:
		return Confirm(who(lane)+"it was not rebooted", ss[0].Since)
	}
	return Refute(who(lane)+"it was rebooted", ss[len(ss)-1].Since)
}

// Stays confirms that a lane's topic had one value in all of the view.
func Stays(run record.Run, lane drivers.Lane, topic string) record.Verdict {
	ss := run.States(lane, topic)
	switch len(ss) {
	case 0:
		return Unsure(fmt.Sprintf("%snobody watched %s", who(lane), topic))
	case 1:
		return Confirm(fmt.Sprintf("%s%s stayed %s", who(lane), topic, ss[0].Value), ss[0].Since)
	}
	return Refute(fmt.Sprintf("%s%s went from %s to %s", who(lane), topic, ss[0].Value, ss[1].Value), ss[1].Since)
}

// Intact confirms that everything a guest was told is on disk was read back in the view, and what the image was made with.
func Intact(run record.Run, guest drivers.Lane) record.Verdict {
	checks := run.Events(guest, "acklog", "")
	if len(checks) == 0 {
		return Unsure("its writes were not read back")
	}
	for _, m := range checks {
		a := m.Attrs
		if strings.HasSuffix(m.What, "unreadable") {
			return Unsure("its writes could not be read back"+because(m.Text), m) // which does not say that they are gone
		}
		if !strings.HasSuffix(m.What, "intact") {
			return Refute(fmt.Sprintf("of %s acknowledged writes %s are missing, %s corrupt, %s out of order", a["acked"], a["missing"], a["corrupt"], a["disorder"]), m)
		}
	}
	for _, m := range run.Events(guest, "seed", "damaged") {
		return Refute("files that nobody wrote to are damaged"+because(m.Text), m)
	}
	last := checks[len(checks)-1]
	n, _ := strconv.Atoi(last.Attrs["acked"])
	if n == 0 {
		return Unsure("it had no acknowledged write to lose", last)
	}
	v := Confirm("all "+last.Attrs["acked"]+" acknowledged writes were read back", last)
	return v
}
