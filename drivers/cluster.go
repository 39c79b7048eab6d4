package drivers

// This file is the cluster role of the contract: a distributed store with its hosts, controllers and disks, what it tells of
// itself, and how a part of it fails. Which disk, controller and host that is, the driver's configuration names.

import (
	"context"
	"slices"
)

// The faults of a cluster. Stall, error and gone are separate kinds everywhere: no system treats them alike.
const (
	DiskStall   FaultKind = "disk-stall"   // a disk completes nothing and answers no abort
	DiskError   FaultKind = "disk-error"   // a disk answers every command with an error
	DiskGone    FaultKind = "disk-gone"    // a disk is pulled
	DiskCorrupt FaultKind = "disk-corrupt" // what lies on a disk was changed behind everybody's back

	DaemonCrash FaultKind = "daemon-crash" // a controller's storage daemon (Stargate, an OSD) dies
	DaemonHang  FaultKind = "daemon-hang"  // it is there and does nothing

	ControllerCrash   FaultKind = "controller-crash"   // a whole storage controller (a CVM, a gateway) dies
	ControllerHang    FaultKind = "controller-hang"    // it is there and does nothing
	ControllerRestart FaultKind = "controller-restart" // it is shut down in order and started again, as for an upgrade
)

// OfCluster tells whether a fault is one of a cluster's parts, so that it shows in their lanes.
func (k FaultKind) OfCluster() bool { return k.OfDisk() || slices.Contains(controllerStops, k) }

// OfDisk tells whether a fault is one of a cluster's disk.
func (k FaultKind) OfDisk() bool { return k == DiskStall || slices.Contains(diskFaults, k) }

// The powers of a cluster. Each refuses, with an Operator error and before it journals, what would lose data: a disk that is the
// last healthy copy of anything, a cluster that is still healing.
type (
	// DiskStaller has a disk hang.
	DiskStaller interface {
		StallDisk(ctx context.Context, j Journal) error
	}
	// DiskFailer has a disk fail in one of the ways that DiskFaults lists: disk-error, disk-gone, disk-corrupt.
	DiskFailer interface {
		DiskFaults() []FaultKind
		FailDisk(ctx context.Context, kind FaultKind, j Journal) error
	}
	// ControllerStopper stops a storage controller, or its daemon, in one of the ways that ControllerStops lists.
	ControllerStopper interface {
		ControllerStops() []FaultKind
		StopController(ctx context.Context, kind FaultKind, j Journal) error
	}
	// Resilient tells whether the cluster has all its redundancy: nil when it has, otherwise an Operator error that says what it
	// lacks. No fault begins on one that has not, and none is over before it has again.
	Resilient interface {
		Resilient(ctx context.Context) error
	}
)

// The lanes of a cluster are of the role Cluster: "cluster" is the whole of it, and its parts are "disk/NAME",
// "controller/NAME", "host/NAME", "vm/NAME". These are the topics that claims read, whatever the product; a driver says no more
// than it has seen, and adds the product's own words as Text.
const (
	// TopicAPI of "cluster": does its management answer (answers, silent)? One that lives on the cluster may go with it.
	TopicAPI = "api"
	// TopicResilient of "cluster": yes, or no. Yes is full redundancy for everything.
	TopicResilient = "resilient"
	// TopicUnprotected of "cluster" is a sample: bytes of data that have fewer copies than they should.
	TopicUnprotected = "unprotected"
	// TopicHealing of "cluster": running while copies are being made anew, otherwise idle.
	TopicHealing = "healing"
	// TopicTask of "cluster" is an event: something that was done, Value its name in the product's words, the attribute "by"
	// "cluster" for what it did itself and "administrator" for a call from outside; "vm" where it is about a machine.
	TopicTask = "task"

	// TopicDisk of "disk/NAME": online, offline (the cluster does not use it), or absent.
	TopicDisk = "disk"
	// TopicMedium of "disk/NAME" is what the disk itself does, seen without the cluster: serves, hangs, fails, gone, rotten.
	TopicMedium = "medium"
	// TopicStuckIO of "disk/NAME" is an event: the cluster says that an I/O is stuck. Value is the product's own word for it.
	TopicStuckIO = "stuck-io"
	// TopicRepair of "disk/NAME" is an event: a copy on it was found to be bad (found) or was mended (mended).
	TopicRepair = "repair"

	// TopicDaemon of "controller/NAME" is its storage daemon, seen beside it: up, hung (it is there and does nothing), or down.
	TopicDaemon = "daemon"
	// TopicController of "controller/NAME": up, hung, or down.
	TopicController = "controller"
	// TopicHost of "host/NAME": up or down.
	TopicHost = "host"
	// TopicRedirect of "host/NAME" is whose controller its machines' I/O goes to: local, or the names of others, sorted, with spaces.
	TopicRedirect = "redirect"
	// TopicBoot of "host/NAME", "controller/NAME" and "vm/NAME" differs for each boot.
	TopicBoot = "boot"
	// TopicPlace of "vm/NAME" is the host on which it runs.
	TopicPlace = "place"
)
