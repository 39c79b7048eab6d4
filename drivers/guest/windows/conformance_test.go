package windows

import (
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/windows"
)

func TestConformance(t *testing.T) {
	r := newRig(t, t.TempDir(), &loop{}, sim.Config{Boot: 10 * time.Millisecond})
	defer func() { _ = r.guest.Close() }()
	for up := false; !up; time.Sleep(time.Millisecond) {
		up, _ = r.guest.Up()
	}
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) {
		d := r.open(t, nil)
		return d, d.env.Clock
	}, conformance.Options{
		State:  r.guest.State,
		Settle: 40 * time.Second, // a look through WinRM begins each 10 s, and is silent after 5
		Hang: func() func() {
			r.guest.Disk(false)
			return func() { r.guest.Disk(true) }
		},
		Fail: func() func() {
			r.guest.Power(false)
			return func() {
				r.guest.Power(true)
				for up := false; !up; time.Sleep(time.Millisecond) {
					up, _ = r.guest.Up()
				}
			}
		},
	})
}
