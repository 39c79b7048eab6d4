package vsphere

import (
	"context"
	"net/http"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const (
	on  = types.VirtualMachinePowerStatePoweredOn
	off = types.VirtualMachinePowerStatePoweredOff
)

func TestPower(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d, vm, ctx := s.driver(), s.vms[0], t.Context()
			g.Expect(d.VMLane(vm)).To(Equal(vmLane(vm)))
			g.Expect(d.PowerOn(ctx, vm)).To(Succeed(), "it is on already")
			g.Expect(d.Reset(ctx, vm)).To(Succeed())
			g.Expect(s.power(vm)).To(Equal(on))
			g.Expect(d.PowerOff(ctx, vm)).To(Succeed())
			g.Expect(s.power(vm)).To(Equal(off))
			g.Expect(d.PowerOff(ctx, vm)).To(Succeed(), "it is off already")
			g.Expect(d.Reset(ctx, vm)).To(Succeed(), "a machine that is off is switched on")
			g.Expect(s.power(vm)).To(Equal(on))
			g.Expect(s.power(s.vms[1])).To(Equal(on))
			g.Expect(d.PowerOff(ctx, "someone else's")).To(MatchError(ContainSubstring("none of the lab's machines")))
			_, err := d.Screenshot(ctx, vm)
			g.Expect(err).To(MatchError(ContainSubstring("404 Not Found")))
		})
	}
}

// TestTaskGoesOn has a task that does not end in the caller's time.
func TestTaskGoesOn(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	d := s.driver()
	g.Expect(d.Probe(t.Context())).To(Succeed())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	task := simulator.CreateTask(s.model.Map().Get(s.vmArg(s.vms[0]).Vm), "powerOff", nil)
	sc := *s.model.Service.Context
	ref := s.model.Map().Put(task).Reference()
	task.Info.Key, task.Info.Task, task.Info.State = ref.Value, ref, types.TaskInfoStateRunning
	g.Expect(d.do(ctx, func(context.Context, *visit) (types.ManagedObjectReference, error) {
		cancel() // once it is started
		return ref, nil
	})).To(MatchError(drivers.ErrStillRunning))

	s.model.Map().AtomicUpdate(&sc, task, []types.PropertyChange{{Name: "info.state", Val: types.TaskInfoStateError},
		{Name: "info.error", Val: &types.LocalizedMethodFault{LocalizedMessage: "the datastore is away", Fault: &types.InaccessibleDatastore{}}}})
	err := d.do(t.Context(), func(context.Context, *visit) (types.ManagedObjectReference, error) { return ref, nil })
	g.Expect(err).To(MatchError(ContainSubstring("the task failed: the datastore is away")))
}

func TestScreenshot(t *testing.T) {
	g := NewWithT(t)
	picture := pngMagic
	m := simulator.ESX()
	g.Expect(m.Create()).To(Succeed())
	m.Service.HandleFunc("/screen", func(w http.ResponseWriter, r *http.Request) {
		if _, err := r.Cookie("vmware_soap_session"); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write(picture)
	})
	t.Cleanup(m.Remove)
	s := serve(t, m, Config{Datastore: "LocalDS_0"}, "ha-host_VM0")
	d := s.driver()
	g.Expect(d.Screenshot(t.Context(), "ha-host_VM0")).To(Equal(pngMagic))
	picture = []byte("<html>")
	_, err := d.Screenshot(t.Context(), "ha-host_VM0")
	g.Expect(err).To(MatchError(ContainSubstring("no PNG")))
}
