package vsphere

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

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

// power is a machine's power state by the simulator.
func (s *sim) power(vm string) types.VirtualMachinePowerState {
	ctx := *s.model.Service.Context
	var state types.VirtualMachinePowerState
	obj := s.model.Map().Get(s.vmArg(vm).Vm)
	(&ctx).WithLock(obj, func() { state = obj.(*simulator.VirtualMachine).Runtime.PowerState })
	return state
}
