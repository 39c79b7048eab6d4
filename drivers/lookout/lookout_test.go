package lookout_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

var lane = drivers.Lane{Role: drivers.Hypervisor, Name: "esx", Provenance: drivers.Modelled}

// seen is a report that keeps what it is told.
func seen() (*lookout.Report, func() []drivers.Observation) {
	var mu sync.Mutex
	var out []drivers.Observation
	r := &lookout.Report{Clock: drivers.Clock{Zero: time.Now()}, Lane: lane, Topic: "api", Cause: error.Error, Logf: func(string, ...any) {},
		Emit: func(o drivers.Observation) { mu.Lock(); defer mu.Unlock(); out = append(out, o) }}
	return r, func() []drivers.Observation { mu.Lock(); defer mu.Unlock(); return out }
}

// TestSilence asks three questions that hang alike: each tells of it once, none is older than the one before it, and each tells when
// it is answered again.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, all := seen()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for i, what := range []string{"host", "disks", "objects"} {
			wg.Go(func() {
				r.Watch(ctx, what, time.Second, func(ctx context.Context, now func() lookout.Look) error {
					if r.Clock.Now() > 30*time.Second {
						return nil
					}
					drivers.Wait(ctx, 5*time.Second+time.Duration(i)*time.Millisecond)
					return errors.New("did not answer")
				})
			})
		}
		wg.Wait()
		count, last := map[string]int{}, time.Duration(0)
		for _, o := range all() {
			g.Expect(o.Lo).To(BeNumerically("<=", o.Hi))
			g.Expect(o.Hi).To(BeNumerically(">=", last))
			last = o.Hi
			count[o.Attrs["what"]+" "+o.Value]++
		}
		g.Expect(count).To(Equal(map[string]int{"host not-answering": 1, "host answers": 1, "disks not-answering": 1, "disks answers": 1,
			"objects not-answering": 1, "objects answers": 1}))
	})
}

// TestTimes puts observations with times that another clock has guessed.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		r, all := seen()
		r.Changes = true
		time.Sleep(10 * time.Second)
		for i, at := range [][2]time.Duration{{4 * time.Second, 5 * time.Second}, {time.Second, 2 * time.Second}, {-time.Second, time.Hour}} {
			r.Between(at[0], at[1]).State(lane, "apd", string(rune('a'+i)), "", nil)
			r.Between(at[1], at[1]).State(lane, "apd", string(rune('a'+i)), "", nil) // no change
		}
		r.Between(0, 0).State(lane, "apd", "", "", nil) // nothing is known
		r.End()
		r.Between(0, 0).State(lane, "apd", "late", "", nil)
		var got [][2]time.Duration
		for _, o := range all() {
			got = append(got, [2]time.Duration{o.Lo, o.Hi})
		}
		g.Expect(got).To(Equal([][2]time.Duration{{4 * time.Second, 5 * time.Second}, {time.Second, 5 * time.Second}, {0, 10 * time.Second}}))
	})
}
