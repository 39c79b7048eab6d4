package linux

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/binary"
)

var lane = drivers.Lane{Role: drivers.Guest, Name: "a", Provenance: drivers.Modelled}

// open opens a driver on the server; change alters the configuration.
func (s *server) open(change func(c *Config)) (*Driver, error) {
	cfg := Config{Address: s.addr, KeyFile: s.keyFile, HostKey: s.hostKey}
	if change != nil {
		change(&cfg)
	}
	env := drivers.Env{
		ID: "guest/a", Lane: lane, Clock: drivers.Clock{Zero: time.Now()}, Logf: func(string, ...any) {},
		Decode: func(v any) error {
			c := v.(*Config)
			user := c.User
			*c = cfg
			if c.User == "" {
				c.User = user
			}
			return nil
		},
	}
	d, err := Open(context.Background(), env)
	if err == nil {
		s.t.Cleanup(func() { _ = d.Close() })
		d.agentArgs = fmt.Sprintf("-dir %[1]s/log -device %[1]s/device -kmsg %[1]s/kmsg -seed %[1]s/seed", s.dir)
	}
	return d, err
}

func (s *server) mustOpen() *Driver {
	s.t.Helper()
	d, err := s.open(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// useAgent builds the real agent beforehand, so that the wait for it is not a guest's.
func (s *server) useAgent() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := binary.Binary(ctx, "linux", "amd64"); err != nil {
		s.t.Skip(err)
	}
	s.write("device", strings.Repeat("d", 1<<20))
	s.write("kmsg", "")
}

// seen is a running Observe and all that it has seen.
type seen struct {
	t    *testing.T
	mu   sync.Mutex
	all  []drivers.Observation
	more chan struct{}
	stop func()
}

func observe(t *testing.T, d *Driver) *seen {
	t.Helper()
	w := &seen{t: t, more: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Observe(ctx, func(o drivers.Observation) {
			w.mu.Lock()
			w.all = append(w.all, o)
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		})
	}()
	var once sync.Once
	w.stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(10 * time.Second):
				t.Error("Observe did not end")
			}
		})
	}
	t.Cleanup(func() {
		w.stop()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, o := range w.all {
			if o.Lo > o.Hi || o.Lane != lane || o.Topic == "" {
				t.Errorf("not an observation: %+v", o)
			}
		}
	})
	return w
}

// count is how many observations there are so far.
func (w *seen) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

// seen returns what there is so far behind the first from observations.
func (w *seen) seen(from int) []drivers.Observation {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all[from:])
}

// until waits for an observation behind the first from ones.
func (w *seen) until(from int, what string, good func(o drivers.Observation) bool) drivers.Observation {
	w.t.Helper()
	limit := time.After(40 * time.Second)
	for {
		w.mu.Lock()
		for ; from < len(w.all); from++ {
			if good(w.all[from]) {
				defer w.mu.Unlock()
				return w.all[from]
			}
		}
		w.mu.Unlock()
		select {
		case <-w.more:
		case <-limit:
			w.dump()
			w.t.Fatalf("never seen: %s", what)
		}
	}
}

func (w *seen) dump() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.all {
		if o.Kind != drivers.Sample {
			w.t.Logf("%8v %8v %s %s=%s %q %v", o.Lo.Round(time.Millisecond), o.Hi.Round(time.Millisecond), o.Kind, o.Topic, o.Value, o.Text, o.Attrs)
		}
	}
}

func (w *seen) state(from int, topic, value string) drivers.Observation {
	w.t.Helper()
	return w.until(from, topic+" "+value, func(o drivers.Observation) bool {
		return o.Kind == drivers.State && o.Topic == topic && o.Value == value
	})
}

func (w *seen) sample(from int, topic string) drivers.Observation {
	w.t.Helper()
	return w.until(from, "a sample of "+topic, func(o drivers.Observation) bool {
		return o.Kind == drivers.Sample && o.Topic == topic && o.Num >= 0
	})
}

func TestRegistered(t *testing.T) {
	r, ok := drivers.Lookup(Name)
	if !ok {
		t.Fatal("not registered")
	}
	for _, p := range []drivers.Power{drivers.CanDropCaches, drivers.CanVerifyWrites, drivers.CanHalt, drivers.CanLoad} {
		if !drivers.Has(r.Type, p) {
			t.Errorf("it lacks %s", p)
		}
	}
	if _, err := (*Driver)(nil).Undo(context.Background(), drivers.Undo{}); !errors.Is(err, drivers.ErrUnknownUndo) {
		t.Error(err)
	}
}

func TestProbe(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the guest of the test is this machine, and the driver wants root")
	}
	s := startServer(t)
	other, _ := newKey(t)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	known := filepath.Join(s.dir, "known")
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.hostKey))
	if err != nil {
		t.Fatal(err)
	}
	s.write("known", knownhosts.Line([]string{s.addr}, key)+"\n")
	wrong := filepath.Join(s.dir, "wrong")
	s.write("wrong", knownhosts.Line([]string{s.addr}, other.PublicKey())+"\n")
	stranger := startServer(t) // its key file is not s's
	for _, c := range []struct {
		name   string
		change func(c *Config)
		want   string
	}{
		{"good", nil, ""},
		{"known hosts", func(c *Config) { c.HostKey, c.KnownHosts = "", known }, ""},
		{"another host key", func(c *Config) { c.HostKey = string(ssh.MarshalAuthorizedKey(other.PublicKey())) }, "host key is not the one"},
		{"another known host", func(c *Config) { c.HostKey, c.KnownHosts = "", wrong }, "host key is not the one"},
		{"another user key", func(c *Config) { c.KeyFile = stranger.keyFile }, "refuses the credentials"},
		{"nothing there", func(c *Config) { c.Address = closed.Addr().String() }, "nothing listens there"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := s.open(c.change)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			checkOperator(t, d.Probe(ctx), c.want)
		})
	}
	t.Run("silence", func(t *testing.T) {
		s.set(func() { s.silent = true })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		checkOperator(t, s.mustOpen().Probe(ctx), "accepts the connection and then is silent")
	})
}

func checkOperator(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	var op *drivers.Operator
	if !errors.As(err, &op) || !strings.Contains(op.Error(), want) || op.Impact == "" || op.Do == "" {
		t.Fatalf("got %v, want an Operator error with %q", err, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	s := startServer(t)
	t.Setenv("APD_TEST_EMPTY", "")
	for want, change := range map[string]func(c *Config){
		"host:port":              func(c *Config) { c.Address = "10.0.0.1" },
		"no usable host key":     func(c *Config) { c.HostKey = "" },
		"reading host_key":       func(c *Config) { c.HostKey = "ssh-ed25519 nonsense" },
		"both given":             func(c *Config) { c.KnownHosts = "x" },
		"no usable credentials":  func(c *Config) { c.KeyFile = "" },
		"APD_TEST_EMPTY is not":  func(c *Config) { c.KeyFile, c.PasswordEnv = "", "APD_TEST_EMPTY" },
		"reading key_file":       func(c *Config) { c.KeyFile = filepath.Join(s.dir, "none") },
		"has no key for":         func(c *Config) { c.HostKey, c.KnownHosts = "", s.keyFile+".hosts" },
		"key_file and password_": func(c *Config) { c.PasswordEnv = "X" },
	} {
		s.write("key.hosts", "")
		_, err := s.open(change)
		checkOperator(t, err, want)
	}
}
