// This file knows which of the two documented contracts a version is held to. Only vSAN's text changed, in place and without a
// date, so that the versions are those for which one text or the other is known.

package vsan

import (
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
)

// The contracts.
const (
	Contract2020    = "2020"    // no answer to an abort for 120 s: the host is forced into a purple screen
	ContractCurrent = "current" // the disk, or its disk group, is taken offline; the host stays
	ContractUnknown = "unknown"
)

// known are the versions of which a contract is known, and since the one of changed the current one holds.
var known = []string{"6.5", "6.7", "7.0", "8.0"}

const changed = "7.0.3"

// Known lists them, for people.
func Known() string {
	return strings.Join(known, ", ") + "; the current contract from " + changed + " on"
}

// contractOf is the contract of hosts of these versions, which is unknown when they are not all held to one.
func contractOf(versions []string) string {
	all := ""
	for _, v := range versions {
		one := contract(v)
		if all != "" && all != one {
			return ContractUnknown
		}
		all = one
	}
	if all == "" {
		return ContractUnknown
	}
	return all
}

func contract(version string) string {
	part := strings.SplitN(version, ".", 3)
	switch {
	case len(part) < 2 || !slices.Contains(known, part[0]+"."+part[1]):
		return ContractUnknown
	case vsphere.Older(version, changed):
		return Contract2020
	}
	return ContractCurrent
}
