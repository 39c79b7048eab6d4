package all_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/rig"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// onVSAN runs scenarios on a simulated vSAN cluster, through the real driver and in virtual time, and judges its claims.
func onVSAN(t *testing.T, c rig.VSANConfig, specs ...scenario.Spec) map[string]record.Verdict {
	t.Helper()
	c.Dir = t.TempDir()
	out := map[string]record.Verdict{}
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
		rec, err := record.Read(r.Dir)
		g.Expect(err).NotTo(HaveOccurred())
		for _, c := range claim.All() {
			if slices.Contains(c.Where.Clusters, "vsan") && slices.ContainsFunc(specs, func(s scenario.Spec) bool { return s.Name == c.In.Name }) {
				out[c.ID] = c.Verdict(rec)
			}
		}
	})
	return out
}

func TestVSANRig(t *testing.T) {
	for _, v := range []string{"7.0.1", "8.0.3"} {
		t.Run(v, func(t *testing.T) {
			vs := onVSAN(t, rig.VSANConfig{Version: v, VSAN: vsphere.VSAN{Dedup: true}}, scenario.DiskStalls)
			for id, v := range vs {
				t.Logf("%s: %s %s", v.Outcome, id, v.Why)
			}
		})
	}
}
