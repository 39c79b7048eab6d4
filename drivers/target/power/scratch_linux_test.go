package power

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// scratch makes a folder that goes with the test, even with one that is killed: a process waits for the end of the test's pipe.
func scratch(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "apd-power-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `while read -r _; do :; done; rm -rf "$0"`, dir)
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
		_ = cmd.Wait()
	})
	return dir
}

func file(t testing.TB, text string) string {
	t.Helper()
	f := filepath.Join(scratch(t), "file")
	if err := os.WriteFile(f, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}
