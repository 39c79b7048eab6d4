package iscsiproxy

// This file is how much of a machine a process may take whose only work is a path.

import (
	"os"
	"runtime"
)

// ShareCores limits this process to half of the machine's cores, and to one of two: the ends of the path run beside it, or
// its kernel's network does. With fewer threads that read, each read finds more, and at depth 32 that is worth 20 % more
// commands on two cores (measured by hack/bench). It must be called before Listen, and leaves alone who has set GOMAXPROCS.
func ShareCores() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
}
