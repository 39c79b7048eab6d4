// This file reads back what ought to be on the disk: the log and the seed data. It reads past the caches.

package resident

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// verify checks files of the log one after the other. A file that is not there has lost everything.
func verify(files []agent.LogFile) []agent.FileResult {
	out := make([]agent.FileResult, 0, len(files))
	for _, f := range files {
		res, err := verifyOne(f)
		if errors.Is(err, fs.ErrNotExist) {
			res, err = agent.FileResult{Path: f.Path, Acked: f.Acked, Missing: f.Acked}, nil
		}
		res.Error = errText(err)
		out = append(out, res)
	}
	return out
}

func verifyOne(f agent.LogFile) (agent.FileResult, error) {
	r, err := openUncached(f.Path)
	if err != nil {
		return agent.FileResult{Path: f.Path, Acked: f.Acked}, err
	}
	defer func() { _ = r.Close() }()
	return agent.CheckLog(r, f)
}

// checkSeed compares the files of a folder with its SHA256SUMS: the result, and what is wrong in words.
func checkSeed(dir string) (result, text string, err error) {
	sums, err := readUncached(filepath.Join(dir, "SHA256SUMS"))
	if errors.Is(err, fs.ErrNotExist) {
		return agent.SeedAbsent, "", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("reading the sums of the seed data: %w", err)
	}
	var wrong []string
	files := 0
	for lines := bufio.NewScanner(strings.NewReader(sums)); lines.Scan(); {
		want, name, ok := strings.Cut(lines.Text(), " ")
		name = strings.TrimLeft(name, " *")
		if !ok || !filepath.IsLocal(name) {
			wrong = append(wrong, fmt.Sprintf("bad line in SHA256SUMS: %.80q", lines.Text()))
			continue
		}
		files++
		got, err := hashUncached(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			wrong = append(wrong, name+": lost")
		case err != nil:
			return "", "", fmt.Errorf("reading the seed file %s: %w", name, err)
		case !strings.EqualFold(got, want):
			wrong = append(wrong, name+": other content")
		}
	}
	if len(wrong) > 0 || files == 0 {
		return agent.SeedDamaged, strings.Join(append(wrong, fmt.Sprintf("%d files named", files)), "; "), nil
	}
	return agent.SeedOK, fmt.Sprintf("%d files", files), nil
}

func readUncached(path string) (string, error) {
	r, err := openUncached(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	return string(b), err
}

func hashUncached(path string) (string, error) {
	r, err := openUncached(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = r.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
