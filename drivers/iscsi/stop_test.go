package iscsi_test

import (
	"syscall"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
)

// stop makes tgtd silent without closing anything.
func stop(t *testing.T, g *iscsitest.Tgt) {
	t.Helper()
	if err := syscall.Kill(g.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
}
