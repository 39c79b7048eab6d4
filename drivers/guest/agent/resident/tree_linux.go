// This file reads small files below a root folder, so that the guests of tests can be folders. Nothing here is read without
// bounds: a guest's files are not to be trusted to be small.

package resident

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The bounds of what is read of one guest.
const (
	textLimit  = 256 << 10 // bytes of a file
	namesLimit = 4096      // files of a folder
	wordLimit  = 512       // bytes of anything that is told
)

// tree is a file system whose root is a folder; the empty one is this machine's own. Its links must be relative, except in
// the empty one.
type tree string

// text returns the beginning of a regular file, empty when it cannot be read.
func (t tree) text(path string) string {
	path = string(t) + path
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return "" // a device or a pipe might hang, and a rule that is a link to /dev/null is none
	}
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, textLimit))
	if err != nil {
		return ""
	}
	return string(b)
}

// line returns the first line of a file as one word of a message.
func (t tree) line(path string) string {
	l, _, _ := strings.Cut(t.text(path), "\n")
	return word(l)
}

// word makes text fit to be told.
func word(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "?")
	if len(s) > wordLimit {
		s = strings.ToValidUTF8(s[:wordLimit], "")
	}
	return s
}

// names returns the names in a folder in their order.
func (t tree) names(dir string) []string {
	f, err := os.Open(string(t) + dir)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	names, _ := f.Readdirnames(namesLimit)
	slices.Sort(names)
	return names
}

// has tells whether there is such a file.
func (t tree) has(path string) bool {
	_, err := os.Stat(string(t) + path)
	return err == nil
}

// real returns a path with its links resolved, empty when there is no such file.
func (t tree) real(path string) string {
	at, err := filepath.EvalSymlinks(string(t) + path)
	if err != nil {
		return ""
	}
	if t == "" {
		return at
	}
	root, err := filepath.EvalSymlinks(string(t))
	if err != nil {
		return ""
	}
	at, ok := strings.CutPrefix(at, root)
	if !ok {
		return ""
	}
	return at
}
