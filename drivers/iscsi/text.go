package iscsi

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// Key is one key=value pair of a login or text exchange (RFC 7143 section 6.1).
type Key struct{ Name, Value string }

// Keys keeps the order of the wire: SendTargets answers repeat keys.
type Keys []Key

// Get is the first value of a key, or "" when absent.
func (k Keys) Get(name string) string {
	for _, e := range k {
		if e.Name == name {
			return e.Value
		}
	}
	return ""
}

// Bool reads Yes or No; anything else, and absence, is def.
func (k Keys) Bool(name string, def bool) bool {
	switch k.Get(name) {
	case "Yes":
		return true
	case "No":
		return false
	}
	return def
}

// Int reads a decimal or 0x number; absence or a value that is no number is def.
func (k Keys) Int(name string, def int) int {
	v, err := strconv.ParseInt(k.Get(name), 0, 32)
	if err != nil {
		return def
	}
	return int(v)
}

// Append appends the pairs in wire form, each ended by a NUL byte.
func (k Keys) Append(dst []byte) []byte {
	for _, e := range k {
		dst = append(dst, e.Name...)
		dst = append(dst, '=')
		dst = append(dst, e.Value...)
		dst = append(dst, 0)
	}
	return dst
}

// ParseKeys reads a text data segment. A missing last NUL is accepted; a pair without '=' or with a name
// that is empty or longer than 63 bytes (section 6.1) is an error that matches ErrFormat.
func ParseKeys(b []byte) (Keys, error) {
	var out Keys
	for len(b) > 0 {
		pair := b
		if i := bytes.IndexByte(b, 0); i >= 0 {
			pair, b = b[:i], b[i+1:]
		} else {
			b = nil
		}
		if len(pair) == 0 {
			continue
		}
		name, value, ok := strings.Cut(string(pair), "=")
		if !ok || name == "" || len(name) > 63 {
			return nil, fmt.Errorf("text pair %.80q: %w", pair, ErrFormat)
		}
		out = append(out, Key{name, value})
	}
	return out, nil
}

func yesNo(b bool) string {
	if b {
		return "Yes"
	}
	return "No"
}
