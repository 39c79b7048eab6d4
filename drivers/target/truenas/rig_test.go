// This file has the lab of these tests: a real tgtd behind a modelled API.

package truenas

import (
	"context"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

const (
	iqn      = "iqn.2005-10.org.freenas.ctl:lab"
	password = "pa55-\"quoted\"-w0rd"
	apiKey   = "7-Kq2XsecretsecretK3y"
)

// freePortal is a loopback address below the ports that connections get by themselves, so that none of the many here
// takes it while the daemon is down.
func freePortal(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}

// daemon is a tgtd.
type daemon struct{ c local.Config }

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	for _, bin := range []string{"tgtd", "tgtadm"} {
		if _, err := localproc.LookPath(bin); err != nil {
			t.Skipf("%v (Debian package tgt)", err)
		}
	}
	dir, err := os.MkdirTemp("", "nas") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "lun1")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &daemon{local.Config{Control: 1 + rand.IntN(30000), Dir: dir, Socket: filepath.Join(dir, "ipc"), Portal: freePortal(t), Target: iqn,
		LUNs: []local.LUN{{LUN: 1, File: file}}}}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemon) Start() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return local.Start(ctx, d.c)
}

func (d *daemon) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := local.Kill(ctx, d.c)
	return err
}

func (d *daemon) Running() bool {
	id, err := localproc.Load(filepath.Join(d.c.Dir, "tgtd-"+strconv.Itoa(d.c.Control)+".pid"))
	return err == nil && id.Alive()
}

// adm asks the daemon.
func (d *daemon) adm(args ...string) (string, error) {
	bin, err := localproc.LookPath("tgtadm")
	if err != nil {
		return "", err
	}
	cmd := exec.Command(bin, append([]string{"-C", strconv.Itoa(d.c.Control), "--lld", "iscsi"}, args...)...)
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+d.c.Socket)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (d *daemon) probe(ctx context.Context) error {
	return iscsi.Probe(ctx, d.c.Portal, "iqn.2026-11.x:kit", iqn, 1)
}

// fake is a daemon that is a flag, for tests that never look at the wire.
type fake struct {
	mu sync.Mutex
	on bool
}

func (f *fake) set(on bool) error { f.mu.Lock(); defer f.mu.Unlock(); f.on = on; return nil }
func (f *fake) Start() error      { return f.set(true) }
func (f *fake) Stop() error       { return f.set(false) }
func (f *fake) Running() bool     { f.mu.Lock(); defer f.mu.Unlock(); return f.on }

// lab is a NAS and how a driver reaches it.
type lab struct {
	t    *testing.T
	nas  *sim.NAS
	conf Config
	env  map[string]string
	time timing
}

// brisk is the times of these tests: the bounds are for busy machines, the intervals short.
var brisk = timing{quick: 10 * time.Second, act: 15 * time.Second, stop: 20 * time.Second, start: 20 * time.Second, down: 20 * time.Second, back: 30 * time.Second,
	inFlight: 100 * time.Millisecond, bootGrace: 300 * time.Millisecond, poll: 60 * time.Millisecond, look: 200 * time.Millisecond, lookBoot: 250 * time.Millisecond}

// newLab starts a NAS of a version with a daemon; nil is a flag for one. The change, if any, comes before it starts.
func newLab(t *testing.T, version string, d *daemon, change func(*sim.Config)) *lab {
	t.Helper()
	c := sim.Config{Version: version, User: "root", Password: password, APIKey: apiKey, Target: iqn, LUN: 1, BootTime: 400 * time.Millisecond,
		RebootDelay: 50 * time.Millisecond, JobLag: 50 * time.Millisecond, Service: &fake{on: true}}
	portal := "127.0.0.1:1"
	if d != nil {
		c.Service, portal = d, d.c.Portal
	}
	if change != nil {
		change(&c)
	}
	nas, err := sim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nas.Close)
	return &lab{t: t, nas: nas, conf: Config{URL: nas.URL, User: "root", Thumbprint: nas.Thumbprint, Portal: portal, Target: iqn, LUN: 1},
		env: map[string]string{"TRUENAS_PASSWORD": password}, time: brisk}
}

// withKey logs in with the API key and not the password.
func (l *lab) withKey() *lab {
	l.env = map[string]string{"TRUENAS_API_KEY": apiKey}
	return l
}

func (l *lab) tryOpen() (*Driver, error) {
	env := drivers.Env{ID: "target", Lane: drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Modelled}, Clock: drivers.Clock{Zero: time.Now()}}
	d, err := open(env, l.conf, func(k string) string { return l.env[k] })
	if err == nil {
		d.t = l.time
	}
	return d, err
}

// open gives a driver of its own, as another process would have.
func (l *lab) open() *Driver {
	l.t.Helper()
	d, err := l.tryOpen()
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = d.Close() })
	return d
}

func (l *lab) lie(change func(*sim.Lies)) { l.nas.Lie(change) }

// clean fails the test when a text has a secret in it.
func clean(t *testing.T, text string) {
	t.Helper()
	for _, s := range (login{user: "root", password: password, key: apiKey}).secrets() {
		if strings.Contains(text, s) {
			t.Errorf("there is a secret in: %s", text)
		}
	}
}

// journal keeps undos.
type journal struct{ us []drivers.Undo }

func (j *journal) add(_ context.Context, u drivers.Undo) error { j.us = append(j.us, u); return nil }

// told checks that an error is for the operator, has all of these words, and no secret.
func told(t *testing.T, err error, words ...string) {
	t.Helper()
	op, ok := err.(*drivers.Operator)
	if !ok {
		t.Fatalf("no *drivers.Operator: %v", err)
	}
	if op.Cause == "" || op.Impact == "" || op.Do == "" {
		t.Errorf("it lacks cause, impact or what to do: %+v", op)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q: %v", w, err)
		}
	}
	clean(t, err.Error())
}

// plainDial sends every connection to one address.
func plainDial(to string) drivers.Dial {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, to)
	}
}
