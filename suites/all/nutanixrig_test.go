package all_test

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	driver "github.com/allpathsdown/allpathsdown/drivers/cluster/nutanix"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/suites/claim"
	"github.com/allpathsdown/allpathsdown/suites/nutanix"
)

// prismCert is made before any bubble's clock, which begins in the past.
var prismCert = sync.OnceValues(func() (tls.Certificate, error) { return vsphere.SelfSigned("prism") })

// aos is a simulated Nutanix cluster.
type aos struct {
	sim.Config
	stall   string // below when empty
	profile string // quick when empty
	noFault bool
}

// beginAOS opens the real driver on the stand-in and begins a session.
func beginAOS(ctx context.Context, a aos) (*scenario.Session, *sim.Cluster, error) {
	c, err := sim.New(a.Config)
	if err != nil {
		return nil, nil, err
	}
	secret := filepath.Join(a.Dir, "password")
	if err := os.WriteFile(secret, []byte(sim.Password), 0o600); err != nil {
		return nil, c, err
	}
	login := driver.Login{KeyFile: c.KeyFile, KnownHosts: c.KnownHosts}
	conf := driver.Config{Address: sim.Address, User: sim.User, PasswordFile: secret, Thumbprint: c.Thumbprint, Hypervisor: a.Hypervisor, CVMs: login, Hosts: login,
		Controller: sim.CVMOf(0), Host: sim.HostOf(0), Disk: sim.SerialOf(0, 0), Stall: a.stall, Egroup: sim.Egroup, HostBoot: "1m",
		Backing: &driver.Backing{SSH: sshell.Config{Address: sim.Backing, KeyFile: c.KeyFile, KnownHosts: c.KnownHosts}, PIDFile: sim.PIDFile}}
	clock := drivers.Clock{Zero: time.Now()}
	lane := drivers.Lane{Role: drivers.Cluster, Name: "cluster", Provenance: drivers.Modelled}
	reg, _ := drivers.Lookup(driver.Name)
	d, err := reg.Open(ctx, drivers.Env{ID: "cluster", Clock: clock, Lane: lane, Dial: c.Dial, ScratchDir: a.Dir,
		Decode: func(v any) error { reflect.ValueOf(v).Elem().Set(reflect.ValueOf(conf)); return nil }})
	if err != nil {
		return nil, c, err
	}
	l := lab.Assemble("simulated", a.profile, "", lane, map[string]drivers.Driver{"cluster": d}, nil)
	s, err := scenario.Attach(ctx, l, clock, scenario.Options{OutDir: a.Dir, ID: "rig", NoFault: a.noFault, Say: func(string) {}})
	return s, c, err
}

// onAOS runs scenarios on it in virtual time, and judges the claims about Nutanix alone.
func onAOS(t *testing.T, a aos, specs ...scenario.Spec) map[string]record.Verdict {
	t.Helper()
	out := map[string]record.Verdict{}
	rec := recordOnAOS(t, a, specs...)
	for _, c := range claim.All() {
		if strings.HasPrefix(c.ID, "nutanix.") && slices.ContainsFunc(specs, func(s scenario.Spec) bool { return s.Name == c.In.Name }) {
			out[c.ID] = c.Verdict(rec)
		}
	}
	return out
}

func recordOnAOS(t *testing.T, a aos, specs ...scenario.Spec) (rec *record.Record) {
	t.Helper()
	cert, err := prismCert()
	if err != nil {
		t.Fatal(err)
	}
	a.Dir, a.Certificate = t.TempDir(), cert
	for p, d := range map[*string]string{&a.Hypervisor: "ahv", &a.stall: "below", &a.profile: "quick"} {
		if *p == "" {
			*p = d
		}
	}
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(context.Background(), 12*time.Hour)
		defer cancel()
		s, c, err := beginAOS(ctx, a)
		g.Expect(err).NotTo(HaveOccurred())
		for _, spec := range specs {
			time.Sleep(137 * time.Millisecond) // of virtual time: else scenarios begin in the very millisecond of a look
			if err := s.Run(ctx, spec); err != nil {
				t.Logf("%s: %v", spec.Name, err)
			}
		}
		g.Expect(s.End(ctx, "done")).To(Succeed())
		g.Expect(c.Close()).To(Succeed())
		rec, err = record.Read(s.Dir)
		g.Expect(err).NotTo(HaveOccurred())
	})
	return rec
}

// aosScenarios are those that claims about Nutanix alone speak of.
var aosScenarios = []scenario.Spec{scenario.DiskRots, scenario.DaemonDies, scenario.DaemonHangs, scenario.ControllerRestarts, scenario.ControllerDies, scenario.ControllerHangs,
	scenario.DiskStalls, nutanix.Returns}

func TestAClusterLikeTheDocumentConfirms(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	vs := onAOS(t, aos{}, aosScenarios...)
	judged := 0
	for _, c := range claim.All() {
		if strings.HasPrefix(c.ID, "nutanix.") {
			judged++
			v, ok := vs[c.ID]
			g.Expect(ok).To(BeTrue(), c.ID)
			g.Expect(v.Outcome).To(Equal(record.Confirmed), "%s: %s", c.ID, v.Why)
			g.Expect(v.Provenance).To(Equal(drivers.Modelled), c.ID)
		}
	}
	g.Expect(judged).To(BeNumerically(">=", 20))
}

func TestAStallAboveSCSIShowsStargatesOwnTimer(t *testing.T) {
	whole(t)
	vs := onAOS(t, aos{stall: "above"}, scenario.DiskStalls)
	g := NewWithT(t)
	v := vs["nutanix.hung-disk-meets-two-timers"]
	g.Expect(v.Outcome).To(Equal(record.Confirmed), v.Why)
	g.Expect(v.Why).To(ContainSubstring("nothing to abort"))
	g.Expect(with(vs, record.Refuted)).To(BeEmpty())
}

// unlikeAOS are clusters that differ from the document in one thing, and the one claim that this refutes.
var unlikeAOS = []struct {
	name  string
	rig   aos
	in    scenario.Spec
	claim string
}{
	{"restarts VMs when a CVM dies", aos{Config: sim.Config{Misbehave: sim.Misbehave{HAEvent: true}}}, scenario.ControllerDies, "nutanix.controller-dies-needs-no-ha"},
	{"restarts VMs when Stargate hangs", aos{Config: sim.Config{Misbehave: sim.Misbehave{HAEvent: true}}}, scenario.DaemonHangs, "nutanix.daemon-hangs-needs-no-ha"},
	{"takes two disks out", aos{Config: sim.Config{Misbehave: sim.Misbehave{TwoDisksOffline: true}}}, scenario.DiskStalls, "nutanix.hung-disk-alone-goes-offline"},
	{"copies nothing", aos{Config: sim.Config{Misbehave: sim.Misbehave{NoReplication: true}}}, scenario.DiskStalls, "nutanix.offline-disk-is-copied-at-once"},
	{"boots a host with its CVM", aos{Config: sim.Config{Misbehave: sim.Misbehave{HostRebootsWithCVM: true}}}, scenario.ControllerHangs, "nutanix.controller-hangs-spares-hosts"},
	{"needs to be called", aos{Config: sim.Config{Misbehave: sim.Misbehave{HealingNeedsCall: true}}}, scenario.DiskStalls, "nutanix.disk-heals-without-a-call"},
	{"redirects to one", aos{Config: sim.Config{Misbehave: sim.Misbehave{RedirectToOne: true}}}, scenario.ControllerRestarts, "nutanix.controller-restarts-spreads-io"},
	{"has a single route, as ESXi does", aos{Config: sim.Config{Misbehave: sim.Misbehave{RedirectToOne: true}}}, scenario.ControllerDies, "nutanix.controller-dies-spreads-io"},
	{"does not redirect", aos{profile: "documented", Config: sim.Config{Misbehave: sim.Misbehave{NoRedirect: true}}}, scenario.ControllerDies, "nutanix.controller-dies-redirects-io"},
	{"never comes home", aos{Config: sim.Config{Misbehave: sim.Misbehave{NeverLocalAgain: true}}}, nutanix.Returns, "nutanix.io-is-local-again"},
	{"copies a whole disk for one block", aos{Config: sim.Config{Misbehave: sim.Misbehave{WholeDiskRepaired: true}}}, scenario.DiskRots, "nutanix.bad-egroup-is-mended-alone"},
	{"boots a CVM for a disk", aos{Config: sim.Config{Misbehave: sim.Misbehave{CVMRebootsWithDisk: true}}}, scenario.DiskStalls, "nutanix.hung-disk-spares-controller-and-host"},
	{"has no timer above SCSI", aos{stall: "above", Config: sim.Config{Misbehave: sim.Misbehave{NoStargateTimer: true}}}, scenario.DiskStalls, "nutanix.hung-disk-meets-two-timers"},
	{"boots a CVM as slowly as a host", aos{Config: sim.Config{Times: slowly}}, nutanix.Returns, "nutanix.controller-boots-faster-than-host"},
}

// slowly are the times of a cluster whose CVMs take longer to boot.
var slowly = func() sim.Times { t := sim.DefaultTimes; t.Boot = 50 * time.Second; return t }()

func TestAClusterUnlikeTheDocumentRefutesExactlyOneClaim(t *testing.T) {
	for _, m := range unlikeAOS {
		t.Run(m.name, func(t *testing.T) {
			whole(t)
			vs := onAOS(t, m.rig, m.in)
			NewWithT(t).Expect(with(vs, record.Refuted)).To(Equal([]string{m.claim}), "%v", vs)
		})
	}
}

func TestAnUnknownAOSIsJudgedNeitherWay(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	for id, v := range onAOS(t, aos{Config: sim.Config{Version: "9.9.1"}}, scenario.ControllerDies) {
		g.Expect(v.Outcome).To(Equal(record.Inconclusive), id)
		g.Expect(v.Why).To(ContainSubstring("5.20, 6.5, 6.8, 6.10, 7.0; this is AOS 9.9.1"))
	}
}

func TestNothingInjectedIntoAClusterConfirmsNothing(t *testing.T) {
	whole(t)
	NewWithT(t).Expect(with(onAOS(t, aos{noFault: true}, scenario.ControllerDies), record.Confirmed)).To(BeEmpty())
}

// TestAPrismThatAnswersOtherwiseIsNotBelieved: an object in place of fault tolerance's list keeps a session from beginning.
func TestAPrismThatAnswersOtherwiseIsNotBelieved(t *testing.T) {
	whole(t)
	cert, err := prismCert()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		_, c, err := beginAOS(t.Context(), aos{stall: "below", profile: "quick", Config: sim.Config{Dir: dir, Hypervisor: "ahv", Certificate: cert, Misbehave: sim.Misbehave{WrongShape: true}}})
		var op *drivers.Operator
		g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
		g.Expect(err.Error()).To(ContainSubstring("redundancy: not seen yet"))
		g.Expect(c.Close()).To(Succeed())
	})
}
