// This file starts processes that end with this one, however it ends.

package localproc

import (
	"runtime"
	"sync"
)

// lasting runs functions on one thread that lives as long as this process: the kernel sends a child its death signal when the
// thread that made it ends (prctl(2)), and Go ends threads as it likes.
var lasting = sync.OnceValue(func() chan func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range c {
			f()
		}
	}()
	return c
})

// Lasting runs start, which starts a process whose SysProcAttr has a Pdeathsig, on a thread that lives as long as this process:
// from another the signal could come before its time.
func Lasting(start func() error) error {
	done := make(chan error)
	lasting() <- func() { done <- start() }
	return <-done
}
