// Claims N10, N12, N15, N16 and N20: when a CVM serves no more, its host's I/O goes to others.

package nutanix

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// redirectWithin is by when I/O should go elsewhere, s. The document names no time; others tell of a check every 30 s and of a
// stall of about 20 s.
const redirectWithin = 60

func init() {
	for _, in := range stops {
		code, en := "N10", "When a problem of kernel or driver stops a CVM, a rule is added on its node that sends the VMs' I/O to another healthy CVM."
		ja := "クラスターのHAモニターが、そのCVMをホストしていたノード上にリダイレクトルールを追加します。つまり、VMのI/Oは別の正常なCVMにリダイレクトされ、ホスト上のVMは引き続き正常に動作します。"
		if in.Name == scenario.ControllerRestarts.Name {
			code, en, ja = "N12", "The same redirection serves planned upgrades, in which one CVM after the other is restarted.", "この機能は、CVMの計画アップグレード時にも使用されます。"
		}
		claim.Register(only(claim.Claim{ID: "nutanix." + in.Name + "-redirects-io", Title: "The I/O of a host whose controller VM serves no more goes to other controller VMs (" + in.Name + ")",
			Source: record.Source{Code: code, JA: ja, EN: en, Note: "within 60 s, for which the document gives no number; shown by the route or by the VMs' sockets on the host"},
			In:     in, Judge: redirects}))
	}
	for _, in := range []scenario.Spec{scenario.ControllerRestarts, scenario.ControllerDies} {
		claim.Register(only(claim.Claim{ID: "nutanix." + in.Name + "-spreads-io", Title: "Redirected I/O is spread over all remaining controller VMs (" + in.Name + ")",
			Source: record.Source{Code: "N15", JA: "Nutanix Clusters(AOS)がすべてのVM I/Oをクラスター内の残りのすべてのCVMにリダイレクトします。",
				EN:   "Whenever a CVM is offline, AOS redirects all I/O of VMs to all the remaining CVMs of the cluster.",
				Note: "seen in the host's sockets, so it needs at least as many VMs on the host as there are other CVMs; the single route of an ESXi host would refute it"},
			In: in, Judge: spreads}))
		claim.Register(only(claim.Claim{ID: "nutanix." + in.Name + "-costs-locality", Title: "While I/O is redirected, less is read from the own node's disks (" + in.Name + ")",
			Source: record.Source{Code: "N16", JA: "I/Oはクラスター全体へリダイレクトされますが、データローカリティが失われるためパフォーマンスが低下します。",
				EN:   "I/O is redirected to the whole cluster, and performance falls since data is no longer local.",
				Note: "of the two the cause alone is judged: the share of reads that Prism counts as local"},
			In: in, Judge: costsLocality}))
	}
}

func redirects(run record.Run) record.Verdict {
	host, ok := target(run, "host")
	if !ok || len(run.States(host, drivers.TopicRedirect)) == 0 {
		return claim.Unsure("nobody saw where the host's I/O goes")
	}
	at, to, ok := away(run)
	switch {
	case ok:
		return claim.Measure("redirected to "+strings.Join(to, ", "), record.From(claim.Cut(run.Fault())).To(at), "s", claim.AtMost(redirectWithin, "no number in the document"), at)
	case held(run) < redirectWithin:
		return claim.Unsure(fmt.Sprintf("it was not redirected within the %.0f s for which the fault was held", held(run)))
	}
	return claim.Refute("its I/O went nowhere else", run.Fault().Undo)
}

// neighbours are the VMs that ran on the host under fault before it.
func neighbours(run record.Run) []drivers.Lane {
	var out []drivers.Lane
	for _, l := range parts(run, "vm") {
		if s, ok := run.Before(run.Fault().Begin).Last(l, drivers.TopicPlace); ok && s.Value == setting(run, "host") {
			out = append(out, l)
		}
	}
	return out
}

func spreads(run record.Run) record.Verdict {
	at, to, ok := away(run)
	nodes, err := strconv.Atoi(setting(run, "nodes"))
	vms := len(neighbours(run))
	switch {
	case err != nil || nodes < 3:
		return claim.Unsure("with fewer than two other controllers nothing can be spread")
	case !ok:
		return claim.Unsure("nothing was redirected")
	case len(to) == nodes-1:
		return claim.Confirm(fmt.Sprintf("it went to all %d others: %s", len(to), strings.Join(to, ", ")), at)
	case vms < nodes-1:
		return claim.Unsure(fmt.Sprintf("the host has %d VMs, too few to show %d controllers", vms, nodes-1), at)
	}
	return claim.Refute(fmt.Sprintf("of %d others it went to %s", nodes-1, strings.Join(to, ", ")), at)
}

// localShare is how much of a span's reads was local.
func localShare(run record.Run, vms []drivers.Lane) (share float64, ok bool) {
	var local, all float64
	for _, v := range vms {
		l, r := run.Samples(v, "local-bytes"), run.Samples(v, "remote-bytes")
		local, all = local+l.Sum, all+l.Sum+r.Sum
	}
	return local / max(all, 1), all > 0
}

func costsLocality(run record.Run) record.Verdict {
	at, _, ok := away(run)
	if !ok {
		return claim.Unsure("nothing was redirected")
	}
	f, vms := run.Fault(), neighbours(run)
	before, one := localShare(run.Before(f.Begin), vms)
	span := run.During(f) // its edges are those of buckets of samples, which the redirection's moment is not
	during, two := localShare(span, vms)
	if !one || !two {
		return claim.Unsure("Prism did not tell where reads came from")
	}
	v := claim.Measure(fmt.Sprintf("the local share of reads, after %.2f before", before), record.Interval{Lo: during, Hi: during}, "", claim.AtMost(before*0.9, "a tenth less than before"), at)
	if v.Outcome == record.Refuted && at.Hi > (span.From+span.To)/2 {
		return claim.Unsure("it was redirected for too short a time to tell", at)
	}
	return v
}

// watch is for how long Returns is watched.
const watch = 3 * time.Minute
