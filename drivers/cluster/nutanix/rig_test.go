package nutanix

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
)

// fast are the stand-in's times for tests in real time, and quick the driver's.
var (
	fast = sim.Times{Kernel: 40 * time.Millisecond, Stargate: 80 * time.Millisecond, Copy: 100 * time.Millisecond, Redirect: 60 * time.Millisecond, Return: 60 * time.Millisecond,
		Boot: 60 * time.Millisecond, Shutdown: 40 * time.Millisecond, Rejoin: 40 * time.Millisecond, Scrub: 60 * time.Millisecond, Repair: 100 * time.Millisecond}
	quick = timing{prism: 2 * time.Second, every: 400 * time.Millisecond, shell: 2500 * time.Millisecond, look: 600 * time.Millisecond, read: 200 * time.Millisecond,
		act: 10 * time.Second, down: 3 * time.Second, poll: 20 * time.Millisecond, settle: 3 * time.Second}
)

// lab is a stand-in and how drivers are opened on it.
type lab struct {
	t    *testing.T
	sim  *sim.Cluster
	conf Config
	t0   time.Time
}

func newLab(t *testing.T, c sim.Config, change ...func(*Config)) *lab {
	t.Helper()
	c.Dir = t.TempDir()
	if c.Times == (sim.Times{}) {
		c.Times = fast
	}
	s, err := sim.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	host, err := os.ReadFile(s.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(c.Dir, "password")
	if err := os.WriteFile(secret, []byte(sim.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	login := Login{KeyFile: s.KeyFile, KnownHosts: s.KnownHosts}
	hypervisor := c.Hypervisor
	if hypervisor == "" {
		hypervisor = ahv
	}
	l := &lab{t: t, sim: s, t0: time.Now(), conf: Config{Address: sim.Address, User: sim.User, PasswordFile: secret, Thumbprint: s.Thumbprint, Hypervisor: hypervisor, CVMs: login,
		Hosts: login, Controller: sim.CVMOf(0), Disk: sim.SerialOf(0, 0), Stall: below, Egroup: sim.Egroup, HostBoot: "9m",
		Backing: &Backing{SSH: sshell.Config{Address: sim.Backing, HostKey: string(host)}, PIDFile: sim.PIDFile}}}
	l.conf.Backing.SSH.KeyFile = s.KeyFile
	l.conf.Backing.SSH.HostKey, l.conf.Backing.SSH.KnownHosts = "", s.KnownHosts
	for _, f := range change {
		f(&l.conf)
	}
	return l
}

// open opens another driver on it.
func (l *lab) open() *Driver {
	l.t.Helper()
	d, err := open(drivers.Env{ID: "cluster", Lane: drivers.Lane{Role: drivers.Cluster, Name: "cluster", Provenance: drivers.Modelled},
		Clock: drivers.Clock{Zero: l.t0}, Dial: l.sim.Dial}, l.conf, func(string) string { return "" })
	if err != nil {
		l.t.Fatal(err)
	}
	d.t = quick
	if d.central != nil {
		d.central.limit = quick.prism
	}
	return d
}

// notes are what an Observe told.
type notes struct {
	mu   sync.Mutex
	all  []drivers.Observation
	more chan struct{}
}

// watch observes until the test ends.
func (l *lab) watch(d *Driver) *notes {
	n := &notes{more: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Observe(ctx, func(o drivers.Observation) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.all = append(n.all, o)
			close(n.more)
			n.more = make(chan struct{})
		})
	}()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
	return n
}

// await waits until something was told that fits, from the from-th on, and returns it and the place after it.
func (n *notes) await(t *testing.T, from int, what string, fits func(drivers.Observation) bool) (drivers.Observation, int) {
	t.Helper()
	end := time.NewTimer(10 * time.Second)
	defer end.Stop()
	for {
		n.mu.Lock()
		i := slices.IndexFunc(n.all[from:], fits)
		var o drivers.Observation
		if i >= 0 {
			o = n.all[from+i]
		}
		more := n.more
		n.mu.Unlock()
		if i >= 0 {
			return o, from + i + 1
		}
		select {
		case <-more:
		case <-end.C:
			t.Fatalf("%s was not told", what)
		}
	}
}

// state waits for a state.
func (n *notes) state(t *testing.T, from int, lane, topic, value string) (drivers.Observation, int) {
	t.Helper()
	return n.await(t, from, lane+" "+topic+" "+value, func(o drivers.Observation) bool {
		return o.Lane.Name == lane && o.Topic == topic && o.Value == value
	})
}

func (n *notes) len() int { n.mu.Lock(); defer n.mu.Unlock(); return len(n.all) }

// noted is a journal in memory.
func noted(us *[]drivers.Undo) drivers.Journal {
	return func(_ context.Context, u drivers.Undo) error { *us = append(*us, u); return nil }
}
