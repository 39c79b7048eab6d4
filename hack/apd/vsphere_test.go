// These tests use the command on a real lab's file, with a stand-in for the host on loopback.

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/lab"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere/vspheretest"
	"github.com/allpathsdown/allpathsdown/fixtures/undo"
)

// hostFile starts a host and writes the lab file of a lab that has it.
func hostFile(t *testing.T, c vsphere.Config) string {
	t.Helper()
	t.Setenv("APD_STATE_DIR", t.TempDir())
	for _, k := range []string{"GOVC_URL", "GOVC_USERNAME", "GOVC_PASSWORD", "GOVC_TLS_CA_CERTS", "GOVC_TLS_KNOWN_HOSTS", "GOVC_INSECURE"} {
		t.Setenv(k, "")
	}
	c.VMs = []string{"a"}
	_, url, cert := vspheretest.Serve(t, c)
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "password"), filepath.Join(dir, "lab.yaml")
	text := strings.NewReplacer("URL", url, "SECRET", secret, "PRINT", vsphere.Thumbprint(cert)).Replace(`name: one-host
hypervisor:
  driver: vsphere
  name: esxi
  url: URL
  user: root
  password_file: SECRET
  thumbprint: "PRINT"
  datastore: iscsi-1
wire: {portal: "127.0.0.1:1", target: "iqn.2026-11.io.example:nas"}
`)
	if err := os.WriteFile(secret, []byte(vspheretest.Password), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDoctorOfAHost(t *testing.T) {
	g := NewWithT(t)
	file := hostFile(t, vsphere.Config{Knobs: map[string]int{"Misc.APDHandlingEnable": 0}})
	s := apd(t, "doctor", file)
	g.Expect(s.code).To(Equal(0), "what claims mean less for keeps no run from beginning: %s", s.out+s.err)
	g.Expect(s.out).To(MatchRegexp(`(?m)^ok  hypervisor: one path`))
	g.Expect(s.out).To(MatchRegexp(`(?m)^NB  hypervisor: Misc.APDHandlingEnable is 1`))
	g.Expect(s.out + s.err).NotTo(ContainSubstring(vspheretest.Password))

	b, err := os.ReadFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	for key, by := range map[string]string{"datastore: iscsi-1": "datastore: iscsi-2", "user: root": "user: nobody", `thumbprint: "`: `thumbprint: "00:`} {
		g.Expect(os.WriteFile(file, []byte(strings.Replace(string(b), key, by, 1)), 0o644)).To(Succeed())
		s := apd(t, "doctor", file)
		g.Expect(s.code).To(Equal(2), s.out)
		g.Expect(s.out).To(MatchRegexp(`(?m)^BAD every driver reaches its system`), by)
		g.Expect(s.out + s.err).NotTo(ContainSubstring(vspheretest.Password))
	}
}

func TestListOfAHost(t *testing.T) {
	g := NewWithT(t)
	s := apd(t, "list", hostFile(t, vsphere.Config{}))
	g.Expect(s.code).To(Equal(0))
	g.Expect(s.out).To(ContainSubstring("one-host skips it: the lab lacks service-stop"))
	g.Expect(s.out).NotTo(ContainSubstring("modelled"), "a lab of a lab file is a real one")
}

// TestASettingIsPutBack is a run that died with a changed setting, seen by the next command.
func TestASettingIsPutBack(t *testing.T) {
	g := NewWithT(t)
	set := make(chan int, 4)
	file := hostFile(t, vsphere.Config{OnOption: func(key string, value int) {
		if key == "Misc.APDTimeout" {
			set <- value
		}
	}})
	f, err := lab.Load(file)
	g.Expect(err).NotTo(HaveOccurred())
	journal, err := f.JournalPath()
	g.Expect(err).NotTo(HaveOccurred())
	j, err := undo.Create(journal, undo.Header{Lab: f.Name, LabFile: f.FilePath(), Run: "that died"})
	g.Expect(err).NotTo(HaveOccurred())
	d, err := f.Opener(drivers.Clock{})(t.Context(), "hypervisor")
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	g.Expect(d.(drivers.Tuner).Tune(t.Context(), "Misc.APDTimeout", "60", func(ctx context.Context, u drivers.Undo) error {
		_, err := j.Add(ctx, u)
		return err
	})).To(Succeed())
	g.Expect(j.Close()).To(Succeed())
	g.Expect(<-set).To(Equal(60))

	s := apd(t, "doctor", file)
	g.Expect(s.out).To(MatchRegexp(`(?m)^BAD no run left anything undone`))
	s = apd(t, "undo", file)
	g.Expect(s.code).To(Equal(0), s.out+s.err)
	g.Expect(s.out).To(ContainSubstring("hypervisor set: undone"))
	g.Expect(<-set).To(Equal(140))
	s = apd(t, "undo", file)
	g.Expect(s.out).To(ContainSubstring("nothing was left to undo"))
}
