// This file has a folder that goes with the test, however that ends.

package boxtest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// Scratch makes a folder. A process waits for the end of the test's pipe and removes it then: a test that is killed runs no cleanup.
func Scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "apd-path-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `while read -r _; do :; done; rm -rf "$0"`, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what is meant for the test's group is not for it
	end, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = end.Close()
		_ = cmd.Wait()
	})
	return dir
}
