package vsphere

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

func TestConformance(t *testing.T) {
	s := esxi(t)
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) {
		d := s.driver()
		return d, d.env.Clock
	}, conformance.Options{
		State: s.look, Hang: s.wire.hang, Fail: s.wire.cut, VM: s.vms[0],
		Setting: struct{ Key, Value string }{logLevel, "trivia"},
	})
}

func TestPowersOfTheRegisteredType(t *testing.T) {
	g := NewWithT(t)
	reg, ok := drivers.Lookup(Name)
	g.Expect(ok).To(BeTrue())
	for _, p := range []drivers.Power{drivers.CanSwitchVMs, drivers.CanScreenshot, drivers.CanTune, drivers.CanLinkDown, drivers.CanCrashHost, drivers.CanRestartMgmt} {
		g.Expect(drivers.Has(reg.Type, p)).To(BeTrue(), string(p))
	}
	g.Expect(drivers.Has(reg.Type, drivers.CanBlackhole)).To(BeFalse())
	g.Expect(reg.Lacks(Config{})).To(HaveLen(3))
	g.Expect(reg.Lacks(Config{SSH: &sshell.Config{}})).To(HaveKeyWithValue(drivers.CanCrashHost, "the lab file does not allow it: allow_host_crash"))
	g.Expect(reg.Lacks(Config{StorageNIC: "vmnic1", SSH: &sshell.Config{}, AllowHostCrash: true})).To(BeEmpty())
}

// operatorSays checks that an error is for people, and what it tells them.
func operatorSays(g *WithT, err error, parts ...string) {
	var op *drivers.Operator
	g.ExpectWithOffset(1, errors.As(err, &op)).To(BeTrue(), "%v", err)
	g.ExpectWithOffset(1, op.Cause != "" && op.Impact != "" && op.Do != "").To(BeTrue())
	for _, p := range parts {
		g.ExpectWithOffset(1, err.Error()).To(ContainSubstring(p))
	}
	g.ExpectWithOffset(1, err.Error()).NotTo(ContainSubstring(secret))
}

func TestTrust(t *testing.T) {
	s := esxi(t)
	info := s.srv.CertificateInfo()
	pin := func(p string) func(*Config, *drivers.Env) {
		return func(c *Config, _ *drivers.Env) { c.Thumbprint = p }
	}
	for name, p := range map[string]string{
		"SHA-1": info.ThumbprintSHA1, "SHA-256": info.ThumbprintSHA256,
		"no colons": strings.ReplaceAll(info.ThumbprintSHA1, ":", ""), "small": strings.ToLower(info.ThumbprintSHA256),
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(s.driver(pin(p)).Probe(t.Context())).To(Succeed())
		})
	}
	t.Run("another pin", func(t *testing.T) {
		g := NewWithT(t)
		err := s.driver(pin(strings.Repeat("AB:", 31) + "AB")).Probe(t.Context())
		operatorSays(g, err, "not the pinned one", `thumbprint: "`+info.ThumbprintSHA256)
	})
	t.Run("nothing", func(t *testing.T) {
		g := NewWithT(t)
		err := s.driver(pin("")).Probe(t.Context())
		operatorSays(g, err, "not trusted", `thumbprint: "`+info.ThumbprintSHA256)
		g.Expect(err.Error()).NotTo(ContainSubstring("GOVC_INSECURE"))
	})
	t.Run("GOVC_INSECURE", func(t *testing.T) {
		t.Setenv("GOVC_INSECURE", "1")
		operatorSays(NewWithT(t), s.driver(pin("")).Probe(t.Context()), "GOVC_INSECURE is refused", `thumbprint: "`+info.ThumbprintSHA256)
	})
	t.Run("GOVC_INSECURE beside a pin", func(t *testing.T) {
		t.Setenv("GOVC_INSECURE", "1")
		NewWithT(t).Expect(s.driver().Probe(t.Context())).To(Succeed())
	})
	t.Run("CA file", func(t *testing.T) {
		d := s.driver(pin(""), func(c *Config, _ *drivers.Env) { c.CAFile = s.caFile() })
		NewWithT(t).Expect(d.Probe(t.Context())).To(Succeed())
	})
	t.Run("GOVC_TLS_CA_CERTS", func(t *testing.T) {
		t.Setenv("GOVC_TLS_CA_CERTS", s.caFile())
		NewWithT(t).Expect(s.driver(pin("")).Probe(t.Context())).To(Succeed())
	})
	t.Run("GOVC_TLS_KNOWN_HOSTS", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "known")
		g := NewWithT(t)
		g.Expect(os.WriteFile(file, []byte(s.srv.URL.Host+" "+info.ThumbprintSHA1+"\n"), 0o600)).To(Succeed())
		t.Setenv("GOVC_TLS_KNOWN_HOSTS", file)
		g.Expect(s.driver(pin("")).Probe(t.Context())).To(Succeed())
	})
	t.Run("no thumbprint", func(t *testing.T) {
		_, err := s.open(pin("AB:CD"))
		operatorSays(NewWithT(t), err, "has 20 (SHA-1) or 32 (SHA-256) bytes, and this one has 2")
	})
}

func TestLogin(t *testing.T) {
	s := esxi(t)
	bare := func(c *Config, _ *drivers.Env) { c.URL, c.User, c.PasswordFile = "", "", "" }
	t.Run("wrong password", func(t *testing.T) {
		t.Setenv("GOVC_PASSWORD", "wr0ng-one")
		g := NewWithT(t)
		err := s.driver(func(c *Config, _ *drivers.Env) { c.PasswordFile = "" }).Probe(t.Context())
		operatorSays(g, err, "user or password is wrong")
		g.Expect(err.Error()).NotTo(ContainSubstring("wr0ng-one"))
	})
	t.Run("GOVC_URL", func(t *testing.T) {
		u := *s.srv.URL
		u.User = url.UserPassword("root", secret)
		t.Setenv("GOVC_URL", u.String())
		NewWithT(t).Expect(s.driver(bare).Probe(t.Context())).To(Succeed())
	})
	t.Run("GOVC_URL that is none", func(t *testing.T) {
		t.Setenv("GOVC_URL", "https://root:"+secret+"%zz@[")
		_, err := s.open(bare)
		operatorSays(NewWithT(t), err, "not a URL")
	})
	t.Run("nothing given", func(t *testing.T) {
		_, err := s.open(bare)
		operatorSays(NewWithT(t), err, "neither url nor GOVC_URL")
	})
	t.Run("a password in the lab file", func(t *testing.T) {
		_, err := s.open(func(c *Config, _ *drivers.Env) { c.URL = "https://root:" + secret + "@host/sdk" })
		operatorSays(NewWithT(t), err, "password_file")
	})
	t.Run("http", func(t *testing.T) {
		_, err := s.open(func(c *Config, e *drivers.Env) { c.URL, e.Dial = "http://192.0.2.1/sdk", nil })
		operatorSays(NewWithT(t), err, "show the password")
		for _, fine := range []string{"http://127.0.0.1/sdk", "http://localhost:8989"} {
			_, err = s.open(func(c *Config, e *drivers.Env) { c.URL, e.Dial = fine, nil })
			NewWithT(t).Expect(err).NotTo(HaveOccurred())
		}
	})
	t.Run("no datastore", func(t *testing.T) {
		_, err := s.open(func(c *Config, _ *drivers.Env) { c.Datastore = "" })
		operatorSays(NewWithT(t), err, "datastore:")
	})
	t.Run("nobody there", func(t *testing.T) {
		defer s.wire.cut()()
		operatorSays(NewWithT(t), s.driver().Probe(t.Context()), "nobody takes connections", "hostd status")
	})
	t.Run("no such name", func(t *testing.T) {
		d := s.driver(func(_ *Config, e *drivers.Env) {
			e.Dial = nil
		})
		d.api.dial = func(_ context.Context, _, _ string) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "esx1", IsNotFound: true}
		}
		err := d.Probe(t.Context())
		operatorSays(NewWithT(t), err, "does not answer")
		NewWithT(t).Expect(cause(err)).To(Equal("its name is not known"))
	})
}

func TestNames(t *testing.T) {
	e, v := esxi(t), vcenter(t)
	for name, c := range map[string]struct {
		s    *sim
		with func(c *Config, e *drivers.Env)
		says []string
	}{
		"datastore": {e, func(c *Config, _ *drivers.Env) { c.Datastore = "localds_0" }, []string{`no datastore "localds_0"`, "There is: LocalDS_0"}},
		"host":      {e, func(c *Config, _ *drivers.Env) { c.Host = "esx9" }, []string{`no host "esx9"`, "localhost.localdomain"}},
		"VM":        {e, func(_ *Config, e *drivers.Env) { e.VMs = []string{"ha-host_VM"} }, []string{`no VM "ha-host_VM"`, "ha-host_VM0, ha-host_VM1"}},
		"no host named": {v, func(c *Config, _ *drivers.Env) { c.Host = "" },
			[]string{"there are 4 hosts, and the lab file names none", "/DC0/host/DC0_C0/DC0_C0_H0"}},
		"datacenter": {v, func(c *Config, _ *drivers.Env) { c.Datacenter = "DC1" }, []string{`no datacenter "DC1"`, "There is: DC0"}},
	} {
		t.Run(name, func(t *testing.T) {
			operatorSays(NewWithT(t), c.s.driver(c.with).Probe(t.Context()), c.says...)
		})
	}
	t.Run("path", func(t *testing.T) {
		d := v.driver(func(c *Config, _ *drivers.Env) {
			c.Host, c.Datacenter, c.Datastore = "/DC0/host/DC0_C0/DC0_C0_H1", "DC0", "/DC0/datastore/LocalDS_0"
		})
		NewWithT(t).Expect(d.Probe(t.Context())).To(Succeed())
	})
	t.Run("two VMs of one name", func(t *testing.T) {
		g := NewWithT(t)
		twin(t, v, v.vms[0])
		err := v.driver().Probe(t.Context())
		operatorSays(g, err, `two VMs of one name, "DC0_C0_RP0_VM0"`, "/DC0/vm/DC0_C0_RP0_VM0, /DC0/vm/other/DC0_C0_RP0_VM0")
		d := v.driver(func(_ *Config, e *drivers.Env) { e.VMs = []string{"/DC0/vm/other/DC0_C0_RP0_VM0"} })
		g.Expect(d.Probe(t.Context())).To(Succeed())
	})
}

func TestOldVersion(t *testing.T) {
	m := simulator.ESX()
	m.ServiceContent.About.ApiVersion = "6.0"
	m.ServiceContent.About.FullName = "VMware ESXi 6.0.0"
	s := start(t, m, Config{Datastore: "LocalDS_0"}, "ha-host_VM0")
	operatorSays(NewWithT(t), s.driver().Probe(t.Context()), "VMware ESXi 6.0.0 speaks version 6.0", "6.5 or later")
}

func TestMissingRight(t *testing.T) {
	s := esxi(t)
	s.model.Service.AddFaultRule(&simulator.FaultInjectionRule{MethodName: "CreateContainerView", ObjectType: "*", ObjectName: "*", Probability: 1, Enabled: true,
		FaultType: simulator.FaultTypeCustom, Fault: &types.NoPermission{PrivilegeId: "System.View"}})
	operatorSays(NewWithT(t), s.driver().Probe(t.Context()), "lacks the privilege System.View")
}

func TestBestVersion(t *testing.T) {
	g := NewWithT(t)
	doc := func(v, prior string) string {
		return `<namespaces version="1.0"><namespace><name>urn:vim25</name><version>` + v + `</version><priorVersions><version>` + prior + `</version></priorVersions></namespace></namespaces>`
	}
	g.Expect(bestVersion(strings.NewReader(doc("6.5", "6.0")))).To(Equal("6.5"))
	g.Expect(bestVersion(strings.NewReader(doc("99.0", "8.0.1.0")))).To(Equal("8.0.1.0"))
	g.Expect(bestVersion(strings.NewReader(doc("99.0", "98.0")))).To(Equal("99.0"))
	_, err := bestVersion(strings.NewReader("<html>"))
	g.Expect(err).To(HaveOccurred())
}
