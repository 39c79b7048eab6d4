package windows

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/windows"
)

// many is how many guests one process watches in the benchmark.
const many = 200

// BenchmarkManyGuests watches 200 guests at once on the real clock, for ten seconds each time, and reports how much of a core
// guests and drivers together take, and how many observations come.
func BenchmarkManyGuests(b *testing.B) {
	dir := b.TempDir()
	network := &loop{}
	type one struct {
		guest *sim.Guest
		d     *Driver
	}
	var all []one
	first := newRig(b, dir, network, sim.Config{Boot: time.Millisecond})
	defer func() { _ = first.guest.Close() }()
	for i := range many {
		r := *first
		r.host = fmt.Sprintf("w%d", i)
		guest := r.newGuest(b, sim.Config{Boot: time.Millisecond})
		d := r.open(b, func(c *Config, _ *drivers.Env) { c.Address = r.host + ":5986" })
		all = append(all, one{guest, d})
	}
	var n, up atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, o := range all {
		wg.Go(func() {
			if err := o.d.Observe(ctx, func(x drivers.Observation) {
				n.Add(1)
				if x.Topic == "agent" && x.Value == "up" {
					up.Add(1)
				}
			}); err != nil {
				b.Error(err)
			}
		})
	}
	for end := time.Now().Add(2 * time.Minute); up.Load() < many; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatalf("only %d of %d agents are up", up.Load(), many)
		}
	}
	b.ResetTimer()
	for range b.N {
		before, seen, begun := cpu(), n.Load(), time.Now()
		time.Sleep(10 * time.Second)
		took := time.Since(begun).Seconds()
		b.ReportMetric((cpu()-before).Seconds()/took, "cores")
		b.ReportMetric(float64(n.Load()-seen)/took, "observations/s")
	}
	b.StopTimer()
	cancel()
	wg.Wait()
	for _, o := range all {
		_ = o.d.Close()
		_ = o.guest.Close()
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
