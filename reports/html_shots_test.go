package reports_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
	"github.com/allpathsdown/allpathsdown/reports/internal/chromium"
	_ "github.com/allpathsdown/allpathsdown/suites/all"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// replan returns a tape of suites/testdata, which has no plan, as the run it would be today: planned, and judged by today's claims.
func replan(t testing.TB, name string) []byte {
	t.Helper()
	g := NewWithT(t)
	b, err := os.ReadFile(filepath.Join("..", "suites", "testdata", name, "run.jsonl"))
	g.Expect(err).NotTo(HaveOccurred())
	r, err := record.Parse(bytes.NewReader(b))
	g.Expect(err).NotTo(HaveOccurred())
	head, rest, _ := bytes.Cut(b, []byte("\n"))
	out := bytes.NewBuffer(append(bytes.Clone(head), '\n'))
	asks := func(c *claim.Claim) bool { // what the tape's own run judged, or all of its scenarios where it judged nothing
		_, ok := r.Run(c.In.Name)
		return ok && (len(r.Judged) == 0 || slices.ContainsFunc(r.Judged, func(j record.Judged) bool { return j.Claim == c.ID }))
	}
	for _, c := range claim.All() {
		skip := ""
		if !asks(c) {
			skip = "this tape was not made for it"
		}
		p := c.Plan(r.Header.Profile, skip)
		p.K = "plan"
		line, err := json.Marshal(p)
		g.Expect(err).NotTo(HaveOccurred())
		out.Write(append(line, '\n'))
	}
	for l := range bytes.Lines(rest) {
		if !bytes.Contains(l[:min(len(l), 20)], []byte(`"k":"claim"`)) && !bytes.Contains(l[:min(len(l), 20)], []byte(`"k":"end"`)) {
			out.Write(l)
		}
	}
	for _, c := range claim.All() {
		if asks(c) {
			line, err := json.Marshal(record.Judged{K: "claim", Claim: c.ID, T: r.EndT, Lab: r.Header.Lab, Verdict: c.Verdict(r)})
			g.Expect(err).NotTo(HaveOccurred())
			out.Write(append(line, '\n'))
		}
	}
	fmt.Fprintf(out, `{"k":"end","t":%d,"why":"done"}`+"\n", r.EndT)
	return out.Bytes()
}

// TestScreenshots takes pictures of the pages of all tapes for people to look at: APD_SCREENSHOTS says where they go. With APD_RUN, the
// folder of a run, it takes those of that run only.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("APD_SCREENSHOTS")
	if dir == "" {
		t.Skip("APD_SCREENSHOTS names no folder")
	}
	g := NewWithT(t)
	g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
	pages := map[string][]byte{}
	if run := os.Getenv("APD_RUN"); run != "" {
		r, err := record.Read(run)
		g.Expect(err).NotTo(HaveOccurred())
		pages["run"], err = reports.HTML(r, reports.Options{Dir: run})
		g.Expect(err).NotTo(HaveOccurred())
	} else {
		for _, tape := range []string{"esxi", "ceph", "windows"} {
			r, err := record.Parse(bytes.NewReader(replan(t, tape)))
			g.Expect(err).NotTo(HaveOccurred())
			pages[tape], err = reports.HTML(r, reports.Options{})
			g.Expect(err).NotTo(HaveOccurred())
		}
		for name, b := range map[string][]byte{"kinds": reports.Kinds(t, "and so on"), "1000-guests": reports.Crowd(t, 1000, 3600)} {
			r, err := record.Parse(bytes.NewReader(b))
			g.Expect(err).NotTo(HaveOccurred())
			pages[name], err = reports.HTML(r, reports.Options{})
			g.Expect(err).NotTo(HaveOccurred())
		}
	}
	b, err := chromium.Start()
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { g.Expect(b.Close()).To(Succeed()) }()
	for name, page := range pages {
		file := filepath.Join(t.TempDir(), "report.html")
		g.Expect(os.WriteFile(file, page, 0o644)).To(Succeed())
		g.Expect(os.WriteFile(filepath.Join(dir, name+".html"), page, 0o644)).To(Succeed())
		jenkins := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", reports.JenkinsPolicy)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write(page)
		}))
		defer jenkins.Close()
		for look, v := range map[string]chromium.View{"light": {Width: 1280, Height: 900}, "dark": {Width: 1280, Height: 900, Dark: true}, "400": {Width: 400, Height: 900}, "noscript": {Width: 1280, Height: 900, NoScript: true}, "jenkins": {Width: 1280, Height: 900}} {
			address := "file://" + file
			if look == "jenkins" {
				address = jenkins.URL
			}
			p, err := b.Open(address, v)
			g.Expect(err).NotTo(HaveOccurred())
			if os.Getenv("APD_OPEN") != "" {
				g.Expect(p.Ask("document.querySelectorAll('details').forEach(d => d.open = true)", nil)).To(Succeed())
			}
			png, err := p.Picture(v.Width, 0)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(os.WriteFile(filepath.Join(dir, name+"-"+look+".png"), png, 0o644)).To(Succeed())
			g.Expect(p.Close()).To(Succeed())
		}
	}
}
