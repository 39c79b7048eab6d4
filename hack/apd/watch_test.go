package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

// envWriter makes this program the process of a run that is killed: it begins a record in that folder.
const envWriter = "APD_TEST_WRITER"

func writeUntilKilled(dir string) {
	if _, err := record.Create(dir, drivers.Clock{Zero: time.Now()}, record.Header{ID: "killed", Lab: "box"}); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("written")
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// runGoesOn begins a record in out/name.
func runGoesOn(t *testing.T, name string) *record.Writer {
	t.Helper()
	w, err := record.Create(filepath.Join(t.TempDir(), "out", name), drivers.Clock{Zero: time.Now()}, record.Header{ID: name, Lab: "box", LabKind: drivers.Embedded})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close("done") })
	return w
}

func watching(t *testing.T, dir string) *watch {
	t.Helper()
	w, err := newWatch(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.close() })
	return w
}

// TestWatchBuildsFewPages counts them: one when there is something new and the last is long enough ago, however many ask.
func TestWatchBuildsFewPages(t *testing.T) {
	g := NewWithT(t)
	built := 0
	was := livePage
	defer func() { livePage = was }()
	livePage = func(r *record.Record, o reports.Options) ([]byte, error) { built++; return was(r, o) }
	run := runGoesOn(t, "one")
	w := watching(t, run.Dir)
	now := time.Now()
	for range 3 {
		page, err := w.report(now)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(page)).To(ContainSubstring("Run one"))
	}
	g.Expect(built).To(Equal(1))
	before := w.said.Page
	run.Plan(record.Plan{Claim: "new.claim", Title: "New"})
	w.look(now.Add(time.Second))
	g.Expect(w.said.Page).To(Equal(before), "the last page is too young")
	page, err := w.report(now.Add(time.Second))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).NotTo(ContainSubstring("new.claim"))
	g.Expect(built).To(Equal(1))

	w.look(now.Add(time.Minute))
	g.Expect(w.said.Page).To(BeNumerically(">", before))
	page, err = w.report(now.Add(time.Minute))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(And(ContainSubstring("new.claim"), ContainSubstring("not judged yet")))
	g.Expect(built).To(Equal(2))
	_, err = w.report(now.Add(time.Hour))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(built).To(Equal(2), "nothing is new")
}

// TestWatchPacesByWhatAPageCosts: one that takes long is made more rarely.
func TestWatchPacesByWhatAPageCosts(t *testing.T) {
	g := NewWithT(t)
	was := livePage
	defer func() { livePage = was }()
	var took time.Duration
	livePage = func(*record.Record, reports.Options) ([]byte, error) {
		begin := time.Now()
		for took = 0; took < 400*time.Millisecond; took = time.Since(begin) { // it keeps a core busy
		}
		return []byte("page"), nil
	}
	w := watching(t, runGoesOn(t, "one").Dir)
	now := time.Now()
	_, err := w.report(now)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.next.Sub(now)).To(BeNumerically(">=", pageFactor*took))
}

// TestWatchTellsADeadRunFromAQuietOne looks at a run whose process lives, then at one whose process was killed.
func TestWatchTellsADeadRunFromAQuietOne(t *testing.T) {
	g := NewWithT(t)
	quiet := watching(t, runGoesOn(t, "quiet").Dir)
	quiet.look(time.Now().Add(time.Hour))
	g.Expect(quiet.said.State).To(Equal("under way"))

	dir := filepath.Join(t.TempDir(), "killed")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envWriter+"="+dir)
	in, err := cmd.StdinPipe() // it ends with this test, whatever happens
	g.Expect(err).NotTo(HaveOccurred())
	defer in.Close()
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	line, err := bufio.NewReader(out).ReadString('\n')
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(line).To(Equal("written\n"))
	w := watching(t, dir)
	w.look(time.Now().Add(time.Hour))
	g.Expect(w.said.State).To(Equal("under way"))
	g.Expect(cmd.Process.Kill()).To(Succeed())
	cmd.Wait()
	w.look(time.Now())
	g.Expect(w.said.State).To(Equal("under way"), "it may have ended and what it wrote last is still to be read")
	w.look(time.Now().Add(deadAfter + time.Second))
	g.Expect(w.said.State).To(Equal("died"))
	page, err := w.report(time.Now().Add(time.Hour))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(page)).To(ContainSubstring("cut off"))
}

// TestWatchOfNoRecord says what is wrong with a file that is none, and stays.
func TestWatchOfNoRecord(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.WriteFile(filepath.Join(dir, "run.jsonl"), []byte("hello\n"), 0o600)).To(Succeed())
	w := watching(t, dir)
	g.Expect(w.said.State).To(Equal("unreadable"))
	g.Expect(w.said.Why).To(ContainSubstring("line 1"))
	r := httptest.NewRecorder()
	w.handler().ServeHTTP(r, httptest.NewRequest("GET", "http://localhost/report.html", nil))
	g.Expect(r.Code).To(Equal(http.StatusServiceUnavailable))
}

// TestWatchServes a run from its middle to after its end, to a reader who listens.
func TestWatchServes(t *testing.T) {
	g := NewWithT(t)
	run := runGoesOn(t, "one")
	w := watching(t, run.Dir)
	w.every, w.pause = 10*time.Millisecond, 0
	l, err := listenLoopback("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.serve(ctx, l) }()
	url := "http://" + l.Addr().String()

	resp, err := http.Get(url + "/events")
	g.Expect(err).NotTo(HaveOccurred())
	defer resp.Body.Close()
	g.Expect(resp.Header.Get("Content-Type")).To(Equal("text/event-stream"))
	events := bufio.NewScanner(resp.Body)
	until := func(is func(status) bool) status {
		t.Helper()
		for events.Scan() {
			var s status
			if b, ok := bytes.CutPrefix(events.Bytes(), []byte("data: ")); ok && json.Unmarshal(b, &s) == nil && is(s) {
				return s
			}
		}
		t.Fatalf("the events ended: %v", events.Err())
		return status{}
	}
	first := until(func(s status) bool { return true })
	g.Expect(first.State).To(Equal("under way"))
	run.Phase("first-scenario", "scenario", record.EdgeBegin, "")
	run.Plan(record.Plan{Claim: "a.claim", Title: "It is so", Scenario: "first-scenario"})
	until(func(s status) bool { return s.Page > first.Page })
	g.Eventually(func() string { return get(t, url+"/report.html") }).Should(ContainSubstring("a.claim"))
	g.Expect(run.Close("done")).To(Succeed())
	end := until(func(s status) bool { return s.State != "under way" })
	g.Expect(end.State).To(Equal("ended"))
	g.Expect(end.Why).To(Equal("done"))
	g.Eventually(func() string { return get(t, url+"/report.html") }).ShouldNot(ContainSubstring("under way"))
	g.Expect(get(t, url+"/")).To(ContainSubstring("watch.js"))
	g.Expect(get(t, url+"/watch.js")).To(ContainSubstring("EventSource"))
	g.Expect(get(t, url+"/run.jsonl")).To(HavePrefix(`{"k":"run"`))

	cancel()
	g.Expect(<-served).To(Succeed())
	for events.Scan() { // those who listen leave with it: their events end
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWatchIsForThisMachineAndReadingOnly asks for what must not be had.
func TestWatchIsForThisMachineAndReadingOnly(t *testing.T) {
	g := NewWithT(t)
	run := runGoesOn(t, "one")
	secret := filepath.Join(t.TempDir(), "secret")
	g.Expect(os.WriteFile(secret, []byte("a secret"), 0o600)).To(Succeed())
	ev := filepath.Join(run.Dir, "evidence")
	for name, text := range map[string]string{"a.log": "a line", "page.html": "<script>alert(1)</script>", "shot.png": "\x89PNG", "x.svg": "<svg/>", "..odd": "odd"} {
		g.Expect(os.WriteFile(filepath.Join(ev, name), []byte(text), 0o600)).To(Succeed())
	}
	g.Expect(os.WriteFile(filepath.Join(run.Dir, "journal.jsonl"), []byte("a secret"), 0o600)).To(Succeed())
	g.Expect(os.Symlink(secret, filepath.Join(ev, "link"))).To(Succeed())
	g.Expect(os.Symlink(filepath.Dir(secret), filepath.Join(ev, "folder"))).To(Succeed())
	g.Expect(syscall.Mkfifo(filepath.Join(ev, "pipe"), 0o600)).To(Succeed())
	h := watching(t, run.Dir).handler()
	ask := func(method, host, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://x/", nil)
		r.Host = host
		r.URL.Path = path
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	for _, c := range []struct {
		method, host, path string
		code               int
		kind               string
	}{
		{"GET", "127.0.0.1:80", "/", 200, "text/html"},
		{"HEAD", "127.0.0.1:80", "/", 200, "text/html"},
		{"GET", "localhost:9", "/report.html", 200, "text/html"},
		{"GET", "[::1]:9", "/watch.css", 200, "text/css"},
		{"GET", "127.9.9.9", "/evidence/a.log", 200, "text/plain"},
		{"GET", "localhost", "/evidence/page.html", 200, "text/plain"},
		{"GET", "localhost", "/evidence/shot.png", 200, "image/png"},
		{"GET", "localhost", "/evidence/x.svg", 200, "image/svg+xml"},
		{"GET", "localhost", "/evidence/..odd", 200, "text/plain"},
		{"GET", "localhost", "/probes.jsonl.gz", 200, "application/octet-stream"},
		{"GET", "evil.example", "/", 421, "text/plain"},
		{"GET", "evil.example:80", "/events", 421, "text/plain"},
		{"GET", "localhost.evil.example", "/", 421, "text/plain"},
		{"GET", "192.0.2.1", "/", 421, "text/plain"},
		{"GET", "", "/", 421, "text/plain"},
		{"POST", "localhost", "/report.html", 405, "text/plain"},
		{"DELETE", "localhost", "/evidence/a.log", 405, "text/plain"},
		{"OPTIONS", "localhost", "/", 405, "text/plain"},
		{"GET", "localhost", "/evidence/link", 404, "text/plain"},
		{"GET", "localhost", "/evidence/folder/secret", 404, "text/plain"},
		{"GET", "localhost", "/evidence/pipe", 404, "text/plain"},
		{"GET", "localhost", "/evidence/", 404, "text/plain"},
		{"GET", "localhost", "/evidence/.", 307, ""},
		{"GET", "localhost", "/evidence/../journal.jsonl", 307, ""},
		{"GET", "localhost", "/evidence/../../../../etc/passwd", 307, ""},
		{"GET", "localhost", "/evidence/..\\..\\x", 404, "text/plain"},
		{"GET", "localhost", "/evidence/" + secret, 307, ""},
		{"GET", "localhost", "/journal.jsonl", 404, "text/plain"},
		{"GET", "localhost", "/etc/passwd", 404, "text/plain"},
	} {
		r := ask(c.method, c.host, c.path)
		what := c.method + " " + c.host + " " + c.path
		g.Expect(r.Code).To(Equal(c.code), what)
		if c.kind != "" {
			g.Expect(r.Header().Get("Content-Type")).To(HavePrefix(c.kind), what)
		}
		g.Expect(r.Body.String()).NotTo(ContainSubstring("a secret"), what)
		g.Expect(r.Header().Get("X-Content-Type-Options")).To(Equal("nosniff"), what)
		g.Expect(r.Header().Get("Content-Security-Policy")).To(ContainSubstring("default-src 'none'"), what)
		g.Expect(r.Header().Get("Access-Control-Allow-Origin")).To(BeEmpty(), what)
	}
	for _, name := range []string{"page.html", "x.svg"} {
		g.Expect(ask("GET", "localhost", "/evidence/"+name).Header().Get("Content-Security-Policy")).To(HavePrefix("sandbox;"))
	}
	for _, name := range []string{"../journal.jsonl", "evidence/../../one/journal.jsonl", "/etc/passwd", "evidence/../../../" + filepath.Base(filepath.Dir(secret)) + "/secret"} {
		r := httptest.NewRecorder() // whatever a path has come through before
		w := watching(t, run.Dir)
		w.serveFile(r, httptest.NewRequest("GET", "http://localhost/", nil), name)
		g.Expect(r.Code).To(Equal(404), name)
	}
}

func TestWatchTakesSoManyReaders(t *testing.T) {
	g := NewWithT(t)
	w := watching(t, runGoesOn(t, "one").Dir)
	var leave func()
	for range mostReaders {
		var ok bool
		_, leave, ok = w.join()
		g.Expect(ok).To(BeTrue())
	}
	r := httptest.NewRecorder()
	w.handler().ServeHTTP(r, httptest.NewRequest("GET", "http://localhost/events", nil))
	g.Expect(r.Code).To(Equal(http.StatusServiceUnavailable))
	leave()
	_, _, ok := w.join()
	g.Expect(ok).To(BeTrue())
	w.version++
	w.look(time.Now()) // nobody takes anything, and nobody waits for them
	w.version++
	w.look(time.Now())
}

func TestWatchListensOnTheLoopbackOnly(t *testing.T) {
	g := NewWithT(t)
	for _, at := range []string{"0.0.0.0:0", ":0", "[::]:0", "192.0.2.1:0", "example.org:0", "127.0.0.1", "localhost.example.org:0"} {
		l, err := listenLoopback(at)
		g.Expect(err).To(HaveOccurred(), at)
		g.Expect(l).To(BeNil())
	}
	for _, at := range []string{"127.0.0.1:0", "localhost:0"} {
		l, err := listenLoopback(at)
		g.Expect(err).NotTo(HaveOccurred(), at)
		g.Expect(l.Addr().(*net.TCPAddr).IP.IsLoopback()).To(BeTrue())
		l.Close()
	}
}

func TestNewestRun(t *testing.T) {
	g := NewWithT(t)
	out := filepath.Join(t.TempDir(), "a [strange] name*")
	for i, name := range []string{"old", "new", "none"} {
		dir := filepath.Join(out, name)
		g.Expect(os.MkdirAll(dir, 0o755)).To(Succeed())
		if name == "none" {
			continue
		}
		file := filepath.Join(dir, "run.jsonl")
		g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
		at := time.Date(2026, 1, 2+i, 0, 0, 0, 0, time.UTC)
		g.Expect(os.Chtimes(file, at, at)).To(Succeed())
	}
	g.Expect(os.Symlink("old", filepath.Join(out, "latest"))).To(Succeed())
	real, err := filepath.EvalSymlinks(out)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(newestRun(out)).To(Equal(filepath.Join(real, "new")))
	g.Expect(newestRun(filepath.Join(out, "latest"))).To(Equal(filepath.Join(real, "old")))
	_, err = newestRun(filepath.Join(out, "none"))
	g.Expect(err).To(MatchError(ContainSubstring("there is no record in")))
	_, err = newestRun(filepath.Join(out, "nowhere"))
	g.Expect(err).To(MatchError(os.ErrNotExist))
}

// TestWatchCommand starts it as people do, and ends it with ^C.
func TestWatchCommand(t *testing.T) {
	g := NewWithT(t)
	run := runGoesOn(t, "one")
	cmd := exec.CommandContext(t.Context(), os.Args[0], "watch", run.Dir, "--json")
	cmd.Env = append(os.Environ(), envApd+"=1")
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	var said map[string]string
	g.Expect(json.NewDecoder(out).Decode(&said)).To(Succeed())
	g.Expect(said["run"]).To(HaveSuffix("/out/one"))
	g.Expect(get(t, said["url"])).To(ContainSubstring("<title>apd watch"))
	g.Expect(get(t, said["url"]+"report.html")).To(ContainSubstring("Run one"))
	g.Expect(cmd.Process.Signal(os.Interrupt)).To(Succeed())
	g.Expect(cmd.Wait()).To(Succeed())

	s := apd(t, "watch", "--listen", "0.0.0.0:0", run.Dir)
	g.Expect(s.code).To(Equal(2))
	g.Expect(strings.ToLower(s.err)).To(And(ContainSubstring("not an address of the loopback"), ContainSubstring("ssh")))
}
