// Package vsan has the claims of document 2 about a stuck I/O in a vSAN cluster. What the document quotes of VMware's knowledge base
// (KB 71207) was changed since, in place: until 7.0 U3 the host is forced into a purple screen, from then on the disk is taken
// offline. A claim says which of the two contracts it is about, and a cluster is held to that of its own version.
//
// V9 is not here: that a host which does not come back is replaced is a service of VMware Cloud on AWS, and no call of a vCenter
// shows who replaced what.
package vsan

import (
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// where is the kind of lab that these claims speak of.
var where = claim.Platform{Clusters: []string{"vsan"}}

// The contracts, as the driver's setting of that name has them.
const (
	of2020  = "2020"
	current = "current"
)

// The topics and values that are the driver's own.
const (
	kernelLog       = "kernel-log"
	abortUnfinished = "vmkernel.abort-unfinished"
	abortFinished   = "vmkernel.abort-finished"
	hostFailed      = "com.vmware.vc.HA.DasHostFailedEvent"
)

// restarts are the events of a machine that HA started elsewhere, migrations those of one that moved while it lived.
var (
	restarts   = []string{"com.vmware.vc.ha.VmRestartedByHAEvent", "VmRestartedOnAlternateHostEvent"}
	migrations = []string{"VmMigratedEvent", "DrsVmMigratedEvent"}
)

// labels are those of a claim about the contracts named.
func labels(contracts ...string) []string {
	out := []string{"stuck-io", "vsan"}
	for _, c := range contracts {
		out = append(out, "contract:"+c)
	}
	return out
}

// scene is who was hit.
type scene struct {
	record.Run
	fault               record.Fault
	cluster, host, disk drivers.Lane
	hostName            string
	contract            string
}

// look asks a judge about a run of a cluster that is held to one of the contracts.
func look(judge func(scene) record.Verdict, contracts ...string) func(record.Run) record.Verdict {
	return func(run record.Run) record.Verdict {
		s := scene{Run: run, fault: run.Fault()}
		var ok [3]bool
		s.cluster, ok[0] = run.Lane(drivers.Cluster, "cluster")
		if !ok[0] {
			return claim.Unsure("nobody watched the cluster")
		}
		s.contract, _ = run.Setting(s.cluster, "contract")
		switch {
		case s.contract != of2020 && s.contract != current:
			known, _ := run.Setting(s.cluster, "contract.known")
			return claim.Unsure("it is not known which contract the cluster's version is held to; known are " + known)
		case !slices.Contains(contracts, s.contract):
			return record.Verdict{Outcome: record.NotApplicable, Why: "it is about the contract " + strings.Join(contracts, " or ") + ", and this cluster's version is held to the contract " + s.contract}
		}
		s.hostName, _ = run.Setting(s.cluster, "host")
		s.host, ok[1] = run.Lane(drivers.Cluster, "host/"+s.hostName)
		disk, _ := run.Setting(s.cluster, "disk")
		s.disk, ok[2] = run.Lane(drivers.Cluster, "disk/"+disk)
		if !ok[1] || !ok[2] {
			return claim.Unsure("it is not known which host and which disk were hit")
		}
		return judge(s)
	}
}

// down is when the host went down: after it last answered what it is in the cluster, and before HA said that it failed or the vCenter
// gave it up, which takes a vCenter a minute.
func (s scene) down() (record.Moment, bool) {
	after := s.Between(s.fault.Begin.Lo, s.To)
	m, ok := after.Ever(s.host, drivers.TopicHost, "down")
	if !ok {
		return m, false
	}
	for _, said := range s.tasks("host", s.hostName, hostFailed) {
		m.Hi = min(m.Hi, said.Hi)
	}
	if mute, was := s.Between(s.fault.Begin.Lo, m.Hi).Ever(s.host, "member", "no"); was {
		m.Lo = min(m.Lo, mute.Lo)
	}
	m.Lo = min(m.Lo, m.Hi)
	return m, true
}

// offline is when the disk was taken out of use by a host that goes on: the disks of one that is away are only not seen.
func (s scene) offline() (record.Moment, bool) {
	m, ok := s.During(s.fault).Ever(s.disk, drivers.TopicDisk, "offline", "absent")
	if away, went := s.down(); went && away.Lo <= m.Hi {
		return record.Moment{}, false
	}
	return m, ok
}

// acted is when the cluster did what its contract says: the host's going, or the disk's being taken out of use.
func (s scene) acted() (record.Moment, bool) {
	if s.contract == of2020 {
		return s.down()
	}
	return s.offline()
}

// machines are those that ran before the fault: on the host that was hit, or on the others.
func (s scene) machines(here bool) []drivers.Lane {
	var out []drivers.Lane
	before := s.Before(s.fault.Begin)
	for _, l := range s.Lanes(drivers.Cluster) {
		if !strings.HasPrefix(l.Name, "vm/") {
			continue
		}
		place, ok := before.Last(l, drivers.TopicPlace)
		if on, is := before.Last(l, "power"); ok && is && on.Value == "poweredOn" && (place.Value == s.hostName) == here {
			out = append(out, l)
		}
	}
	return out
}

// others are the other hosts.
func (s scene) others() []drivers.Lane {
	return slices.DeleteFunc(s.Lanes(drivers.Cluster), func(l drivers.Lane) bool { return !strings.HasPrefix(l.Name, "host/") || l == s.host })
}

// tasks are the cluster's events of some types about a machine, or about a host.
func (s scene) tasks(attr, name string, types ...string) []record.Moment {
	var out []record.Moment
	for _, typ := range types {
		for _, m := range s.Between(s.fault.Begin.Lo, s.To).Events(s.cluster, drivers.TopicTask, typ) {
			if m.Attrs[attr] == name {
				out = append(out, m)
			}
		}
	}
	return out
}

// lost tells whether events may be missing: then that there is none says nothing.
func (s scene) lost() bool { return len(s.Events(s.cluster, "events-lost", "")) > 0 }
