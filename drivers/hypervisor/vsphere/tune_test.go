package vsphere

import (
	"context"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

func TestTune(t *testing.T) {
	for name, s := range map[string]*sim{"ESXi": esxi(t), "vCenter": vcenter(t)} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d, ctx := s.driver(), t.Context()
			before := s.look()
			var us []drivers.Undo
			j := func(_ context.Context, u drivers.Undo) error {
				g.Expect(s.look()).To(Equal(before), "the old value is noted first")
				us = append(us, u)
				return nil
			}
			g.Expect(d.Tune(ctx, logLevel, "trivia", j)).To(Succeed())
			g.Expect(us).To(Equal([]drivers.Undo{{Driver: "hypervisor", Op: "set", Args: map[string]string{"key": logLevel, "value": "info"}}}))
			g.Expect(s.look()).To(ContainSubstring(logLevel + "=trivia"))
			g.Expect(d.Close()).To(Succeed())
			g.Expect(s.driver().Undo(ctx, us[0])).To(Equal(drivers.Undone))
			g.Expect(s.driver().Undo(ctx, us[0])).To(Equal(drivers.NothingLeft))
			g.Expect(s.look()).To(Equal(before))
			d = s.driver()
			g.Expect(d.Tune(ctx, "Misc.NoSuch", "1", j)).To(MatchError(ContainSubstring("there is no option Misc.NoSuch")))
			g.Expect(d.Tune(ctx, "RecoveryTimeout", "1", j)).To(MatchError(ContainSubstring("iSCSI adapter is not known")))
			g.Expect(us).To(HaveLen(1))
		})
	}
}

// addOption gives the simulated host an option.
func (s *sim) addOption(key string, value any) {
	ctx := *s.model.Service.Context
	for _, h := range s.model.Map().All("HostSystem") {
		m := s.model.Map().Get(*h.(*simulator.HostSystem).ConfigManager.AdvancedOption).(*simulator.OptionManager)
		(&ctx).WithLock(m, func() { m.Setting = append(m.Setting, &types.OptionValue{Key: key, Value: value}) })
	}
}

func TestTuneNumber(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	s.addOption("Misc.APDTimeout", int64(140))
	d, ctx := s.driver(), t.Context()
	var u drivers.Undo
	j := func(_ context.Context, x drivers.Undo) error { u = x; return nil }
	g.Expect(d.Tune(ctx, "Misc.APDTimeout", "many", j)).To(MatchError(ContainSubstring(`"many" is no value of type int64`)))
	g.Expect(u).To(Equal(drivers.Undo{}))
	g.Expect(d.Tune(ctx, "Misc.APDTimeout", "20", j)).To(Succeed())
	g.Expect(d.Settings(ctx)).To(HaveKeyWithValue("Misc.APDTimeout", "20"))
	k, err := d.knob(ctx, "Misc.APDTimeout")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(k.value).To(Equal(int64(20)), "the type stays as it is")
	g.Expect(d.Undo(ctx, u)).To(Equal(drivers.Undone))
	g.Expect(d.Settings(ctx)).To(HaveKeyWithValue("Misc.APDTimeout", "140"))
}

func TestLike(t *testing.T) {
	g := NewWithT(t)
	for _, old := range []any{int64(1), int32(1), int16(1), true, float32(1), float64(1), "x"} {
		v, err := like(old, "1")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(fmt.Sprintf("%T", v)).To(Equal(fmt.Sprintf("%T", old)))
	}
	_, err := like(struct{}{}, "1")
	g.Expect(err).To(HaveOccurred())
}

func TestSettings(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	got, err := s.driver().Settings(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(And(HaveKeyWithValue("standalone", "yes"), HaveKeyWithValue("version", "6.5.0"), HaveKeyWithValue("build", "5969303"),
		HaveKeyWithValue("product", ContainSubstring("ESXi")), HaveKeyWithValue("guest.tools", ContainSubstring("of 2")), Not(HaveKey("Misc.APDTimeout"))))
	got, err = vcenter(t).driver().Settings(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(got).To(And(HaveKeyWithValue("standalone", "no"), HaveKey("das.enabled")))
}

func TestExamine(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	s.addOption("Misc.APDHandlingEnable", int64(0))
	byName := func(fs []drivers.Finding) map[string]drivers.Finding {
		out := map[string]drivers.Finding{}
		for _, f := range fs {
			g.Expect(f.OK || f.Say != "").To(BeTrue(), f.What)
			out[f.What] = f
		}
		return out
	}
	fs := byName(s.driver().Examine(t.Context()))
	g.Expect(fs["one path to the datastore"].Say).To(ContainSubstring("no VMFS on a LUN"))
	g.Expect(fs["Misc.APDHandlingEnable is 1"].OK).To(BeFalse())
	g.Expect(fs["the machines lie on that datastore alone"].OK).To(BeTrue())
	g.Expect(fs["the account's rights"].OK).To(BeTrue())
	g.Expect(fs["HA leaves machines alone in an APD"].OK).To(BeTrue())
	g.Expect(fs["guest tools run"].OK).To(BeFalse())

	x := exam{d: s.driver(), p: &place{disks: []string{"naa.1"}}, found: map[ref]props{{}: storageOf("active", "active")}}
	g.Expect(x.paths().Say).To(ContainSubstring("There are 2 paths"))
	g.Expect(x.adapter().OK).To(BeTrue())
	x.found[ref{}] = storageOf("active")
	g.Expect(x.paths().OK).To(BeTrue())
	x.found[ref{}]["configurationEx"] = types.ClusterConfigInfoEx{DasConfig: types.ClusterDasConfigInfo{Enabled: types.NewBool(true), VmComponentProtecting: "enabled",
		DefaultVmSettings: &types.ClusterDasVmSettings{VmComponentProtectionSettings: &types.ClusterVmComponentProtectionSettings{VmStorageProtectionForAPD: "restartConservative"}}}}
	g.Expect(x.protection().Say).To(ContainSubstring("restartConservative"))

	defer s.wire.cut()()
	fs = byName(s.driver().Examine(t.Context()))
	g.Expect(fs).To(HaveLen(1))
	g.Expect(fs["the host's setup"].Say).To(ContainSubstring("cannot be looked at"))
}
