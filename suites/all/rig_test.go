package all_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/rig"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
)

// onRig runs scenarios on a simulated lab, through the real vSphere driver and in virtual time, and judges their claims.
func onRig(t *testing.T, c rig.Config, specs ...scenario.Spec) map[string]record.Verdict {
	t.Helper()
	c.Dir = t.TempDir()
	if err := rig.Prepare(); err != nil {
		t.Fatal(err)
	}
	out := map[string]record.Verdict{}
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Hour)
		defer cancel()
		r, err := rig.Start(ctx, c)
		g.Expect(err).NotTo(HaveOccurred())
		for _, s := range specs {
			if err := r.Run(ctx, s); err != nil {
				t.Logf("%s: %v", s.Name, err)
			}
		}
		g.Expect(r.Close(ctx)).To(Succeed())
		if d := os.Getenv("APD_RIG_KEEP"); d != "" {
			os.CopyFS(d, os.DirFS(r.Dir))
		}
		rec, err := record.Read(r.Dir)
		g.Expect(err).NotTo(HaveOccurred())
		for _, c := range registered() {
			if slices.ContainsFunc(specs, func(s scenario.Spec) bool { return s.Name == c.In.Name }) {
				out[c.ID] = c.Verdict(rec)
			}
		}
	})
	return out
}

// with returns the claims with an outcome.
func with(vs map[string]record.Verdict, o record.Outcome) []string {
	ids := []string{}
	for id, v := range vs {
		if v.Outcome == o {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// apiClaims are those that the vSphere driver's own observations decide.
var apiClaims = []string{"esxi.loss-noticed-at-once", "esxi.recovery-logged-within-seconds", "esxi.service-stop-logs-no-link-event",
	"esxi.target-reboot-logs-link-events", "esxi.apd-timeout-after-apdtimeout", "esxi.apd-timeout-follows-setting", "esxi.no-apd-timeout-before-its-time",
	"host.stays-up", "host.recovers-by-itself", "host.leaves-vms-alone",
	"vm.power-off-without-datastore", "vm.fields-blank-while-off", "vm.console-frozen-while-off", "vm.shown-again-at-once", "vm.starts-as-usual-afterwards"}

// TestAnEndpointLikeESXiConfirms runs every scenario that the vSphere claims speak of, with ESXi's own settings: outages of a
// quarter of an hour, in virtual time.
func TestAnEndpointLikeESXiConfirms(t *testing.T) {
	for _, c := range []rig.Config{{Profile: "quick"}, {Profile: "documented"}, {Profile: "quick", VCenter: true}} {
		name := c.Profile + map[bool]string{true: " vcenter", false: " standalone"}[c.VCenter]
		t.Run(name, func(t *testing.T) {
			if c.Profile != "quick" || c.VCenter {
				whole(t)
			}
			g := NewWithT(t)
			vs := onRig(t, c, scenario.BriefOutage, scenario.TargetReboot, scenario.PowerOffInOutage, scenario.ChangedAPDTimeout, scenario.LongOutage)
			for _, id := range apiClaims {
				g.Expect(vs).To(HaveKey(id))
				g.Expect(vs[id].Outcome).To(Equal(record.Confirmed), "%s: %s", id, vs[id].Why)
			}
			g.Expect(with(vs, record.Refuted)).To(BeEmpty())
			if c.Profile == "documented" {
				e7 := vs["esxi.apd-timeout-after-apdtimeout"]
				g.Expect(e7.Measured.Lo).To(BeNumerically(">", 139.9))
				g.Expect(e7.Measured.Hi).To(BeNumerically("<", 140.1))
				g.Expect(vs["esxi.apd-timeout-follows-setting"].Window.From).To(Equal("Misc.APDTimeout 70 s"))
			}
		})
	}
}

// misbehaving are endpoints that differ from ESXi in one thing, and the one claim that this refutes.
var misbehaving = []struct {
	name  string
	rig   rig.Config
	in    scenario.Spec
	claim string
}{
	{"says nothing of the loss", rig.Config{Misbehave: vsphere.Misbehave{Mute: true}}, scenario.BriefOutage, "esxi.loss-noticed-at-once"},
	{"posts a link event although only the service stopped", rig.Config{Misbehave: vsphere.Misbehave{LinkEventOnPathLoss: true}}, scenario.BriefOutage, "esxi.service-stop-logs-no-link-event"},
	{"times out at once", rig.Config{Misbehave: vsphere.Misbehave{APDTimeoutAfter: time.Second}}, scenario.BriefOutage, "esxi.no-apd-timeout-before-its-time"},
	{"never recovers", rig.Config{Misbehave: vsphere.Misbehave{NeverRecover: true}}, scenario.BriefOutage, "host.recovers-by-itself"},
	{"says nothing of the link", rig.Config{Misbehave: vsphere.Misbehave{NoLinkEvent: true}}, scenario.TargetReboot, "esxi.target-reboot-logs-link-events"},
	{"blocks a power-off until the storage is back", rig.Config{Misbehave: vsphere.Misbehave{PowerOff: "blocks"}}, scenario.PowerOffInOutage, "vm.power-off-without-datastore"},
	{"fails a power-off", rig.Config{Misbehave: vsphere.Misbehave{PowerOff: "fails"}}, scenario.PowerOffInOutage, "vm.power-off-without-datastore"},
	{"goes on showing the machine", rig.Config{Misbehave: vsphere.Misbehave{KeepFields: true}}, scenario.PowerOffInOutage, "vm.fields-blank-while-off"},
	{"has a console that lives on", rig.Config{Misbehave: vsphere.Misbehave{LiveConsole: true}}, scenario.PowerOffInOutage, "vm.console-frozen-while-off"},
	{"shows the machine again after half a minute", rig.Config{Misbehave: vsphere.Misbehave{StayBlank: 30 * time.Second}}, scenario.PowerOffInOutage, "vm.shown-again-at-once"},
	{"does not start the machine again", rig.Config{Misbehave: vsphere.Misbehave{PowerOnFails: true}}, scenario.PowerOffInOutage, "vm.starts-as-usual-afterwards"},
	{"ignores the changed setting", rig.Config{Misbehave: vsphere.Misbehave{IgnoreOptions: true}}, scenario.ChangedAPDTimeout, "esxi.apd-timeout-follows-setting"},
	{"times out ten seconds late", rig.Config{Misbehave: vsphere.Misbehave{APDTimeoutAfter: 30 * time.Second}}, scenario.LongOutage, "esxi.apd-timeout-after-apdtimeout"},
	{"times out at 150 s", rig.Config{Profile: "documented", Misbehave: vsphere.Misbehave{APDTimeoutAfter: 150 * time.Second}}, scenario.LongOutage, "esxi.apd-timeout-after-apdtimeout"},
	{"recovers after a minute", rig.Config{Misbehave: vsphere.Misbehave{RecoverAfter: time.Minute}}, scenario.LongOutage, "esxi.recovery-logged-within-seconds"},
	{"does not answer in the APD", rig.Config{Misbehave: vsphere.Misbehave{HangInAPD: true}}, scenario.LongOutage, "host.stays-up"},
	{"says that it booted in the APD", rig.Config{Misbehave: vsphere.Misbehave{NewBootTime: true}}, scenario.LongOutage, "host.stays-up"},
	{"switches a machine off", rig.Config{Misbehave: vsphere.Misbehave{KillVM: "c"}}, scenario.LongOutage, "host.leaves-vms-alone"},
	{"resets a machine", rig.Config{Misbehave: vsphere.Misbehave{RestartVM: "c"}}, scenario.LongOutage, "host.leaves-vms-alone"},
	{"has VM Component Protection on", rig.Config{VCenter: true, VMCP: true}, scenario.LongOutage, "host.leaves-vms-alone"},
	{"goes down without being booted", rig.Config{CrashIsHang: true}, scenario.HostDown, "esxi.host-down-takes-machines-along"},
}

func TestAnEndpointThatIsNotLikeESXiRefutesExactlyOneClaim(t *testing.T) {
	for _, m := range misbehaving {
		t.Run(m.name, func(t *testing.T) {
			whole(t)
			g := NewWithT(t)
			vs := onRig(t, m.rig, m.in)
			g.Expect(with(vs, record.Refuted)).To(Equal([]string{m.claim}), "%v", vs)
		})
	}
}

// TestAHostThatBootsTakesItsMachinesAlong is a whole reboot: it refutes what is said of the host, of its machines and of all that
// guests say who would have to live on for it.
func TestAHostThatBootsTakesItsMachinesAlong(t *testing.T) {
	whole(t)
	vs := onRig(t, rig.Config{Misbehave: vsphere.Misbehave{Reboot: true}}, scenario.LongOutage)
	NewWithT(t).Expect(with(vs, record.Refuted)).To(Equal([]string{"guest.linux.io-error-stays", "guest.linux.io-error-within-minutes",
		"guest.linux.less-grace-than-windows", "guest.linux.ssh-session-survives", "guest.own-timeout-decides", "host.leaves-vms-alone", "host.stays-up"}))
}

// TestASessionThatExpiresInTheOutage costs nothing but a word in the record.
func TestASessionThatExpiresInTheOutage(t *testing.T) {
	whole(t)
	var said []string
	vs := onRig(t, rig.Config{Profile: "documented", During: func(ctx context.Context, r *rig.Rig) {
		tick := time.NewTicker(time.Minute) // in an outage of a quarter of an hour
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.Endpoint.ExpireSessions()
			case <-ctx.Done():
				return
			}
		}
	}, Seen: func(o drivers.Observation) {
		if o.Topic == "api" && o.Kind == drivers.Event {
			said = append(said, o.Value)
		}
	}}, scenario.LongOutage)
	g := NewWithT(t)
	for _, id := range []string{"esxi.apd-timeout-after-apdtimeout", "esxi.recovery-logged-within-seconds", "host.stays-up", "host.leaves-vms-alone"} {
		g.Expect(vs[id].Outcome).To(Equal(record.Confirmed), "%s: %s", id, vs[id].Why)
	}
	g.Expect(said).To(ContainElements("session-expired", "re-login"))
}

// TestAHostThatHangsInTheOutage: what was not seen is not said, and what guests and wire say is still said.
func TestAHostThatHangsInTheOutage(t *testing.T) {
	whole(t)
	vs := onRig(t, rig.Config{Misbehave: vsphere.Misbehave{HangInAPD: true}}, scenario.LongOutage)
	g := NewWithT(t)
	g.Expect(vs["guest.linux.io-error-within-minutes"].Outcome).To(Equal(record.Confirmed))
	g.Expect(vs["host.stays-up"].Why).To(ContainSubstring("did not answer within 5s"))
	g.Expect(vs["host.leaves-vms-alone"].Outcome).NotTo(Equal(record.Refuted))
}

// TestNothingInjectedConfirmsNothing is the control of the rig itself.
func TestNothingInjectedConfirmsNothing(t *testing.T) {
	whole(t)
	vs := onRig(t, rig.Config{NoFault: true}, scenario.BriefOutage, scenario.ChangedAPDTimeout, scenario.PowerOffInOutage)
	NewWithT(t).Expect(with(vs, record.Confirmed)).To(BeEmpty())
}

func TestTheContrast(t *testing.T) {
	whole(t)
	vs := onRig(t, rig.Config{}, scenario.HostDown)
	g := NewWithT(t)
	v := vs["esxi.host-down-takes-machines-along"]
	g.Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
}
