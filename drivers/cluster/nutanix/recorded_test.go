package nutanix

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// recorded is a module whose tests have answers of a real Prism Central. It is no dependency: its files are only read here.
const recorded = "github.com/nutanix-cloud-native/prism-go-client@v0.8.0"

// recording is one answer of it.
type recording struct {
	file, method, path string
	status             int
	body               string
}

func (r recording) String() string {
	return fmt.Sprintf("%s %s %s (%d)", r.file, r.method, r.path, r.status)
}

// recordings returns all of them, or skips the test where the module cannot be had.
func recordings(t *testing.T) []recording {
	t.Helper()
	if testing.Short() {
		t.Skip("a short run asks no module proxy")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", recorded)
	cmd.Dir = t.TempDir() // outside of this module, whose go.mod stays as it is
	out, err := cmd.Output()
	var m struct{ Dir, Error string }
	if jerr := json.Unmarshal(out, &m); err != nil || jerr != nil || m.Dir == "" {
		t.Skipf("%s cannot be had: %v %s", recorded, err, m.Error)
	}
	var found []recording
	for _, dir := range []string{"v3", "konnector"} {
		files, err := filepath.Glob(filepath.Join(m.Dir, dir, "mocks", "*.yaml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no recordings of %s: %v", recorded, dir, err)
		}
		for _, file := range files {
			found = append(found, recordingsIn(t, file)...)
		}
	}
	return found
}

func recordingsIn(t *testing.T, file string) []recording {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found []recording
	for dec := yaml.NewDecoder(f); ; {
		var doc struct {
			Spec struct {
				Req  struct{ Method, URL string }
				Resp struct {
					Status int `yaml:"status_code"`
					Body   string
				}
			}
		}
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return found
		}
		at, uerr := url.Parse(doc.Spec.Req.URL)
		if err != nil || uerr != nil || doc.Spec.Resp.Status == 0 {
			t.Fatalf("%s: document %d cannot be read: %v, %v", filepath.Base(file), len(found)+1, err, uerr)
		}
		found = append(found, recording{filepath.Base(file), doc.Spec.Req.Method, at.Path, doc.Spec.Resp.Status, strings.TrimSpace(doc.Spec.Resp.Body)})
	}
}

// bodies are what they have of JSON.
func bodies(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for i, r := range recordings(t) {
		if json.Valid([]byte(r.body)) {
			found[fmt.Sprintf("%d: %s", i, r)] = r.body
		}
	}
	return found
}

// TestRealRepliesOfAnotherGenerationAreRefused: v3 of Prism Central has lists of entities too, and everything in them elsewhere. A
// reader that took them would tell of a cluster without names.
func TestRealRepliesOfAnotherGenerationAreRefused(t *testing.T) {
	t.Parallel()
	all := bodies(t)
	lists := 0
	for from, body := range all {
		if strings.Contains(body, `"entities"`) {
			lists++
		}
		for name, g := range good {
			v, err := g.read([]byte(body))
			if list, _ := json.Marshal(v); !errors.Is(err, errForm) && string(list) != "[]" {
				t.Errorf("%s takes the answer of %s for %s", name, from, list)
			}
		}
	}
	t.Logf("%d real answers, %d of them lists", len(all), lists)
	if lists == 0 {
		t.Error("none of the recordings is a list")
	}
}

// TestRealVersionsAreKnown: what real clusters call their version is recognized.
func TestRealVersionsAreKnown(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if b, ok := v["build"].(map[string]any); ok {
				if s, ok := b["version"].(string); ok {
					seen[s] = true
				}
			}
			for _, w := range v {
				walk(w)
			}
		case []any:
			for _, w := range v {
				walk(w)
			}
		}
	}
	for _, body := range bodies(t) {
		var v any
		if json.Unmarshal([]byte(body), &v) == nil {
			walk(v)
		}
	}
	known := 0
	for s := range seen {
		f, ok := family(s)
		t.Logf("version %s: family %q", s, f)
		if strings.HasPrefix(s, "pc") == ok {
			t.Errorf("%s is known: %v", s, ok)
		}
		if ok {
			known++
		}
	}
	if known == 0 {
		t.Errorf("no version of AOS among %v", seen)
	}
}
