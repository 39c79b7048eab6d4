// This file is apd watch: a run's report as a page that follows the run while it goes on.

package main

import (
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

// How often the record is looked at, how long it may not grow before a run that nobody writes counts as dead, and how the building
// of pages is paced: it takes a tenth of a core at most, for the lab measures milliseconds on the same machine.
const (
	lookEvery  = time.Second
	deadAfter  = 15 * time.Second // longer than samples are summed up in a small lab
	pageEvery  = 3 * time.Second
	pageFactor = 10
)

// livePage makes the page. Tests have others.
var livePage = reports.HTML

func cmdWatch(ctx context.Context, args []string) error {
	f := flags("watch")
	listen := f.String("listen", "127.0.0.1:0", "address:port of this machine's loopback; port 0 picks one")
	rest, err := parse(f, args, 1, 1, "the folder of one run, or of runs")
	if err != nil {
		return err
	}
	dir, err := newestRun(rest[0])
	if err != nil {
		return err
	}
	w, err := newWatch(dir)
	if err != nil {
		return err
	}
	defer w.close()
	l, err := listenLoopback(*listen)
	if err != nil {
		return err
	}
	url := "http://" + l.Addr().String() + "/"
	if jsonOut {
		printJSON(map[string]string{"url": url, "run": dir})
	} else {
		fmt.Printf("%s\nat %s until ^C\n", dir, url)
	}
	return w.serve(ctx, l)
}

// newestRun returns the run's folder: the given one, or of a folder of runs the one whose record was written to last.
func newestRun(given string) (string, error) {
	dir, err := filepath.Abs(given)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // out/latest is a link
	}
	if err != nil {
		return "", fmt.Errorf("finding the run: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "run.jsonl")); err == nil {
		return dir, nil
	}
	records, err := filepath.Glob(filepath.Join(escapeGlob(dir), "*", "run.jsonl"))
	if err != nil {
		return "", fmt.Errorf("finding the run: %w", err)
	}
	newest, at := "", time.Time{}
	for _, p := range records {
		if st, err := os.Stat(p); err == nil && st.ModTime().After(at) {
			newest, at = filepath.Dir(p), st.ModTime()
		}
	}
	if newest == "" {
		return "", &drivers.Operator{Cause: "there is no record in " + given, Impact: "nothing can be shown",
			Do: "name the folder of a run (out/<run-id>) or of runs (out); a run has a record as soon as its lab is up"}
	}
	return filepath.EvalSymlinks(newest)
}

// listenLoopback listens where no other machine can reach it: the page has no password.
func listenLoopback(at string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(at)
	if err != nil {
		return nil, fmt.Errorf("--listen is not ADDRESS:PORT: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, &drivers.Operator{Cause: fmt.Sprintf("--listen %s is not an address of the loopback", at), Impact: "nothing is served",
			Do: "listen on 127.0.0.1 and reach it through an SSH tunnel (ssh -L)"}
	}
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("listening for readers: %w", err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() { // what localhost means is a file's word
		l.Close()
		return nil, fmt.Errorf("listening for readers: %s is not on the loopback", l.Addr())
	}
	return l, nil
}

// status is what readers are told about the run. Its words stand on the page.
type status struct {
	Run   string `json:"run"`
	State string `json:"state"`         // under way, ended, died, unreadable
	Why   string `json:"why,omitempty"` // how it ended, or what is wrong
	At    string `json:"at"`            // the time of the run up to which the record reaches
	Page  int    `json:"page"`          // the newest page that may be fetched
}

// watch follows one run.
type watch struct {
	dir   string
	files *os.Root
	every time.Duration // between two looks
	pause time.Duration // between two pages at the least

	mu      sync.Mutex
	tail    *record.Tail
	grown   time.Time // when the record last grew
	version int       // of the record: how often it was seen to have grown
	said    status
	readers map[chan status]bool

	building sync.Mutex // one page at a time
	page     []byte
	built    int       // the version that page shows
	next     time.Time // when the next may be built
}

func newWatch(dir string) (*watch, error) {
	t, err := record.OpenTail(dir)
	if err != nil {
		return nil, err
	}
	files, err := os.OpenRoot(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the run's folder: %w", err), t.Close())
	}
	w := &watch{dir: dir, files: files, every: lookEvery, pause: pageEvery, tail: t, grown: time.Now(), readers: map[chan status]bool{}}
	w.look(time.Now())
	return w, nil
}

func (w *watch) close() error { return errors.Join(w.tail.Close(), w.files.Close()) }

// follow looks at the record until ctx ends.
func (w *watch) follow(ctx context.Context) {
	t := time.NewTicker(w.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			w.look(now)
		}
	}
}

// look takes what is new and tells the readers.
func (w *watch) look(now time.Time) {
	w.building.Lock()
	next := w.next
	w.building.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	more, err := w.tail.More()
	if more {
		w.version++
		w.grown = now
	}
	s := status{Run: filepath.Base(w.dir), State: "under way", Page: w.said.Page}
	at, ended, why := w.tail.Where()
	s.At = (time.Duration(at) * time.Millisecond).Truncate(time.Second).String()
	switch {
	case err != nil:
		s.State, s.Why = "unreadable", err.Error()
	case ended:
		s.State, s.Why = "ended", why
	case !w.tail.Written() && now.Sub(w.grown) >= deadAfter:
		s.State, s.Why = "died", "its record has no end, and nobody writes it any more"
	}
	if s.State != w.said.State {
		w.version++ // the page speaks of it too
	}
	if w.version != s.Page && !now.Before(next) {
		s.Page = w.version
	}
	if s == w.said {
		return
	}
	w.said = s
	for r := range w.readers {
		tell(r, s)
	}
}

// tell gives a reader the newest status; one that is slow misses those between.
func tell(r chan status, s status) {
	select {
	case <-r:
	default:
	}
	r <- s
}

// join adds a reader, as long as there are not too many.
func (w *watch) join() (r chan status, leave func(), ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.readers) >= mostReaders {
		return nil, nil, false
	}
	r = make(chan status, 1)
	r <- w.said
	w.readers[r] = true
	return r, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.readers, r)
	}, true
}

// report returns the page, built anew when the record has grown and the last building is long enough ago.
func (w *watch) report(now time.Time) ([]byte, error) {
	w.building.Lock()
	defer w.building.Unlock()
	w.mu.Lock()
	version := w.version
	if w.page != nil && (version == w.built || now.Before(w.next)) {
		w.mu.Unlock()
		return w.page, nil
	}
	r, err := w.tail.Record()
	w.mu.Unlock()
	if err != nil {
		return w.page, err
	}
	begin := time.Now()
	root, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("finding the project: %w", err)
	}
	page, err := livePage(r, reports.Options{Root: root, Dir: w.dir})
	if err != nil {
		return w.page, err
	}
	w.page, w.built = page, version
	w.next = now.Add(max(w.pause, pageFactor*time.Since(begin)))
	return page, nil
}

// escapeGlob makes a path match itself only.
func escapeGlob(s string) string {
	var b []byte
	for i := range len(s) {
		if c := s[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return cmp.Or(string(b), ".")
}
