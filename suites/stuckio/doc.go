// Package stuckio has the claims about single commands that are lost, late or failed, on one host with an iSCSI target: what
// document 2 says of a stuck I/O, as far as a host without vSAN or Nutanix can show it.
package stuckio

import (
	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// single are the scenarios in which one command of one LUN is lost.
var single = []scenario.Spec{scenario.LostCommand, scenario.StuckCommand}

// victim tells whether a guest's disk is the one whose command was lost.
func victim(run record.Run, guest drivers.Lane) (is, known bool) {
	lun, ok := run.Setting(guest, "lun")
	path, there := run.Lane(drivers.Path, "path")
	if !ok || !there {
		return false, false
	}
	lost := run.Events(path, "pdu", "lost")
	return len(lost) > 0 && lost[0].Attrs["lun"] == lun, len(lost) > 0
}

// eachOther judges the guests that the lost command was not of, and eachVictim those that it was.
func eachOther(run record.Run, judge func(drivers.Lane) record.Verdict) record.Verdict {
	return each(run, false, judge)
}

func eachVictim(run record.Run, judge func(drivers.Lane) record.Verdict) record.Verdict {
	return each(run, true, judge)
}

func each(run record.Run, victims bool, judge func(drivers.Lane) record.Verdict) record.Verdict {
	var vs []record.Verdict
	for _, g := range run.Guests() {
		is, known := victim(run, g)
		if !known {
			return claim.Unsure("it is not known whose command was lost")
		}
		if is == victims {
			v := judge(g)
			v.Why = "guest " + g.Name + ": " + v.Why
			vs = append(vs, v)
		}
	}
	return claim.Join(vs...)
}
