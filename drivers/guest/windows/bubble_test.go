package windows

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
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

// network is what guests listen in and drivers dial in.
type network interface {
	Listen(address string) (net.Listener, error)
	Dial(ctx context.Context, network, address string) (net.Conn, error)
}

// loop is a network of real sockets on the loopback, by names of their own.
type loop struct{ at sync.Map }

func (l *loop) Listen(address string) (net.Listener, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		l.at.Store(address, ln.Addr().String())
	}
	return ln, err
}

func (l *loop) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	to, ok := l.at.Load(address)
	if !ok {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	return (&net.Dialer{}).DialContext(ctx, network, to.(string))
}

// rig is a guest and what its driver needs to reach it.
type rig struct {
	guest *sim.Guest
	net   network
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
func newRig(t testing.TB, dir string, n network, c sim.Config) *rig {
	t.Helper()
	cert, err := testCert()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{net: n, cert: cert, host: "windows", dir: dir, agent: []byte(strings.Repeat("program ", 40000))}
	r.cfg = Config{Address: "windows:5986", Thumbprint: thumb(cert), User: testUser, PasswordFile: filepath.Join(dir, "password")}
	if err := os.WriteFile(r.cfg.PasswordFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.guest = r.newGuest(t, c)
	return r
}

func (r *rig) newGuest(t testing.TB, c sim.Config) *sim.Guest {
	c.User, c.Password, c.Name = testUser, secret, r.host
	c.Listen = func(address string) (net.Listener, error) {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		return r.net.Listen(net.JoinHostPort(c.Name, port))
	}
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
	d.Binary = func(context.Context, string, string) ([]byte, error) { return r.agent, nil }
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
		r := newRig(t, dir, &sim.Network{}, c)
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

// crash takes the disk away for a time from a guest that then crashes, and waits until it is up again.
func crash(t *testing.T, r *rig, d *Driver, outage time.Duration) (s *seen, cut, back time.Duration) {
	s = observe(t, d, func(s *seen) {
		time.Sleep(time.Minute)
		cut = d.env.Clock.Now()
		r.guest.Disk(false)
		time.Sleep(outage)
		back = d.env.Clock.Now()
		r.guest.Disk(true)
		time.Sleep(4 * time.Minute)
	})
	return s, cut, back
}

var always = func(time.Duration) float64 { return 1 }

func TestBlueScreen(t *testing.T) {
	inBubble(t, sim.Config{Crash: always}, func(t *testing.T, r *rig, d *Driver) {
		g := NewWithT(t)
		s, cut, back := crash(t, r, d, 20*time.Minute)
		g.Expect(s.values(drivers.State, "boot")).To(Equal([]string{"windows-boot-1", "windows-boot-2"}))
		g.Expect(s.values(drivers.State, "memory")).To(Equal([]string{"kept", "lost", "kept"}))
		agents := s.values(drivers.State, "agent")
		g.Expect(agents[0]).To(Equal("up"))
		g.Expect(agents[len(agents)-1]).To(Equal("up"))
		g.Expect(agents[1 : len(agents)-1]).To(HaveEach("lost"))
		g.Expect(s.at("alive", back-time.Second)).To(Equal("beating"))
		g.Expect(s.at("busy", back-5*time.Second)).To(Equal("full"))
		lost := s.find(drivers.State, "memory")[1]
		g.Expect(lost.Lo).To(BeNumerically(">=", back))
		for topic, value := range map[string]string{"bugcheck": "0x000000EF", "kernel-power": "41", "chkdsk": "wininit-1001"} {
			e := s.find(drivers.Event, topic)
			g.Expect(e).To(HaveLen(1), topic)
			g.Expect(e[0].Value).To(Equal(value))
			g.Expect(e[0].Attrs["logged"]).NotTo(BeEmpty())
			g.Expect(e[0].Lo).To(BeNumerically(">=", back), topic)
			g.Expect(e[0].Lo).To(BeNumerically("<", back+3*time.Second), topic)
		}
		g.Expect(s.find(drivers.Event, "bugcheck")[0].Attrs["name"]).To(Equal("CRITICAL_PROCESS_DIED"))
		g.Expect(s.find(drivers.Event, "kernel-power")[0].Attrs["name"]).To(Equal("CRITICAL_PROCESS_DIED"))
		g.Expect(s.find(drivers.Event, "bugcheck")[0].Hi).To(BeNumerically("<", back+30*time.Second)) // the boot's beginning, not its end
		g.Expect(s.values(drivers.Event, "repair")).To(ConsistOf("trail", "startup-repair-1117"))
		g.Expect(s.find(drivers.Event, "winrm")).To(BeEmpty())
		g.Expect(s.at("winrm", cut+time.Minute)).To(Equal("silent"))

		obs, err := d.VerifyWrites(t.Context()) // by an agent that is reached for this alone
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(obs[0].Value).To(Equal("intact"))
		g.Expect(obs[0].Attrs["files"]).To(Equal("2"))

		again := observe(t, d, func(*seen) { time.Sleep(2 * time.Minute) }) // what is told is not told again
		g.Expect(again.find(drivers.Event, "bugcheck")).To(BeEmpty())
		g.Expect(again.values(drivers.State, "memory")).To(Equal([]string{"kept"}))
	})
}

// TestSaboteurs shows for each way of misbehaving what the driver says that it does not say of a guest that behaves.
func TestSaboteurs(t *testing.T) {
	for name, c := range map[string]struct {
		is    sim.Misbehave
		check func(g *WithT, s *seen, cut, back time.Duration)
	}{
		"blue screen before recovery": {sim.Misbehave{BlueBeforeReturn: time.Minute}, func(g *WithT, s *seen, cut, back time.Duration) {
			e := s.find(drivers.Event, "bugcheck")
			g.Expect(e).To(HaveLen(1))
			g.Expect(e[0].Lo).To(BeNumerically("<", cut+2*time.Minute))
			g.Expect(s.at("alive", back-30*time.Second)).To(Equal("silent"))
		}},
		"idle": {sim.Misbehave{Idle: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.values(drivers.State, "busy")).NotTo(ContainElement("full"))
		}},
		"open folders": {sim.Misbehave{OpenFolders: true}, func(g *WithT, s *seen, _, back time.Duration) {
			g.Expect(s.at("folder", back-5*time.Second)).To(Equal("ok"))
		}},
		"boot faked": {sim.Misbehave{FakeBoot: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.values(drivers.State, "boot")).To(HaveLen(1))
			g.Expect(s.values(drivers.State, "memory")).To(ContainElement("lost"))
		}},
		"memory survives": {sim.Misbehave{KeepMemory: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.values(drivers.State, "boot")).To(HaveLen(2))
			g.Expect(s.values(drivers.State, "memory")).To(Equal([]string{"kept"}))
		}},
		"wrong code": {sim.Misbehave{WrongCode: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.values(drivers.Event, "bugcheck")).To(Equal([]string{"0x0000007A"}))
		}},
		"no disk check": {sim.Misbehave{NoDiskCheck: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.find(drivers.Event, "chkdsk")).To(BeEmpty())
			g.Expect(s.find(drivers.Event, "repair")).NotTo(BeEmpty())
		}},
		"no repair": {sim.Misbehave{NoRepair: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.find(drivers.Event, "repair")).To(BeEmpty())
		}},
		"agent in the shell": {sim.Misbehave{AgentInShell: true}, func(g *WithT, s *seen, _, _ time.Duration) {
			g.Expect(s.values(drivers.State, "agent")).To(ContainElement("lost"))
		}},
		"garbage": {sim.Misbehave{Garbage: true}, func(g *WithT, s *seen, cut, _ time.Duration) {
			g.Expect(s.values(drivers.State, "agent")).To(HaveEach("lost"))
			g.Expect(s.at("winrm", cut-20*time.Second)).To(Equal("refused"))
		}},
		"agent falls silent": {sim.Misbehave{Silent: true}, func(g *WithT, s *seen, _, back time.Duration) {
			g.Expect(s.at("alive", back-time.Second)).To(Equal("silent"))
		}},
		"slow return": {sim.Misbehave{SlowReturn: time.Minute, NeverCrash: true}, func(g *WithT, s *seen, _, back time.Duration) {
			busy := s.find(drivers.State, "busy")
			g.Expect(busy[len(busy)-1].Hi).To(BeNumerically(">", back+50*time.Second))
		}},
		"writes lost": {sim.Misbehave{LoseWrites: 3}, func(*WithT, *seen, time.Duration, time.Duration) {}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, sim.Config{Crash: always, Misbehave: c.is}, func(t *testing.T, r *rig, d *Driver) {
				g := NewWithT(t)
				s, cut, back := crash(t, r, d, 3*time.Minute)
				c.check(g, s, cut, back)
				if c.is.LoseWrites > 0 {
					obs, err := d.VerifyWrites(t.Context())
					g.Expect(err).NotTo(HaveOccurred())
					g.Expect(obs[0].Value).To(Equal("damaged"))
				}
			})
		})
	}
}

// TestReconnect takes the agent's connection away: the agent is the same, and what it saw meanwhile is told.
func TestReconnect(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, r *rig, d *Driver) {
		g := NewWithT(t)
		var mu sync.Mutex
		var conns []net.Conn
		dial := d.env.Dial
		broken := false
		d.env.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return nil, os.ErrDeadlineExceeded
			}
			c, err := dial(ctx, network, address)
			if err == nil && address == d.agentAddress() {
				conns = append(conns, c)
			}
			return c, err
		}
		var cut time.Duration
		s := observe(t, d, func(*seen) {
			time.Sleep(time.Minute)
			mu.Lock()
			broken = true
			for _, c := range conns {
				_ = c.Close()
			}
			mu.Unlock()
			time.Sleep(time.Minute)
			cut = d.env.Clock.Now()
			r.guest.Disk(false)
			time.Sleep(time.Minute)
			r.guest.Disk(true)
			time.Sleep(time.Minute)
			mu.Lock()
			broken = false
			mu.Unlock()
			time.Sleep(time.Minute)
		})
		g.Expect(s.values(drivers.State, "memory")).To(Equal([]string{"kept"}))
		g.Expect(s.values(drivers.State, "boot")).To(HaveLen(1))
		g.Expect(s.values(drivers.State, "busy")).To(ContainElement("full"))
		var full []time.Duration
		for _, o := range s.find(drivers.Sample, "busy") {
			if o.Num == 100 {
				full = append(full, o.Lo)
			}
		}
		g.Expect(len(full)).To(BeNumerically("~", 60, 2))
		g.Expect(full[0]).To(BeNumerically("~", cut, 2*time.Second)) // placed when it was, by the clock that is known
		all := map[string]time.Duration{}
		for _, o := range s.all {
			key := string(o.Kind) + o.Topic
			g.Expect(o.Hi).To(BeNumerically(">=", all[key]), key)
			all[key] = o.Hi
		}
	})
}

// TestHalt shuts the guest down.
func TestHalt(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, r *rig, d *Driver) {
		g := NewWithT(t)
		g.Expect(d.Halt(t.Context())).To(Succeed())
		_, doing := r.guest.Up()
		g.Expect(doing).To(Equal("off"))
		g.Expect(d.Load(t.Context(), 1)).NotTo(Succeed())
		r.guest.Power(true)
		time.Sleep(time.Minute)
		r.guest.Disk(false)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		begun := time.Now()
		g.Expect(d.Halt(ctx)).NotTo(Succeed())
		g.Expect(time.Since(begun)).To(BeNumerically("<=", 11*time.Second))
	})
}

// watcher is something plugged in.
type watcher struct{ d *Driver }

func (w watcher) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	now := w.d.env.Clock.Now()
	emit(drivers.Observation{Lo: now, Hi: now, Lane: w.d.env.Lane, Kind: drivers.State, Topic: "rdp.new", Value: "logon"})
	<-ctx.Done()
	return nil
}

func TestPluggedIn(t *testing.T) {
	inBubble(t, sim.Config{}, func(t *testing.T, _ *rig, d *Driver) {
		d.RDP = watcher{d}
		s := observe(t, d, func(*seen) { time.Sleep(10 * time.Second) })
		NewWithT(t).Expect(s.values(drivers.State, "rdp.new")).To(Equal([]string{"logon"}))
	})
}
