// This file sorts the states that drivers report into four tones. A tone only helps the eye: the word itself is always shown.

package reports

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// tone is how a state is drawn.
type tone int

// The tones, the worst last. A state of which this version knows nothing is plain.
const (
	plain tone = iota
	good
	waiting
	bad
)

// paint is how a tone looks. Height and filling differ too, so that nobody has to see colours.
type paint struct {
	class string // of the style sheet
	fill  string // where there is no style sheet
	ink   string // of a word on it
	top   int    // px from the top of a row
	high  int    // px
	base  int    // px; where a word on it stands
}

var paints = map[tone]paint{
	plain:   {"p", "#e4e8ec", "#59636e", 3, 14, 14},
	good:    {"g", "#4ba36f", "#59636e", 14, 3, 11},
	waiting: {"w", "url(#hatch)", "#5c3b00", 3, 14, 14},
	bad:     {"b", "#b8232f", "#ffffff", 3, 14, 14},
}

var tones = func() map[string]tone {
	all := map[string]tone{}
	for t, words := range map[tone]string{
		good: "ok up on online running answers beating connected serving serves accessible rw shown moving local kept read compliant poweredOn " +
			"normal healthy green logon listens in member",
		waiting: "blocked silent unresponsive apd hung hangs stalled frozen still full lostCommunication disconnected notResponding degraded yellow " +
			"rebuilding suspended booting",
		bad: "error failed fails dropped refuses refused rejects offline down lost stopped inaccessible timeout apd-timeout ro damaged gone rotten " +
			"out absent blank blue stop crashed corrupt nonCompliant dead red unread",
	} {
		for _, w := range strings.Fields(words) {
			all[w] = t
		}
	}
	return all
}()

// tonesOf are for words that mean one thing here and another there.
var tonesOf = map[string]tone{
	"apd none": good, "question none": good, "manageable yes": good, "manageable no": bad, "resilient yes": good, "resilient no": waiting,
	"member yes": good, "member no": bad, "hit yes": waiting, "hit no": good, "healing idle": good, "healing running": waiting, "load working": good,
	"rdp.new tls": waiting, "rdp.new credssp": waiting,
}

func toneOf(topic, state string) tone {
	if t, ok := tonesOf[topic+" "+state]; ok {
		return t
	}
	return tones[state]
}

// alarms are the topics whose events say that something went wrong.
var alarms = map[string]bool{"read-error": true, "write-error": true, "bugcheck": true, "stuck-io": true, drivers.LabFailure: true}

func toneOfEvent(topic, typ string) tone {
	if alarms[topic] || strings.Contains(typ, ".problem.") || toneOf(topic, typ) == bad {
		return bad
	}
	return plain
}

// minor are the topics that get no row of their own in the overview: details, and what others say better.
var minor = func() map[string]bool {
	all := map[string]bool{}
	for _, t := range strings.Fields("agent api boot busy clock-error connection cpu fields heartbeat host in kmsg load log logs memory paths place screen.shows settings " +
		"shell.builtin shell.package-manager tools transcript up vsphere.task rdp.certificate") {
		all[t] = true
	}
	return all
}()

// worth tells whether a track's states get a row in the overview: they changed, and are no detail. Of roles that this version does not
// know everything is.
func worth(topic string, role drivers.Role, states int) bool {
	return !knownRole(role) || !minor[topic] && states > 1
}

// shownSamples tells whether a topic's samples get a row in the overview: how often a guest beats and how long its disk takes, and of the
// others those that no states tell of.
func shownSamples(topic string, role drivers.Role, states bool) bool {
	switch topic {
	case "heartbeat", "read", "write":
		return true
	}
	return !knownRole(role) || !states && !minor[topic]
}

func knownRole(role drivers.Role) bool {
	switch role {
	case drivers.Target, drivers.Path, drivers.Hypervisor, drivers.Cluster, drivers.Guest:
		return true
	}
	return false
}
