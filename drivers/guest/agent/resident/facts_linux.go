// This file reads the small text files that say what a guest is. None of them is on the disk except os-release, which is
// read once, at the start.

package resident

import (
	"os"
	"strings"
)

// disk is what the root file system lies on.
type disk struct {
	node    string            // the device file that is read: the whole disk, below partitions and volumes
	name    string            // its name in /sys/block, empty when there is none
	without map[string]string // see agent.Hello; there is nothing that an agent on Linux lacks
}

// firstLine returns the first line of a file, empty when it cannot be read.
func firstLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// mountedAt finds what is mounted at a point, by the last line of the mount table that names it.
func mountedAt(table, point string) (device, kind, mode, line string) {
	for l := range strings.Lines(table) {
		f := strings.Fields(l)
		if len(f) < 4 || f[1] != point {
			continue
		}
		device, kind, line, mode = f[0], f[2], strings.TrimSpace(l), "rw"
		for o := range strings.SplitSeq(f[3], ",") {
			if o == "ro" {
				mode = "ro"
			}
		}
	}
	return device, kind, mode, line
}

// osRelease reads the fields of an os-release file.
func osRelease(text string) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(text) {
		k, v, ok := strings.Cut(strings.TrimSpace(l), "=")
		if ok && !strings.HasPrefix(k, "#") {
			out[k] = strings.Trim(v, `"'`)
		}
	}
	return out
}
