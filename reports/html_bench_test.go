package reports

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// BenchmarkHTML reports what a page costs: seconds of making it of a record in memory, its size, and the most memory that was in use with
// the record. A guest has a sample a second, in buckets of 10 s.
func BenchmarkHTML(b *testing.B) {
	for _, size := range []struct{ guests, seconds int }{{10, 10_000}, {1000, 3600}} {
		b.Run(fmt.Sprintf("%d_samples_of_%d_guests", size.guests*size.seconds, size.guests), func(b *testing.B) {
			g := NewWithT(b)
			raw := Crowd(b, size.guests, size.seconds)
			r, err := record.Parse(bytes.NewReader(raw))
			g.Expect(err).NotTo(HaveOccurred())
			var page []byte
			for b.Loop() {
				page, err = HTML(r, Options{})
				g.Expect(err).NotTo(HaveOccurred())
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(len(page))/1e3, "kB/page")
			b.ReportMetric(float64(m.Sys)/1e6, "MB/memory")
			runtime.KeepAlive(r)
		})
	}
}

// BenchmarkParse is the part of the way before it: reading the record.
func BenchmarkParse(b *testing.B) {
	raw := Crowd(b, 1000, 3600)
	for b.Loop() {
		_, err := record.Parse(bytes.NewReader(raw))
		NewWithT(b).Expect(err).NotTo(HaveOccurred())
	}
	b.ReportMetric(float64(len(raw))/1e6, "MB/record")
}
