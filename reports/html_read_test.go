package reports

import (
	"errors"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	htmlTag   = regexp.MustCompile(`^<(/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z][-a-zA-Z0-9]*(?:="[^"]*")?)*)\s*(/?)>`)
	htmlID    = regexp.MustCompile(`\sid="([^"]*)"`)
	htmlHref  = regexp.MustCompile(`\shref="#([^"]*)"`)
	htmlTile  = regexp.MustCompile(`<b>([0-9]+)</b> <span>([^<]*)</span>`)
	htmlClaim = regexp.MustCompile(`class="claim (is-[-a-z]*)"`)
	htmlSkips = regexp.MustCompile(`<summary>([0-9]+) not applicable here`)
	htmlValue = regexp.MustCompile(`"[^"]*"`)
	htmlOn    = regexp.MustCompile(`(?i)\son`)
	htmlVoids = []string{"meta", "br", "input"}
)

// readHTML reads a page: every element closed, every text escaped, every link into the page leading somewhere, nothing in it that runs but
// what is ours, and as many rows as the counts say.
func readHTML(b []byte) (c Counts, err error) {
	page := string(b)
	head, ok := strings.CutPrefix(page, "<!DOCTYPE html>\n")
	if !ok {
		return c, errors.New("no doctype")
	}
	for _, part := range []string{"<style>" + htmlStyle + "</style>", "<script>" + htmlScript + "</script>"} {
		if strings.Count(head, part) != 1 {
			return c, errors.New("what is ours is not there once")
		}
		head = strings.Replace(head, part, "", 1)
	}
	var open []string
	ids, links := map[string]bool{}, []string{}
	for rest := head; rest != ""; {
		at := strings.IndexAny(rest, "<>")
		if at < 0 {
			break
		}
		m := htmlTag.FindStringSubmatch(rest[at:])
		if m == nil {
			return c, fmt.Errorf("no element: %.60q", rest[at:])
		}
		rest = rest[at+len(m[0]):]
		name := m[2]
		switch {
		case name == "script" || name == "style" || name == "iframe" || name == "object":
			return c, errors.New("something that runs: " + m[0])
		case m[1] == "/" && (len(open) == 0 || open[len(open)-1] != name):
			return c, fmt.Errorf("%s closes %v", m[0], open)
		case m[1] == "/":
			open = open[:len(open)-1]
		case m[4] == "" && !slices.Contains(htmlVoids, name):
			open = append(open, name)
		}
		if htmlOn.MatchString(htmlValue.ReplaceAllString(m[3], "")) {
			return c, errors.New("something that runs: " + m[0])
		}
		if id := htmlID.FindStringSubmatch(m[3]); id != nil {
			ids[html.UnescapeString(id[1])] = true
		}
		if to := htmlHref.FindStringSubmatch(m[3]); to != nil {
			links = append(links, html.UnescapeString(to[1]))
		}
	}
	if len(open) > 0 {
		return c, fmt.Errorf("left open: %v", open)
	}
	stretch := regexp.MustCompile(`^t=[0-9.]+-[0-9.]+$`) // of time, which no element is
	for _, to := range links {
		if plain, err := url.PathUnescape(to); err != nil || !ids[plain] && !stretch.MatchString(plain) {
			return c, fmt.Errorf("a link to nowhere: %q", to)
		}
	}
	of := map[string]*int{"refuted": &c.Refuted, "refuted (known)": &c.Known, "inconclusive": &c.Inconclusive, "confirmed": &c.Confirmed, "not applicable": &c.NotApplicable}
	for _, m := range htmlTile.FindAllStringSubmatch(page, -1) {
		n, known := of[m[2]]
		if !known {
			return c, fmt.Errorf("no verdict: %q", m[2])
		}
		*n, _ = strconv.Atoi(m[1])
	}
	rows := map[string]int{}
	for _, m := range htmlClaim.FindAllStringSubmatch(page, -1) {
		rows[m[1]]++
	}
	if m := htmlSkips.FindStringSubmatch(page); m != nil {
		rows["is-not-applicable"], _ = strconv.Atoi(m[1])
	}
	for w, n := range of {
		if rows[class(word(w))] != *n {
			return c, fmt.Errorf("%d are said to be %s, and %d are", *n, w, rows[class(word(w))])
		}
	}
	return c, nil
}
