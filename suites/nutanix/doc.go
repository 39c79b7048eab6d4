// Package nutanix has the claims of document 2 that are particular to Nutanix: a controller VM whose host is not touched, I/O that
// is redirected and comes home, two layers of timers, and extent groups of 4 MB. What is true of any cluster is claimed elsewhere.
package nutanix

import (
	"fmt"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// stops are the scenarios in which a CVM, or its Stargate, serves no more.
var stops = []scenario.Spec{scenario.DaemonDies, scenario.DaemonHangs, scenario.ControllerRestarts, scenario.ControllerDies, scenario.ControllerHangs}

// Returns is a CVM's death that is watched for as long as its I/O may take to come home: field reports speak of minutes.
var Returns = scenario.Spec{Name: "controller-returns", Title: "A storage controller dies, is started again, and is watched until all is as before",
	Fault: drivers.ControllerCrash, Hold: scenario.UntilTakenOver, Watch: watch}

// only makes a claim one about Nutanix alone. A version of AOS that nobody has looked at is judged neither way.
func only(c claim.Claim, labels ...string) claim.Claim {
	c.Labels = append([]string{"stuck-io", "nutanix"}, labels...)
	c.Source.Doc = "S2"
	c.Where = claim.Platform{Clusters: []string{"nutanix"}}
	judge := c.Judge
	c.Judge = func(run record.Run) record.Verdict {
		if setting(run, "contract") != "known" {
			return claim.Unsure(fmt.Sprintf("what it says was looked at for AOS %s; this is AOS %s", orUnknown(setting(run, "contract.known")), orUnknown(setting(run, "aos"))))
		}
		return judge(run)
	}
	return c
}

func orUnknown(s string) string {
	if s == "" {
		return "(not known)"
	}
	return s
}

// whole is the cluster's own lane.
func whole(run record.Run) drivers.Lane {
	l, _ := run.Lane(drivers.Cluster, "cluster")
	return l
}

func setting(run record.Run, key string) string {
	s, _ := run.Setting(whole(run), key)
	return s
}

// target is the lane of the part under fault: "host", "controller" or "disk".
func target(run record.Run, kind string) (drivers.Lane, bool) {
	return run.Lane(drivers.Cluster, kind+"/"+setting(run, kind))
}

// parts are the lanes of a kind of part.
func parts(run record.Run, kind string) []drivers.Lane {
	var out []drivers.Lane
	for _, l := range run.Lanes(drivers.Cluster) {
		if strings.HasPrefix(l.Name, kind+"/") {
			out = append(out, l)
		}
	}
	return out
}

// each judges all parts of a kind and joins the verdicts.
func each(run record.Run, kind string, judge func(drivers.Lane) record.Verdict) record.Verdict {
	ls := parts(run, kind)
	if len(ls) == 0 {
		return claim.Unsure("nobody saw a " + kind)
	}
	vs := make([]record.Verdict, len(ls))
	for i, l := range ls {
		vs[i] = judge(l)
	}
	return claim.Join(vs...)
}

// broken is the time from the beginning of the fault until it was undone.
func broken(run record.Run) record.Run {
	f := run.Fault()
	return run.Between(f.Begin.Lo, f.Undo.Lo)
}

// held is for how long the fault was surely there, in seconds.
func held(run record.Run) float64 {
	f := run.Fault()
	return float64(f.Undo.Lo-f.Active.Hi) / 1000
}

// away returns when the I/O of the host under fault first went to other CVMs, and to which ones in the end.
func away(run record.Run) (at record.Moment, to []string, ok bool) {
	host, there := target(run, "host")
	if !there {
		return at, nil, false
	}
	for _, s := range broken(run).States(host, drivers.TopicRedirect) {
		if s.Value == "local" {
			continue
		}
		if !ok {
			at, ok = s.Since, true
		}
		if names := strings.Fields(s.Value); len(names) > len(to) {
			to = names
		}
	}
	return at, to, ok
}

// hostsStay confirms that no host was booted or went away.
func hostsStay(run record.Run) record.Verdict {
	return each(run, "host", func(h drivers.Lane) record.Verdict {
		return claim.Join(claim.SameBoot(run, h), claim.Never(run, h, drivers.TopicHost, "down"))
	})
}
