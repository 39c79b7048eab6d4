// This file serves what apd watch shows: to browsers of this machine, and reading only.

package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path"
	"strings"
	"syscall"
	"time"
)

// How many may look on at a time, and how often a reader to whom nothing is said is told that the server is there.
const (
	mostReaders = 32
	stillHere   = 15 * time.Second
)

//go:embed watch
var shell embed.FS

// shellFiles are the page around the report: it holds the report in a frame, which it swaps when there is a newer one.
var shellFiles = []struct{ at, name, kind string }{
	{"/{$}", "index.html", "text/html; charset=utf-8"},
	{"/watch.js", "watch.js", "text/javascript; charset=utf-8"},
	{"/watch.css", "watch.css", "text/css; charset=utf-8"},
}

// What a browser may do with each. The report's own scripts and styles stand in it; a file of evidence may be anything, and nothing
// in it is run.
const (
	shellPolicy    = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	reportPolicy   = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
	evidencePolicy = "sandbox; default-src 'none'; frame-ancestors 'self'"
)

// runFiles are the files of a run's folder that a report names, beside those below evidence/.
var runFiles = []string{"run.jsonl", "probes.jsonl.gz", "ginkgo.log", "junit.xml", "junit-full.xml", "summary.md", "metrics.txt", "run.json", "trace.json"}

// serve shows the run until ctx ends.
func (w *watch) serve(ctx context.Context, l net.Listener) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	followed := make(chan struct{})
	go func() { w.follow(ctx); close(followed) }()
	s := &http.Server{Handler: w.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 14,
		BaseContext: func(net.Listener) context.Context { return ctx }} // those who listen to events leave with it
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	var err error
	select {
	case <-ctx.Done():
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if s.Shutdown(end) != nil {
			s.Close() // a reader that takes nothing
		}
		<-failed
	case err = <-failed:
		err = fmt.Errorf("serving the page: %w", err)
	}
	stop()
	<-followed
	return err
}

func (w *watch) handler() http.Handler {
	mux := http.NewServeMux()
	for _, f := range shellFiles {
		mux.HandleFunc("GET "+f.at, func(rw http.ResponseWriter, _ *http.Request) {
			b, err := shell.ReadFile("watch/" + f.name)
			if err != nil {
				http.Error(rw, err.Error(), http.StatusInternalServerError)
				return
			}
			rw.Header().Set("Content-Security-Policy", shellPolicy)
			rw.Header().Set("Content-Type", f.kind)
			rw.Write(b) // a reader that is gone needs nothing
		})
	}
	mux.HandleFunc("GET /report.html", w.serveReport)
	mux.HandleFunc("GET /events", w.serveEvents)
	mux.HandleFunc("GET /evidence/{name...}", func(rw http.ResponseWriter, r *http.Request) {
		w.serveFile(rw, r, "evidence/"+r.PathValue("name"))
	})
	for _, name := range runFiles {
		mux.HandleFunc("GET /"+name, func(rw http.ResponseWriter, r *http.Request) { w.serveFile(rw, r, name) })
	}
	return guarded(mux)
}

// guarded answers only those who mean this machine: a page of the web whose name was made to lead here has its own name in Host.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", evidencePolicy)
		if !loopbackName(r.Host) {
			http.Error(rw, "this server answers only to localhost", http.StatusMisdirectedRequest)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(rw, "this server is read only", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// loopbackName tells whether a Host header names this machine, on whatever port: it may come through a tunnel.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (w *watch) serveReport(rw http.ResponseWriter, _ *http.Request) {
	page, err := w.report(time.Now())
	if err != nil && page == nil {
		http.Error(rw, "there is no report yet: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	rw.Header().Set("Content-Security-Policy", reportPolicy)
	rw.Header().Set("Content-Type", "text/html; charset=utf-8")
	rw.Write(page) // a reader that is gone needs no page
}

// serveEvents tells a reader what becomes of the run, as server-sent events.
func (w *watch) serveEvents(rw http.ResponseWriter, r *http.Request) {
	news, leave, ok := w.join()
	if !ok {
		http.Error(rw, "too many are looking on", http.StatusServiceUnavailable)
		return
	}
	defer leave()
	out := http.NewResponseController(rw)
	rw.Header().Set("Content-Type", "text/event-stream")
	still := time.NewTicker(stillHere)
	defer still.Stop()
	for {
		line := ": still here\n\n"
		select {
		case <-r.Context().Done():
			return
		case s := <-news:
			b, err := json.Marshal(s)
			if err != nil {
				return
			}
			line = "data: " + string(b) + "\n\n"
		case <-still.C:
		}
		if err := errors.Join(out.SetWriteDeadline(time.Now().Add(stillHere)), write(rw, line), out.Flush()); err != nil {
			return
		}
	}
}

func write(rw http.ResponseWriter, s string) error { _, err := rw.Write([]byte(s)); return err }

// contentTypes are those of which a browser shows something; other texts are plain text and the rest is only kept.
var contentTypes = map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp",
	".svg": "image/svg+xml", ".gz": "application/octet-stream", ".pcap": "application/octet-stream"}

// serveFile serves a regular file of the run's folder. No name and no link leads out of it.
func (w *watch) serveFile(rw http.ResponseWriter, r *http.Request, name string) {
	f, err := w.files.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not to be waited for
	if err != nil {
		http.Error(rw, "there is no such file", http.StatusNotFound)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		http.Error(rw, "there is no such file", http.StatusNotFound)
		return
	}
	ct, ok := contentTypes[strings.ToLower(path.Ext(name))]
	if !ok {
		ct = "text/plain; charset=utf-8"
	}
	rw.Header().Set("Content-Type", ct)
	http.ServeContent(rw, r, "", st.ModTime(), f)
}
