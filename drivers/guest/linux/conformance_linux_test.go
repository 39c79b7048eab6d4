package linux

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
)

func TestConformance(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the guest of the test is this machine, and the driver wants root")
	}
	s := startServer(t)
	s.useAgent()
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) {
		d, err := s.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		return d, d.env.Clock
	}, conformance.Options{
		Hang: func() func() {
			s.set(func() { s.silent = true })
			return func() { s.set(func() { s.silent = false }) }
		},
		HangElsewhere: "only new connections hang here; what the driver says of each kind of hang has tests of its own",
		Fail: func() func() { // `id -u` says what root would not
			s.write("bin/id", "#!/bin/sh\necho 1000\n")
			return func() { _ = os.Remove(filepath.Join(s.dir, "bin", "id")) }
		},
	})
}
