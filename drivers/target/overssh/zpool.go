// This file reads how a ZFS pool is.

package overssh

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Pool is what zpool status tells of one pool.
type Pool struct {
	Name, State string
	Devices     []string // those with a state or a counter that is not well, in zpool's own words
	Errors      string   // of data; empty: no known data errors
	Scan        string   // how the last scrub or resilver ended, and only when it met errors
}

// Ill says in which ways the pool is not well; empty: it is healthy.
func (p Pool) Ill() string {
	var why []string
	if p.State != "ONLINE" {
		why = append(why, "it is "+p.State)
	}
	if len(p.Devices) > 0 {
		why = append(why, "errors (read, write, checksum) or a bad state at "+strings.Join(p.Devices, ", "))
	}
	if p.Errors != "" {
		why = append(why, p.Errors)
	}
	if p.Scan != "" {
		why = append(why, p.Scan)
	}
	return strings.Join(why, "; ")
}

// well are the states of a device that is as it should be: those of the pool's own, and of a spare that waits.
func well(state string) bool { return state == "ONLINE" || state == "AVAIL" }

// mostDevices bounds the list of a pool's bad devices.
const mostDevices = 8

// ReadPool reads zpool status of one pool (zpool-status(8)):
//
//	  pool: tank
//	 state: ONLINE
//	  scan: scrub repaired 0B in 00:00:01 with 0 errors on ...
//	config:
//
//		NAME    STATE   READ WRITE CKSUM
//		tank    ONLINE     0     0     0
//
//	errors: No known data errors
func ReadPool(out, name string) (Pool, error) {
	p := Pool{}
	devices, rows, told := false, 0, false
	for l := range strings.Lines(out) {
		l = strings.TrimRight(l, "\r\n")
		key, value, labelled := strings.Cut(strings.TrimSpace(l), ": ")
		f := strings.Fields(l)
		switch {
		case labelled && key == "pool":
			if p.Name != "" {
				return Pool{}, errors.New("zpool tells of more than one pool")
			}
			p.Name = strings.TrimSpace(value)
		case labelled && key == "state":
			p.State = strings.TrimSpace(value)
		case labelled && key == "scan":
			if n, ok := scanErrors(value); ok && n > 0 {
				p.Scan = fmt.Sprintf("its last scrub or resilver met %d errors", n)
			}
		case labelled && key == "errors":
			devices, told = false, true
			if !strings.HasPrefix(value, "No known data errors") {
				p.Errors = strings.ToValidUTF8(clip(strings.TrimSpace(value)), "")
			}
		case len(f) == 5 && f[0] == "NAME" && f[1] == "STATE":
			devices = true
		case devices && len(f) >= 2:
			bad := !well(f[1])
			for _, c := range f[2:min(len(f), 5)] {
				if n, ok := readCount(c); ok && n > 0 {
					bad = true
				}
			}
			if rows++; bad && len(p.Devices) < mostDevices {
				p.Devices = append(p.Devices, strings.ToValidUTF8(clip(strings.Join(f, " ")), ""))
			}
		}
	}
	switch {
	case p.Name != name || p.State == "":
		return Pool{}, fmt.Errorf("zpool does not tell of the pool %q: %q", name, clip(out))
	case p.State == "ONLINE" && (rows == 0 || !told):
		return Pool{}, fmt.Errorf("zpool tells only half of the pool %q: %q", name, clip(out))
	}
	return p, nil
}

// readCount reads an error counter: a number, or a rounded one as "1.2K".
func readCount(s string) (float64, bool) {
	n, err := strconv.ParseFloat(strings.TrimRight(s, "KMGTPE"), 64)
	return n, err == nil
}

// scanErrors reads the number in "... with 3 errors on ...".
func scanErrors(s string) (int, bool) {
	_, rest, ok := strings.Cut(s, " with ")
	if !ok {
		return 0, false
	}
	word, _, ok := strings.Cut(rest, " errors")
	n, err := strconv.Atoi(word)
	return n, ok && err == nil
}
