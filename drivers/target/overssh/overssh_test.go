package overssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
	"github.com/allpathsdown/allpathsdown/drivers/iscsi/iscsitest"
	"github.com/allpathsdown/allpathsdown/drivers/sshell"
	"github.com/allpathsdown/allpathsdown/drivers/target/overssh/oversshtest"
)

var lane = drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Modelled}

// toy is a system whose service is a file: "on" or "off".
var toy = System{
	Product: "a toy",
	Needs:   []string{"svc", "/bin/sh"},
	Service: Switch{Read: "svc status", Parse: readToy, Seen: Gone, Hint: "Mend the toy.",
		Off: func(string) string { return "svc stop" }, On: func(string) string { return "svc start" }},
	Sessions: "echo 3", Count: ReadNumber, AtBoot: "echo enabled", Starts: ReadEnabled,
	Breaks: map[drivers.FaultKind]Switch{drivers.Hang: {Read: "cat $BOX/device", Parse: readToy, Seen: []Wire{Unanswered},
		Off: func(string) string { return "echo off >$BOX/device" }, On: func(string) string { return "echo on >$BOX/device" }}},
	Checks: []Check{{What: "the toy is blue", Show: "echo red", Judge: func(out string) (bool, string) { return out == "blue", "It is " + out + "." }}},
	Stores: "cat $BOX/stores; echo read", ReadStores: ReadPaths,
}

func readToy(out string) (State, error) {
	if out != On && out != Off {
		return State{}, errors.New("not a toy")
	}
	return State{Word: out}, nil
}

// breaker gives the engine's Break to the kit.
type breaker struct{ *Driver }

func (breaker) BreakKinds() []drivers.FaultKind { return []drivers.FaultKind{drivers.Hang} }
func (b breaker) BreakPath(ctx context.Context, k drivers.FaultKind, j drivers.Journal) error {
	return b.Break(ctx, k, j)
}

type rig struct {
	t     *testing.T
	box   *oversshtest.Box
	front *oversshtest.Front
	clock drivers.Clock

	mu     sync.Mutex
	silent bool
}

const svc = `case $1 in status) cat $BOX/service;; stop) echo off >$BOX/service;; start) echo on >$BOX/service;; esac`

func newRig(t *testing.T) *rig {
	t.Helper()
	tgt := oversshtest.NewTgtd(t)
	r := &rig{t: t, box: oversshtest.New(t), front: oversshtest.NewFront(t, tgt.Portal), clock: drivers.Clock{Zero: time.Now()}}
	r.box.Program("svc", svc)
	r.box.Write("device", "on\n")
	r.box.Write("service", "on\n")
	r.box.Write("stores", "lun 1 "+tgt.File()+"\n")
	oversshtest.Poll(t, r.mind)
	r.box.OnDown = func() { r.box.Write("service", "off\n") }
	r.box.OnUp = func() { r.box.Write("service", "on\n") }
	return r
}

func (r *rig) file(name string) string {
	b, _ := os.ReadFile(filepath.Join(r.box.Dir, name))
	return strings.TrimSpace(string(b))
}

func (r *rig) mind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	on := r.file("service") != Off
	r.front.Set(oversshtest.Mode{Listen: on, Cut: !on, Freeze: r.file("device") == Off, Silent: r.silent})
}

func (r *rig) silence(on bool) {
	r.mu.Lock()
	r.silent = on
	r.mu.Unlock()
	r.mind()
	r.box.Silence(on)
}

func (r *rig) config() Config {
	return Config{SSH: r.box.SSH(), Target: oversshtest.TargetName, LUN: 1}
}

func (r *rig) open(c Config) *Driver {
	r.t.Helper()
	d, err := Open(drivers.Env{ID: "target", Lane: lane, Clock: r.clock, Portal: r.front.Addr}, c, toy)
	if err != nil {
		r.t.Fatal(err)
	}
	d.t.settle, d.t.act, d.t.again, d.t.down, d.t.doubt, d.t.start = time.Second, 2*time.Second, 300*time.Millisecond, 2*time.Second, time.Second, time.Second
	d.t.lookEach, d.t.answer = 100*time.Millisecond, time.Second
	return d
}

func TestConformance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	control := oversshtest.NewTgtd(t)
	conformance.Run(t, func(*testing.T) (drivers.Driver, drivers.Clock) { return breaker{r.open(r.config())}, r.clock }, conformance.Options{
		State:   func() string { return oversshtest.Answers(r.front.Addr) + r.file("service") + r.file("device") },
		Wire:    look(r.front.Addr),
		Control: look(control.Portal),
		Hang:    func() func() { r.silence(true); return func() { r.silence(false) } },
		Fail: func() func() {
			r.box.Write("service", "off\n")
			return func() { r.box.Write("service", "on\n") }
		},
	})
}

func look(portal string) func(context.Context) error {
	return func(ctx context.Context) error {
		return iscsi.Probe(ctx, portal, "iqn.2026-11.x:kit", oversshtest.TargetName, 1)
	}
}

func nothing(context.Context, drivers.Undo) error { return nil }

// TestProbeTellsWhatIsWrong has every way in which a lab file or a system can be wrong, and the words that have to be in the error.
func TestProbeTellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	good := r.config()
	other, _ := oversshtest.Key(t, oversshtest.Dir(t), "other")
	for name, c := range map[string]struct {
		spoil func(c *Config) func()
		want  []string
	}{
		"wrong key":    {func(c *Config) func() { c.SSH.KeyFile = other; return nil }, []string{"is refused", "authorized_keys"}},
		"host key":     {func(*Config) func() { r.box.Rekey(); return nil }, []string{"is not the one that the lab file knows", "it shows SHA256:", "should show SHA256:"}},
		"unreachable":  {func(c *Config) func() { c.SSH.Address = iscsitest.FreeAddr(t); return nil }, []string{"cannot be reached over SSH", "refused"}},
		"other system": {func(*Config) func() { return r.swap("svc", "") }, []string{"is not a toy: it has no svc", "choose the driver"}},
		"not root":     {func(*Config) func() { return r.swap("id", "echo 1000") }, []string{"is not root (its number is 1000)", "no permission", "sudo: true"}},
		"no sudo": {func(c *Config) func() {
			c.Sudo = true
			return r.swap("sudo", "echo sudo: a password is required >&2; exit 1")
		}, []string{"a password is required", "may do this"}},
		"no shell":      {func(c *Config) func() { c.Sudo = true; return r.swap("sudo", "echo 1 Configure Network Interfaces") }, []string{"no shell that answers", "Configure Network"}},
		"nonsense":      {func(*Config) func() { return r.swap("svc", "echo what?") }, []string{"what is not understood", `"what?"`}},
		"stopped":       {func(*Config) func() { return r.swap("svc", "echo off") }, []string{"was not running", "Mend the toy."}},
		"not on wire":   {func(c *Config) func() { c.Portal = iscsitest.FreeAddr(t); return nil }, []string{"does not serve LUN 1: refused"}},
		"wrong target":  {func(c *Config) func() { c.Target = "iqn.x:no"; return nil }, []string{"login-reject", "name another as initiator"}},
		"no such LUN":   {func(c *Config) func() { c.LUN = 7; return nil }, []string{"does not serve LUN 7: lun-gone"}},
		"shell is mute": {func(*Config) func() { r.box.Silence(true); return func() { r.box.Silence(false) } }, []string{"did not answer over SSH in time"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			good.SSH = r.box.SSH()
			cfg := good
			if mend := c.spoil(&cfg); mend != nil {
				defer mend()
			}
			d := r.open(cfg)
			d.t.command = time.Second
			err := d.Probe(t.Context())
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(op.Impact).NotTo(BeEmpty())
			for _, w := range c.want {
				g.Expect(err).To(MatchError(ContainSubstring(w)))
			}
		})
	}
}

// swap replaces a program of the box, "" by none, until it is mended.
func (r *rig) swap(name, script string) func() {
	r.t.Helper()
	path := filepath.Join(r.box.Dir, "bin", name)
	old, _ := os.ReadFile(path)
	_ = os.Remove(path)
	if script != "" {
		r.box.Program(name, script)
	}
	return func() {
		_ = os.Remove(path)
		if old != nil {
			r.box.Write("bin/"+name, string(old))
		}
	}
}

func TestSudo(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	defer r.swap("id", `echo ${ROOT:-1000}`)()
	r.box.Program("sudo", `[ "$1" = -n ] && shift; ROOT=0; export ROOT; exec "$@"`)
	c := r.config()
	g.Expect(r.open(c).Probe(t.Context())).To(MatchError(ContainSubstring("not root")))
	c.Sudo = true
	g.Expect(r.open(c).Probe(t.Context())).To(Succeed())
}

// TestStopsThatDoNot has services that say they stopped: by their status, by their words, or not at all.
func TestStopsThatDoNot(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for name, c := range map[string]struct{ svc, want string }{
		"does nothing": {`case $1 in status) echo on;; esac`, `it says "on", and the wire shows serving`},
		"fails":        {`case $1 in status) echo on;; *) echo no way >&2; exit 3;; esac`, "status 3: no way"},
		"lies":         {`case $1 in status) cat $BOX/lie;; stop) echo off >$BOX/lie;; esac`, `it says "off", and the wire shows serving`},
		"never ends":   {`case $1 in status) echo on;; *) sleep 20;; esac`, "did not answer over SSH in time"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			defer r.swap("svc", c.svc)()
			r.box.Write("lie", "on\n")
			d := r.open(r.config())
			journalled := 0
			err := d.StopService(t.Context(), func(_ context.Context, u drivers.Undo) error { journalled++; return nil })
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(And(ContainSubstring("did not break"), ContainSubstring(c.want), ContainSubstring("Mend the toy."))))
			g.Expect(journalled).To(Equal(1))
		})
	}
}

// TestStopWhoseCommandIsCut stops a service whose command breaks off, as when the daemon's end takes the login with it.
func TestStopWhoseCommandIsCut(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	defer r.swap("svc", svc+`; [ $1 != stop ] || exit 7`)()
	d := r.open(r.config())
	var u drivers.Undo
	g.Expect(d.StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	g.Expect(d.StopService(t.Context(), nothing)).To(MatchError(ContainSubstring("was not running")))
	g.Expect(r.open(r.config()).Undo(t.Context(), u)).To(Equal(drivers.Undone))
}

// TestStartThatFailsSilently undoes a stop on a service that only says it starts; a start that works at the second try is one.
func TestStartThatFailsSilently(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	d := r.open(r.config())
	var u drivers.Undo
	g.Expect(d.StopService(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })).To(Succeed())
	mend := r.swap("svc", `case $1 in status) cat $BOX/service;; start) echo starting;; esac`)
	_, err := d.Undo(t.Context(), u)
	g.Expect(err).To(MatchError(And(ContainSubstring(`does not come back: it says "off"`), ContainSubstring(`"starting"`), ContainSubstring("by hand"))))
	mend()
	defer r.swap("svc", `case $1 in status) cat $BOX/service;; start) [ -e $BOX/tried ] && echo on >$BOX/service; touch $BOX/tried;; esac`)()
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.NothingLeft))
	_, err = d.Undo(t.Context(), drivers.Undo{Op: opTurnOn, Args: map[string]string{argKind: "stall"}})
	g.Expect(err).To(MatchError(drivers.ErrUnknownUndo))
	g.Expect(d.Break(t.Context(), "stall", nothing)).To(MatchError(ContainSubstring("knows no way")))
}

func TestReboots(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	reboot := func(t *testing.T, c Config) (u drivers.Undo, err error) {
		err = r.open(c).RebootTarget(t.Context(), func(_ context.Context, v drivers.Undo) error { u = v; return nil })
		return u, err
	}
	t.Run("that is none", func(t *testing.T) {
		g := NewWithT(t)
		defer r.swap("shutdown", "echo not today; exit 1")()
		u, err := reboot(t, r.config())
		g.Expect(err).To(MatchError(And(ContainSubstring("did not reboot: the wire shows serving"), ContainSubstring("not today"))))
		g.Expect(r.open(r.config()).Undo(t.Context(), u)).To(Equal(drivers.NothingLeft)) // after a time of doubt
	})
	t.Run("that only stops the service", func(t *testing.T) {
		g := NewWithT(t)
		defer r.swap("shutdown", "echo off >$BOX/service")()
		u, err := reboot(t, r.config())
		g.Expect(err).To(MatchError(ContainSubstring("did not reboot: the wire shows refused")))
		g.Expect(r.open(r.config()).Undo(t.Context(), u)).To(Equal(drivers.Undone))
	})
	t.Run("whose boot does not start the service", func(t *testing.T) {
		g := NewWithT(t)
		up := r.box.OnUp
		r.box.OnUp = nil
		defer func() { r.box.OnUp = up }()
		u, err := reboot(t, r.config())
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.open(r.config()).Undo(t.Context(), u)).To(Equal(drivers.Undone))
		g.Expect(r.open(r.config()).Probe(t.Context())).To(Succeed())
	})
	t.Run("that never ends", func(t *testing.T) {
		g := NewWithT(t)
		r.box.Down = -1
		c := r.config()
		c.BackWithin = time.Second
		u, err := reboot(t, c)
		g.Expect(err).NotTo(HaveOccurred())
		start := time.Now()
		_, err = r.open(c).Undo(t.Context(), u)
		g.Expect(err).To(MatchError(And(ContainSubstring("did not come back from its reboot"), ContainSubstring("back_within"))))
		g.Expect(time.Since(start)).To(BeNumerically("<", 5*time.Second))
	})
}

// watch collects what is observed.
func (r *rig) watch(d *Driver) (seen func(topic, value string) bool) {
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	var all []drivers.Observation
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = d.Observe(ctx, func(o drivers.Observation) {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, o)
		})
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return func(topic, value string) bool {
		mu.Lock()
		defer mu.Unlock()
		for i, o := range all {
			if o.Topic == topic && (o.Value == value || o.Kind == drivers.Sample && fmt.Sprint(o.Num) == value) {
				all = all[i+1:]
				return true
			}
		}
		return false
	}
}

func TestHungShellNeverStopsTheWire(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	d := r.open(r.config())
	d.t.command = 500 * time.Millisecond
	seen := r.watch(d)
	g.Eventually(func() bool { return seen("shell", "answers") }, "5s").Should(BeTrue())
	g.Eventually(func() bool { return seen("sessions", "3") }, "5s").Should(BeTrue())
	r.box.Silence(true)
	defer r.box.Silence(false)
	g.Eventually(func() bool { return seen("shell", "silent") }, "5s").Should(BeTrue())
	r.box.Write("service", "off\n")
	g.Eventually(func() bool { return seen("service", "stopped") }, "3s").Should(BeTrue())
	r.box.Write("service", "on\n")
	g.Eventually(func() bool { return seen("service", "serving") }, "3s").Should(BeTrue())
	r.box.Write("device", "off\n") // the login is answered, its command is not
	g.Eventually(func() bool { return seen("service", "stopped") }, "6s").Should(BeTrue())
	r.box.Write("device", "on\n")
	g.Eventually(func() bool { return seen("service", "serving") }, "3s").Should(BeTrue())
}

// TestAccidents tells a target that broke by itself from one that was told to.
func TestAccidents(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	d := r.open(r.config())
	seen := r.watch(d)
	g.Eventually(func() bool { return seen("shell", "answers") }, "5s").Should(BeTrue())
	var u drivers.Undo
	keep := func(_ context.Context, v drivers.Undo) error { u = v; return nil }
	g.Expect(d.StopService(t.Context(), keep)).To(Succeed())
	g.Consistently(func() bool { return seen(drivers.LabFailure, "target-ended") }, "500ms").Should(BeFalse())
	g.Expect(d.Undo(t.Context(), u)).To(Equal(drivers.Undone))
	g.Consistently(func() bool { return seen(drivers.LabFailure, "target-ended") }, "500ms").Should(BeFalse())
	r.box.Write("service", "off\n")
	g.Eventually(func() bool { return seen(drivers.LabFailure, "target-ended") }, "5s").Should(BeTrue())
	r.box.Reboot()
	g.Eventually(func() bool { return seen(drivers.LabFailure, "target-rebooted") }, "5s").Should(BeTrue())
}

func TestExamine(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	r := newRig(t)
	found := map[string]drivers.Finding{}
	for _, f := range r.open(r.config()).Examine(t.Context()) {
		found[f.What] = f
	}
	g.Expect(found).To(HaveLen(5))
	g.Expect(found["the target's management is apart from its storage"].Say).To(ContainSubstring("Both are at 127.0.0.1."))
	g.Expect(found["the target's host key is pinned"].OK).To(BeTrue())
	g.Expect(found["the target's service starts at boot"].OK).To(BeTrue())
	g.Expect(found["the toy is blue"]).To(Equal(drivers.Finding{What: "the toy is blue", Say: "It is red."}))
	c := r.config()
	c.Portal = "127.0.0.2:3260"
	g.Expect(r.open(c).Examine(t.Context())[0].OK).To(BeTrue())
	r.box.Silence(true)
	defer r.box.Silence(false)
	d := r.open(c)
	d.t.command = 100 * time.Millisecond
	g.Expect(d.Examine(t.Context())[2].Say).To(ContainSubstring("cannot be looked at"))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	var c struct {
		Config `yaml:",inline"`
		More   int `yaml:"more"`
	}
	text := "ssh:\n  address: nas:22\n  user: admin\n  key_file: k\n  host_key: h\nsudo: true\nportal: 10.0.0.1:3260\ntarget: iqn.x:t\nlun: 2\nback_within: 20m\nmore: 3\n"
	g.Expect(yaml.UnmarshalWithOptions([]byte(text), &c, yaml.Strict())).To(Succeed())
	g.Expect(c.Config).To(Equal(Config{SSH: sshell.Config{Address: "nas:22", User: "admin", KeyFile: "k", HostKey: "h"}, Sudo: true,
		Portal: "10.0.0.1:3260", Target: "iqn.x:t", LUN: 2, BackWithin: 20 * time.Minute}))
	g.Expect(c.More).To(Equal(3))
	g.Expect(yaml.UnmarshalWithOptions([]byte(text+"lan: 3\n"), &c, yaml.Strict())).To(MatchError(ContainSubstring("lan")))
	for want, c := range map[string]Config{
		"target is not given":      {Portal: "a:1"},
		"portal is not host:port":  {Target: "t"},
		"cannot be below 0":        {Target: "t", Portal: "a:1", LUN: -1},
		"ssh: address is not host": {Target: "t", Portal: "a:1"},
		"neither host_key nor":     {Target: "t", Portal: "a:1", SSH: sshell.Config{Address: "a:22"}},
	} {
		_, err := Open(drivers.Env{}, c, toy)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
		g.Expect(err).To(BeAssignableToTypeOf(&drivers.Operator{}))
	}
}
