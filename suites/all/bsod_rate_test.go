package all_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/campaign"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/rig"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// TestATrialOfACampaign does one trial through the real engine, in virtual time: it holds the fault for as long as the trial says,
// watches the lab for five minutes after, though it is well at once, and counts as nothing where no guest is a Windows.
func TestATrialOfACampaign(t *testing.T) {
	g := NewWithT(t)
	const hold = 20 * time.Second
	c, err := claim.FindCampaign("windows.bsod-rate")
	g.Expect(err).NotTo(HaveOccurred())
	trial := c.Trial(hold)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Hour)
		defer cancel()
		r, err := rig.Start(ctx, rig.Config{Profile: "documented", Dir: dir})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.Run(ctx, trial.In)).To(Succeed())
		g.Expect(r.Close(ctx)).To(Succeed())
		dir = r.Dir
	})
	rec, err := record.Read(dir)
	g.Expect(err).NotTo(HaveOccurred())
	run, ok := rec.Run(trial.In.Name)
	g.Expect(ok).To(BeTrue())
	f := run.Fault()
	g.Expect(f.Proven()).To(BeTrue())
	g.Expect(record.From(f.Active).To(f.Undo).Lo).To(BeNumerically("~", hold.Seconds(), 1))
	g.Expect(float64(run.To-f.End.Hi) / 1000).To(And(BeNumerically(">=", 300), BeNumerically("<", 400)))
	o := c.Outcome(rec, hold)
	g.Expect(o.Result).To(Equal(campaign.Inconclusive))
	g.Expect(o.Why).To(Equal("the record has no Windows guest"))
	g.Expect(o.Exposed).To(BeTrue())
}
