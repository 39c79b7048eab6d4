// Package oversshtest has systems for the tests of drivers over SSH: a Box, which is an SSH server in this process that runs real
// shells on this machine, a real tgtd to be its storage, and a Front, which stands before that as a kernel's target would. All of
// it ends with the test, and also when the test is killed.
package oversshtest

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// Start starts a process in a group of its own that dies with this process.
func Start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return localproc.Lasting(cmd.Start)
}

// Dir makes a folder with a short name (a socket's may have 107 bytes) that goes with the test: a shell that waits for the end of
// this process removes it, however that end comes.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "apd")
	if err != nil {
		t.Fatal(err)
	}
	// A folder is not removed while a process that is just dying still makes files in it: so it tries twice.
	cmd := exec.Command("/bin/sh", "-c", `cat >/dev/null; rm -rf -- "$0" || { sleep 1; rm -rf -- "$0"; }`, dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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
		if err := cmd.Wait(); err != nil {
			t.Errorf("removing %s: %v", dir, err)
		}
	})
	return dir
}
