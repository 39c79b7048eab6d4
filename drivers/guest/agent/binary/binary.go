// Package binary provides the guest agent as a program: embedded into this one, or built on demand by the Go toolchain.
package binary

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// program is the import path of the agent.
const program = "github.com/allpathsdown/allpathsdown/drivers/guest/agent/cmd/apd-agent"

//go:embed all:bin
var embedded embed.FS

// Binary returns the agent for an operating system and an architecture, as Go names them: the embedded one, else one kept
// from an earlier build of the same source, else one built now. Its error is an Operator error, or ctx's own.
func Binary(ctx context.Context, goos, goarch string) ([]byte, error) {
	b, err := embedded.ReadFile("bin/agent-" + goos + "-" + goarch)
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the embedded agent: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, cannot(goos, goarch, fmt.Errorf("finding the cache directory: %w", err))
	}
	return cached(ctx, filepath.Join(cache, "allpathsdown"), goos, goarch)
}

func cached(ctx context.Context, dir, goos, goarch string) ([]byte, error) {
	name := filepath.Join(dir, fmt.Sprintf("agent-%s-%s-%s-%s", agent.SourceID(), runtime.Version(), goos, goarch))
	if b, err := readKept(name); err == nil {
		return b, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, cannot(goos, goarch, fmt.Errorf("making the cache directory: %w", err))
	}
	tmp, err := os.MkdirTemp(dir, ".agent-")
	if err != nil {
		return nil, cannot(goos, goarch, fmt.Errorf("making a folder for the build: %w", err))
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	out := filepath.Join(tmp, "agent")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", out, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch)
	cmd.Dir = sourceDir()
	if msg, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("building the guest agent: %w", ctx.Err())
		}
		return nil, cannot(goos, goarch, fmt.Errorf("go build: %w: %s", err, bytes.TrimSpace(msg)))
	}
	b, err := os.ReadFile(out)
	if err != nil {
		return nil, cannot(goos, goarch, fmt.Errorf("reading the agent just built: %w", err))
	}
	keep(tmp, name, b)
	return b, nil
}

// readKept reads a kept agent and compares it with its sum.
func readKept(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	want, err := os.ReadFile(name + ".sha256")
	if err != nil {
		return nil, err
	}
	if sum(b) != string(want) {
		return nil, errors.New("the kept agent is damaged")
	}
	return b, nil
}

// keep stores an agent for the next time; when that fails, the next time builds again.
func keep(tmp, name string, b []byte) {
	s := filepath.Join(tmp, "sum")
	if os.WriteFile(s, []byte(sum(b)), 0o644) != nil {
		return
	}
	if os.Rename(filepath.Join(tmp, "agent"), name) == nil {
		_ = os.Rename(s, name+".sha256")
	}
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// sourceDir is this package's folder where its source is at hand, so that its module is found; else the current one, whose
// module may have this one among its dependencies.
func sourceDir() string {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		if _, err := os.Stat(file); err == nil {
			return filepath.Dir(file)
		}
	}
	return ""
}

func cannot(goos, goarch string, err error) error {
	return &drivers.Operator{
		Cause:  fmt.Sprintf("there is no guest agent for %s/%s", goos, goarch),
		Impact: "The guest cannot be observed from inside",
		Do:     "Build it into this program with `make build`, or run where the Go toolchain and this module's source are at hand",
		Err:    err,
	}
}
