// This file starts programs that end with this process, however it ends.

package rdp

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// starter runs functions on one thread that lives as long as this process: the kernel sends a child its death signal when the
// thread that made it ends (prctl(2)), and Go ends threads as it likes.
var starter = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

// start starts cmd in a group of its own; it gets sig when this process ends.
func start(cmd *exec.Cmd, sig syscall.Signal) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig}
	done := make(chan error)
	starter() <- func() { done <- cmd.Start() }
	return <-done
}
