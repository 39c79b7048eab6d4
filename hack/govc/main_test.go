package main

import (
	"bufio"
	"context"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere/vspheretest"
)

// envGovc makes this program govc itself.
const envGovc = "APD_TEST_GOVC"

func TestMain(m *testing.M) {
	if os.Getenv(envGovc) != "" {
		main()
	}
	os.Exit(m.Run())
}

// client calls govc on an endpoint.
type client struct {
	t   *testing.T
	env []string
}

func (c client) cmd(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	c.t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), append(c.env, envGovc+"=1")...)
	return cmd
}

func (c client) say(args ...string) string {
	c.t.Helper()
	out, err := c.cmd(args...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("govc %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// endpoint starts one on a real socket, with TLS and a password.
func endpoint(t *testing.T, c vsphere.Config) (*vsphere.Endpoint, client) {
	t.Helper()
	e, url, cert := vspheretest.Serve(t, c)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return e, client{t, []string{"GOVC_URL=" + url, "GOVC_USERNAME=" + vspheretest.User, "GOVC_PASSWORD=" + vspheretest.Password,
		"GOVC_TLS_CA_CERTS=" + ca, "GOVC_PERSIST_SESSION=false", "GOVC_INSECURE=false"}}
}

// TestTheStockClientInAnOutage uses the endpoint as an operator would, while its datastore is away.
func TestTheStockClientInAnOutage(t *testing.T) {
	g := NewWithT(t)
	e, govc := endpoint(t, vsphere.Config{VMs: []string{"a", "b"}, Knobs: map[string]int{"RecoveryTimeout": 1, "Misc.APDTimeout": 20}})
	g.Expect(govc.say("about")).To(ContainSubstring("VMware ESXi"))
	g.Expect(govc.say("host.option.ls", "Misc.APDTimeout")).To(MatchRegexp(`Misc.APDTimeout:\s+20\b`))
	govc.say("host.option.set", "Misc.APDTimeout", "21")
	g.Expect(govc.say("host.option.ls", "Misc.APDTimeout")).To(MatchRegexp(`Misc.APDTimeout:\s+21\b`))

	follow := govc.cmd("events", "-f", "-l", "-type", "esx.problem.storage.apd.start", "-type", "esx.problem.storage.connectivity.lost", "-type", "esx.clear.storage.apd.exit")
	out, err := follow.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	follow.Stderr = os.Stderr
	g.Expect(follow.Start()).To(Succeed())
	defer func() { _ = follow.Process.Kill(); _ = follow.Wait() }()
	lines := make(chan string, 100)
	go func() {
		for sc := bufio.NewScanner(out); sc.Scan(); {
			lines <- sc.Text()
		}
	}()

	e.Path(false)
	g.Eventually(lines, "20s").Should(Receive(ContainSubstring("esx.problem.storage.connectivity.lost")))
	g.Eventually(lines, "20s").Should(Receive(ContainSubstring("esx.problem.storage.apd.start")))
	g.Expect(govc.say("vm.info", "a")).To(ContainSubstring("poweredOn"))
	g.Expect(govc.say("vm.power", "-off", "-force", "a")).To(ContainSubstring("OK"))
	g.Expect(govc.say("vm.info", "a")).To(ContainSubstring("poweredOff"))
	g.Expect(govc.say("logs", "-log", "vmkernel", "-n", "50")).To(ContainSubstring("APD"))
	g.Expect(govc.say("datastore.info", "iscsi-1")).To(ContainSubstring("iscsi-1"))

	e.Path(true)
	g.Eventually(lines, "20s").Should(Receive(ContainSubstring("esx.clear.storage.apd.exit")))
	g.Expect(govc.say("vm.power", "-on", "a")).To(ContainSubstring("OK"))
	g.Expect(govc.say("vm.info", "a")).To(ContainSubstring("poweredOn"))
}

func TestTheStockClientIsRefusedWithoutTrust(t *testing.T) {
	g := NewWithT(t)
	_, govc := endpoint(t, vsphere.Config{VMs: []string{"a"}})
	for _, env := range []string{"GOVC_PASSWORD=wrong", "GOVC_TLS_CA_CERTS="} {
		c := client{t, append(append([]string{}, govc.env...), env)}
		out, err := c.cmd("about").CombinedOutput()
		g.Expect(err).To(HaveOccurred(), "%s: %s", env, out)
	}
}
