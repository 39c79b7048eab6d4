// This file reads what systems say. Nothing here trusts its input.

package overssh

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// marker begins the line before each part of a survey.
const marker = "apd-part:"

// sections cuts what a survey printed into its parts. What stands before the first marker, as a greeting does, is dropped.
func sections(out string) map[string]string {
	parts := map[string]string{}
	name := ""
	for l := range strings.Lines(out) {
		l = strings.TrimRight(l, "\r\n")
		if n, ok := strings.CutPrefix(l, marker); ok {
			name = n
			parts[name] = ""
			continue
		}
		if name != "" {
			parts[name] += l + "\n"
		}
	}
	for n, text := range parts {
		parts[n] = strings.TrimSpace(text)
	}
	return parts
}

var (
	bootID   = regexp.MustCompile(`^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$`)
	bootTime = regexp.MustCompile(`\bsec = ([0-9]{1,18})\b`)
)

// ReadBoot reads what tells one boot from another: Linux' and newer FreeBSD's random boot id as it is, or of FreeBSD's
// kern.boottime, "{ sec = 1510000000, usec = 1 } Mon Nov  6 ...", the seconds.
func ReadBoot(out string) (string, error) {
	out = strings.TrimSpace(out)
	if bootID.MatchString(out) {
		return out, nil
	}
	if m := bootTime.FindStringSubmatch(out); m != nil {
		return m[1], nil
	}
	return "", fmt.Errorf("neither a boot id nor a boot time: %q", clip(out))
}

// sameBoot tells whether two boots are one. FreeBSD computes kern.boottime anew when its clock is set, so it moves a little.
func sameBoot(a, b string) bool {
	const moves = 5 // seconds; no machine boots in less
	x, xerr := strconv.ParseInt(a, 10, 64)
	y, yerr := strconv.ParseInt(b, 10, 64)
	if xerr == nil && yerr == nil && len(a) < 20 && len(b) < 20 {
		return max(x, y)-min(x, y) <= moves
	}
	return a == b
}

// ReadRC reads the words of a FreeBSD rc.subr status ("istgt is running as pid 123.", "istgt is not running.") and the number
// that came after it on a last line "status N". When the two say different things neither is believed.
func ReadRC(out string) (State, error) {
	i := strings.LastIndex(out, "status ")
	if i < 0 {
		return State{}, errors.New("it has no status")
	}
	words, status := out[:i], strings.TrimSpace(out[i+len("status "):])
	stopped := strings.Contains(words, "is not running")
	switch runs := strings.Contains(words, "is running"); {
	case runs && !stopped && status == "0":
		return State{Word: On}, nil
	case stopped && !runs && status == "1":
		return State{Word: Off}, nil
	}
	return State{}, fmt.Errorf("its words and its status %q do not fit", clip(status))
}

// ReadRCVar reads what an rc.subr script says of its variable: `istgt_enable="YES"`.
func ReadRCVar(out string) (bool, error) {
	for l := range strings.Lines(out) {
		name, value, ok := strings.Cut(strings.TrimSpace(l), "=")
		if !ok || !strings.HasSuffix(name, "_enable") || strings.HasPrefix(name, "#") {
			continue
		}
		switch strings.ToLower(strings.Trim(value, `"'`)) { // rc.subr's checkyesno
		case "yes", "true", "on", "1":
			return true, nil
		case "no", "false", "off", "0", "":
			return false, nil
		}
	}
	return false, fmt.Errorf("it names no variable: %q", clip(out))
}

// ReadEnabled reads systemctl is-enabled.
func ReadEnabled(out string) (bool, error) {
	switch word := strings.TrimSpace(out); word {
	case "enabled", "enabled-runtime", "generated", "alias", "static", "indirect":
		return true, nil
	case "disabled", "masked", "not-found":
		return false, nil
	default:
		return false, fmt.Errorf("it is no word of systemctl: %q", clip(word))
	}
}

// ReadNumber reads a number alone on its line, as /sys and /sys/kernel/config give them, and wc.
func ReadNumber(out string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("not a number: %q", clip(out))
	}
	return n, nil
}

// Marked returns what stands behind a word on each line that begins with it, a line each.
func Marked(out, word string) []string {
	var found []string
	for l := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(l), word+" "); ok {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	return found
}

// ReadPaths reads lines "lun N PATH". One LUN that is not the same thing for all initiators is an error. A path may be missing: that
// LUN is made of nothing that can be looked at.
func ReadPaths(out string) (map[int]string, error) {
	found := map[int]string{}
	for _, l := range Marked(out, "lun") {
		word, path, _ := strings.Cut(l, " ")
		n, err := strconv.Atoi(word)
		path = strings.TrimSpace(path)
		switch was, twice := found[n]; {
		case err != nil || n < 0:
			return nil, fmt.Errorf("it is no LUN: %q", clip(l))
		case twice && was != path:
			return nil, fmt.Errorf("LUN %d is %q to some initiators and %q to others", n, clip(was), clip(path))
		}
		found[n] = path
	}
	return found, nil
}
