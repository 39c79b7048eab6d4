package vsphere

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// logServer gives logs, which the simulator does not.
type logServer struct {
	mo.DiagnosticManager
	mu    sync.Mutex
	lines map[string][]string
}

func (l *logServer) BrowseDiagnosticLog(req *types.BrowseDiagnosticLog) soap.HasFault {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, ok := l.lines[req.Key]
	if !ok {
		return &methods.BrowseDiagnosticLogBody{Fault_: simulator.Fault("no such log", &types.InvalidArgument{})}
	}
	start := min(max(int(req.Start), 1), len(all)+1)
	end := len(all)
	if req.Lines > 0 {
		end = min(end, start-1+int(req.Lines))
	}
	return &methods.BrowseDiagnosticLogBody{Res: &types.BrowseDiagnosticLogResponse{Returnval: types.DiagnosticManagerLogHeader{
		LineStart: int32(start), LineEnd: int32(len(all)), LineText: all[start-1 : end]}}}
}

func (l *logServer) set(key string, lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[key] = lines
}

func (l *logServer) add(key string, lines ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines[key] = append(l.lines[key], lines...)
}

func TestLogs(t *testing.T) {
	g := NewWithT(t)
	s := esxi(t)
	logs := &logServer{lines: map[string][]string{"vmkernel": {"2018-07-11T20:00:00.000Z cpu1: NMP: before the run"}, "vobd": nil}}
	logs.Self = *s.inside().ServiceContent.DiagnosticManager
	s.model.Map().Put(logs)
	d := s.driver()
	o := observe(t, d)
	o.becomes(t, hostLane, "manageable", "yes")
	texts := func() (out []string) {
		for _, e := range o.find(hostLane, "event", "log") {
			out = append(out, e.Value+": "+e.Text)
		}
		return out
	}
	// Until the first look a line may count as old.
	g.Eventually(func() []string { logs.add("vmkernel", "cpu1: NMP: first"); return texts() }, "30s", "200ms").ShouldNot(BeEmpty())
	g.Expect(texts()).NotTo(ContainElement(ContainSubstring("before the run")))

	lo := d.env.Clock.Now()
	line := time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + ` cpu2: iscsi_vmk: iscsivmk_StopConnection: vmhba64:CH:0 T:0 CN:0: iSCSI connection is being marked "OFFLINE" (Event:6)`
	logs.add("vmkernel", "cpu1: vmotion: nothing of interest", line)
	logs.add("vobd", "[vob.net.vmnic.linkstate.down] vmnic1 link down")
	g.Eventually(texts, "30s", "50ms").Should(ContainElements("vmkernel: "+line, ContainSubstring("vobd: [vob.net")))
	for _, e := range o.find(hostLane, "event", "log") {
		if e.Text == line {
			g.Expect(e.Lo).To(BeNumerically("<=", lo+time.Millisecond))
			g.Expect(e.Hi).To(BeNumerically(">=", lo-2*time.Millisecond))
		}
	}
	g.Expect(texts()).NotTo(ContainElement(ContainSubstring("vmotion")))

	logs.set("vmkernel", "cpu1: NMP: after the log was begun anew") // shorter than before
	g.Eventually(texts, "30s", "50ms").Should(ContainElement(ContainSubstring("begun anew")))
	g.Expect(slices.DeleteFunc(texts(), func(s string) bool { return !strings.Contains(s, "OFFLINE") })).To(HaveLen(1))
}

func TestQuota(t *testing.T) {
	g := NewWithT(t)
	var q quota
	g.Expect(q.turn(time.Second)).To(Equal(0))
	for range perMinute {
		g.Expect(q.take()).To(BeTrue())
	}
	g.Expect(q.take()).To(BeFalse())
	g.Expect(q.take()).To(BeFalse())
	g.Expect(q.turn(30 * time.Second)).To(Equal(0))
	g.Expect(q.turn(61 * time.Second)).To(Equal(2))
	g.Expect(q.take()).To(BeTrue())
}

func TestAboutStorage(t *testing.T) {
	g := NewWithT(t)
	for _, line := range []string{ // as real hosts write them
		`iscsi_vmk: iscsivmk_StopConnection: vmhba64:CH:0 T:0 CN:0: iSCSI connection is being marked "OFFLINE" (Event:6)`,
		`NMP: nmp_DeviceRequestFastDeviceProbe:237: NMP device "naa.6001" state in doubt`,
		`HBX: 6214: APD EventType: APD_START (3) for vol 'iSCSI'`,
		`ScsiDevice: 4993: Device state of naa.6001 set to APD_START; token num:1`,
		`StorageApdHandler: 1205: APD start for 0x43 [naa.6001]`,
		`ScsiDeviceIO: 1513: Device naa.6001 performance has deteriorated.`,
		`Lost access to volume 5b1f (iSCSI) due to connectivity issues.`,
		`igb: vmnic1 NIC Link is Down`,
		`[vob.net.vmnic.linkstate.down] vmnic1 linkstate down`,
		`Device or filesystem with identifier [naa.6001] has entered the All Paths Down state.`,
	} {
		g.Expect(aboutStorage.MatchString(line)).To(BeTrue(), line)
	}
	for _, line := range []string{"", "Migrate: 1234: online", "sched: linked list", "VSCSI: 1: handle"} {
		g.Expect(aboutStorage.MatchString(line)).To(BeFalse(), line)
	}
}

// TestNewLines has both ways of numbering that a server may have for lines beyond the end.
func TestNewLines(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		start, next int32
		text        []string
		want        []string
		then        int32
	}{
		{1, 1, []string{"a", "b"}, []string{"a", "b"}, 3},
		{3, 4, []string{"c"}, []string{}, 4},
		{3, 4, []string{"c", "d"}, []string{"d"}, 5},
		{4, 4, nil, nil, 4},
		{0, 4, []string{"d"}, []string{"d"}, 5},
		{6, 4, []string{"f"}, []string{"f"}, 7},
	} {
		lines, then := newLines(types.DiagnosticManagerLogHeader{LineStart: c.start, LineText: c.text}, c.next)
		g.Expect(lines).To(BeComparableTo(c.want), fmt.Sprint(c))
		g.Expect(then).To(Equal(c.then), fmt.Sprint(c))
	}
}

func FuzzLogLine(f *testing.F) {
	for _, s := range []string{"", " ", "2018-07-11T21:02:01.202Z cpu3:66135)iscsi_vmk: x", "2023-01-01T00:00:00.123456Z In(182) vmkernel: y", "9999-99-99T99:99:99Z", "0001-01-01T00:00:00Z z", "no time at all"} {
		f.Add(s, int32(1), int32(1))
	}
	f.Fuzz(func(t *testing.T, line string, start, next int32) {
		if at, ok := lineTime(line); ok && (at.Year() < 2000 || at.UnixNano() < 0) {
			t.Errorf("%q is of %v", line, at)
		}
		if next < 1 {
			return
		}
		got, then := newLines(types.DiagnosticManagerLogHeader{LineStart: start, LineText: []string{line, line}}, next)
		if len(got) > 2 || then < min(next, 1<<30) {
			t.Errorf("from %d, asked for %d: %d lines, then %d", start, next, len(got), then)
		}
	})
}
