package binary

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

func TestBuiltOnceAndKept(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain here")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	b, err := cached(ctx, dir, "linux", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte("\x7fELF")) || len(b) > 8<<20 {
		t.Fatalf("%d bytes that begin %q", len(b), b[:4])
	}
	t.Setenv("PATH", "")
	again, err := cached(ctx, dir, "linux", "amd64")
	if err != nil || !bytes.Equal(b, again) {
		t.Fatal("it was not kept: ", err)
	}
	kept, err := filepath.Glob(dir + "/agent-*-amd64")
	if err != nil || len(kept) != 1 {
		t.Fatal(kept, err)
	}
	if err := os.WriteFile(kept[0], b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = cached(ctx, dir, "linux", "amd64")
	var op *drivers.Operator
	if !errors.As(err, &op) || !strings.Contains(err.Error(), "make build") || op.Impact == "" {
		t.Fatalf("a damaged agent and no toolchain: %v", err)
	}
	left, err := filepath.Glob(dir + "/.agent-*")
	if err != nil || len(left) != 0 {
		t.Fatal("left behind: ", left, err)
	}
}
