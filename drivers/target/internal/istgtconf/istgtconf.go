// Package istgtconf reads from istgt's configuration what a target's LUNs are made of. istgt itself and XigmaNAS have it.
package istgtconf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/target/overssh"
)

// Show shows of a configuration the lines that Read needs, and no other: "read" on the last line says that it was there.
func Show(file string) string {
	f := overssh.Quote(file)
	return "grep -E '^[[:space:]]*(\\[|NodeBase|TargetName|LUN[0-9]+[[:space:]]+(Storage|Removable|Pass))' " + f + "\n[ ! -r " + f + " ] || echo read"
}

// Read returns the LUNs of a target and the files and devices that they are made of (istgt's example configuration):
//
//	[Global]
//	  NodeBase "iqn.2007-09.jp.ne.peach.istgt"
//	[LogicalUnit1]
//	  TargetName disk1
//	  LUN0 Storage /tank/iscsi/istgt-disk1 10GB
//	  LUN1 Removable "rw" /tank/tape 1GB
//
// A name without a type of its own ("iqn.") follows the node's base. Units whose name is not the target's are other targets.
func Read(out, target string) (map[int]string, error) {
	if !strings.HasSuffix(strings.TrimSpace(out), "read") {
		return nil, errors.New("istgt's configuration cannot be read")
	}
	type unit struct {
		name string
		luns map[int]string
	}
	var units []*unit
	var now *unit
	base := ""
	for l := range strings.Lines(out) {
		f := fields(l)
		switch {
		case len(f) == 0:
		case strings.HasPrefix(f[0], "["):
			now = nil
			if strings.HasPrefix(f[0], "[LogicalUnit") {
				now = &unit{luns: map[int]string{}}
				units = append(units, now)
			}
		case f[0] == "NodeBase" && len(f) > 1:
			base = f[1]
		case now == nil:
		case f[0] == "TargetName" && len(f) > 1:
			now.name = f[1]
		case strings.HasPrefix(f[0], "LUN") && len(f) > 2:
			n, err := strconv.Atoi(f[0][len("LUN"):])
			at := 2
			if f[1] != "Storage" {
				at = 3 // flags come first
			}
			if err != nil || n < 0 || at >= len(f) {
				return nil, fmt.Errorf("istgt's configuration has a LUN that is not understood: %q", strings.Join(f[:min(len(f), 4)], " "))
			}
			now.luns[n] = f[at]
		}
	}
	for _, u := range units {
		if strings.EqualFold(whole(u.name, base), target) {
			return u.luns, nil
		}
	}
	return nil, fmt.Errorf("istgt's configuration has no target %s", target)
}

// whole is a target's name with the node's base before it, where it has no type of its own.
func whole(name, base string) string {
	for _, kind := range []string{"iqn.", "eui.", "naa."} {
		if strings.HasPrefix(strings.ToLower(name), kind) {
			return name
		}
	}
	return base + ":" + name
}

// fields cuts a line at spaces that are not within double quotes, which it drops.
func fields(l string) []string {
	var out []string
	var word strings.Builder
	quoted, in := false, false
	for _, r := range strings.TrimSpace(l) {
		switch {
		case r == '"':
			quoted, in = !quoted, true
		case !quoted && (r == ' ' || r == '\t'):
			if in {
				out = append(out, word.String())
			}
			word.Reset()
			in = false
		default:
			word.WriteRune(r)
			in = true
		}
	}
	if in {
		out = append(out, word.String())
	}
	return out
}
