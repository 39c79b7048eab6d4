package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/localproc"
	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

var lane = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Embedded}

// config describes a tgtd of the test's own, which is not running yet and is gone when the test ends.
func config(t *testing.T) Config {
	t.Helper()
	for _, bin := range []string{"tgtd", "tgtadm"} {
		if _, err := localproc.LookPath(bin); err != nil {
			t.Skipf("%v (Debian package tgt)", err)
		}
	}
	dir, err := os.MkdirTemp("", "tgt") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Control: 1 + rand.IntN(30000), Dir: dir, Socket: filepath.Join(dir, "ipc"), Portal: iscsitest.FreeAddr(t),
		Target: "iqn.2026-11.io.github.allpathsdown.test:nas"}
	for n := 1; n <= 2; n++ {
		file := filepath.Join(dir, "lun"+strconv.Itoa(n))
		if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		c.LUNs = append(c.LUNs, LUN{LUN: n, File: file})
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := Kill(ctx, c); err != nil {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return c
}

func running(t *testing.T) Config {
	t.Helper()
	c := config(t)
	if err := Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

func open(c Config) (*Driver, drivers.Clock) {
	clock := drivers.Clock{Zero: time.Now()}
	return &Driver{env: drivers.Env{ID: "target", Lane: lane, Clock: clock}, c: c}, clock
}

// runningISTGT is the same with istgt.
func runningISTGT(t *testing.T) Config {
	t.Helper()
	if _, err := localproc.LookPath("istgt"); err != nil {
		t.Skipf("%v (Debian package istgt)", err)
	}
	c := config(t)
	c.Daemon = ISTGT
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := Kill(ctx, c); err != nil {
			t.Error(err)
		}
	})
	if err := Start(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return c
}

// both runs a test on each daemon.
func both(t *testing.T, test func(t *testing.T, c Config)) {
	t.Run(TGT, func(t *testing.T) { test(t, running(t)) })
	t.Run(ISTGT, func(t *testing.T) { test(t, runningISTGT(t)) })
}

// look says how the daemon is, without the driver: its port, its target and its LUNs. istgt has room for two connections that it
// has not accepted yet: after a hang the next one waits until its SYN is sent again, 1 s and then 2 s later.
func (c Config) look() string {
	conn, err := net.DialTimeout("tcp", c.Portal, 10*time.Second)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refuses"
	}
	if err != nil {
		return err.Error()
	}
	conn.Close()
	if c.Daemon == ISTGT {
		return "listens"
	}
	cmd := exec.Command("tgtadm", "-C", strconv.Itoa(c.Control), "--lld", "iscsi", "--mode", "target", "--op", "show")
	cmd.Env = append(os.Environ(), "TGT_IPC_SOCKET="+c.Socket)
	out, err := cmd.Output()
	if err != nil {
		return "listens, but its control socket does not answer"
	}
	var keep []string
	for l := range strings.Lines(string(out)) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "Target ") || strings.HasPrefix(l, "LUN:") || strings.HasPrefix(l, "Backing store path") || l == "ALL" {
			keep = append(keep, l)
		}
	}
	return strings.Join(keep, "; ")
}

func (c Config) pid(t *testing.T) int {
	t.Helper()
	id, err := localproc.Load(c.pidFile())
	if err != nil || id.PID == 0 {
		t.Fatalf("no process id: %v", err)
	}
	return id.PID
}

func TestConformance(t *testing.T) { both(t, conforms) }

func conforms(t *testing.T, c Config) {
	control := running(t)
	probe := func(c Config) func(context.Context) error {
		return func(ctx context.Context) error { return iscsi.Probe(ctx, c.Portal, "iqn.2026-11.x:kit", c.Target, 1) }
	}
	conformance.Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) { return open(c) }, conformance.Options{
		State: c.look, LUN: 1, Wire: probe(c), Control: probe(control), Look: answerWithin,
		Hang: func() func() {
			pid := c.pid(t)
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			return func() { _ = syscall.Kill(pid, syscall.SIGCONT) }
		},
		Fail: func() func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if _, err := Kill(ctx, c); err != nil {
				t.Fatal(err)
			}
			return func() {
				defer cancel()
				if err := Start(ctx, c); err != nil {
					t.Error(err)
				}
			}
		},
	})
}

func TestRegistered(t *testing.T) {
	g := NewWithT(t)
	r, ok := drivers.Lookup("target/tgt")
	g.Expect(ok).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStopService)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanCheckImage)).To(BeTrue())
	g.Expect(drivers.Has(r.Type, drivers.CanStall)).To(BeFalse())
	want := Config{Daemon: TGT, Control: 7, Portal: "127.0.0.1:1"}
	d, err := r.Open(t.Context(), drivers.Env{Decode: func(v any) error { *v.(*Config) = want; return nil }})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d.(*Driver).c).To(Equal(want))
	_, err = r.Open(t.Context(), drivers.Env{Decode: func(v any) error { *v.(*Config) = Config{Daemon: ISTGT}; return nil }})
	g.Expect(err).To(MatchError(ContainSubstring("its daemon is")))
	_, err = r.Open(t.Context(), drivers.Env{Decode: func(any) error { return os.ErrInvalid }})
	g.Expect(err).To(MatchError(os.ErrInvalid))
}

// TestStoppedIsRefused checks what the power promises: clients are reset, new ones refused, and the data is still there.
func TestStoppedIsRefused(t *testing.T) { both(t, stoppedIsRefused) }

func stoppedIsRefused(t *testing.T, c Config) {
	g := NewWithT(t)
	client, err := net.Dial("tcp", c.Portal)
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	d, _ := open(c)
	var u drivers.Undo
	g.Expect(d.StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(client.SetReadDeadline(time.Now().Add(5 * time.Second))).To(Succeed())
	_, err = client.Read(make([]byte, 1))
	g.Expect(err).NotTo(MatchError(os.ErrDeadlineExceeded))
	_, err = net.Dial("tcp", c.Portal)
	g.Expect(err).To(MatchError(syscall.ECONNREFUSED))
	g.Expect(d.StopService(t.Context(), func(context.Context, drivers.Undo) error { return nil })).To(MatchError(ContainSubstring("was not running")))
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(d.Probe(t.Context())).To(Succeed())
}

// TestRebootTakesTheLinkWithIt reboots a target whose cable a path plays: the host sees the link go and come back.
func TestRebootTakesTheLinkWithIt(t *testing.T) {
	g := NewWithT(t)
	c := running(t)
	events := make(chan string, 16)
	p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: c.Portal, OnEvent: func(e iscsiproxy.Event) {
		if e.What == "link.down" || e.What == "link.up" {
			events <- e.What
		}
	}})
	g.Expect(err).NotTo(HaveOccurred())
	defer p.Close()
	c.Link = &Link{Driver: "path", Control: filepath.Join(c.Dir, "path")}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, c.Link.Control) }()
	defer func() { cancel(); <-served }()
	g.Eventually(func() error { _, err := os.Stat(c.Link.Control); return err }).Should(Succeed())
	d, _ := open(c)
	var us []drivers.Undo
	g.Expect(d.RebootTarget(t.Context(), func(_ context.Context, u drivers.Undo) error { us = append(us, u); return nil })).To(Succeed())
	g.Expect(<-events).To(Equal("link.down"))
	g.Expect(c.look()).To(Equal("refuses"))
	g.Expect(us).To(HaveLen(2))
	path := iscsiproxy.NewDriver(drivers.Env{ID: "path"}, iscsiproxy.DriverConfig{Control: c.Link.Control})
	defer path.Close()
	g.Expect(us[1].Driver).To(Equal("path"))
	g.Expect(path.Undo(t.Context(), us[1])).To(Equal(drivers.Undone))
	g.Expect(<-events).To(Equal("link.up"))
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
	g.Expect(d.Probe(t.Context())).To(Succeed())
}

func TestUndoOfALabThatIsGone(t *testing.T) {
	g := NewWithT(t)
	c := running(t)
	d, _ := open(c)
	var u drivers.Undo
	g.Expect(d.StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(os.RemoveAll(c.Dir)).To(Succeed())
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))
	_, err := d.Undo(t.Context(), drivers.Undo{Op: opStart, Args: map[string]string{"config": "{"}})
	g.Expect(err).To(MatchError(ContainSubstring("reading the target's configuration")))
}

// TestStartFinishesWhatWasBegun starts on a daemon whose configuration was cut off, as by the death of the process that
// undid a stop: the second undo has to finish it.
func TestStartFinishesWhatWasBegun(t *testing.T) {
	for name, done := range map[string][][]string{
		"no target": {},
		"target":    {{"--mode", "target", "--op", "new", "--tid", "1", "--targetname"}},
		"one LUN": {{"--mode", "target", "--op", "new", "--tid", "1", "--targetname"},
			{"--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := config(t)
			conf, err := json.Marshal(c)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(tgtd{}.launch(t.Context(), c)).To(Succeed())
			for i, args := range done {
				_, err := c.adm(t.Context(), append(args, []string{c.Target, c.LUNs[0].File}[i])...)
				g.Expect(err).NotTo(HaveOccurred())
			}
			d, _ := open(c)
			_, err = d.Undo(t.Context(), drivers.Undo{Op: opStart, Args: map[string]string{"config": string(conf)}})
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(d.Probe(t.Context())).To(Succeed())
			g.Expect(strings.Count(c.look(), "LUN: ")).To(Equal(3), "LUN 0 is tgtd's own: %s", c.look())
		})
	}
}

func TestStartTellsATakenPort(t *testing.T) {
	g := NewWithT(t)
	c := config(t)
	l, err := net.Listen("tcp", c.Portal)
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Close()
	err = Start(t.Context(), c)
	var op *drivers.Operator
	g.Expect(err).To(BeAssignableToTypeOf(op))
	g.Expect(err).To(MatchError(ContainSubstring("is taken by another process")))
	g.Expect(Kill(t.Context(), c)).To(BeFalse())
}

// TestStartTellsThatItCannotServe starts on a port that a client's end of a connection has, as it can happen to every port
// of the range that clients are given: such a daemon runs, but nobody reaches it.
func TestStartTellsThatItCannotServe(t *testing.T) {
	g := NewWithT(t)
	c := config(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer l.Close()
	from, err := net.ResolveTCPAddr("tcp", c.Portal)
	g.Expect(err).NotTo(HaveOccurred())
	client, err := (&net.Dialer{LocalAddr: from}).DialContext(t.Context(), "tcp", l.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer client.Close()
	g.Expect(Start(t.Context(), c)).NotTo(Succeed())
}

func TestStartTwiceKeepsTheDaemon(t *testing.T) {
	g := NewWithT(t)
	c := running(t)
	pid := c.pid(t)
	g.Expect(Start(t.Context(), c)).To(Succeed())
	g.Expect(c.pid(t)).To(Equal(pid))
	g.Expect(Kill(t.Context(), c)).To(BeTrue())
	g.Expect(Kill(t.Context(), c)).To(BeFalse())
}

func TestCheckImage(t *testing.T) {
	g := NewWithT(t)
	for _, bin := range []string{"mkfs.xfs", "xfs_repair", "xfs_db"} {
		if _, err := localproc.LookPath(bin); err != nil {
			t.Skip(err)
		}
	}
	file := filepath.Join(t.TempDir(), "lun")
	f, err := os.Create(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Truncate(320 << 20)).To(Succeed())
	g.Expect(f.Close()).To(Succeed())
	mkfs, _ := localproc.LookPath("mkfs.xfs")
	out, err := exec.Command(mkfs, "-q", file).CombinedOutput()
	g.Expect(err).NotTo(HaveOccurred(), string(out))
	d, clock := open(Config{LUNs: []LUN{{LUN: 3, File: file}}})
	o, err := d.CheckImage(t.Context(), 3)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("clean"))
	g.Expect(o.Attrs).To(HaveKeyWithValue("lun", "3"))
	g.Expect(o.Lane).To(Equal(lane))
	g.Expect(o.Lo).To(And(BeNumerically("<", o.Hi), BeNumerically(">", 0)))
	g.Expect(o.Hi).To(BeNumerically("<=", clock.Now()))

	f, err = os.OpenFile(file, os.O_RDWR, 0)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = f.WriteAt(bytes.Repeat([]byte{0xee}, 8<<10), 512) // behind the superblock: the first group's free-space headers
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(f.Close()).To(Succeed())
	o, err = d.CheckImage(t.Context(), 3)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(o.Value).To(Equal("damaged"))
	g.Expect(o.Text).NotTo(BeEmpty())

	_, err = d.CheckImage(t.Context(), 4)
	g.Expect(err).To(MatchError(fmt.Sprintf("the target has no LUN %d", 4)))
}
