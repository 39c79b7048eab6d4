package vsphere

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

const (
	secret   = "s3cret!"
	logLevel = "Config.HostAgent.log.level" // the one option that the simulator has
)

var hostLane = drivers.Lane{Role: drivers.Hypervisor, Name: "esxi", Provenance: drivers.Modelled}

func vmLane(vm string) drivers.Lane {
	return drivers.Lane{Role: drivers.Hypervisor, Name: "vm/" + vm, Provenance: drivers.Modelled}
}

// sim is a simulated server, with a wire to it that can fail.
type sim struct {
	t     testing.TB
	model *simulator.Model
	srv   *simulator.Server
	vms   []string
	cfg   Config
	wire  wire
}

// esxi starts a standalone host with two machines.
func esxi(t testing.TB) *sim {
	return start(t, simulator.ESX(), Config{Datastore: "LocalDS_0"}, "ha-host_VM0", "ha-host_VM1")
}

// vcenter starts a vCenter with a host alone and a cluster.
func vcenter(t testing.TB) *sim {
	return start(t, simulator.VPX(), Config{Datastore: "LocalDS_0", Host: "DC0_C0_H0"}, "DC0_C0_RP0_VM0", "DC0_C0_RP0_VM1")
}

func start(t testing.TB, m *simulator.Model, cfg Config, vms ...string) *sim {
	t.Helper()
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	return serve(t, m, cfg, vms...)
}

// serve makes a created model answer on a port.
func serve(t testing.TB, m *simulator.Model, cfg Config, vms ...string) *sim {
	t.Helper()
	s := &sim{t: t, model: m, cfg: cfg, vms: vms}
	m.Service.TLS = new(tls.Config)
	m.Service.Listen = &url.URL{Host: "127.0.0.1:0", User: url.UserPassword("root", secret)}
	s.srv = m.Service.NewServer()
	t.Cleanup(s.srv.Close)
	s.cfg.URL, s.cfg.User = s.srv.URL.Host, "root"
	s.cfg.Thumbprint = s.srv.CertificateInfo().ThumbprintSHA256
	s.cfg.PasswordFile = filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(s.cfg.PasswordFile, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// open opens the driver, with the configuration changed by each of with.
func (s *sim) open(with ...func(*Config, *drivers.Env)) (*Driver, error) {
	cfg := s.cfg
	env := drivers.Env{ID: "hypervisor", Lane: hostLane, Clock: drivers.Clock{Zero: time.Now()}, VMs: s.vms, Dial: s.wire.dial}
	for _, f := range with {
		f(&cfg, &env)
	}
	env.Decode = func(v any) error { *v.(*Config) = cfg; return nil }
	reg, _ := drivers.Lookup(Name)
	d, err := reg.Open(context.Background(), env)
	if err != nil {
		return nil, err
	}
	return d.(*Driver), nil
}

func (s *sim) driver(with ...func(*Config, *drivers.Env)) *Driver {
	s.t.Helper()
	d, err := s.open(with...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { d.Close() })
	return d
}

// inside is a client that needs no wire.
func (s *sim) inside() *vim25.Client {
	s.t.Helper()
	c, err := vim25.NewClient(context.Background(), s.model.Service)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// look says how host and machines are, without the driver.
func (s *sim) look() string {
	var all []string
	ctx := *s.model.Service.Context
	c := &ctx
	for _, obj := range s.model.Map().All("HostSystem") {
		opts := obj.(*simulator.HostSystem).ConfigManager.AdvancedOption
		m := s.model.Map().Get(*opts).(*simulator.OptionManager)
		c.WithLock(m, func() {
			for _, o := range m.Setting {
				all = append(all, fmt.Sprintf("%s=%v", o.GetOptionValue().Key, o.GetOptionValue().Value))
			}
		})
	}
	for _, vm := range s.model.Map().All("VirtualMachine") {
		c.WithLock(vm, func() {
			all = append(all, fmt.Sprintf("%s=%s", vm.Entity().Name, vm.(*simulator.VirtualMachine).Runtime.PowerState))
		})
	}
	sort.Strings(all)
	return strings.Join(all, " ")
}

// post makes an event happen. A vCenter's alarms want to know what object an EventEx is about.
func (s *sim) post(e types.BaseEvent) {
	s.t.Helper()
	if x, ok := e.(*types.EventEx); ok && x.Host != nil {
		x.ObjectType, x.ObjectId = x.Host.Host.Type, x.Host.Host.Value
	}
	if err := event.NewManager(s.inside()).PostEvent(context.Background(), e); err != nil {
		s.t.Fatal(err)
	}
}

// vmArg names a machine in an event.
func (s *sim) vmArg(name string) *types.VmEventArgument {
	for _, e := range s.model.Map().All("VirtualMachine") {
		if e.Entity().Name == name {
			return &types.VmEventArgument{EntityEventArgument: types.EntityEventArgument{Name: name}, Vm: e.Reference()}
		}
	}
	s.t.Fatalf("no machine %q", name)
	return nil
}

func (s *sim) hostArg(name string) *types.HostEventArgument {
	for _, e := range s.model.Map().All("HostSystem") {
		if name == "" || e.Entity().Name == name {
			return &types.HostEventArgument{EntityEventArgument: types.EntityEventArgument{Name: e.Entity().Name}, Host: e.Reference()}
		}
	}
	s.t.Fatalf("no host %q", name)
	return nil
}

func (s *sim) caFile() string {
	file := filepath.Join(s.t.TempDir(), "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.srv.Certificate().Raw})
	if err := os.WriteFile(file, b, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// twin makes another machine of that name, in another folder.
func twin(t testing.TB, s *sim, name string) {
	t.Helper()
	c, ctx := s.inside(), context.Background()
	finder := find.NewFinder(c)
	folders, err := finder.Folder(ctx, "/DC0/vm")
	if err != nil {
		t.Fatal(err)
	}
	other, err := folders.CreateFolder(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	task, err := object.NewVirtualMachine(c, s.vmArg(name).Vm).Clone(ctx, other, name, types.VirtualMachineCloneSpec{})
	if err == nil {
		err = task.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes n machines, which the driver watches.
func (s *sim) fill(n int) {
	s.t.Helper()
	c, ctx := s.inside(), context.Background()
	finder := find.NewFinder(c)
	dc, err := finder.DefaultDatacenter(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	finder.SetDatacenter(dc)
	folders, err := dc.Folders(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	pool, err := finder.DefaultResourcePool(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := k; i < n; i += 8 {
				spec := types.VirtualMachineConfigSpec{Name: fmt.Sprintf("vm%04d", i), GuestId: "otherGuest", Files: &types.VirtualMachineFileInfo{VmPathName: "[LocalDS_0]"}}
				task, err := folders.VmFolder.CreateVM(ctx, spec, pool, nil)
				if err == nil {
					err = task.Wait(ctx)
				}
				if err != nil {
					s.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	for i := range n {
		s.vms = append(s.vms, fmt.Sprintf("vm%04d", i))
	}
}

// wire is the way to the server: it can swallow all answers, or refuse connections.
type wire struct {
	mu     sync.Mutex
	gate   chan struct{} // closed: answers pass
	hung   bool
	broken bool
	conns  map[net.Conn]bool
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	broken := w.broken
	w.mu.Unlock()
	if broken {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = map[net.Conn]bool{}
	}
	w.conns[c] = true
	return &wireConn{Conn: c, w: w, closed: make(chan struct{})}, nil
}

// hang swallows what the server says from now on, until release is called.
func (w *wire) hang() (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung, w.gate = true, make(chan struct{})
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.hung = false
		close(w.gate)
	})
}

// cut closes all connections and refuses new ones, until mend is called.
func (w *wire) cut() (mend func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken = true
	for c := range w.conns {
		c.Close()
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.broken = false
	}
}

type wireConn struct {
	net.Conn
	w      *wire
	once   sync.Once
	closed chan struct{}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.mu.Lock()
	gate, hung := c.w.gate, c.w.hung
	c.w.mu.Unlock()
	if hung {
		select {
		case <-gate:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (c *wireConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.w.mu.Lock()
		delete(c.w.conns, c.Conn)
		c.w.mu.Unlock()
	})
	return c.Conn.Close()
}

// seen collects observations.
type seen struct {
	mu   sync.Mutex
	all  []drivers.Observation
	stop func()
}

func observe(t testing.TB, d *Driver) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- d.Observe(ctx, func(o drivers.Observation) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all = append(s.all, o)
		})
	}()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("observing: %v", err)
		}
	})
	t.Cleanup(s.stop)
	return s
}

// find returns the observations of a kind and topic, on that lane.
func (s *seen) find(lane drivers.Lane, kind drivers.Kind, topic string) []drivers.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []drivers.Observation
	for _, o := range s.all {
		if o.Lane == lane && o.Kind == kind && o.Topic == topic {
			out = append(out, o)
		}
	}
	return out
}

// events returns the values of the events of a topic.
func (s *seen) events(lane drivers.Lane, topic string) []string {
	var out []string
	for _, o := range s.find(lane, drivers.Event, topic) {
		out = append(out, o.Value)
	}
	return out
}

// event returns the first event of that value.
func (s *seen) event(lane drivers.Lane, topic, value string) (drivers.Observation, error) {
	for _, o := range s.find(lane, drivers.Event, topic) {
		if o.Value == value {
			return o, nil
		}
	}
	return drivers.Observation{}, errors.New("no such event")
}

// values is the states of a topic, each only when it differs from the one before.
func (s *seen) values(lane drivers.Lane, topic string) []string {
	var out []string
	for _, o := range s.find(lane, drivers.State, topic) {
		if len(out) == 0 || out[len(out)-1] != o.Value {
			out = append(out, o.Value)
		}
	}
	return out
}

// becomes waits until the states of a topic are these.
func (s *seen) becomes(t testing.TB, lane drivers.Lane, topic string, values ...string) {
	t.Helper()
	NewWithT(t).Eventually(func() []string { return s.values(lane, topic) }, "60s", "20ms").Should(Equal(values), topic)
}

// happens waits for an event.
func (s *seen) happens(t testing.TB, lane drivers.Lane, topic, value string) drivers.Observation {
	t.Helper()
	var o drivers.Observation
	NewWithT(t).Eventually(func() (err error) { o, err = s.event(lane, topic, value); return err }, "60s", "20ms").Should(Succeed(), value)
	return o
}

// power is a machine's power state by the simulator.
func (s *sim) power(vm string) types.VirtualMachinePowerState {
	ctx := *s.model.Service.Context
	var state types.VirtualMachinePowerState
	obj := s.model.Map().Get(s.vmArg(vm).Vm)
	(&ctx).WithLock(obj, func() { state = obj.(*simulator.VirtualMachine).Runtime.PowerState })
	return state
}
