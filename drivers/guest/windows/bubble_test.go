package windows

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	vsphere "github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/windows"
)

const (
	testUser = "Administrator"
	secret   = `p'a"$w(ö)rd`
)

// seen is what an Observe emitted.
type seen struct {
	mu  sync.Mutex
	all []drivers.Observation
}

func (s *seen) emit(o drivers.Observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, o)
}

func (s *seen) find(kind drivers.Kind, topic string) []drivers.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []drivers.Observation
	for _, o := range s.all {
		if o.Kind == kind && o.Topic == topic {
			out = append(out, o)
		}
	}
	return out
}

func (s *seen) values(kind drivers.Kind, topic string) []string {
	var out []string
	for _, o := range s.find(kind, topic) {
		out = append(out, o.Value)
	}
	return out
}

// at is the state of a topic at a time: the last whose Lo is not later.
func (s *seen) at(topic string, t time.Duration) string {
	value := ""
	for _, o := range s.find(drivers.State, topic) {
		if o.Lo <= t {
			value = o.Value
		}
	}
	return value
}

// rig is a guest and what its driver needs to reach it.
type rig struct {
	guest *sim.Guest
	net   *sim.Network
	cert  tls.Certificate
	host  string
	dir   string
	cfg   Config
	agent []byte
}

var testCert = sync.OnceValues(func() (tls.Certificate, error) { return vsphere.SelfSigned("windows") })

func thumb(c tls.Certificate) string {
	sum := sha256.Sum256(c.Certificate[0])
	return hex.EncodeToString(sum[:])
}

// newRig makes a guest in a network in memory and switches it on.
func newRig(t testing.TB, dir string, c sim.Config) *rig {
	t.Helper()
	cert, err := testCert()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{net: &sim.Network{}, cert: cert, host: "windows", dir: dir, agent: []byte(strings.Repeat("program ", 40000))}
	r.cfg = Config{Address: "windows:5986", Thumbprint: thumb(cert), User: testUser, PasswordFile: filepath.Join(dir, "password")}
	if err := os.WriteFile(r.cfg.PasswordFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.guest = r.newGuest(t, c)
	return r
}

func (r *rig) newGuest(t testing.TB, c sim.Config) *sim.Guest {
	c.User, c.Password, c.Listen = testUser, secret, r.net.AgentAt(r.host)
	c.Name = r.host
	g := sim.New(c)
	l, err := r.net.Listen(r.host + ":5986")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = g.Serve(l, r.cert) }()
	g.Power(true)
	return g
}

func (r *rig) open(t testing.TB, change func(*Config, *drivers.Env)) *Driver {
	t.Helper()
	env := drivers.Env{ID: "guest/w", Lane: drivers.Lane{Role: drivers.Guest, Name: "w", Provenance: drivers.Modelled},
		Clock: drivers.Clock{Zero: time.Now()}, Dial: r.net.Dial, Logf: func(string, ...any) {}}
	cfg := r.cfg
	if change != nil {
		change(&cfg, &env)
	}
	env.Decode = func(v any) error {
		reflect.ValueOf(v).Elem().Set(reflect.ValueOf(cfg))
		return nil
	}
	d, err := Open(context.Background(), env)
	if err != nil {
		t.Fatal(err)
	}
	d.binary = func(context.Context, string, string) ([]byte, error) { return r.agent, nil }
	return d
}

// observe runs Observe for the rest of f.
func observe(t *testing.T, d *Driver, f func(s *seen)) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Observe(ctx, s.emit) }()
	f(s)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	return s
}

// inBubble runs a test on a clock that passes only when nobody has anything to do.
func inBubble(t *testing.T, c sim.Config, f func(t *testing.T, r *rig, d *Driver)) {
	t.Helper()
	dir := t.TempDir()
	if _, err := testCert(); err != nil { // made outside: the bubble's clock begins in the past
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, dir, c)
		d := r.open(t, nil)
		time.Sleep(time.Minute)
		defer func() {
			_ = d.Close()
			_ = r.guest.Close()
			time.Sleep(time.Minute) // what was under way ends
		}()
		f(t, r, d)
	})
}

func TestShortOutage(t *testing.T) {
	inBubble(t, sim.Config{DiskTimeout: 60}, func(t *testing.T, r *rig, d *Driver) {
		g := NewWithT(t)
		g.Expect(d.Probe(t.Context())).To(Succeed())
		settings, err := d.Settings(t.Context())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(settings).To(And(HaveKeyWithValue("os", "windows"), HaveKeyWithValue("build", "15063.296"), HaveKeyWithValue("disk_timeout", "60"),
			HaveKeyWithValue("sleep", "0"), HaveKeyWithValue("page_file", `C:\pagefile.sys`), HaveKeyWithValue("crash_dump", "automatic"),
			HaveKeyWithValue("auto_reboot", "yes"), HaveKeyWithValue("auto_repair", "yes")))
		var cut, back time.Duration
		s := observe(t, d, func(*seen) {
			time.Sleep(time.Minute)
			cut = d.env.Clock.Now()
			r.guest.Disk(false)
			time.Sleep(15 * time.Minute)
			back = d.env.Clock.Now()
			r.guest.Disk(true)
			time.Sleep(2 * time.Minute)
			g.Expect(d.Load(t.Context(), 2)).To(Succeed())
			time.Sleep(10 * time.Second)
			obs, err := d.VerifyWrites(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(obs[0].Value).To(Equal("intact"))
			g.Expect(obs[0].Attrs["files"]).To(Equal("3"))
			g.Expect(obs[1].Value).To(Equal("ok"))
		})
		g.Expect(s.values(drivers.State, "busy")).To(Equal([]string{"normal", "full", "normal"}))
		g.Expect(s.values(drivers.State, "folder")).To(Equal([]string{"ok", "blocked", "ok"}))
		g.Expect(s.values(drivers.State, "disk")).To(Equal([]string{"ok", "blocked", "ok"}))
		g.Expect(s.values(drivers.State, "winrm")).To(Equal([]string{"answers", "silent", "answers"}))
		g.Expect(s.values(drivers.State, "agent")).To(Equal([]string{"up"}))
		g.Expect(s.values(drivers.State, "memory")).To(Equal([]string{"kept"}))
		g.Expect(s.values(drivers.State, "alive")).To(Equal([]string{"beating"}))
		g.Expect(s.values(drivers.State, "boot")).To(HaveLen(1))
		g.Expect(s.values(drivers.State, "load")).To(Equal([]string{"none", "working"}))
		g.Expect(s.find(drivers.Event, "bugcheck")).To(BeEmpty())
		full := s.find(drivers.State, "busy")[1]
		g.Expect(full.Lo).To(BeNumerically("~", cut, 1500*time.Millisecond))
		g.Expect(full.Hi - full.Lo).To(BeNumerically("<", 4*time.Second))
		for _, topic := range []string{"busy", "folder", "winrm"} {
			last := s.find(drivers.State, topic)[2]
			g.Expect(last.Hi).To(BeNumerically(">=", back), topic)
			g.Expect(last.Hi).To(BeNumerically("<", back+3*time.Second), topic)
		}
		g.Expect(len(s.find(drivers.Sample, "busy"))).To(BeNumerically(">", 1000))
	})
}

func TestBlueScreen(t *testing.T) {
	inBubble(t, sim.Config{Crash: func(time.Duration) float64 { return 1 }}, func(t *testing.T, r *rig, d *Driver) {
		g := NewWithT(t)
		var back time.Duration
		s := observe(t, d, func(s *seen) {
			time.Sleep(time.Minute)
			r.guest.Disk(false)
			time.Sleep(20 * time.Minute)
			g.Expect(s.at("alive", d.env.Clock.Now())).To(Equal("beating"))
			back = d.env.Clock.Now()
			r.guest.Disk(true)
			time.Sleep(10 * time.Minute)
			obs, err := d.VerifyWrites(t.Context())
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(obs[0].Value).To(Equal("intact"))
		})
		g.Expect(s.values(drivers.State, "boot")).To(HaveLen(2))
		g.Expect(s.values(drivers.State, "memory")).To(Equal([]string{"kept", "lost", "kept"}))
		g.Expect(s.values(drivers.State, "agent")).To(HaveExactElements("up", "lost", ContainElement("lost"), "up"))
		_ = back
	})
}

func init() { _ = fmt.Sprint; _ = net.ErrClosed }
