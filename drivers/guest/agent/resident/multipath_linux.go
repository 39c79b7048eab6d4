// This file tells of multipath: what its configuration says is to be done when no path is left, and what the maps do now.

package resident

import (
	"strconv"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The bounds of what is told of multipath.
const (
	mapsLimit     = 32
	sectionsLimit = 64
)

// multipathMaps tells of the maps. table returns the arguments of a map's running table, empty when they cannot be had.
func (t tree) multipathMaps(table func(name string) string) []agent.Multipath {
	var out []agent.Multipath
	for _, dev := range t.names("/sys/block") {
		dir := "/sys/block/" + dev
		if len(out) == mapsLimit || !strings.HasPrefix(dev, "dm-") || mappingKind(t.line(dir+"/dm/uuid")) != "multipath" {
			continue
		}
		m := agent.Multipath{Name: t.line(dir + "/dm/name"), Device: word(dev)}
		for _, p := range t.names(dir + "/slaves") {
			if len(m.Paths) < disksLimit {
				m.Paths = append(m.Paths, word(p))
			}
		}
		if table != nil {
			m.Features, m.Queue = multipathFeatures(table(m.Name))
		}
		out = append(out, m)
	}
	return out
}

// multipathFeatures reads the beginning of a multipath target's arguments: the number of features, then the features.
func multipathFeatures(args string) (features, queue string) {
	f := strings.Fields(args)
	if len(f) == 0 {
		return "", ""
	}
	n, err := strconv.Atoi(f[0])
	if err != nil || n < 0 || n > len(f)-1 {
		return "", ""
	}
	queue = "no"
	for _, name := range f[1 : n+1] {
		if name == "queue_if_no_path" {
			queue = "yes"
		}
	}
	return word(strings.Join(f[1:n+1], " ")), queue
}

// noPathRetry reads multipath.conf: the sections that say what happens when there is no path.
func noPathRetry(text string) []agent.NoPathRetry {
	var out []agent.NoPathRetry
	type section struct {
		agent.NoPathRetry
		of map[string]string
	}
	var open []*section
	end := func() {
		s := open[len(open)-1]
		open = open[:len(open)-1]
		if s.Value == "" && !s.Queue || len(out) == sectionsLimit {
			return
		}
		switch s.Section {
		case "defaults", "overrides":
		case "device":
			s.Of = word(s.of["vendor"] + " " + s.of["product"])
		case "multipath":
			s.Of = s.of["alias"]
			if s.Of == "" {
				s.Of = s.of["wwid"]
			}
		default:
			return // protocol and others never say it, and blacklists only name devices
		}
		out = append(out, s.NoPathRetry)
	}
	for l := range strings.Lines(text) {
		f := confWords(l)
		for len(f) > 0 {
			switch {
			case f[0] == "{": // on a line of its own: the section was opened by the line before
				f = f[1:]
			case f[0] == "}":
				if len(open) > 0 {
					end()
				}
				f = f[1:]
			case len(f) > 1 && f[1] == "{" || len(f) == 1 && isSection(f[0]):
				if len(open) < depthLimit {
					open = append(open, &section{NoPathRetry: agent.NoPathRetry{Section: word(f[0])}, of: map[string]string{}})
				}
				f = f[min(2, len(f)):]
			case len(f) > 1 && len(open) > 0:
				s := open[len(open)-1]
				switch k, v := f[0], word(f[1]); k {
				case "no_path_retry":
					s.Value = v
				case "polling_interval":
					s.Polling = v
				case "features":
					s.Queue = strings.Contains(v, "queue_if_no_path")
				case "vendor", "product", "alias", "wwid":
					s.of[k] = v
				}
				f = f[2:]
			default:
				f = f[1:]
			}
		}
	}
	for len(open) > 0 {
		end()
	}
	return out
}

func isSection(w string) bool {
	switch w {
	case "defaults", "overrides", "devices", "device", "multipaths", "multipath", "blacklist", "blacklist_exceptions", "protocol":
		return true
	}
	return false
}

// confWords parts a line of multipath.conf into words, braces and the contents of quotes, up to a comment.
func confWords(l string) []string {
	var out []string
	for i := 0; i < len(l); {
		switch c := l[i]; {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
		case c == '#' || c == '!':
			return out
		case c == '{' || c == '}':
			out = append(out, l[i:i+1])
			i++
		case c == '"':
			end := strings.IndexByte(l[i+1:], '"')
			if end < 0 {
				return append(out, strings.TrimSpace(l[i+1:]))
			}
			out = append(out, l[i+1:i+1+end])
			i += end + 2
		default:
			end := strings.IndexAny(l[i:], " \t\r\n{}\"#!")
			if end < 0 {
				end = len(l) - i
			}
			out = append(out, l[i:i+end])
			i += end
		}
	}
	return out
}
