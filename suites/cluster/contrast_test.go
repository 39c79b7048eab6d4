package cluster

import (
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// onVSAN and onNutanix are runs as the document has them: three machines, one of them on the host with the fault.
func onVSAN() record.Effect {
	return record.Effect{Run: "v", Platform: "vsan", Contract: "2020", Provenance: drivers.Real, Held: record.Interval{Lo: 290, Hi: 291},
		VMs: record.MachinesEffect{Seen: 3, Watched: 3, Hit: 1, Restarted: []record.Mark{{VM: "a", By: "cluster"}}}}
}

func onNutanix() record.Effect {
	return record.Effect{Run: "n", Platform: "nutanix", Contract: "known", Provenance: drivers.Modelled, Held: record.Interval{Lo: 60, Hi: 61},
		VMs: record.MachinesEffect{Seen: 3, Watched: 3, Hit: 1}}
}

func TestContrastHolds(t *testing.T) {
	g := NewWithT(t)
	other := onNutanix()
	other.Run, other.Platform = "c", "ceph"
	current := onVSAN()
	current.Contract, current.VMs.Restarted = "current", nil
	v := JudgeContrast([]record.Effect{onVSAN(), onNutanix(), other, current})
	g.Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
	g.Expect(v.N).To(Equal(2), "neither another platform nor another contract counts")
	g.Expect(v.Provenance).To(Equal(drivers.Modelled), "the weaker one's word")
}

// TestContrastIsRefutedByEither has the saboteurs of X1: each side in turn does what the other should.
func TestContrastIsRefutedByEither(t *testing.T) {
	for name, c := range map[string]struct {
		vsan, nutanix func(*record.Effect)
		why           string
	}{
		"vSAN restarts nothing":        {func(e *record.Effect) { e.VMs.Restarted = nil }, nil, "v: no machine was restarted, in 290 s"},
		"vSAN's were an administrator": {func(e *record.Effect) { e.VMs.Restarted[0].By = "administrator" }, nil, "v: no machine was restarted, in 290 s"},
		"Nutanix restarts one": {nil, func(e *record.Effect) {
			e.VMs.Restarted = []record.Mark{{VM: "x"}}
		}, "n: restarted x"},
		"Nutanix restarts one, as HA alone tells": {nil, func(e *record.Effect) {
			e.VMs.Watched, e.VMs.Restarted = 0, []record.Mark{{VM: "x", By: "cluster"}}
		}, "n: restarted x"},
	} {
		t.Run(name, func(t *testing.T) {
			v, n := onVSAN(), onNutanix()
			if c.vsan != nil {
				c.vsan(&v)
			}
			if c.nutanix != nil {
				c.nutanix(&n)
			}
			got := JudgeContrast([]record.Effect{v, n})
			NewWithT(t).Expect(got.Outcome).To(Equal(record.Refuted), got.Why)
			NewWithT(t).Expect(got.Why).To(Equal(c.why))
		})
	}
}

func TestContrastIsUndecided(t *testing.T) {
	with := func(e record.Effect, change func(*record.Effect)) record.Effect { change(&e); return e }
	for why, rows := range map[string][]record.Effect{
		"no run of vSAN on the 2020 contract; no run of Nutanix": nil,
		"no run of vSAN on the 2020 contract":                    {onNutanix(), with(onVSAN(), func(e *record.Effect) { e.Contract = "current" })},
		"no run of Nutanix":                                      {onVSAN()},
		"v: the fault was not proven: so":                        {with(onVSAN(), func(e *record.Effect) { e.Unproven = "the fault was not proven: so" }), onNutanix()},
		"n: nothing was injected":                                {onVSAN(), with(onNutanix(), func(e *record.Effect) { e.Unproven = "nothing was injected" })},
		"n: nobody watched the machines":                         {onVSAN(), with(onNutanix(), func(e *record.Effect) { e.VMs = record.MachinesEffect{} })},
		"n: of 3 machines 1 were not watched for restarts":       {onVSAN(), with(onNutanix(), func(e *record.Effect) { e.VMs.Watched = 2 })},
		"n: no machine ran on the host with the fault":           {onVSAN(), with(onNutanix(), func(e *record.Effect) { e.VMs.Hit = 0 })},
		"v: no machine was restarted, and the fault lasted no more than 90 s": {with(onVSAN(), func(e *record.Effect) {
			e.VMs.Restarted, e.Held = nil, record.Interval{Lo: 90, Hi: 91}
		}), onNutanix()},
	} {
		t.Run(why, func(t *testing.T) {
			v := JudgeContrast(rows)
			NewWithT(t).Expect(v.Outcome).To(Equal(record.Inconclusive), v.Why)
			NewWithT(t).Expect(v.Why).To(Equal(why))
		})
	}
}
