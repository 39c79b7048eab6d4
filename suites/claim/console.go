// This file connects a run to the console.

package claim

import (
	"os"
	"strconv"
	"syscall"

	"github.com/allpathsdown/allpathsdown/reports"
)

// The environment through which a parent says where the lines for people go, and how they begin.
const (
	envConsole = "APD_CONSOLE_FD" // a file descriptor; standard output is left to Ginkgo then
	envPrefix  = "APD_PREFIX"     // set when several labs run side by side
	envMarks   = "APD_MARKS"      // how many annotations this lab may make, of those that GitHub shows of one step
)

// newConsole prints to standard output, or to where a parent wants it.
func newConsole() *reports.Console {
	w := os.Stdout
	if fd, err := strconv.Atoi(os.Getenv(envConsole)); err == nil {
		syscall.CloseOnExec(fd) // a guard or a box that outlives this run must not keep it open
		w = os.NewFile(uintptr(fd), "console")
	}
	os.Unsetenv(envConsole)
	o := reports.ConsoleFor(w, os.Getenv)
	o.Marks, _ = strconv.Atoi(os.Getenv(envMarks))
	if p := os.Getenv(envPrefix); p != "" {
		o.Prefix, o.TTY, o.Color = p, false, false
	}
	return reports.NewConsole(w, o)
}
