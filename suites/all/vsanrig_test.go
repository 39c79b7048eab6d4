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
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// onVSAN runs scenarios on a simulated vSAN cluster, through the real driver and in virtual time, and judges its claims.
func onVSAN(t *testing.T, c rig.VSANConfig, specs ...scenario.Spec) map[string]record.Verdict {
	t.Helper()
	out := map[string]record.Verdict{}
	rec := recordOnVSAN(t, c, specs...)
	for _, c := range claim.All() {
		if slices.Contains(c.Where.Clusters, "vsan") && slices.ContainsFunc(specs, func(s scenario.Spec) bool { return s.Name == c.In.Name }) {
			out[c.ID] = c.Verdict(rec)
		}
	}
	return out
}

func recordOnVSAN(t *testing.T, c rig.VSANConfig, specs ...scenario.Spec) (rec *record.Record) {
	t.Helper()
	c.Dir = t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		r, err := rig.StartVSAN(ctx, c)
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
		rec, err = record.Read(r.Dir)
		g.Expect(err).NotTo(HaveOccurred())
	})
	return rec
}

// claims2020 and claimsCurrent are the claims of each contract that are confirmed by a cluster which keeps to it.
var (
	claims2020 = []string{"vsan.host-rejoins-after-psod", "vsan.objects-do-not-comply-meanwhile", "vsan.only-the-hosts-reset-helps", "vsan.stuck-io-forces-psod-after-120s",
		"vsan.stuck-io-is-a-host-failure", "vsan.stuck-io-is-aborted-and-logged", "vsan.stuck-io-never-completes", "vsan.stuck-io-restarts-the-hosts-vms", "vsan.stuck-io-spares-other-hosts"}
	claimsCurrent = []string{"vsan.objects-do-not-comply-meanwhile", "vsan.one-disk-takes-its-group-along", "vsan.stuck-io-is-aborted-and-logged", "vsan.stuck-io-never-completes",
		"vsan.stuck-io-offline-is-reported", "vsan.stuck-io-spares-other-hosts", "vsan.stuck-io-takes-disk-offline-after-120s"}
)

// The versions of the rig's clusters, one of each contract.
const (
	version2020    = "7.0.1"
	versionCurrent = "8.0.3"
)

func TestAVSANClusterThatKeepsItsContractConfirms(t *testing.T) {
	dedup := vsphere.VSAN{Dedup: true}
	for _, c := range []struct {
		name string
		rig  rig.VSANConfig
		in   scenario.Spec
		want []string
	}{
		{"2020", rig.VSANConfig{Version: version2020, VSAN: dedup}, scenario.DiskStalls, claims2020},
		{"2020, a host that crashes", rig.VSANConfig{Version: version2020}, scenario.HostDown, []string{"vsan.host-failure-has-the-same-effect"}},
		{"current, with deduplication", rig.VSANConfig{Version: versionCurrent, VSAN: dedup}, scenario.DiskStalls, claimsCurrent},
		{"current, the cache", rig.VSANConfig{Version: versionCurrent, CacheDisk: true}, scenario.DiskStalls, claimsCurrent},
		{"current, a capacity disk without deduplication", rig.VSANConfig{Version: versionCurrent}, scenario.DiskStalls,
			slices.DeleteFunc(slices.Clone(claimsCurrent), func(id string) bool { return id == "vsan.one-disk-takes-its-group-along" })},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole(t)
			g := NewWithT(t)
			vs := onVSAN(t, c.rig, c.in)
			g.Expect(with(vs, record.Confirmed)).To(Equal(c.want), "%v", vs)
			for id, v := range vs {
				g.Expect(v.Outcome).To(BeElementOf(record.Confirmed, record.NotApplicable), "%s: %s", id, v.Why)
				g.Expect(v.Why).NotTo(BeEmpty(), id)
				if v.Outcome == record.Confirmed {
					g.Expect(v.Evidence).NotTo(BeEmpty(), id)
					g.Expect(v.Provenance).To(Equal(drivers.Modelled), id)
				}
			}
		})
	}
}

// otherwise is a cluster that differs from its contract.
type otherwise struct {
	name    string
	version string
	like    vsphere.VSANMisbehave
	in      scenario.Spec
	claim   string
}

// misbehavingVSAN are clusters that differ from their contract in one thing, and the one claim that this refutes.
var misbehavingVSAN = []otherwise{
	{"logs no abort", version2020, vsphere.VSANMisbehave{SilentKernel: true}, scenario.DiskStalls, "vsan.stuck-io-is-aborted-and-logged"},
	{"completes the I/O", version2020, vsphere.VSANMisbehave{AbortAnswered: true}, scenario.DiskStalls, "vsan.stuck-io-never-completes"},
	{"crashes after a minute", version2020, vsphere.VSANMisbehave{PSODAt60s: true}, scenario.DiskStalls, "vsan.stuck-io-forces-psod-after-120s"},
	{"does nothing", version2020, vsphere.VSANMisbehave{NeverActs: true}, scenario.DiskStalls, "vsan.stuck-io-forces-psod-after-120s"},
	{"hits a machine of another host", version2020, vsphere.VSANMisbehave{OtherHostsHit: true}, scenario.DiskStalls, "vsan.stuck-io-spares-other-hosts"},
	{"migrates the machines", version2020, vsphere.VSANMisbehave{VMotionInsteadOfRestart: true}, scenario.DiskStalls, "vsan.stuck-io-restarts-the-hosts-vms"},
	{"migrates the machines of a host that crashes", version2020, vsphere.VSANMisbehave{VMotionInsteadOfRestart: true}, scenario.HostDown, "vsan.host-failure-has-the-same-effect"},
	{"has a host that stays outside", version2020, vsphere.VSANMisbehave{HostNeverRejoins: true}, scenario.DiskStalls, "vsan.host-rejoins-after-psod"},
	{"says that all complies", version2020, vsphere.VSANMisbehave{StaysCompliant: true}, scenario.DiskStalls, "vsan.objects-do-not-comply-meanwhile"},
	{"restarts a machine early", version2020, vsphere.VSANMisbehave{EarlyRestart: true}, scenario.DiskStalls, "vsan.only-the-hosts-reset-helps"},
	{"does not take the host for failed", version2020, vsphere.VSANMisbehave{NotCalledFailed: true}, scenario.DiskStalls, "vsan.stuck-io-is-a-host-failure"},
	{"does nothing", versionCurrent, vsphere.VSANMisbehave{NeverActs: true}, scenario.DiskStalls, "vsan.stuck-io-takes-disk-offline-after-120s"},
	{"takes the disk offline after a minute", versionCurrent, vsphere.VSANMisbehave{PSODAt60s: true}, scenario.DiskStalls, "vsan.stuck-io-takes-disk-offline-after-120s"},
	{"crashes instead", versionCurrent, vsphere.VSANMisbehave{Old: true}, scenario.DiskStalls, "vsan.stuck-io-takes-disk-offline-after-120s"},
	{"says nothing of the disk", versionCurrent, vsphere.VSANMisbehave{NoStuckIOEvent: true}, scenario.DiskStalls, "vsan.stuck-io-offline-is-reported"},
	{"takes only the disk of a group", versionCurrent, vsphere.VSANMisbehave{OnlyOneDiskOfDedupGroup: true}, scenario.DiskStalls, "vsan.one-disk-takes-its-group-along"},
	{"hits a machine of another host", versionCurrent, vsphere.VSANMisbehave{OtherHostsHit: true}, scenario.DiskStalls, "vsan.stuck-io-spares-other-hosts"},
	{"says that all complies", versionCurrent, vsphere.VSANMisbehave{StaysCompliant: true}, scenario.DiskStalls, "vsan.objects-do-not-comply-meanwhile"},
	{"logs no abort", versionCurrent, vsphere.VSANMisbehave{SilentKernel: true}, scenario.DiskStalls, "vsan.stuck-io-is-aborted-and-logged"},
}

func TestAVSANClusterThatIsOtherwiseRefutesExactlyOneClaim(t *testing.T) {
	for _, m := range misbehavingVSAN {
		t.Run(m.version+" "+m.name, func(t *testing.T) {
			whole(t)
			vs := onVSAN(t, rig.VSANConfig{Version: m.version, VSAN: vsphere.VSAN{Dedup: true, Misbehave: m.like}}, m.in)
			NewWithT(t).Expect(with(vs, record.Refuted)).To(Equal([]string{m.claim}), "%v", vs)
		})
	}
}

// TestEveryVSANClaimIsRefutedBySomething: a claim is only done with what refutes it. What mutated records are to the claims about
// hosts with iSCSI, stand-ins that misbehave are to these.
func TestEveryVSANClaimIsRefutedBySomething(t *testing.T) {
	for _, c := range claim.All() {
		if slices.Contains(c.Where.Clusters, "vsan") {
			NewWithT(t).Expect(slices.ContainsFunc(misbehavingVSAN, func(m otherwise) bool {
				return m.claim == c.ID
			})).To(BeTrue(), "nothing refutes %s: add a cluster that does", c.ID)
		}
	}
}

func TestAVSANClusterOfAnUnknownVersionDecidesNothing(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	vs := onVSAN(t, rig.VSANConfig{Version: "9.9.0"}, scenario.DiskStalls)
	g.Expect(vs).NotTo(BeEmpty())
	for id, v := range vs {
		g.Expect(v.Outcome).To(Equal(record.Inconclusive), id)
		g.Expect(v.Why).To(ContainSubstring("6.5, 6.7, 7.0, 8.0"), id)
	}
}

func TestNothingInjectedIntoVSANConfirmsNothing(t *testing.T) {
	whole(t)
	vs := onVSAN(t, rig.VSANConfig{Version: version2020, NoFault: true}, scenario.DiskStalls)
	g := NewWithT(t)
	g.Expect(with(vs, record.Confirmed)).To(BeEmpty())
	g.Expect(with(vs, record.Refuted)).To(BeEmpty())
}
