// This file keeps the registry: which drivers are linked into this binary, and which powers each of them has.

package drivers

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
)

// Registration describes a driver to the registry.
type Registration struct {
	Name   string // as written in lab files: "target/tgt"
	Title  string // one line for people
	Type   Driver // a typed nil of the driver, from which its powers are read before anything is opened
	Config any    // a zero value of its configuration, for strict parsing
	Open   func(ctx context.Context, env Env) (Driver, error)
	// Lacks tells which of the Type's powers a configuration does not give, with the reason; nil: it gives them all.
	Lacks func(config any) map[Power]string
}

var (
	registryMu sync.Mutex
	registry   = map[string]Registration{}
)

// Register adds a driver; it is called from the driver package's init. A name can be registered once.
func Register(s Registration) {
	registryMu.Lock()
	defer registryMu.Unlock()
	if _, twice := registry[s.Name]; twice || s.Open == nil || s.Type == nil {
		panic(fmt.Sprintf("drivers: bad or repeated registration of %q", s.Name))
	}
	registry[s.Name] = s
}

// Lookup returns the driver registered under name.
func Lookup(name string) (Registration, bool) {
	registryMu.Lock()
	defer registryMu.Unlock()
	s, ok := registry[name]
	return s, ok
}

// Names returns the names of all registered drivers, sorted.
func Names() []string {
	registryMu.Lock()
	defer registryMu.Unlock()
	names := make([]string, 0, len(registry))
	for n := range registry {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// Power is the name of something that a driver can do, as claims ask for it.
type Power string

// The powers by name. The fault powers are named after the fault they inject.
const (
	CanStopService  Power = "service-stop"
	CanReboot       Power = "target-reboot"
	CanReset        Power = "reset"
	CanBlackhole    Power = "blackhole"
	CanLinkDown     Power = "link-down"
	CanStall        Power = "stall"
	CanCutPower     Power = "target-power-cut"
	CanCrashHost    Power = "host-crash"
	CanRestartMgmt  Power = "management-restart"
	CanTune         Power = "tune"
	CanSwitchVMs    Power = "vm-power"
	CanScreenshot   Power = "console"
	CanVerifyWrites Power = "verify-writes"
	CanDropCaches   Power = "drop-caches"
	CanLoad         Power = "load"
	CanHalt         Power = "halt"
	CanCheckImage   Power = "check-image"
	CanStallDisk    Power = "disk-stall"
)

// What a lab may have that is no driver's power.
const (
	HasGuests   Power = "guests"       // guests to look at
	HasLinux    Power = "linux"        // Linux guests
	HasWindows  Power = "windows"      // Windows guests
	HasCluster  Power = "cluster"      // a distributed store; who has it is its kind: ceph, nutanix, vsan
	DirectCable Power = "direct-cable" // nothing between the host's storage NIC and the target's: the link goes when the target does
)

// breaks are the faults that a PathBreaker may know.
var breaks = []FaultKind{Reset, Blackhole, LinkDown, LoginReject, LUNGone, NotReady, IOError, Slow, Hang}

// diskFaults are the faults that a DiskFailer may know, and controllerStops those of a ControllerStopper.
var (
	diskFaults      = []FaultKind{DiskError, DiskGone, DiskCorrupt}
	controllerStops = []FaultKind{DaemonCrash, DaemonHang, ControllerCrash, ControllerHang, ControllerRestart}
)

// AllPowers lists every power.
var AllPowers = func() []Power {
	ps := []Power{CanStopService, CanReboot, CanCutPower, CanCrashHost, CanRestartMgmt, CanTune}
	for _, k := range slices.Concat(breaks, diskFaults, controllerStops) {
		ps = append(ps, Power(k))
	}
	return append(ps, CanStallDisk, CanStall, CanSwitchVMs, CanScreenshot, CanVerifyWrites, CanDropCaches, CanLoad, CanHalt, CanCheckImage)
}()

// PowerFor returns the power that injects a fault; the no-op fault needs none.
func PowerFor(k FaultKind) Power {
	switch k {
	case NoFault:
		return ""
	case Swallow:
		return CanStall
	}
	return Power(k)
}

// Has tells whether d (a driver, or a typed nil of one) has the power.
func Has(d Driver, p Power) bool {
	switch k := FaultKind(p); {
	case slices.Contains(breaks, k):
		b, ok := d.(PathBreaker)
		return ok && slices.Contains(b.BreakKinds(), k)
	case slices.Contains(diskFaults, k):
		f, ok := d.(DiskFailer)
		return ok && slices.Contains(f.DiskFaults(), k)
	case slices.Contains(controllerStops, k):
		c, ok := d.(ControllerStopper)
		return ok && slices.Contains(c.ControllerStops(), k)
	}
	ok := false
	switch p {
	case CanStallDisk:
		_, ok = d.(DiskStaller)
	case CanStopService:
		_, ok = d.(ServiceStopper)
	case CanReboot:
		_, ok = d.(TargetRebooter)
	case CanCrashHost:
		_, ok = d.(HostCrasher)
	case CanRestartMgmt:
		_, ok = d.(ManagementRestarter)
	case CanTune:
		_, ok = d.(Tuner)
	case CanCutPower:
		_, ok = d.(PowerCutter)
	case CanStall:
		_, ok = d.(IOStaller)
	case CanSwitchVMs:
		_, ok = d.(VMPower)
	case CanScreenshot:
		_, ok = d.(Console)
	case CanVerifyWrites:
		_, ok = d.(WriteVerifier)
	case CanDropCaches:
		_, ok = d.(CacheDropper)
	case CanLoad:
		_, ok = d.(Loader)
	case CanHalt:
		_, ok = d.(Halter)
	case CanCheckImage:
		_, ok = d.(ImageChecker)
	}
	return ok
}
