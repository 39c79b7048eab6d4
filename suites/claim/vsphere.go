// This file names the events that ESXi logs of its storage, for claims that look for them.

package claim

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// vSphere's event type ids (EventEx.eventTypeId), as published for 6.7 U3 and 8.0 U3 in lamw/vcenter-event-mapping.
const (
	APDStartEvent   = "esx.problem.storage.apd.start"
	APDTimeoutEvent = "esx.problem.storage.apd.timeout"
	APDExitEvent    = "esx.clear.storage.apd.exit"
	LinkDownEvent   = "esx.problem.net.vmnic.linkstate.down"
	LinkUpEvent     = "esx.clear.net.vmnic.linkstate.up"
)

var (
	// LossEvents are those that say that a datastore, a device or its last path is gone; RecoveryEvents that it is back.
	LossEvents = []string{"esx.problem.storage.connectivity.lost", "esx.problem.vmfs.heartbeat.timedout", APDStartEvent}
	// MachineEvents are those of something that a host or a cluster did to a machine.
	MachineEvents = []string{"VmPoweredOffEvent", "VmResettingEvent", "VmSuspendedEvent", "VmMigratedEvent", "VmRestartedOnAlternateHostEvent",
		"com.vmware.vc.ha.VmRestartedByHAEvent", "com.vmware.vc.HA.VmcpTerminatingVm"}
	RecoveryEvents = []string{"esx.clear.storage.connectivity.restored", "esx.problem.vmfs.heartbeat.recovered", APDExitEvent}
)

// WasRebooted confirms that a guest, a machine or a host was booted anew within the view.
func WasRebooted(run record.Run, lane drivers.Lane) record.Verdict {
	v := SameBoot(run, lane)
	switch v.Outcome {
	case record.Confirmed:
		v.Outcome = record.Refuted
	case record.Refuted:
		v.Outcome = record.Confirmed
	}
	return v
}
