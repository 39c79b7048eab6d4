// Package cluster has the claims that hold for any distributed store: what document 2 says of a failing disk or controller on
// Nutanix, as far as it names no part of that product. What a product alone does is in a package of its own.
package cluster

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// The scenarios by what fails in them.
var (
	lostDisks   = []scenario.Spec{scenario.DiskStalls, scenario.DiskFails, scenario.DiskPulled}
	daemons     = []scenario.Spec{scenario.DaemonHangs, scenario.DaemonDies}
	controllers = []scenario.Spec{scenario.ControllerHangs, scenario.ControllerDies, scenario.ControllerRestarts}
)

// all are the scenarios with a fault that hits a single part.
func all() []scenario.Spec {
	out := append([]scenario.Spec{scenario.DiskRots}, lostDisks...)
	return append(append(out, daemons...), controllers...)
}

var labels = []string{"stuck-io", "cluster"}

// whole is the lane of the cluster as such.
func whole(run record.Run, judge func(drivers.Lane) record.Verdict) record.Verdict {
	l, ok := run.Lane(drivers.Cluster, "cluster")
	if !ok {
		return claim.Unsure("nobody watched a cluster")
	}
	return judge(l)
}

// parts are the lanes of one kind: "disk", "controller", "host".
func parts(run record.Run, kind string) []drivers.Lane {
	var out []drivers.Lane
	for _, l := range run.Lanes(drivers.Cluster) {
		if strings.HasPrefix(l.Name, kind+"/") {
			out = append(out, l)
		}
	}
	return out
}

// struck is the disk that the fault is on, told by what the disk itself did.
func struck(run record.Run) (drivers.Lane, bool) {
	for _, d := range parts(run, "disk") {
		if _, hit := run.Ever(d, drivers.TopicMedium, "hangs", "fails", "gone", "rotten"); hit {
			return d, true
		}
	}
	return drivers.Lane{}, false
}

// deadline is how long a cluster may take to give a disk up that answers nothing, in seconds. Nutanix publishes no number; the
// yardstick is vSAN's 120 s, and half of that where everything else is shortened, too.
func deadline(run record.Run) record.Window {
	if run.Profile() == "documented" {
		return claim.AtMost(120, "the yardstick is vSAN's 120 s")
	}
	return claim.AtMost(60, "the yardstick is vSAN's 120 s, halved in the quick profile")
}
