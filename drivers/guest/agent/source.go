// This file names the agent's source, so that a binary built from it can be kept.

package agent

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

//go:embed *.go link/*.go resident/*.go cmd/apd-agent/*.go
var sources embed.FS

// SourceID is a hash of the agent's own source files: 16 hexadecimal digits.
func SourceID() string {
	h := sha256.New()
	err := fs.WalkDir(sources, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		b, err := sources.ReadFile(name)
		fmt.Fprintf(h, "%s %d\n%s", name, len(b), b)
		return err
	})
	if err != nil {
		panic("agent: reading embedded files: " + err.Error()) // cannot happen: they are in memory
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}
