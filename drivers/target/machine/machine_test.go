package machine

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/qemu"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

// launcher has one machine, "nas", whose power is that of a real tgtd.
type launcher struct {
	socket string
	c      local.Config
	t      *testing.T

	mu   sync.Mutex
	on   bool
	hung chan struct{}
	fail bool
}

func daemon(t *testing.T, dir string, control int) local.Config {
	t.Helper()
	c := local.Config{Control: control, Dir: dir, Socket: filepath.Join(dir, "ipc"), Portal: iscsitest.FreeAddr(t), Target: "iqn.2026-11.io.github.allpathsdown.test:nas"}
	file := filepath.Join(dir, "lun")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	c.LUNs = []local.LUN{{LUN: 1, File: file}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := local.Kill(ctx, c); err != nil {
			t.Error(err)
		}
	})
	if err := local.Start(t.Context(), c); err != nil {
		t.Skip(err)
	}
	return c
}

func start(t *testing.T) *launcher {
	t.Helper()
	dir := oversshtest.Dir(t)
	l := &launcher{t: t, socket: filepath.Join(dir, "l"), c: daemon(t, dir, 1), on: true}
	ln, err := net.Listen("unix", l.socket)
	if err != nil {
		t.Fatal(err)
	}
	m := http.NewServeMux()
	m.HandleFunc("GET /state", l.state)
	m.HandleFunc("POST /vms/nas/{op}", l.turn)
	srv := &http.Server{Handler: m, ReadHeaderTimeout: time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return l
}

func (l *launcher) state(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	hung, fail, s := l.hung, l.fail, qemu.HostState{VMs: []qemu.VMState{{Name: "a", On: true}}, NAS: &qemu.VMState{Name: "nas", On: l.on}}
	l.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
	}
	if fail {
		http.Error(w, "it is broken", http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(s)
}

func (l *launcher) turn(w http.ResponseWriter, r *http.Request) {
	on := r.PathValue("op") == "on"
	var err error
	if on {
		err = local.Start(r.Context(), l.c)
	} else {
		_, err = local.Kill(r.Context(), l.c)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on = on
}

func (l *launcher) look() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.on {
		return "on"
	}
	return "off"
}

func (l *launcher) driver() *Driver {
	return New(drivers.Env{ID: "target-machine", Clock: drivers.Clock{Zero: time.Now()}, Lane: drivers.Lane{Role: drivers.Target, Name: "nas/machine", Provenance: drivers.Embedded}},
		Config{Launcher: l.socket, VM: "nas", LUNs: l.c.LUNs})
}

func TestConformance(t *testing.T) {
	l := start(t)
	control := daemon(t, oversshtest.Dir(t), 2)
	probe := func(c local.Config) func(context.Context) error {
		return func(ctx context.Context) error { return iscsi.Probe(ctx, c.Portal, "iqn.2026-11.x:kit", c.Target, 1) }
	}
	conformance.Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) { d := l.driver(); return d, d.env.Clock }, conformance.Options{
		State: l.look, LUN: 1, Wire: probe(l.c), Control: probe(control),
		Hang: func() func() {
			ch := make(chan struct{})
			l.mu.Lock()
			l.hung = ch
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				l.hung = nil
				l.mu.Unlock()
				close(ch)
			}
		},
		Fail: func() func() {
			set := func(v bool) {
				l.mu.Lock()
				defer l.mu.Unlock()
				l.fail = v
			}
			set(true)
			return func() { set(false) }
		},
	})
}

func TestWhatItCannotDo(t *testing.T) {
	g := NewWithT(t)
	l := start(t)
	d := l.driver()
	defer d.Close()
	_, err := d.CheckImage(t.Context(), 9)
	g.Expect(err).To(MatchError("the target has no LUN 9"))
	d.c.VM = "other"
	g.Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring(`has no machine "other"`)))
	journalled := false
	g.Expect(d.CutPower(t.Context(), func(context.Context, drivers.Undo) error { journalled = true; return nil })).NotTo(Succeed())
	g.Expect(journalled).To(BeFalse())
	gone := New(drivers.Env{}, Config{Launcher: filepath.Join(strings.TrimSuffix(l.socket, "l"), "none"), VM: "nas"})
	g.Expect(gone.Undo(t.Context(), drivers.Undo{Op: opOn})).To(Equal(drivers.NothingLeft), "a lab that is gone has nothing to put back")
}
