// Package claim has the words of judging: claims, windows, verdicts, the registry, and what makes a Ginkgo tree of it.
package claim

import (
	"fmt"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
)

// Claim is one documented statement and how it is judged.
type Claim struct {
	ID     string // says what it means: "guest.linux.io-error-within-minutes"
	Title  string
	Source record.Source
	Labels []string
	Needs  []drivers.Power // besides those that In needs
	Where  Platform
	In     scenario.Spec
	On     []drivers.Role // whose word it rests on; see RestsOn for the default
	// Always has Judge asked even when the scenario proves nothing, to let a refutation through: a write that was
	// acknowledged and is gone refutes, whatever else happened.
	Always bool
	// Judge is a pure function of the record. It is only asked about complete scenarios whose faults were all proven.
	Judge func(record.Run) record.Verdict

	spec string // file:line of the registration, within the repository
	at   types.CodeLocation
}

// Platform says which labs a claim speaks of. The zero Platform is all.
type Platform struct {
	Hosts    []string // kinds of host
	Clusters []string // kinds of cluster
}

// Includes tells whether a host of that kind is meant.
func (p Platform) Includes(host string) bool {
	return len(p.Hosts) == 0 || slices.Contains(p.Hosts, host)
}

var (
	mu       sync.Mutex
	registry []*Claim
	idForm   = regexp.MustCompile(`^[a-z0-9]+([.-][a-z0-9]+)*$`)
)

// Register adds a claim. It is called from package variables, so a mistake in a claim ends the program with its place.
func Register(c Claim) *Claim {
	mu.Lock()
	defer mu.Unlock()
	_, file, line, _ := runtime.Caller(1)
	c.spec = fmt.Sprintf("%s:%d", repoPath(file), line)
	c.at = types.CodeLocation{FileName: repoPath(file), LineNumber: line}
	switch {
	case !idForm.MatchString(c.ID):
		panic(fmt.Sprintf("%s: the claim's id %q is not lower-case words joined by dots and dashes", c.spec, c.ID))
	case c.Judge == nil || c.Title == "" || c.Source.EN == "" || c.In.Name == "":
		panic(fmt.Sprintf("%s: the claim %s lacks a title, a source, a scenario or a judge", c.spec, c.ID))
	}
	for _, other := range registry {
		if other.ID == c.ID {
			panic(fmt.Sprintf("%s: the claim %s is already registered at %s", c.spec, c.ID, other.spec))
		}
		if other.In.Name == c.In.Name && !reflect.DeepEqual(other.In, c.In) {
			panic(fmt.Sprintf("%s: two different scenarios are called %q, the other is that of %s", c.spec, c.In.Name, other.ID))
		}
	}
	registry = append(registry, &c)
	return &c
}

// repoPath cuts a source file's path down to that within its repository: what comes after the module's folder, which
// is told by the first known top-level folder from the right.
func repoPath(file string) string {
	file = filepath.ToSlash(file)
	if i := strings.LastIndex(file, "/suites/"); i >= 0 {
		return file[i+1:]
	}
	return filepath.Base(file)
}

// All returns every registered claim, in the order of the scenario catalogue, then by id.
func All() []*Claim {
	mu.Lock()
	defer mu.Unlock()
	out := slices.Clone(registry)
	rank := map[string]int{}
	for i, s := range scenario.Catalogue() {
		rank[s.Name] = i - len(scenario.Catalogue())
	}
	slices.SortStableFunc(out, func(a, b *Claim) int {
		if d := rank[a.In.Name] - rank[b.In.Name]; d != 0 {
			return d
		}
		if d := strings.Compare(a.In.Name, b.In.Name); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// RestsOn tells whose word the claim rests on, so that a lab's provenances can be told before the run. Unless the claim says
// so itself, its id's first word does: guest, integrity and storage are about guests, cluster and the clusters' own names about the
// cluster, all else about hosts.
func (c *Claim) RestsOn() []drivers.Role {
	if len(c.On) > 0 {
		return c.On
	}
	switch who, _, _ := strings.Cut(c.ID, "."); who {
	case "guest", "integrity", "storage":
		return []drivers.Role{drivers.Guest}
	case "cluster", "vsan", "nutanix":
		return []drivers.Role{drivers.Cluster}
	}
	return []drivers.Role{drivers.Hypervisor}
}

// slowAfter is from when on a scenario carries the label "slow".
const slowAfter = 5 * time.Minute

// LabelsFor returns the claim's labels under a profile: its own, its scenario, its id, and "slow" where that applies.
func (c *Claim) LabelsFor(profile string) []string {
	out := append(slices.Clone(c.Labels), "claim:"+c.ID, "scenario:"+c.In.Name)
	if c.Source.Code != "" {
		out = append(out, "code:"+c.Source.Code)
	}
	if c.In.Lasts(profile) > slowAfter {
		out = append(out, "slow")
	}
	return out
}

// Plan returns the claim's line in a record's plan. skip is why it will not be judged, or empty.
func (c *Claim) Plan(profile, skip string) record.Plan {
	return record.Plan{Claim: c.ID, Title: c.Title, Scenario: c.In.Name, Labels: c.LabelsFor(profile), Spec: c.spec, Source: c.Source, Skip: skip}
}

// Skip tells why a lab with these powers and that kind of host cannot judge the claim, or "".
func (c *Claim) Skip(powers map[drivers.Power][]string, host string) string {
	if !c.Where.Includes(host) {
		return fmt.Sprintf("it speaks of %s, and this lab's host is %s", strings.Join(c.Where.Hosts, ", "), host)
	}
	if kinds := c.Where.Clusters; len(kinds) > 0 {
		has := powers[drivers.HasCluster]
		if len(has) == 0 {
			return fmt.Sprintf("it speaks of %s, and this lab has no cluster", strings.Join(kinds, ", "))
		}
		if !slices.Contains(kinds, has[0]) {
			return fmt.Sprintf("it speaks of %s, and this lab's cluster is %s", strings.Join(kinds, ", "), has[0])
		}
	}
	var lacks []string
	needs := append(c.In.Powers(), c.Needs...)
	switch {
	case strings.HasPrefix(c.ID, "guest.linux."):
		needs = append(needs, drivers.HasLinux)
	case strings.HasPrefix(c.ID, "guest.windows."):
		needs = append(needs, drivers.HasWindows)
	}
	if slices.Contains(c.RestsOn(), drivers.Guest) {
		needs = append(needs, drivers.HasGuests)
	}
	for _, p := range needs {
		if len(powers[p]) == 0 && !slices.Contains(lacks, string(p)) {
			lacks = append(lacks, string(p))
		}
	}
	if host == "" && slices.Contains(c.RestsOn(), drivers.Hypervisor) {
		lacks = append(lacks, "a hypervisor")
	}
	if len(lacks) > 0 {
		return "the lab lacks " + strings.Join(lacks, ", ")
	}
	return ""
}

// Verdict judges the claim on a record: it sees to what every claim has in common, then asks Judge.
func (c *Claim) Verdict(r *record.Record) record.Verdict {
	run, ok := r.Run(c.In.Name)
	if !ok {
		why := "its scenario did not begin"
		if r.Ended && r.EndWhy != "done" {
			why += ": " + r.EndWhy
		}
		return record.Verdict{Outcome: record.Inconclusive, Why: why}
	}
	v := record.Verdict{Outcome: record.Inconclusive, Why: run.Unproven()}
	bad := v.Why != ""
	if bad && !c.Always {
		return v
	}
	if judged := c.Judge(run); !bad || judged.Outcome == record.Refuted {
		v = judged
	}
	if v.Provenance == "" {
		v.Provenance = weakest(run, v.Evidence)
	}
	if v.Provenance == "" && v.Outcome != record.Inconclusive { // it rests on what was not seen by anybody
		v.Provenance = run.LabKind()
	}
	return v
}

// weakest returns the weakest provenance among the lanes that evidence rests on: real, then embedded, then modelled.
func weakest(run record.Run, ev []record.Pointer) drivers.Provenance {
	var ps []drivers.Provenance
	for _, p := range ev {
		role, name, _ := strings.Cut(p.Lane, "/")
		if l, ok := run.Lane(drivers.Role(role), name); ok {
			ps = append(ps, l.Provenance)
		}
	}
	return Weakest(ps...)
}

// Weakest returns the weakest provenance, "" of none.
func Weakest(ps ...drivers.Provenance) drivers.Provenance { return record.Weakest(ps...) }
