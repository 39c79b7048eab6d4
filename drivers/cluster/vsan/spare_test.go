package vsan

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/vim25/soap"
	vimtypes "github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
)

// leaf, of and laid are parts of an answer.
func leaf(disk string) string { return `{"type":"Component","diskUuid":"` + disk + `"}` }

func of(kind string, children ...string) string {
	s := `{"type":"` + kind + `","attributes":{}`
	for i, c := range children {
		s += `,"child-` + string(rune('1'+i)) + `":` + c
	}
	return s + "}"
}

func laid(tree string) string {
	return `{"objects_on_disks":{"a":["o"],"b":["o"]},"dom_objects":{"o":{"config":{"uuid":"o","content":` + of("Configuration", tree, `{"type":"Witness"}`) + `}}}}`
}

func TestWhatIsLostWithDisks(t *testing.T) {
	for name, c := range map[string]struct {
		tree, without string
		lost          bool
	}{
		"a mirror loses a half":           {of("RAID_1", leaf("a"), leaf("x")), "a", false},
		"a mirror loses both":             {of("RAID_1", leaf("a"), leaf("b")), "a b", true},
		"one copy":                        {leaf("a"), "a", true},
		"one copy elsewhere":              {leaf("x"), "a b", false},
		"a stripe of one copy":            {of("RAID_0", leaf("a"), leaf("x")), "a", true},
		"a mirror of stripes":             {of("RAID_1", of("RAID_0", leaf("a"), leaf("x")), of("RAID_0", leaf("y"), leaf("z"))), "a", false},
		"a mirror of stripes, both":       {of("RAID_1", of("RAID_0", leaf("a"), leaf("x")), of("RAID_0", leaf("y"), leaf("b"))), "a b", true},
		"parity loses one":                {of("RAID_5", leaf("a"), leaf("x"), leaf("y"), leaf("z")), "a b", false},
		"parity loses two":                {of("RAID_5", leaf("a"), leaf("b"), leaf("y"), leaf("z")), "a b", true},
		"double parity loses two":         {of("RAID_6", leaf("a"), leaf("b"), leaf("y"), leaf("z")), "a b", false},
		"a layout that nobody knows":      {of("RAID_9", leaf("a"), leaf("x")), "a", true},
		"parts after one another":         {of("Concatenation", of("RAID_1", leaf("a"), leaf("x")), of("RAID_1", leaf("b"), leaf("y"))), "a b", false},
		"parts after one another, one so": {of("Concatenation", of("RAID_1", leaf("a"), leaf("x")), leaf("b")), "a b", true},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			lost, err := sole(laid(c.tree), strings.Fields(c.without))
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(lost).To(HaveLen(map[bool]int{false: 0, true: 1}[c.lost]))
		})
	}
}

// TestAnAnswerOfTheWrongShapeSparesNothing: what is not said is not "nothing is lost".
func TestAnAnswerOfTheWrongShapeSparesNothing(t *testing.T) {
	for name, answer := range map[string]string{
		"BAD":               "BAD",
		"nothing":           `{}`,
		"a disk is missing": `{"objects_on_disks":{"a":[]},"dom_objects":{}}`,
		"no layout":         `{"objects_on_disks":{"a":["o"],"b":[]},"dom_objects":{}}`,
		"no content":        `{"objects_on_disks":{"a":["o"],"b":[]},"dom_objects":{"o":{"config":{}}}}`,
		"no type":           laid(`{"child-1":` + leaf("a") + `}`),
		"no disk":           laid(`{"type":"Component"}`),
		"an empty mirror":   laid(`{"type":"RAID_1"}`),
		"a strange disk":    laid(`{"type":"Component","diskUuid":7}`),
	} {
		_, err := sole(answer, []string{"a", "b"})
		NewWithT(t).Expect(err).To(HaveOccurred(), name)
	}
}

// TestTheOnlyCopyIsNotTaken breaks nothing where an object has one copy on the host, or where the host does not say.
func TestTheOnlyCopyIsNotTaken(t *testing.T) {
	for name, c := range map[string]struct {
		v   vsphere.VSAN
		say string
	}{
		"one object has one copy": {vsphere.VSAN{Single: true}, "the only copy of 1 objects"},
		"the host does not say": {vsphere.VSAN{Spoil: func(answer soap.HasFault) {
			vsphere.Answer(answer, func(r *vimtypes.QueryObjectsOnPhysicalVsanDiskResponse) { r.Returnval = "BAD" })
		}}, "it is not known whether the host esxi has the last copy"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "8.0.3", c.v, func(b *bench) { b.refuses(c.say) })
		})
	}
}
