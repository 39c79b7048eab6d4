package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// shortDir is a folder whose name fits into a socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qemu")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// request is one command as QEMU gets it.
type request struct {
	Execute   string          `json:"execute"`
	Arguments json.RawMessage `json:"arguments"`
	ID        int             `json:"id"`
}

// fakeQMP is a monitor: answer is called for each command, in order, and writes what it likes.
type fakeQMP struct {
	socket string
	answer func(w io.Writer, r request)

	mu    sync.Mutex
	hung  chan struct{} // not nil: nothing is read or written until it is closed
	conns map[net.Conn]bool
	wg    sync.WaitGroup
}

const greeting = `{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 10}}, "capabilities": ["oob"]}}` + "\r\n"

func startQMP(t testing.TB, answer func(w io.Writer, r request)) *fakeQMP {
	t.Helper()
	f := &fakeQMP{socket: filepath.Join(shortDir(t), "q"), answer: answer, conns: map[net.Conn]bool{}}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	f.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns[c] = true
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.release()
		f.drop()
		f.wg.Wait()
	})
	return f
}

func (f *fakeQMP) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, greeting)
	for sc := bufio.NewScanner(c); sc.Scan(); {
		f.mu.Lock()
		hung := f.hung
		f.mu.Unlock()
		if hung != nil {
			<-hung
		}
		var r request
		if json.Unmarshal(sc.Bytes(), &r) != nil {
			continue
		}
		if r.Execute == "qmp_capabilities" {
			ok(c, r, "{}")
		} else {
			f.answer(c, r)
		}
	}
}

func (f *fakeQMP) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.conns {
		_ = c.Close()
	}
}

func (f *fakeQMP) hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung = make(chan struct{})
}

func (f *fakeQMP) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hung != nil {
		close(f.hung)
	}
	f.hung = nil
}

// ok answers r with a result.
func ok(w io.Writer, r request, result string) {
	_, _ = fmt.Fprintf(w, `{"return": %s, "id": %d}`+"\r\n", result, r.ID)
}

// runs answers every query-status.
func runs(w io.Writer, r request) {
	ok(w, r, `{"status": "running", "singlestep": false, "running": true}`)
}

// fakeLauncher is a launcher's socket.
type fakeLauncher struct {
	socket string

	mu      sync.Mutex
	state   HostState
	events  []HostEvent
	more    chan struct{}
	hung    chan struct{}
	failing bool
	posts   []string
	picture []byte
}

func startLauncher(t testing.TB, state HostState) *fakeLauncher {
	t.Helper()
	f := &fakeLauncher{socket: filepath.Join(shortDir(t), "l"), state: state, more: make(chan struct{})}
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.HandleFunc("GET /state", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		_ = json.NewEncoder(w).Encode(f.state)
	})
	m.HandleFunc("GET /events", f.follow)
	m.HandleFunc("POST /vms/{vm}/{op}", f.post)
	ctx, cancel := context.WithCancel(context.Background())
	srv := &http.Server{Handler: f.gate(m), BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() {
		cancel()
		_ = srv.Close()
		<-done
	})
	return f
}

// gate holds requests back while the launcher hangs, and fails them while it fails.
func (f *fakeLauncher) gate(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		hung, failing := f.hung, f.failing
		f.mu.Unlock()
		if hung != nil {
			select {
			case <-hung:
			case <-r.Context().Done():
				return
			}
		}
		if failing {
			http.Error(w, "it is broken", http.StatusInternalServerError)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func (f *fakeLauncher) follow(w http.ResponseWriter, r *http.Request) {
	enc, rc, n := json.NewEncoder(w), http.NewResponseController(w), 0
	for {
		f.mu.Lock()
		es, more := f.events[n:], f.more
		n = len(f.events)
		f.mu.Unlock()
		for _, e := range es {
			_ = enc.Encode(e)
		}
		if rc.Flush() != nil {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			return
		}
	}
}

func (f *fakeLauncher) happen(e HostEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, e)
	close(f.more)
	f.more = make(chan struct{})
}

func (f *fakeLauncher) post(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.posts = append(f.posts, r.PathValue("vm")+" "+r.PathValue("op"))
	for i := range f.state.VMs {
		if vm := &f.state.VMs[i]; vm.Name == r.PathValue("vm") {
			switch r.PathValue("op") {
			case "on":
				vm.On = true
			case "off":
				vm.On = false
			case "screenshot":
				var in struct{ File string }
				if json.NewDecoder(r.Body).Decode(&in) == nil {
					_ = os.WriteFile(in.File, f.picture, 0o600)
				}
			}
			return
		}
	}
	http.Error(w, "no such machine", http.StatusNotFound)
}

func (f *fakeLauncher) did() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.posts...)
}

func (f *fakeLauncher) look() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := ""
	for _, vm := range f.state.VMs {
		s += fmt.Sprintf("%s on %t; ", vm.Name, vm.On)
	}
	return s + fmt.Sprint(f.posts)
}

func (f *fakeLauncher) hang() func() {
	ch := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung = ch
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hung = nil
		close(ch)
	}
}

func (f *fakeLauncher) fail() func() {
	set := func(b bool) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.failing = b
	}
	set(true)
	return func() { set(false) }
}

// within is a context that ends with the test, or earlier.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
