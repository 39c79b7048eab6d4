// This file reads what ip(8) of Linux and ifconfig(8) of FreeBSD say of the interfaces.

package sshlink

import (
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// The systems, as uname -s calls them.
const (
	linux   = "Linux"
	freeBSD = "FreeBSD"
)

// linkState is a shell function that says whether an interface is up: both systems write the flags in the same brackets.
const linkState = `apd_link() {
	case $(if [ "$(uname -s)" = FreeBSD ]; then ifconfig "$1"; else ip -o link show dev "$1"; fi 2>/dev/null) in
	*"<UP>"* | *"<UP,"* | *",UP,"* | *",UP>"*) echo up ;;
	*"<"*) echo down ;;
	*) echo gone ;;
	esac
}
`

// lookScript asks for all that a view has. Every line begins with a word that says what it is.
func lookScript(nic string) string {
	return `echo "os $(uname -s)"
set -- $SSH_CONNECTION
echo "uid $(id -u)"
echo "client $1"
echo "server $3"
apd_client=${1%%\%*}
if [ "$(uname -s)" = FreeBSD ]; then
	case $apd_client in
	*:*) route -n get -inet6 "$apd_client" ;;
	?*) route -n get "$apd_client" ;;
	esac 2>/dev/null | sed 's/^/route /'
	ifconfig -a | sed 's/^/if /'
else
	[ -z "$apd_client" ] || ip -o route get "$apd_client" 2>/dev/null | sed 's/^/route /'
	ip -o link show | sed 's/^/link /'
	ip -o addr show | sed 's/^/addr /'
	ip -o -6 addr show dev ` + nic + ` scope global 2>/dev/null | sed 's/^/own6 /'
	ip -4 route show dev ` + nic + ` 2>/dev/null | sed 's/^/rt4 /'
	ip -6 route show dev ` + nic + ` 2>/dev/null | sed 's/^/rt6 /'
fi
:`
}

// link is one interface.
type link struct {
	there       bool // it was listed itself, not only named by another
	up, carrier bool
	over        []string // interfaces that stand on this one: bonds, bridges, VLANs
}

func (l link) state() string {
	if l.up {
		return "up"
	}
	return "down"
}

// view is one look at the far side.
type view struct {
	system string
	root   bool
	via    map[string]bool // interfaces that the SSH connection was found to use
	links  map[string]link
	lost   lost
}

func (v view) viaNames() string { return strings.Join(slices.Sorted(maps.Keys(v.via)), ", ") }

func (v view) names() string {
	var out []string
	for n, l := range v.links {
		if l.there {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// carries returns the interface of the SSH connection that is nic or stands on it, or "".
func (v view) carries(nic string) string {
	seen := map[string]bool{}
	todo := []string{nic}
	for len(todo) > 0 {
		n := todo[0]
		todo = todo[1:]
		if seen[n] {
			continue
		}
		seen[n] = true
		if v.via[n] {
			return n
		}
		todo = append(todo, v.links[n].over...)
	}
	return ""
}

var errLook = errors.New("what the system says of its interfaces is not understood")

// parse reads what lookScript's script said.
func parse(out string) (view, error) {
	v := view{via: map[string]bool{}, links: map[string]link{}}
	var server, current string
	addrs := map[string]string{}
	for l := range strings.Lines(out) {
		word, rest, _ := strings.Cut(strings.TrimRight(l, "\r\n"), " ")
		f := strings.Fields(rest)
		switch word {
		case "os":
			v.system = strings.TrimSpace(rest)
		case "uid":
			v.root = strings.TrimSpace(rest) == "0"
		case "client", "server":
			address := strings.TrimSpace(rest)
			if _, zone, ok := strings.Cut(address, "%"); ok && zone != "" {
				v.via[zone] = true // a link-local address names its interface
			}
			if word == "server" {
				server, _, _ = strings.Cut(address, "%")
			}
		case "route":
			if dev := after(f, "dev", "interface:"); dev != "" {
				v.via[dev] = true
			}
		case "link":
			v.linuxLink(f)
		case "addr":
			if len(f) > 3 {
				a, _, _ := strings.Cut(f[3], "/")
				addrs[a] = f[1]
			}
		case "if":
			current = v.freeBSDLine(rest, f, current, addrs)
		case "own6":
			if len(f) > 3 && f[2] == "inet6" && words.MatchString(f[3]) && !slices.ContainsFunc(f, changing) {
				v.lost.addrs6 = append(v.lost.addrs6, f[3])
			}
		case "rt4":
			v.lost.routes4 = route(v.lost.routes4, rest)
		case "rt6":
			v.lost.routes6 = route(v.lost.routes6, rest)
		}
	}
	if dev := addrs[strings.TrimPrefix(server, "::ffff:")]; dev != "" {
		v.via[dev] = true
	}
	if v.system != linux && v.system != freeBSD {
		return v, errors.New("its system is neither Linux nor FreeBSD")
	}
	if v.names() == "" {
		return v, errLook
	}
	return v, nil
}

// after returns the word that follows one of some others.
func after(f []string, keys ...string) string {
	for i, w := range f {
		if i+1 < len(f) && slices.Contains(keys, w) {
			return f[i+1]
		}
	}
	return ""
}

// changing tells the addresses that come from outside and come back by themselves.
func changing(w string) bool { return w == "dynamic" || w == "temporary" || w == "mngtmpaddr" }

// route adds a route that somebody made: the kernel's own and those that were advertised come back by themselves, and a route
// over several interfaces does not show here whole.
func route(to []string, line string) []string {
	if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
		return to
	}
	f := slices.DeleteFunc(strings.Fields(line), func(w string) bool { return w == "linkdown" || w == "dead" })
	switch after(f, "proto") {
	case "kernel", "ra", "redirect":
		return to
	}
	text := strings.Join(f, " ")
	if !words.MatchString(text) || slices.Contains(f, "nexthop") || slices.Contains(f, "nhid") {
		return to
	}
	return append(to, text)
}

// linuxLink reads a line of ip -o link: "3: vlan7@eth1: <BROADCAST,UP,LOWER_UP> mtu 1500 ... master br0 ...".
func (v view) linuxLink(f []string) {
	if len(f) < 3 || !strings.HasPrefix(f[2], "<") {
		return
	}
	name, lower, _ := strings.Cut(strings.TrimSuffix(f[1], ":"), "@")
	flags := strings.Split(strings.Trim(f[2], "<>"), ",")
	l := v.links[name]
	l.there, l.up, l.carrier = true, slices.Contains(flags, "UP"), slices.Contains(flags, "LOWER_UP")
	if m := after(f, "master"); m != "" {
		l.over = append(l.over, m)
	}
	v.links[name] = l
	if lower != "" && lower != "NONE" && lower != name {
		under := v.links[lower]
		under.over = append(under.over, name)
		v.links[lower] = under
	}
}

// freeBSDHead is the first line of an interface: "igb1: flags=8843<UP,BROADCAST,RUNNING> metric 0 mtu 1500".
var freeBSDHead = regexp.MustCompile(`^([A-Za-z0-9_.]+): flags=[0-9a-f]+<([A-Z0-9_,]*)>`)

// freeBSDLine reads a line of ifconfig -a that belongs to the interface current, and returns which one the next belongs to.
func (v view) freeBSDLine(line string, f []string, current string, addrs map[string]string) string {
	if m := freeBSDHead.FindStringSubmatch(line); m != nil {
		l := v.links[m[1]]
		l.there, l.up = true, slices.Contains(strings.Split(m[2], ","), "UP")
		l.carrier = true // until a status line says otherwise: a loopback has none
		v.links[m[1]] = l
		return m[1]
	}
	if current == "" || len(f) < 2 {
		return current
	}
	under := ""
	switch {
	case f[0] == "status:":
		l := v.links[current]
		l.carrier = f[1] == "active" || f[1] == "associated"
		v.links[current] = l
	case f[0] == "inet" || f[0] == "inet6":
		a, _, _ := strings.Cut(f[1], "%")
		addrs[a] = current
	case f[0] == "laggport:" || f[0] == "member:":
		under = f[1]
	case strings.Contains(line, "parent interface:"):
		if under = after(f, "interface:"); strings.HasPrefix(under, "<") {
			under = ""
		}
	}
	if under != "" && under != current {
		l := v.links[under]
		l.over = append(l.over, current)
		v.links[under] = l
	}
	return current
}
