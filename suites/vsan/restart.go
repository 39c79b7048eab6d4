// V5, V6 and V12: what becomes of the host's machines is what a failure of the host makes of them.

package vsan

import (
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-restarts-the-hosts-vms", Title: "HA restarts all machines of the host elsewhere, and migrates none", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V5", EN: "All machines of the host go through an HA event: they are restarted on other hosts, and not moved by vMotion.",
		Note: "each is on another host, was started anew, and is in HA's event; a migration would leave its start as it was"},
	In: scenario.DiskStalls, Judge: look(scene.restarted, of2020),
})

var _ = claim.Register(claim.Claim{
	ID: "vsan.host-failure-has-the-same-effect", Title: "A host that fails as a whole has the same effect as one with a stuck I/O", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V6", EN: "For the machines it equals the failure of a bare-metal host.",
		Note: "the same is asked here of a host that was crashed, as vsan.stuck-io-restarts-the-hosts-vms asks of one with a disk that hangs: to be read side by side"},
	In: scenario.HostDown, Judge: look(scene.restarted, of2020),
})

// restarted judges whether HA restarted all machines of a host that went down.
func (s scene) restarted() record.Verdict {
	if ha, _ := s.Setting(s.cluster, "ha"); ha != "on" {
		return claim.Unsure("HA is not on")
	}
	gone, ok := s.down()
	vms := s.machines(true)
	switch {
	case !ok:
		return claim.Unsure("the host did not go down")
	case len(vms) == 0:
		return claim.Unsure("no machine ran on the host")
	}
	after := s.Between(s.fault.Begin.Lo, s.To)
	var vs []record.Verdict
	for _, vm := range vms {
		name := strings.TrimPrefix(vm.Name, "vm/")
		if ms := s.tasks("vm", name, migrations...); len(ms) > 0 {
			vs = append(vs, claim.Refute(name+" was migrated", ms[0]))
			continue
		}
		by := s.tasks("vm", name, restarts...)
		switch {
		case len(by) == 0 && s.lost():
			vs = append(vs, claim.Unsure("events were lost", gone))
			continue
		case len(by) == 0:
			vs = append(vs, claim.Refute("HA did not restart "+name, gone))
			continue
		}
		v := claim.Join(claim.WasRebooted(after, vm), s.elsewhere(vm))
		if v.Outcome == record.Confirmed {
			v = claim.Confirm(name+" was restarted on another host", by[0])
			got := record.From(gone).To(by[0])
			v.Measured, v.Unit = &got, "s"
		}
		vs = append(vs, v)
	}
	return claim.Join(vs...)
}

// elsewhere confirms that a machine came to another host.
func (s scene) elsewhere(vm drivers.Lane) record.Verdict {
	for _, st := range s.Between(s.fault.Begin.Lo, s.To).States(vm, drivers.TopicPlace) {
		if st.Value != s.hostName {
			return claim.Confirm(vm.Name+" is on another host", st.Since)
		}
	}
	return claim.Refute(vm.Name+" stayed on the host", s.fault.Active)
}

var _ = claim.Register(claim.Claim{
	ID: "vsan.stuck-io-is-a-host-failure", Title: "A disk that hangs ends as a failure of its host at the least", Labels: labels(of2020), Where: where,
	Source: record.Source{Doc: "S2", Code: "V12", EN: "At the least the scenario of a host failure is the result.", Note: "the host is down, and HA itself says that it failed"},
	In:     scenario.DiskStalls,
	Judge: look(func(s scene) record.Verdict {
		gone, ok := s.down()
		if !ok {
			return claim.Unsure("the host did not go down")
		}
		if ms := s.tasks("host", s.hostName, hostFailed); len(ms) > 0 {
			return claim.Confirm("HA says that the host failed", ms[0])
		}
		if s.lost() {
			return claim.Unsure("events were lost", gone)
		}
		return claim.Refute("HA does not say that the host failed", gone)
	}, of2020),
})
