// Package local drives an iSCSI daemon on this machine, whose service can be stopped and started again for real: Debian's tgtd
// (tgt 1.0.85), or its istgt (0.4~20111008), which is the daemon of a NAS4Free.
//
// A tgtd is stopped by SIGKILL, since it ignores SIGTERM while it has targets (measured): its clients see their connections
// reset and new ones refused. An istgt is stopped as its rc script does it, by SIGTERM and waiting: its clients get a FIN at
// once, and new connections are refused after about 2.4 s; the daemon ends within 3.6 to 5 s (measured).
package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// Config describes one daemon. Several run side by side when control, socket and portal differ.
type Config struct {
	Daemon  string `yaml:"daemon" json:"daemon,omitempty"` // tgtd (default) or istgt
	Control int    `yaml:"control" json:"control"`         // tells it from others in Dir; tgtd's own control number, -C
	Dir     string `yaml:"dir" json:"dir"`                 // keeps its process id, log and istgt's configuration
	Socket  string `yaml:"socket" json:"socket"`           // tgtd's control socket without the suffix that it adds; at most 100 bytes
	Portal  string `yaml:"portal" json:"portal"`           // 127.0.0.1:3260
	Target  string `yaml:"target" json:"target"`           // its iSCSI name (RFC 7143 section 4.2.7)
	LUNs    []LUN  `yaml:"luns" json:"luns"`
	Link    *Link  `yaml:"link" json:"link,omitempty"` // what goes down with the whole machine; without it nothing does
}

// Link is the path that plays the cable between this target and its host.
type Link struct {
	Driver  string `yaml:"driver" json:"driver"`   // its name in the lab, for the undo
	Control string `yaml:"control" json:"control"` // its control socket
}

// LUN is one logical unit, backed by a file.
type LUN struct {
	LUN  int    `yaml:"lun" json:"lun"` // from 1: tgtd keeps 0 for its controller, and so we do with istgt
	File string `yaml:"file" json:"file"`
	// Store is tgtd's backing store where it is not a file (rbd: Debian's tgt-rbd), and Options what that one needs.
	Store   string `yaml:"store" json:"store,omitempty"`
	Options string `yaml:"options" json:"options,omitempty"`
}

// The daemons.
const (
	TGT   = "tgtd"
	ISTGT = "istgt"
)

func init() {
	for name, d := range map[string]string{"target/tgt": TGT, "target/istgt-local": ISTGT} {
		drivers.Register(drivers.Registration{Name: name, Title: "Debian's " + d + " on this machine", Type: (*Driver)(nil), Config: Config{},
			Open: func(_ context.Context, env drivers.Env) (drivers.Driver, error) {
				var c Config
				if err := env.Decode(&c); err != nil {
					return nil, err
				}
				if c.Daemon == "" {
					c.Daemon = d
				}
				if c.Daemon != d {
					return nil, &drivers.Operator{Cause: fmt.Sprintf("%s: its daemon is %q and its driver %s", env.ID, c.Daemon, name), Impact: "the target cannot be used",
						Do: "leave the key daemon out"}
				}
				return &Driver{env: env, c: c}, nil
			}})
	}
}

// Driver is a daemon in a lab.
type Driver struct {
	env     drivers.Env
	c       Config
	stopped atomic.Bool // by this driver
}

const opStart = "start-service"

// initiator is the name with which the driver looks at the portal.
const initiator = "iqn.2026-11.io.github.allpathsdown:watch"

const (
	startTimeout = 10 * time.Second // of a start; 0.09 s was measured of tgtd, 1.1 s of istgt
	serveTimeout = 5 * time.Second  // until the portal of a daemon that is configured serves
	stopTimeout  = 15 * time.Second // until an istgt that was told to end has ended
	probeEvery   = time.Second      // how often the portal is looked at while observing
	answerWithin = 3 * time.Second  // how long a daemon that serves may take: istgt's login alone lasts 1.0 s (measured)
)

// daemon is what the two programs differ in.
type daemon interface {
	launch(ctx context.Context, c Config) error    // starts the process and waits until it can be configured
	configure(ctx context.Context, c Config) error // makes target and LUNs, as far as they are not there
	stop(ctx context.Context, id localproc.ID) error
}

func (c Config) daemon() (daemon, error) {
	switch c.Daemon {
	case "", TGT:
		return tgtd{}, nil
	case ISTGT:
		return istgt{}, nil
	}
	return nil, fmt.Errorf("there is no daemon %q: it can be %s or %s", c.Daemon, TGT, ISTGT)
}

// file is one of the daemon's files in its folder.
func (c Config) file(suffix string) string {
	name := c.Daemon
	if name == "" {
		name = TGT
	}
	return filepath.Join(c.Dir, name+"-"+strconv.Itoa(c.Control)+suffix)
}

func (c Config) pidFile() string { return c.file(".pid") }

// Start starts the daemon and configures it. It does nothing when the daemon of that pid file runs.
func Start(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	d, err := c.daemon()
	if err != nil {
		return err
	}
	id, err := localproc.Load(c.pidFile())
	if err != nil {
		return err
	}
	if !id.Alive() {
		if err := portFree(ctx, c.Portal); err != nil {
			return err
		}
		if err := d.launch(ctx, c); err != nil {
			return err
		}
	}
	if err := d.configure(ctx, c); err != nil {
		return err
	}
	serve, cancel := context.WithTimeout(ctx, serveTimeout)
	defer cancel()
	if err := c.serves(serve); err != nil {
		_, kerr := Kill(context.WithoutCancel(ctx), c)
		return errors.Join(err, kerr)
	}
	return nil
}

// portFree tells a port that somebody else has from one that can be had: a left-over daemon would be taken for ours.
func portFree(ctx context.Context, portal string) error {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", portal)
	if err != nil {
		return nil
	}
	conn.Close()
	return &drivers.Operator{Cause: "the port of " + portal + " is taken by another process", Impact: "the target cannot be started",
		Do: "end that process (ss -ltnp shows it) or choose another port"}
}

// serves waits until the portal answers a login: a daemon may go on without a listener when it cannot bind its portal.
func (c Config) serves(ctx context.Context) error {
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		err := iscsi.Probe(ctx, c.Portal, initiator, c.Target, c.firstLUN())
		if err == nil {
			tick.Stop()
			return nil
		}
		select {
		case <-ctx.Done():
			return &drivers.Operator{Cause: "the daemon runs but does not serve its portal " + c.Portal, Impact: "there is no target",
				Do: "see who has that port (ss -tnap shows it)", Err: err}
		case <-tick.C:
		}
	}
}

// Kill ends the daemon at once, if it runs.
func Kill(ctx context.Context, c Config) (found bool, err error) {
	return localproc.KillFile(ctx, c.pidFile())
}

// PIDFile is where the daemon's process id is kept.
func PIDFile(c Config) string { return c.pidFile() }

// Signal sends a signal to the daemon: SIGSTOP freezes it.
func Signal(c Config, sig syscall.Signal) error {
	id, err := localproc.Load(c.pidFile())
	if err != nil {
		return err
	}
	if !id.Alive() {
		return errors.New("the target does not run")
	}
	return syscall.Kill(id.PID, sig)
}

// Shutdown ends a tgtd in order: it takes no more commands, closes its sessions, and ends by itself.
func Shutdown(ctx context.Context, c Config) error {
	for _, args := range [][]string{{"--op", "update", "--mode", "sys", "--name", "State", "-v", "offline"},
		{"--op", "delete", "--mode", "target", "--tid", "1", "--force"}, {"--op", "delete", "--mode", "sys"}} {
		if _, err := c.adm(ctx, args...); err != nil {
			return fmt.Errorf("shutting the target down: %w", err)
		}
	}
	_, err := Kill(ctx, c) // what is left of it is a file
	return err
}

// stop ends the daemon as its service is stopped.
func (c Config) stop(ctx context.Context) (found bool, err error) {
	d, err := c.daemon()
	if err != nil {
		return false, err
	}
	id, err := localproc.Load(c.pidFile())
	if err != nil {
		return false, err
	}
	if found = id.Alive(); found {
		if err := d.stop(ctx, id); err != nil {
			return true, err
		}
	}
	_, err = Kill(ctx, c) // what is left of it is a file
	return found, err
}

// Probe checks that the daemon runs and serves.
func (d *Driver) Probe(ctx context.Context) error {
	if err := iscsi.Probe(ctx, d.c.Portal, initiator, d.c.Target, d.c.firstLUN()); err != nil {
		return &drivers.Operator{Cause: "the target " + d.c.Target + " at " + d.c.Portal + " does not serve", Impact: "there is nothing to break",
			Do: "start it", Err: err}
	}
	return nil
}

func (c Config) firstLUN() int {
	if len(c.LUNs) == 0 {
		return 0
	}
	return c.LUNs[0].LUN
}

// Observe watches the daemon itself, at its own portal: state "service" is serving or stopped.
func (d *Driver) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	rest := time.NewTimer(0)
	defer rest.Stop()
	before, lost := d.env.Clock.Now(), false
	for {
		start := d.env.Clock.Now()
		pctx, cancel := context.WithTimeout(ctx, answerWithin)
		err := iscsi.Probe(pctx, d.c.Portal, initiator, d.c.Target, d.c.firstLUN())
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		o := drivers.Observation{Lo: before, Hi: d.env.Clock.Now(), Lane: d.env.Lane, Kind: drivers.State, Topic: "service", Value: "serving"}
		if err != nil {
			o.Value, o.Text = "stopped", err.Error()
		}
		emit(o)
		if ended := err != nil && !d.stopped.Load() && !d.alive(); ended && !lost {
			lost = true
			emit(drivers.Observation{Lo: before, Hi: o.Hi, Lane: d.env.Lane, Kind: drivers.Event, Topic: drivers.LabFailure, Value: "target-ended",
				Text: "the target's daemon ended without being asked to"})
		}
		took := d.env.Clock.Now() - start
		rest.Reset(max(probeEvery-took, 2*took)) // a login at an istgt lasts a second, and it has others to serve
		before = start
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
	}
}

// alive tells whether the daemon runs.
func (d *Driver) alive() bool {
	id, err := localproc.Load(d.c.pidFile())
	return err == nil && id.Alive()
}

// StopService ends the daemon. Undo starts it again with the same configuration, which the Undo itself carries.
func (d *Driver) StopService(ctx context.Context, j drivers.Journal) error {
	conf, err := json.Marshal(d.c)
	if err != nil {
		return fmt.Errorf("noting the target's configuration: %w", err)
	}
	if err := j(ctx, drivers.Undo{Driver: d.env.ID, Op: opStart, Args: map[string]string{"config": string(conf)}}); err != nil {
		return err
	}
	d.stopped.Store(true)
	found, err := d.c.stop(ctx)
	if err == nil && !found {
		err = errors.New("the target was not running")
	}
	return err
}

// RebootTarget takes the whole machine down: its service and, where a cable is played, its link. Undoing it brings both back.
func (d *Driver) RebootTarget(ctx context.Context, j drivers.Journal) error {
	if err := d.StopService(ctx, j); err != nil {
		return err
	}
	if d.c.Link == nil {
		return nil
	}
	path := iscsiproxy.NewDriver(drivers.Env{ID: d.c.Link.Driver}, iscsiproxy.DriverConfig{Control: d.c.Link.Control})
	defer path.Close()
	return path.BreakPath(ctx, drivers.LinkDown, j)
}

// Undo starts the service again.
func (d *Driver) Undo(ctx context.Context, u drivers.Undo) (drivers.UndoResult, error) {
	if u.Op != opStart {
		return "", drivers.ErrUnknownUndo
	}
	var c Config
	if err := json.Unmarshal([]byte(u.Args["config"]), &c); err != nil {
		return "", fmt.Errorf("reading the target's configuration: %w", err)
	}
	defer d.stopped.Store(false)
	if id, err := localproc.Load(c.pidFile()); err == nil && id.Alive() {
		return drivers.NothingLeft, Start(ctx, c)
	}
	if _, err := os.Stat(c.Dir); errors.Is(err, os.ErrNotExist) {
		return drivers.NothingLeft, nil // the whole lab is gone
	}
	return drivers.Undone, Start(ctx, c)
}

// CheckImage checks the file system on a LUN's file, see CheckFile.
func (d *Driver) CheckImage(ctx context.Context, lun int) (drivers.Observation, error) {
	for _, l := range d.c.LUNs {
		if l.LUN == lun {
			return CheckFile(ctx, d.env, l)
		}
	}
	return drivers.Observation{}, fmt.Errorf("the target has no LUN %d", lun)
}

// checks are the programs that check a file system and change nothing, by where it says its name: what it is, and the exit codes
// that mean damage. xfs_repair(8): 1, corruption was found. e2fsck(8): 4, errors were left uncorrected.
var checks = []struct {
	name   string
	at     int64
	magic  string
	argv   []string
	damage int
}{
	{"xfs", 0, "XFSB", []string{"xfs_repair", "-n", "-f"}, 1},
	{"ext4", 1080, "\x53\xef", []string{"e2fsck", "-f", "-n"}, 4},
}

// CheckFile checks the file system on a LUN's file: event "image" of the driver's lane, clean or damaged, attributes lun and
// contents. XFS and ext4 on the bare LUN are known; what else is there is only "stored". The file must not be in use.
func CheckFile(ctx context.Context, env drivers.Env, l LUN) (drivers.Observation, error) {
	o := drivers.Observation{Lane: env.Lane, Kind: drivers.Event, Topic: "image", Attrs: map[string]string{"lun": strconv.Itoa(l.LUN)}}
	if err := ctx.Err(); err != nil {
		return o, fmt.Errorf("looking at LUN %d: %w", l.LUN, err)
	}
	f, err := os.Open(l.File)
	if err != nil {
		return o, fmt.Errorf("looking at LUN %d: %w", l.LUN, err)
	}
	defer f.Close()
	for _, c := range checks {
		magic := make([]byte, len(c.magic))
		if _, err := f.ReadAt(magic, c.at); err != nil || string(magic) != c.magic {
			continue
		}
		bin, err := localproc.LookPath(c.argv[0])
		if err != nil {
			return o, err
		}
		o.Attrs["contents"] = c.name
		o.Lo = env.Clock.Now()
		out, err := exec.CommandContext(ctx, bin, append(c.argv[1:], l.File)...).CombinedOutput()
		o.Hi = env.Clock.Now()
		var exit *exec.ExitError
		switch {
		case err == nil:
			o.Value = "clean"
		case errors.As(err, &exit) && exit.ExitCode() == c.damage:
			o.Value, o.Text = "damaged", string(bytes.TrimSpace(out[max(0, len(out)-2000):]))
		default:
			return o, fmt.Errorf("checking LUN %d: %w: %s", l.LUN, err, bytes.TrimSpace(out))
		}
		return o, nil
	}
	now := env.Clock.Now()
	o.Lo, o.Hi, o.Value, o.Attrs["contents"] = now, now, "stored", "neither XFS nor ext4 on the bare LUN: not looked into"
	return o, nil
}

// Close does nothing: the daemon outlives the driver.
func (d *Driver) Close() error { return nil }
