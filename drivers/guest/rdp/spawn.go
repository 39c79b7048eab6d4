// This file starts programs that end with this process, however it ends.

package rdp

import (
	"os/exec"
	"syscall"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// start starts cmd in a group of its own; it gets sig when this process ends.
func start(cmd *exec.Cmd, sig syscall.Signal) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: sig}
	return localproc.Lasting(cmd.Start)
}
