// This file finds what a file system lies on: from the mount table to the block devices, and down to the disks.

package resident

import (
	"path"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The bounds of a stack. Real ones have three to six layers.
const (
	layersLimit = 64
	depthLimit  = 16
)

// mount is a line of /proc/self/mountinfo.
type mount struct {
	number  string // major:minor
	point   string
	fs      string
	device  string
	options string
}

// mountOf finds the file system that holds a path: the last one mounted at the longest point above it.
func mountOf(table, at string) (mount, bool) {
	var best mount
	found := false
	for l := range strings.Lines(table) {
		m, ok := parseMount(l)
		if !ok || !below(at, m.point) || found && len(m.point) < len(best.point) {
			continue
		}
		best, found = m, true
	}
	return best, found
}

// below tells whether a path is at a point or below it.
func below(at, point string) bool {
	rest, ok := strings.CutPrefix(at, strings.TrimSuffix(point, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// parseMount reads a line as proc(5) describes it: ID, parent, major:minor, root, point, options, optional fields, "-", type,
// source, options of the whole file system.
func parseMount(line string) (mount, bool) {
	first, last, ok := strings.Cut(line, " - ")
	f, g := strings.Fields(first), strings.Fields(last)
	if !ok || len(f) < 6 || len(g) < 2 {
		return mount{}, false
	}
	m := mount{number: f[2], point: unescape(f[4]), fs: g[0], device: unescape(g[1]), options: f[5]}
	own := strings.Split(m.options, ",")
	if len(g) > 2 {
		for o := range strings.SplitSeq(g[2], ",") {
			switch {
			case o == "ro" && own[0] == "rw": // the mount may be written to, the file system may not
				own[0] = o
			case o != "rw" && o != "ro" && !slices.Contains(own, o) && len(own) < layersLimit:
				own = append(own, o)
			}
		}
	}
	m.options = strings.Join(own, ",")
	return m, true
}

// unescape undoes what the kernel does to white space and backslashes in its tables: a backslash and three octal digits.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			n, ok := 0, true
			for _, c := range []byte(s[i+1 : i+4]) {
				n, ok = n*8+int(c-'0'), ok && c >= '0' && c <= '7'
			}
			if ok && n < 256 {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mountFacts tells of the file system that holds a path.
func (t tree) mountFacts(table, at string) agent.Mount {
	m, ok := mountOf(table, at)
	if !ok {
		return agent.Mount{}
	}
	out := agent.Mount{Point: word(m.point), FS: word(m.fs), Device: word(m.device), Options: word(m.options)}
	dir := t.real("/sys/dev/block/" + path.Clean("/"+m.number))
	if dir == "" && strings.HasPrefix(m.device, "/dev/") { // btrfs and others have a device number of their own
		dir = t.deviceDir(m.device)
	}
	if dir == "" {
		return out
	}
	s := stack{t: t, seen: map[string]bool{}}
	s.add(dir, 0)
	out.Stack = s.layers
	switch name := path.Base(dir); m.fs {
	case "ext2", "ext3", "ext4":
		out.Errors = ext4Errors(t.text("/proc/fs/"+m.fs+"/"+name+"/options"), m.options)
	case "xfs":
		out.Retries = t.line("/sys/fs/xfs/" + name + "/error/metadata/EIO/max_retries")
	}
	return out
}

// deviceDir finds a block device's folder in /sys by its file name in /dev, the names of mappings included.
func (t tree) deviceDir(device string) string {
	if name, ok := strings.CutPrefix(device, "/dev/mapper/"); ok {
		for _, d := range t.names("/sys/block") {
			if strings.HasPrefix(d, "dm-") && t.line("/sys/block/"+d+"/dm/name") == name {
				return t.real("/sys/block/" + d)
			}
		}
		return ""
	}
	return t.real("/sys/class/block/" + path.Base(device))
}

// ext4Errors says what an ext file system does at an error: first as the kernel tells it in full, then as the mount table
// does, which names only what differs from the superblock.
func ext4Errors(full, options string) string {
	for _, list := range []string{full, strings.ReplaceAll(options, ",", "\n")} {
		for l := range strings.Lines(list) {
			if how, ok := strings.CutPrefix(strings.TrimSpace(l), "errors="); ok {
				return word(how)
			}
		}
	}
	return ""
}

// stack collects layers, each once, the upper before the lower.
type stack struct {
	t      tree
	layers []agent.Layer
	seen   map[string]bool
}

// add adds the block device whose folder in /sys is dir, and all below it.
func (s *stack) add(dir string, depth int) {
	name := path.Base(dir)
	if s.seen[name] || len(s.layers) >= layersLimit || depth > depthLimit {
		return
	}
	s.seen[name] = true
	l := agent.Layer{Name: word(name), Kind: "disk"}
	var next []string
	for _, slave := range s.t.names(dir + "/slaves") {
		if below := s.t.real(dir + "/slaves/" + slave); below != "" && len(next) < layersLimit {
			next = append(next, below)
			l.Below = append(l.Below, word(path.Base(below)))
		}
	}
	switch {
	case s.t.has(dir + "/dm"):
		l.Kind, l.Label = mappingKind(s.t.line(dir+"/dm/uuid")), s.t.line(dir+"/dm/name")
	case s.t.has(dir + "/md"):
		l.Kind = "md"
	case s.t.has(dir + "/partition"):
		l.Kind = "partition"
		next, l.Below = []string{path.Dir(dir)}, []string{word(path.Base(path.Dir(dir)))}
	case strings.HasPrefix(name, "loop"):
		l.Kind = "loop"
	}
	s.layers = append(s.layers, l)
	for _, n := range next {
		s.add(n, depth+1)
	}
}

// mappingKind says what a mapping is by its uuid, whose beginning names its maker.
func mappingKind(uuid string) string {
	switch maker, _, _ := strings.Cut(uuid, "-"); {
	case maker == "LVM":
		return "lvm"
	case maker == "CRYPT":
		return "crypt"
	case maker == "mpath":
		return "multipath"
	case strings.HasPrefix(maker, "part"): // kpartx: part1-mpath-...
		return "partition"
	}
	return "dm"
}
