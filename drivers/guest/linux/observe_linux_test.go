package linux

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// fakeLS puts an ls into the guest that does what the
// file "mood" says: nothing, hang on a pipe, or fail.
func (s *server) fakeLS(mood string) {
	s.t.Helper()
	s.write("mood", mood)
	s.write(".bash_profile", "PATH=$HOME/bin:$PATH\n")
	s.write("bin/ls", `#!/bin/bash
read -r mood <"$HOME/mood"
case $mood in
hang) read -r x <"$HOME/hang"; echo "ls: reading directory '.': Input/output error" >&2; exit 2 ;;
fail) echo "ls: cannot open directory '.': Input/output error" >&2; exit 2 ;;
*) echo "total 0"; echo "drwx 1 root root 0 Jan  1 00:00 ." ;;
esac
`)
}

func TestObserveWithTheRealAgent(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.useAgent()
	s.fakeLS("fine\n")
	if err := unix.Mkfifo(filepath.Join(s.dir, "hang"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := s.mustOpen()
	w := observe(t, d)
	w.state(0, "agent", "up")
	w.until(0, "the boot id", func(o drivers.Observation) bool { return o.Topic == "boot" && len(o.Value) == 36 })
	w.state(0, "alive", "beating")
	w.state(0, "disk", "ok")
	w.state(0, "write", "ok")
	w.state(0, "ssh.held", "connected")
	w.state(0, "ssh.new", "ok")
	w.state(0, "shell.builtin", "answers")
	w.state(0, "shell.external", "answers")
	w.until(0, "the file system", func(o drivers.Observation) bool { return o.Topic == "fs" && o.Value != "" })
	for _, topic := range []string{"heartbeat", "read", "write", "ssh.held", "ssh.new"} {
		w.sample(0, topic)
	}
	if o := w.sample(0, "cpu"); o.Num <= 0 {
		t.Errorf("the CPU worker stands still: %+v", o)
	}

	// The external command hangs, then fails: builtins go on.
	from := w.count()
	s.write("mood", "hang\n")
	silent := w.state(from, "shell.external", "silent")
	if got := silent.Hi - silent.Lo; got < externalSilent || got > externalSilent+time.Second {
		t.Errorf("silent was told %v after it was typed", got)
	}
	f, err := os.OpenFile(filepath.Join(s.dir, "hang"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.write("mood", "fail\n")
	_ = f.Close()
	failed := w.state(from, "shell.external", "error")
	if failed.Text != "ls: reading directory '.': Input/output error" {
		t.Errorf("the words are %q", failed.Text)
	}
	w.until(from, "the transcript", func(o drivers.Observation) bool {
		return o.Topic == "transcript" && o.Value == "out" && o.Text == failed.Text && o.Attrs["shell"] == "external"
	})
	w.until(from, "the other error", func(o drivers.Observation) bool {
		return o.Topic == "shell.external" && o.Text == "ls: cannot open directory '.': Input/output error"
	})
	s.write("mood", "fine\n")
	w.state(from, "shell.external", "answers")
	for _, o := range w.seen(from) {
		if o.Kind == drivers.State && o.Topic == "shell.builtin" {
			t.Errorf("builtins were disturbed: %+v", o)
		}
	}

	// Load, and what was acknowledged is there.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	from = w.count()
	if err := d.Load(ctx, 2); err != nil {
		t.Fatal(err)
	}
	w.state(from, "load", "working")
	w.until(from, "records a second", func(o drivers.Observation) bool {
		return o.Kind == drivers.Sample && o.Topic == "load" && o.Num > 1
	})
	if err := d.Load(ctx, 0); err != nil {
		t.Fatal(err)
	}
	w.state(from, "load", "none")
	verify(t, d, "intact", "absent")
	set, err := d.Settings(ctx)
	if err != nil || set["kernel"] == "" || set["root_fs"] == "" || set["scsi_timeout"] == "" {
		t.Errorf("%v %v", set, err)
	}

	// The session drops: it stays dropped, because the boot is the same; the agent comes back.
	from = w.count()
	s.cut()
	w.state(from, "ssh.held", "dropped")
	w.state(from, "agent", "lost")
	w.state(from, "agent", "up")
	w.sample(from, "ssh.new")
	w.until(from, "records of the new agent", func(o drivers.Observation) bool {
		return o.Kind == drivers.Sample && o.Topic == "write"
	})

	// A damaged log is seen, by the new agent.
	logs, err := filepath.Glob(filepath.Join(s.dir, "log", "acklog-*-1-0"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	b, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[agent.RecordSize+300] ^= 1
	if err := os.WriteFile(logs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := verify(t, d, "damaged", "absent"); o.Attrs["corrupt"] != "1" || o.Attrs["disorder"] != "0" || o.Text == "" {
		t.Errorf("%+v", o)
	}
	w.stop()
	w.until(0, "how often an answer was repeated", func(o drivers.Observation) bool {
		return o.Topic == "transcript" && o.Value == "repeated" && o.Text == "echo" && o.Attrs["times"] != ""
	})
	for _, o := range w.seen(from) {
		if o.Topic == "ssh.held" && o.Value == "connected" {
			t.Errorf("the held session was opened again: %+v", o)
		}
	}
	// Without Observe an agent of its own does it.
	if err := os.Truncate(logs[0], agent.RecordSize); err != nil {
		t.Fatal(err)
	}
	if o := verify(t, d, "damaged", "absent"); o.Attrs["missing"] == "0" {
		t.Errorf("%+v", o)
	}
	if err := d.Load(ctx, 1); !errors.Is(err, watch.ErrNotObserved) {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "run", "agent-*")); len(left) > 0 {
		t.Error("agents left behind: ", left)
	}
}

func verify(t *testing.T, d *Driver, acklog, seed string) drivers.Observation {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	got, err := d.VerifyWrites(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Topic != "acklog" || got[0].Value != acklog || got[1].Topic != "seed" || got[1].Value != seed {
		t.Fatalf("%+v", got)
	}
	if got[0].Attrs["acked"] == "0" || acklog == "intact" && got[0].Attrs["acked"] != got[0].Attrs["found"] {
		t.Fatalf("%+v", got[0])
	}
	return got[0]
}

// actor plays the agent.
type actor struct {
	t  *testing.T
	mu sync.Mutex
	ch io.Writer
	t0 time.Time

	boot    string
	skew    time.Duration
	came    chan struct{}
	refuse  map[string]string // command -> error
	unheard map[string]bool   // commands that are not answered
}

func play(t *testing.T, s *server) *actor {
	a := &actor{
		t: t, t0: time.Now(), boot: "boot-1", skew: 1000 * time.Hour, came: make(chan struct{}, 16),
		refuse: map[string]string{}, unheard: map[string]bool{},
	}
	s.agent = a.run
	return a
}

func (a *actor) now() int64 { return int64(time.Since(a.t0) + a.skew) }

func (a *actor) say(m agent.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if m.T == 0 {
		m.T = a.now()
	}
	b, err := json.Marshal(m)
	if err != nil {
		a.t.Error(err)
	}
	_, _ = a.ch.Write(append(b, '\n'))
}

func (a *actor) run(ch io.ReadWriter) {
	a.mu.Lock()
	a.ch = ch
	boot := a.boot
	a.mu.Unlock()
	a.say(agent.Message{Type: agent.TypeHello, Hello: &agent.Hello{Protocol: agent.Protocol, BootID: boot, Instance: "fake"}})
	a.came <- struct{}{}
	for lines := agent.NewReader(ch); ; {
		var c agent.Command
		if lines.Next(&c) != nil {
			return
		}
		a.mu.Lock()
		no, unheard := a.refuse[c.Type], a.unheard[c.Type]
		a.mu.Unlock()
		if !unheard {
			a.say(agent.Message{Type: agent.TypeReply, Reply: &agent.Reply{ID: c.ID, Error: no}})
		}
	}
}

func (a *actor) beat() { a.say(agent.Message{Type: agent.TypeBeat, Beat: &agent.Beat{Rounds: 1}}) }

func (a *actor) io(kind, phase, err string) {
	a.say(agent.Message{Type: kind, IO: &agent.IO{Phase: phase, Error: err, Seconds: 0.01}})
}

// acted opens a driver whose agent is played. Its agents are small.
func acted(t *testing.T, s *server) *Driver {
	d := s.mustOpen()
	d.binary = func(context.Context, string, string) ([]byte, error) { return []byte("#!/bin/sh\nexit 0\n"), nil }
	return d
}

func TestDiskStates(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.fakeLS("fine\n")
	a := play(t, s)
	d := acted(t, s)
	w := observe(t, d)
	w.state(0, "agent", "up")
	w.until(0, "the first ping's answer", func(drivers.Observation) bool {
		return d.agents.Compared()
	})
	for kind, topic := range map[string]string{agent.TypeRead: "disk", agent.TypeWrite: "write"} {
		from := w.count()
		a.io(kind, agent.Start, "")
		a.io(kind, agent.Done, "")
		w.state(from, topic, "ok")

		// Blocked is said by the agent's clock: a message of 1.2 s later, with no end of the read between.
		began := d.env.Clock.Now()
		t0 := a.now()
		a.say(agent.Message{T: t0, Type: kind, IO: &agent.IO{Phase: agent.Start}})
		a.say(agent.Message{T: t0 + int64(900*time.Millisecond), Type: agent.TypeBeat, Beat: &agent.Beat{}})
		a.say(agent.Message{T: t0 + int64(1200*time.Millisecond), Type: agent.TypeBeat, Beat: &agent.Beat{}})
		b := w.state(from, topic, "blocked")
		if b.Lo < began-time.Second || b.Lo > began+time.Second {
			t.Errorf("blocked since %v, begun at %v", b.Lo, began)
		}
		from = w.count()
		a.say(agent.Message{T: t0 + int64(1300*time.Millisecond), Type: kind, IO: &agent.IO{Phase: agent.Done, Error: "input/output error (EIO)"}})
		if e := w.state(from, topic, "error"); e.Text != "input/output error (EIO)" {
			t.Errorf("%+v", e)
		}
		a.io(kind, agent.Start, "")
		a.io(kind, agent.Done, "input/output error (EIO)")
		a.io(kind, agent.Start, "")
		a.io(kind, agent.Done, "")
		w.state(from, topic, "ok")
		n := 0
		for _, o := range w.seen(from) {
			if o.Kind == drivers.Event && o.Topic == kind+"-error" {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d events for one change", n)
		}
	}
	from := w.count()
	a.say(agent.Message{Type: agent.TypeSystem, System: &agent.System{FS: "ro", Device: "offline", Timeout: 30}})
	w.state(from, "fs", "ro")
	if o := w.state(from, "device", "offline"); o.Attrs["scsi_timeout"] != "30" {
		t.Errorf("%+v", o)
	}
	a.say(agent.Message{Type: agent.TypeKmsg, Kmsg: &agent.Kmsg{Level: "err", Text: "I/O error, dev sda", Dropped: 3}})
	w.until(from, "the kernel's line", func(o drivers.Observation) bool {
		return o.Topic == "kmsg" && o.Value == "err" && o.Text == "I/O error, dev sda" && o.Attrs["dropped"] == "3"
	})
}

func TestSilenceAndReboot(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.fakeLS("fine\n")
	a := play(t, s)
	d := acted(t, s)
	w := observe(t, d)
	w.state(0, "agent", "up")
	<-a.came
	a.beat()
	w.state(0, "alive", "beating")
	silent := w.state(0, "alive", "silent")
	if got := silent.Hi - silent.Lo; got < watch.SilentAfter || got > watch.SilentAfter+2*time.Second {
		t.Errorf("silent told after %v", got)
	}
	w.until(0, "the silence so far", func(o drivers.Observation) bool {
		return o.Kind == drivers.Sample && o.Topic == "heartbeat" && o.Num > 2
	})
	from := w.count()
	a.beat()
	w.state(from, "alive", "beating")
	w.state(0, "ssh.held", "connected")

	// The guest boots anew, and forgets its sessions.
	from = w.count()
	a.mu.Lock()
	a.boot = "boot-2"
	a.mu.Unlock()
	s.cut()
	w.state(from, "ssh.held", "dropped")
	w.until(from, "the new boot id", func(o drivers.Observation) bool { return o.Topic == "boot" && o.Value == "boot-2" })
	w.state(from, "ssh.held", "connected")
	w.state(from, "shell.external", "answers")
}

func TestSilentServerAndDeafServer(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.fakeLS("fine\n")
	play(t, s)
	d := acted(t, s)
	w := observe(t, d)
	w.state(0, "ssh.held", "connected")
	w.state(0, "ssh.new", "ok")
	from := w.count()
	s.set(func() { s.silent, s.deaf = true, true })
	if o := w.state(from, "ssh.new", "failed"); o.Text != "banner timeout" {
		t.Errorf("%+v", o)
	}
	un := w.state(from, "ssh.held", "unresponsive")
	if un.Hi-un.Lo < unresponsive {
		t.Errorf("%+v", un)
	}
}

func TestDropCaches(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.fakeLS("fine\n")
	a := play(t, s)
	d := acted(t, s)
	d.quiet = 6 * time.Second // longer than the pace of new logins
	w := observe(t, d)
	w.state(0, "shell.external", "answers")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := d.DropCaches(ctx); err != nil {
		t.Fatal(err)
	}
	dropped := d.env.Clock.Now()
	after := func(topic string) func(o drivers.Observation) bool {
		return func(o drivers.Observation) bool {
			return o.Kind == drivers.Sample && o.Topic == topic && o.Lo > dropped
		}
	}
	if o := w.until(0, "the next login", after("ssh.new")); o.Lo-dropped < d.quiet {
		t.Errorf("a login %v after the caches were dropped", o.Lo-dropped)
	}
	a.mu.Lock()
	a.refuse[agent.CmdDropCaches] = "sync did not end within 5s"
	a.mu.Unlock()
	if err := d.DropCaches(ctx); err == nil || !strings.Contains(err.Error(), "sync did not end") {
		t.Error(err)
	}
	at := d.env.Clock.Now()
	w.until(0, "logins go on after a failure", func(o drivers.Observation) bool {
		return o.Kind == drivers.Sample && o.Topic == "ssh.new" && o.Lo > at
	})
	a.mu.Lock()
	a.unheard[agent.CmdDropCaches] = true
	a.mu.Unlock()
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if err := d.DropCaches(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestHalt(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	d := s.mustOpen()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s.write("poweroff", "#!/bin/bash\nexit 3\n")
	if err := d.Halt(ctx); err == nil || !strings.Contains(err.Error(), "3") {
		t.Fatal(err)
	}
	s.write("poweroff", "#!/bin/bash\necho >\"$HOME/halted\"; read -r x <\"$HOME/hang\"\n")
	if err := unix.Mkfifo(filepath.Join(s.dir, "hang"), 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Halt(ctx) }()
	f, err := os.OpenFile(filepath.Join(s.dir, "hang"), os.O_WRONLY, 0) // opens when the script reads
	if err != nil {
		t.Fatal(err)
	}
	s.cut()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_ = f.Close()
}
