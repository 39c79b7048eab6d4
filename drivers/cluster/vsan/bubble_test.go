package vsan

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
	vsantypes "github.com/vmware/govmomi/vsan/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	driver "github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
)

func errorsAs(err error, op **drivers.Operator) bool { return errors.As(err, op) }

// bench is a driver of a stand-in, on a clock that does not pass while anybody has something to do.
type bench struct {
	*WithT
	t *testing.T
	e *vsphere.Endpoint
	d *Driver

	mu   sync.Mutex
	seen []drivers.Observation
}

func inBubble(t *testing.T, version string, cluster vsphere.VSAN, f func(b *bench)) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := &bench{WithT: NewWithT(t), t: t}
		var err error
		b.e, err = vsphere.New(vsphere.Config{VCenter: true, Hosts: 4, Version: version, Password: "a secret", VMs: []string{"a", "b", "c", "d"}, VSAN: &cluster})
		b.Expect(err).NotTo(HaveOccurred())
		defer b.e.Close()
		l := vsphere.Pipe()
		go func() { _ = b.e.Serve(l, tls.Certificate{}) }()
		disk := b.e.VSANDisks(0)[1]
		b.d, err = Open(drivers.Env{ID: "cluster", Clock: drivers.Clock{Zero: time.Now()}, Dial: l.Dial}, Config{URL: "http://vc/sdk", User: "root", PasswordFile: secret,
			Host: "esxi", Disk: disk, FaultTool: vsphere.FaultTool, AllowHostCrash: true, Stall: stallOf(disk)})
		b.Expect(err).NotTo(HaveOccurred())
		b.d.Shell, b.d.Under = vsphere.HostShell{Endpoint: b.e}, vsphere.UnderShell{Endpoint: b.e}
		defer b.d.Close()
		f(b)
	})
}

// watch observes for a time while f runs, and returns the values of a state.
func (b *bench) watch(f func()) func(lane, topic string) []string {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() {
		done <- b.d.Observe(ctx, func(o drivers.Observation) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.seen = append(b.seen, o)
		})
	}()
	time.Sleep(6 * time.Second)
	f()
	cancel()
	b.Expect(<-done).To(Succeed())
	return func(lane, topic string) []string {
		var out []string
		for _, o := range b.seen {
			if o.Lane.Name == lane && o.Topic == topic && o.Kind != drivers.Sample {
				out = append(out, o.Value)
				b.Expect(o.Lo).To(BeNumerically("<=", o.Hi))
			}
		}
		return out
	}
}

func nowhere(context.Context, drivers.Undo) error { return nil }

func TestAHostThatCrashesComesBackByItself(t *testing.T) {
	inBubble(t, "7.0.1", vsphere.VSAN{Boot: 20 * time.Second, Copy: 10 * time.Second}, func(b *bench) {
		var us []drivers.Undo
		values := b.watch(func() {
			b.Expect(b.d.CrashHost(b.t.Context(), func(_ context.Context, u drivers.Undo) error { us = append(us, u); return nil })).To(Succeed())
			time.Sleep(time.Minute)
			ctx, cancel := context.WithTimeout(b.t.Context(), us[0].Limit())
			defer cancel()
			res, err := b.d.Undo(ctx, us[0]) // waits for the host
			b.Expect(err).NotTo(HaveOccurred())
			b.Expect(res).To(Equal(drivers.Undone))
			time.Sleep(20 * time.Second)
		})
		b.Expect(us).To(HaveLen(1))
		b.Expect(us[0].Args).To(Equal(map[string]string{"key": driver.BlueScreenTimeout, "value": "0"}))
		b.Expect(values("host/esxi", drivers.TopicHost)).To(Equal([]string{"up", "down", "up"}))
		b.Expect(values("host/esxi", "member")).To(Equal([]string{"yes", "no", "yes"}))
		b.Expect(values("host/esxi", drivers.TopicBoot)).To(HaveLen(2))
		b.Expect(values("vm/a", drivers.TopicPlace)).To(Equal([]string{"esxi", "esxi-2"}))
		b.Expect(values("vm/b", drivers.TopicBoot)).To(HaveLen(1))
		b.Expect(values("cluster", drivers.TopicResilient)).To(Equal([]string{"yes", "no", "yes"}))
		b.Expect(values("cluster", drivers.TopicHealing)).To(Equal([]string{"idle", "running", "idle"}))
		b.Expect(values("cluster", "compliance")).To(Equal([]string{"compliant", "nonCompliant", "compliant"}))
		b.Expect(values("disk/"+b.e.VSANDisks(0)[0], drivers.TopicDisk)).To(Equal([]string{"online", "absent", "online"}))
		b.Expect(values("cluster", drivers.TopicTask)).To(ContainElements("com.vmware.vc.HA.DasHostFailedEvent", "com.vmware.vc.ha.VmRestartedByHAEvent"))
		var left float64
		for _, o := range b.seen {
			if o.Topic == drivers.TopicUnprotected {
				left = max(left, o.Num)
			}
		}
		b.Expect(left).To(BeNumerically(">", 1<<30))
		b.Expect(b.d.Resilient(b.t.Context())).To(Succeed())
	})
}

func TestADiskThatFailsAndOneThatIsPulled(t *testing.T) {
	for kind, want := range map[drivers.FaultKind][2]string{drivers.DiskError: {"fails", "offline"}, drivers.DiskGone: {"gone", "absent"}} {
		inBubble(t, "8.0.3", vsphere.VSAN{Copy: 5 * time.Second}, func(b *bench) {
			lane := "disk/" + b.e.VSANDisks(0)[1]
			var us []drivers.Undo
			values := b.watch(func() {
				b.Expect(b.d.FailDisk(b.t.Context(), kind, func(_ context.Context, u drivers.Undo) error { us = append(us, u); return nil })).To(Succeed())
				time.Sleep(15 * time.Second)
				_, err := b.d.Undo(b.t.Context(), us[0])
				b.Expect(err).NotTo(HaveOccurred())
				time.Sleep(10 * time.Second)
			})
			b.Expect(values(lane, drivers.TopicMedium)).To(Equal([]string{"serves", want[0], "serves"}))
			b.Expect(values(lane, drivers.TopicDisk)).To(Equal([]string{"online", want[1], "online"}))
		})
	}
}

// TestNothingIsBrokenInAClusterThatIsNotWhole: it says what lacks, and journals nothing.
func TestNothingIsBrokenInAClusterThatIsNotWhole(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(b *bench)
		say   string
	}{
		"a host is away":       {func(b *bench) { b.e.Crash(time.Hour) }, "the host esxi is notResponding"},
		"a disk is off":        {func(b *bench) { b.e.Disk(b.e.VSANDisks(2)[1], "fails"); time.Sleep(2 * time.Minute) }, "is not in use (Permanent disk failure)"},
		"copies are made anew": {func(b *bench) { b.e.Disk(b.e.VSANDisks(2)[1], "gone"); time.Sleep(2 * time.Second) }, "still to be copied"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "8.0.3", vsphere.VSAN{}, func(b *bench) {
				c.spoil(b)
				b.refuses(c.say)
			})
		})
	}
}

// refuses asks for every fault, and expects none of them, not even in the journal.
func (b *bench) refuses(because string) {
	b.t.Helper()
	noted := 0
	j := func(context.Context, drivers.Undo) error { noted++; return nil }
	for _, do := range []func() error{
		func() error { return b.d.StallDisk(b.t.Context(), j) },
		func() error { return b.d.FailDisk(b.t.Context(), drivers.DiskError, j) },
		func() error { return b.d.FailDisk(b.t.Context(), drivers.DiskGone, j) },
		func() error { return b.d.CrashHost(b.t.Context(), j) },
	} {
		err := do()
		var op *drivers.Operator
		b.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
		b.Expect(op.Cause).To(ContainSubstring(because))
	}
	b.Expect(noted).To(BeZero())
}

func TestProbeNamesWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(d *Driver)
		say   string
	}{
		"cluster": {func(d *Driver) { d.cfg.Cluster = "other" }, "DC0_C0"},
		"host":    {func(d *Driver) { d.cfg.Host = "esx9" }, "esxi, esxi-2, esxi-3, esxi-4"},
		"disk":    {func(d *Driver) { d.cfg.Disk = "naa.1" }, "naa.5000c50000000101"},
		"stall":   {func(d *Driver) { d.cfg.Stall.State = "nonsense" }, "state has to print serves or hangs"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "8.0.3", vsphere.VSAN{}, func(b *bench) {
				b.Expect(b.d.Probe(b.t.Context())).To(Succeed())
				c.spoil(b.d)
				err := b.d.Probe(b.t.Context())
				var op *drivers.Operator
				b.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
				b.Expect(op.Do).To(ContainSubstring(c.say))
			})
		})
	}
}

func TestSettings(t *testing.T) {
	inBubble(t, "7.0.1", vsphere.VSAN{Dedup: true}, func(b *bench) {
		s, err := b.d.Settings(b.t.Context())
		b.Expect(err).NotTo(HaveOccurred())
		for key, want := range map[string]string{"contract": "2020", "dedup": "on", "compression": "on", "ha": "on", "vmcp": "disabled", deadman: "1", driver.BlueScreenTimeout: "0",
			"VSAN.ClomRepairDelay": "60", "LSOM.VSANDeviceMonitoring": "1", "disk.kind": "capacity", "host.esxi-3": "7.0.1 build-5310538", "stall.way": "the stand-in's own switch"} {
			b.Expect(s).To(HaveKeyWithValue(key, want))
		}
		b.Expect(s["group"]).To(Equal(strings.Join(b.e.VSANDisks(0), " ")))
		b.Expect(s["contract.known"]).To(ContainSubstring("8.0"))
		b.Expect(s).NotTo(HaveKey("LSOM.diskIoTimeout")) // which this stand-in does not have
	})
}

// TestAnswersThatLackSomethingAreErrors: none of them becomes a zero, and so a cluster without a fault.
func TestAnswersThatLackSomethingAreErrors(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(res soap.HasFault)
		say   string
	}{
		"no health": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *vsantypes.VsanQueryObjectIdentitiesResponse) { h.Returnval.Health = nil })
		}, "nothing of its objects' health"},
		"no objects": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *vsantypes.VsanQueryObjectIdentitiesResponse) { h.Returnval = nil })
		}, "nothing of its objects' health"},
		"no disks": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *vsantypes.VsanQueryVcClusterHealthSummaryResponse) { h.Returnval.PhysicalDisksHealth = nil })
		}, "tells of no disk"},
		"disks of a stranger": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *vsantypes.VsanQueryVcClusterHealthSummaryResponse) {
				h.Returnval.PhysicalDisksHealth[0].Hostname = "x"
			})
		}, "no host of the cluster"},
		"a disk of no name": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *vsantypes.VsanQueryVcClusterHealthSummaryResponse) {
				h.Returnval.PhysicalDisksHealth[0].Disks[0].Name = ""
			})
		}, "without its name"},
		"no membership": {func(r soap.HasFault) {
			vsphere.Answer(r, func(h *types.QueryHostStatusResponse) { h.Returnval.NodeState.State = "" })
		}, "what it is in the vSAN cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, "8.0.3", vsphere.VSAN{Spoil: c.spoil}, func(b *bench) {
				err := b.d.Resilient(b.t.Context())
				b.Expect(err).To(MatchError(ContainSubstring(c.say)))
				b.Expect(b.d.StallDisk(b.t.Context(), nowhere)).NotTo(Succeed())
				b.Expect(slices.Contains(strings.Fields(b.e.VSANState()), "hangs")).To(BeFalse())
			})
		})
	}
}
