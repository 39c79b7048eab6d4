// Package ceph drives a Ceph cluster whose daemons run on this machine (measured with Debian's 16.2.15): it watches the cluster
// through its monitor, and what lies under it beside that, has a disk hang, fail, go or rot for real, and freezes or kills
// daemons and gateways.
//
// A disk is an nbdkit behind nbdfuse under an OSD, so that one that hangs leaves its OSD in uninterruptible sleep, as a disk
// does. The words: an OSD is a disk with its daemon, a gateway (tgtd on RBD) is a controller whose work another can take over.
package ceph

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/target/local"
)

// Config describes the cluster as somebody has started it.
type Config struct {
	Conf     string    `yaml:"conf" json:"conf"` // ceph.conf, for a client without keys
	Dir      string    `yaml:"dir" json:"dir"`   // where notes about faults are kept
	Pool     string    `yaml:"pool" json:"pool"`
	OSDs     []OSD     `yaml:"osds" json:"osds"`
	Gateways []Gateway `yaml:"gateways" json:"gateways,omitempty"`
	Redirect string    `yaml:"redirect" json:"redirect,omitempty"` // a file with the name of the gateway that machines are led to, by a stand-in for a platform's host
	Disk     int       `yaml:"disk" json:"disk"`                   // the OSD under fault
	Gateway  string    `yaml:"gateway" json:"gateway,omitempty"`   // the gateway under fault
}

// OSD is one object storage daemon with its disk.
type OSD struct {
	ID     int    `yaml:"id" json:"id"`
	Daemon Daemon `yaml:"daemon" json:"daemon"`
	Disk   Disk   `yaml:"disk" json:"disk"`
}

// Gateway is an iSCSI target in front of the cluster.
type Gateway struct {
	Name string       `yaml:"name" json:"name"`
	TGT  local.Config `yaml:"tgt" json:"tgt"`
}

func (o OSD) name() string { return "osd." + strconv.Itoa(o.ID) }

func init() {
	drivers.Register(drivers.Registration{Name: "cluster/ceph", Title: "Ceph, with its daemons on this machine", Type: (*Driver)(nil), Config: Config{},
		Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
			var c Config
			if err := env.Decode(&c); err != nil {
				return nil, err
			}
			return New(env, c), nil
		}})
}

// Driver is a cluster in a lab.
type Driver struct {
	env drivers.Env
	c   Config
}

// New makes a driver; nothing is connected.
func New(env drivers.Env, c Config) *Driver { return &Driver{env: env, c: c} }

// Close releases nothing: every call has its own process.
func (d *Driver) Close() error { return nil }

// lane is the lane of a part, or of the cluster as a whole for "cluster".
// redirector is the lane of what leads machines to a gateway: a stand-in for what a hyperconverged platform's host does.
const redirector = "host/box"

func (d *Driver) lane(name string) drivers.Lane {
	l := drivers.Lane{Role: drivers.Cluster, Name: name, Provenance: d.env.Lane.Provenance}
	if name == redirector {
		l.Provenance = drivers.Modelled
	}
	return l
}

// osd returns the OSD under fault.
func (d *Driver) osd() (OSD, error) {
	for _, o := range d.c.OSDs {
		if o.ID == d.c.Disk {
			return o, nil
		}
	}
	return OSD{}, &drivers.Operator{Cause: fmt.Sprintf("the lab names osd.%d for the fault, and there is none", d.c.Disk), Impact: "nothing was broken",
		Do: "give the key disk the id of one of the osds"}
}

func (d *Driver) gateway() (Gateway, error) {
	for _, g := range d.c.Gateways {
		if g.Name == d.c.Gateway {
			return g, nil
		}
	}
	return Gateway{}, &drivers.Operator{Cause: fmt.Sprintf("the lab names the gateway %q for the fault, and there is none", d.c.Gateway), Impact: "nothing was broken",
		Do: "give the key gateway the name of one of the gateways"}
}

// askTimeout bounds one question to the cluster: a monitor answers within some 0.2 s, most of which is its program's start.
const askTimeout = 20 * time.Second

// Probe asks the cluster for its state.
func (d *Driver) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if _, err := d.status(ctx); err != nil {
		return &drivers.Operator{Cause: "the Ceph cluster does not answer", Impact: "nothing can be said of it", Do: "look at its monitor, and at the key conf", Err: err}
	}
	return nil
}

// settings are those of an OSD that decide what becomes of a hung one, by Ceph's own names.
var settings = []string{"osd_heartbeat_interval", "osd_heartbeat_grace", "osd_op_complaint_time", "bdev_debug_aio", "bdev_debug_aio_suicide_timeout", "osd_op_thread_suicide_timeout"}

// Settings reads the version and what decides about hung disks. contract is "timer" where an OSD gives a disk up that answers
// nothing (a developer's option of Ceph), otherwise "default".
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	out := map[string]string{"contract": "default", "osds": strconv.Itoa(len(d.c.OSDs))}
	var v struct {
		Version string `json:"version"`
	}
	if err := d.ask(ctx, &v, "version"); err != nil {
		return nil, err
	}
	out["version"] = v.Version
	o, err := d.osd()
	if err != nil {
		return nil, err
	}
	for _, key := range settings {
		b, err := d.c.Run(ctx, "ceph-conf", "--name", o.name(), "--show-config-value", key)
		if err != nil {
			return nil, err
		}
		out[key] = strings.TrimSpace(string(b))
	}
	if b, err := d.c.Run(ctx, "ceph-conf", "--name", "mon.a", "--show-config-value", "mon_osd_down_out_interval"); err == nil {
		out["mon_osd_down_out_interval"] = strings.TrimSpace(string(b))
	}
	if out["bdev_debug_aio"] == "true" {
		out["contract"] = "timer"
	}
	return out, nil
}

// Resilient tells whether every object has all its copies on disks that are in use.
func (d *Driver) Resilient(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	s, err := d.status(ctx)
	if err != nil {
		return err
	}
	if lacks := s.lacks(); lacks != "" {
		return &drivers.Operator{Cause: "the Ceph cluster has not all its redundancy: " + lacks, Impact: "nothing was broken: a fault now could lose data",
			Do: "wait until it has healed, or mend it: ceph -c " + d.c.Conf + " status"}
	}
	return nil
}

// Whole tells whether the cluster has all its redundancy on all its OSDs: one that is being made has it on the first before the
// others are there.
func (d *Driver) Whole(ctx context.Context) error {
	s, err := d.status(ctx)
	switch {
	case err != nil:
		return err
	case *s.OSDMap.Up != len(d.c.OSDs):
		return fmt.Errorf("%d of %d OSDs are up", *s.OSDMap.Up, len(d.c.OSDs))
	case s.lacks() != "":
		return errors.New(s.lacks())
	}
	return nil
}
