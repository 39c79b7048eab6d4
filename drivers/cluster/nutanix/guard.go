// This file keeps faults away from a cluster that could not bear them.

package nutanix

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Resilient tells whether the cluster has all its redundancy: every component tolerates the loss of a disk and of a node, nothing
// is left to copy, every disk is in use, and no failover is under way.
func (d *Driver) Resilient(ctx context.Context) error {
	lacks, err := d.lacking(ctx)
	if err != nil {
		return d.operator(err)
	}
	if len(lacks) > 0 {
		return &drivers.Operator{Cause: d.env.ID + ": the cluster has not all its redundancy: " + strings.Join(lacks, "; "),
			Impact: "A fault now could take the last copy of something, so nothing was broken",
			Do:     "Wait until Prism shows Data Resiliency as OK; mend or remove disks that are offline"}
	}
	return nil
}

// lacking lists what the cluster's redundancy lacks.
func (d *Driver) lacking(ctx context.Context) ([]string, error) {
	var out []string
	for _, domain := range []string{domainDisk, domainNode} {
		t, err := d.tolerance(ctx, domain)
		if err != nil {
			return nil, err
		}
		switch {
		case t.failures < 1:
			out = append(out, fmt.Sprintf("no loss of a %s is tolerated (%s)", strings.ToLower(domain), t.weakest))
		case t.computing:
			out = append(out, "its fault tolerance is being computed anew ("+domain+")")
		}
		if t.unprotected > 0 && domain == domainDisk {
			out = append(out, fmt.Sprintf("%d bytes have too few copies", t.unprotected))
		}
	}
	disks, err := ask(ctx, d, v2+"disks/", readDisks)
	if err != nil {
		return nil, err
	}
	for _, k := range disks {
		if !k.online {
			out = append(out, "the disk "+k.serial+" is offline")
		}
	}
	h, err := ask(ctx, d, v2+"ha/", readHA)
	if err != nil {
		return nil, err
	}
	if len(h.failing) > 0 {
		out = append(out, "HA of a host is under way")
	}
	return out, nil
}

// bears is what every power asks before it journals anything: Prism's word, and beside it that of the cluster's own shell, from a
// CVM that is not the one under fault. For a disk that is the second guard against taking the last copy of something.
func (d *Driver) bears(ctx context.Context) (*layout, error) {
	if err := d.Resilient(ctx); err != nil {
		return nil, err
	}
	l, err := d.find(ctx)
	if err != nil {
		return nil, d.operator(err)
	}
	if l.target == nil {
		return nil, misnamed(d.env.ID+": no controller is named", "Write controller: and the name of the CVM under fault")
	}
	i := slices.IndexFunc(l.nodes, func(n *node) bool { return n != l.target })
	if i < 0 || len(l.nodes) < 3 {
		return nil, misnamed(d.env.ID+": the cluster has fewer than three nodes", "Use one that can lose a node")
	}
	a, err := d.onCVM(ctx, l.nodes[i], d.t.act, tolerates)
	if err != nil {
		return nil, d.operator(err)
	}
	counts := a["tolerates"]
	least := -1
	for _, c := range counts {
		n, err := strconv.Atoi(c)
		if err != nil {
			least = 0
			break
		}
		if least < 0 || n < least {
			least = n
		}
	}
	if least < 1 {
		return nil, &drivers.Operator{Cause: d.env.ID + ": the cluster's own shell does not say that it tolerates the loss of a disk",
			Impact: "A disk may be the last that has something, so nothing was broken", Do: "See ncli cluster get-domain-fault-tolerance-status type=disk on a CVM"}
	}
	return l, nil
}
