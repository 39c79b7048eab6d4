package all_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/rig"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/windows"
)

// TestAWindowsGuestAsInTheDocument runs outages of 15 and 20 minutes with a Windows guest, through the real drivers of WinRM, RDP
// and vSphere. With APD_RIG_KEEP=FOLDER its record becomes the baseline of the Windows claims (suites/testdata/windows/run.jsonl).
func TestAWindowsGuestAsInTheDocument(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	vs := onRig(t, rig.Config{Profile: "documented", Windows: &windows.Misbehave{}}, scenario.WindowsOutage, scenario.WindowsLongOutage)
	for id, v := range vs {
		g.Expect(v.Outcome).To(Equal(record.Confirmed), "%s: %s", id, v.Why)
	}
	g.Expect(len(vs)).To(BeNumerically(">=", 12))
}

// TestAWindowsGuestThatIsOtherwise: stand-ins that differ from the document in one thing, and the claims that this refutes.
func TestAWindowsGuestThatIsOtherwise(t *testing.T) {
	for _, c := range []struct {
		name string
		like windows.Misbehave
		in   scenario.Spec
		red  []string
	}{
		{"whose disk is idle", windows.Misbehave{Idle: true}, scenario.WindowsOutage, []string{"guest.windows.disk-pinned-at-full"}},
		{"whose folders open", windows.Misbehave{OpenFolders: true}, scenario.WindowsOutage, []string{"guest.windows.folders-do-not-open"}},
		{"whose heartbeat stops", windows.Misbehave{Silent: true}, scenario.WindowsOutage, []string{"guest.windows.task-manager-moves"}},
		{"whose disk is busy for another minute", windows.Misbehave{SlowReturn: time.Minute}, scenario.WindowsOutage, []string{"guest.windows.disk-normal-at-once"}},
		{"that crashes in the outage", windows.Misbehave{BlueBeforeReturn: 5 * time.Minute}, scenario.WindowsLongOutage, []string{"guest.windows.blue-screen-after-recovery"}},
		{"with another stop code", windows.Misbehave{WrongCode: true}, scenario.WindowsLongOutage, []string{"guest.windows.blue-screen-after-recovery"}},
		{"that checks no disk", windows.Misbehave{NoDiskCheck: true}, scenario.WindowsLongOutage, []string{"guest.windows.disk-check-then-repair-then-boot"}},
		{"that repairs nothing", windows.Misbehave{NoRepair: true}, scenario.WindowsLongOutage, []string{"guest.windows.disk-check-then-repair-then-boot"}},
		{"that says it has not booted", windows.Misbehave{FakeBoot: true}, scenario.WindowsLongOutage, []string{"guest.windows.reboot-loses-memory-not-files"}},
		{"whose memory outlives the boot", windows.Misbehave{KeepMemory: true}, scenario.WindowsLongOutage, []string{"guest.windows.reboot-loses-memory-not-files"}},
		{"that loses writes", windows.Misbehave{LoseWrites: 3}, scenario.WindowsLongOutage,
			[]string{"integrity.acknowledged-writes.windows-long-outage"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole(t)
			vs := onRig(t, rig.Config{Profile: "documented", Windows: &c.like}, c.in)
			NewWithT(t).Expect(with(vs, record.Refuted)).To(Equal(c.red), "%v", vs)
		})
	}
}

// TestAnOutageWithoutABlueScreenDecidesNothingOfIt: W8 to W10 are about what comes with one.
func TestAnOutageWithoutABlueScreenDecidesNothingOfIt(t *testing.T) {
	whole(t)
	g := NewWithT(t)
	vs := onRig(t, rig.Config{Profile: "documented", Windows: &windows.Misbehave{NeverCrash: true}}, scenario.WindowsLongOutage)
	g.Expect(with(vs, record.Inconclusive)).To(Equal([]string{"guest.windows.blue-screen-after-recovery", "guest.windows.disk-check-then-repair-then-boot",
		"guest.windows.reboot-loses-memory-not-files"}))
	g.Expect(with(vs, record.Refuted)).To(BeEmpty())
}

// whole skips a simulated outage in a short run. Under the race detector each takes half a minute, and all run the same code: make test
// races the quick one of TestAnEndpointLikeESXiConfirms, and runs the others without.
func whole(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("a short run, under the race detector, has enough with less; make test runs all of it once without")
	}
}
