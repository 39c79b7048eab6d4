package vsan

import (
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

func TestTheVersionDecidesTheContract(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		versions []string
		want     string
	}{
		{[]string{"6.5.0"}, Contract2020}, {[]string{"6.7.0", "6.7.0"}, Contract2020}, {[]string{"7.0.0"}, Contract2020}, {[]string{"7.0.2"}, Contract2020},
		{[]string{"7.0.3"}, ContractCurrent}, {[]string{"8.0.0"}, ContractCurrent}, {[]string{"8.0.3", "8.0.2"}, ContractCurrent},
		{[]string{"7.0.2", "7.0.3"}, ContractUnknown}, {[]string{"6.0.0"}, ContractUnknown}, {[]string{"9.0.0"}, ContractUnknown},
		{[]string{""}, ContractUnknown}, {nil, ContractUnknown}, {[]string{"7"}, ContractUnknown}, {[]string{"8.0.3", ""}, ContractUnknown},
	} {
		g.Expect(contractOf(c.versions)).To(Equal(c.want), "%q", c.versions)
	}
	g.Expect(Known()).To(ContainSubstring("7.0.3"))
}

const line = "2026-06-22T12:02:08.408Z cpu10:2097777)ScsiDeviceIO: PsaScsiDeviceTimeoutHandlerFn:12834: TaskMgmt op to cancel IO succeeded for device naa.55cd2e404c185332 and the IO did not complete. WorldId 0, Cmd 0x28, CmdSN = 0x428."

func TestLinesOfTheKernel(t *testing.T) {
	g := NewWithT(t)
	disk, what, ok := kernelLine(line)
	g.Expect(ok).To(BeTrue())
	g.Expect(disk).To(Equal("naa.55cd2e404c185332"))
	g.Expect(what).To(Equal(abortUnfinished))
	_, what, ok = kernelLine(strings.Replace(line, "did not complete", "completed", 1))
	g.Expect(ok).To(BeTrue())
	g.Expect(what).To(Equal(abortFinished))
	for _, other := range []string{"", "ScsiDeviceIO: 3015: Cmd(0x459a40) 0x2a to dev \"naa.55\" failed", strings.Replace(line, "naa.55cd2e404c185332", "it", 1),
		strings.Replace(line, "did not complete", "is pending", 1)} {
		_, _, ok := kernelLine(other)
		g.Expect(ok).To(BeFalse(), other)
	}
}

func FuzzKernelLine(f *testing.F) {
	f.Add(line)
	f.Add("TaskMgmt op to cancel IO naa.- completed")
	f.Add("taskmgmt op to cancel io \xff naa.a:_~ did not complete")
	f.Fuzz(func(t *testing.T, s string) {
		disk, what, ok := kernelLine(s)
		switch {
		case ok && (disk == "" || !strings.Contains(s, disk) || what != abortUnfinished && what != abortFinished):
			t.Errorf("%q is said to be %q about %q", s, what, disk)
		case !ok && disk+what != "":
			t.Errorf("%q says nothing, and gave %q and %q", s, disk, what)
		}
	})
}

func TestMedium(t *testing.T) {
	g := NewWithT(t)
	for state, want := range map[string]string{"ok": "serves", "degraded": "serves", "error": "fails", "timeout": "fails", "off": "gone", "lostCommunication": "gone", "": "gone", "new word": ""} {
		value, _ := medium(state)
		g.Expect(value).To(Equal(want), state)
	}
}

func TestWhatAConfigurationLacks(t *testing.T) {
	g := NewWithT(t)
	g.Expect(lacks(Config{})).To(HaveLen(4))
	all := Config{SSH: &sshell.Config{}, FaultTool: "tool", Stall: &Stall{}, AllowHostCrash: true}
	g.Expect(lacks(all)).To(BeEmpty())
	all.AllowHostCrash = false
	g.Expect(lacks(all)).To(And(HaveKey(drivers.CanCrashHost), HaveKey(drivers.CanStallDisk), HaveLen(2)))
}

func TestAConfigurationThatCannotWork(t *testing.T) {
	g := NewWithT(t)
	for name, c := range map[string]Config{
		"no address":         {},
		"a disk of no host":  {URL: "https://vc", User: "u", Disk: "naa.1"},
		"a stall of no disk": {URL: "https://vc", User: "u", Stall: &Stall{Way: "w", Begin: "b", End: "e", State: "s"}},
		"an empty stall":     {URL: "https://vc", User: "u", Host: "h", Disk: "naa.1", Stall: &Stall{}},
		"ssh without a key":  {URL: "https://vc", User: "u", SSH: &sshell.Config{Address: "h:22"}},
	} {
		t.Setenv("GOVC_PASSWORD", "secret")
		t.Setenv("GOVC_TLS_CA_CERTS", "")
		c.Thumbprint = "AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA:AA"
		_, err := Open(drivers.Env{ID: "cluster"}, c)
		var op *drivers.Operator
		g.Expect(err).To(HaveOccurred(), name)
		g.Expect(errorsAs(err, &op)).To(BeTrue(), "%s: %v", name, err)
		g.Expect(op.Do).NotTo(BeEmpty(), name)
	}
}

func TestWordsOfAShell(t *testing.T) {
	NewWithT(t).Expect(quote("a'b; rm")).To(Equal(`'a'\''b; rm'`))
}
