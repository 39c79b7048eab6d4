// Package resident is the agent that stays in a guest's memory while the guest loses its disk.
//
// Only the goroutines whose job it is touch the disk: one reads, one writes the log, and each extra writer is its own. Any
// of them may hang in the kernel for ever; the heartbeat, the commands and the writer of the output go on, because they
// use nothing but memory, /proc, /sys and the pipes of the session. It starts no programs.
package resident

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The fixed pace of the agent, and how much it keeps when nobody takes its output.
const (
	beatEvery   = 250 * time.Millisecond
	systemEvery = time.Second
	stirEvery   = 500 * time.Millisecond
	loadPause   = 20 * time.Millisecond
	retryEvery  = time.Second
	syncBound   = 5 * time.Second
	kmsgPerSec  = 50
	queuedLines = 8192
	roundLength = 2000
	roundPause  = 20 * time.Millisecond
	atOnce      = 1
)

// Options says what the agent works on. Only tests need more than Instance and Keep.
type Options struct {
	Instance   string        // letters, digits and dashes, at most 64
	Keep       string        // when set, logs of instances whose names begin otherwise are deleted at the start
	Dir        string        // the folder of the acknowledged-write log
	Device     string        // what is read; empty for the disk of the root file system
	Kmsg       string        // the kernel's log
	Seed       string        // the folder with SHA256SUMS and the files it names
	WriteEvery time.Duration // the pause between two records of the log
	ReadEvery  time.Duration // the pause between two reads
	Lock       bool          // keep all memory of this process in memory
	Quiet      bool          // take commands and do nothing else: no reads, no writes, no kernel log
}

// Defaults returns the options for a guest.
func Defaults() Options {
	return Options{
		Lock: true, Dir: "/var/lib/apd", Kmsg: "/dev/kmsg", Seed: "/srv/seed",
		WriteEvery: 200 * time.Millisecond, ReadEvery: 500 * time.Millisecond,
	}
}

var instanceName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// resident is one running agent.
type resident struct {
	o       Options
	out     chan []byte
	dropped atomic.Uint64
	rounds  atomic.Uint64
	load    load
	busy    sync.Map // command type -> *atomic.Int32, how many are running
}

// Run runs the agent until in ends, and returns nil then. Goroutines that hang in a call to the disk are left behind: the
// caller ends the process.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	if !instanceName.MatchString(o.Instance) {
		return fmt.Errorf("the instance %q is not made of 1 to 64 letters, digits and dashes", o.Instance)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var locked error
	if o.Lock {
		locked = lockMemory()
	}
	disk := rootDisk(o.Device)
	r := &resident{o: o, out: make(chan []byte, queuedLines)}
	r.load.r = r

	hello := hostFacts(disk)
	hello.Protocol, hello.Instance, hello.System = agent.Protocol, o.Instance, systemState(disk)
	if locked != nil {
		hello.Locked = locked.Error()
	}
	hello.Linux = ownFacts(ctx, o.Dir)
	r.send(agent.Message{Type: agent.TypeHello, Hello: &hello})

	broken := make(chan error, 1)
	go r.writeOut(ctx, out, broken)
	if !o.Quiet {
		go r.work(ctx)
		go r.beat(ctx)
		go r.watchSystem(ctx, disk)
		go r.readDisk(ctx, disk.node)
		go r.tailKmsg(ctx)
		go r.stirJournal(ctx)
		go func() {
			if o.Keep != "" {
				removeOld(o.Dir, o.Keep)
			}
			(&writer{r: r, pause: o.WriteEvery}).run(ctx)
		}()
	}
	ended := make(chan error, 1)
	go func() { ended <- r.takeCommands(ctx, in) }()
	select {
	case err := <-ended:
		return err
	case err := <-broken:
		return err
	case <-ctx.Done():
		return nil
	}
}

// send queues a message with the present time. When the queue is full it is dropped and counted: nobody waits for the output.
func (r *resident) send(m agent.Message) {
	m.T = monotonic()
	b, err := json.Marshal(m)
	if err != nil {
		r.dropped.Add(1)
		return
	}
	select {
	case r.out <- append(b, '\n'):
	default:
		r.dropped.Add(1)
	}
}

func (r *resident) writeOut(ctx context.Context, out io.Writer, broken chan<- error) {
	for {
		select {
		case b := <-r.out:
			if _, err := out.Write(b); err != nil {
				broken <- fmt.Errorf("writing the output: %w", err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// every calls do at once and then at each tick until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		do()
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// wait waits for d and tells whether ctx is still good.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// work is the CPU worker: a little arithmetic, then a pause, so that it shows life without eating the core.
func (r *resident) work(ctx context.Context) {
	x := uint64(88172645463325252)
	every(ctx, roundPause, func() {
		for range roundLength {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		if x != 0 { // always: the state of this generator is never 0, but the compiler does not know
			r.rounds.Add(1)
		}
	})
}

func (r *resident) beat(ctx context.Context) {
	every(ctx, beatEvery, func() {
		r.send(agent.Message{Type: agent.TypeBeat, Beat: &agent.Beat{Rounds: r.rounds.Load(), Dropped: r.dropped.Load()}})
	})
}

func (r *resident) watchSystem(ctx context.Context, d disk) {
	every(ctx, systemEvery, func() {
		s := systemState(d)
		r.send(agent.Message{Type: agent.TypeSystem, System: &s})
	})
}

// takeCommands returns nil when in ends.
func (r *resident) takeCommands(ctx context.Context, in io.Reader) error {
	lines := agent.NewReader(in)
	for {
		var c agent.Command
		err := lines.Next(&c)
		var bad *agent.LineError
		switch {
		case errors.As(err, &bad):
			r.reply(agent.Reply{Error: bad.Error()})
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading commands: %w", err)
		default:
			r.do(ctx, c)
		}
	}
}

func (r *resident) reply(p agent.Reply) { r.send(agent.Message{Type: agent.TypeReply, Reply: &p}) }

// do answers a command; what may hang runs in a goroutine of its own, one of a kind.
func (r *resident) do(ctx context.Context, c agent.Command) {
	switch c.Type {
	case agent.CmdPing:
		r.reply(agent.Reply{ID: c.ID})
	case agent.CmdLoad:
		if r.o.Quiet || c.N < 0 || c.N > 64 {
			r.reply(agent.Reply{ID: c.ID, Error: fmt.Sprintf("cannot run %d writers", c.N)})
			return
		}
		r.load.set(ctx, c.N)
		r.reply(agent.Reply{ID: c.ID})
	case agent.CmdDropCaches:
		r.alone(c, func() agent.Reply {
			if err := dropCaches(syncBound); err != nil {
				return agent.Reply{Error: err.Error()}
			}
			return agent.Reply{}
		})
	case agent.CmdVerify:
		r.alone(c, func() agent.Reply { return agent.Reply{Files: verify(c.Files)} })
	case agent.CmdSeed:
		r.alone(c, func() agent.Reply {
			result, text, err := checkSeed(r.o.Seed)
			p := agent.Reply{Seed: result, Text: text}
			if err != nil {
				p.Error = err.Error()
			}
			return p
		})
	default:
		r.reply(agent.Reply{ID: c.ID, Error: fmt.Sprintf("no such command: %q", c.Type)})
	}
}

// alone runs a command in a goroutine unless one of its type is still running.
func (r *resident) alone(c agent.Command, run func() agent.Reply) {
	v, _ := r.busy.LoadOrStore(c.Type, new(atomic.Int32))
	n := v.(*atomic.Int32)
	if n.Add(1) > atOnce {
		n.Add(-1)
		r.reply(agent.Reply{ID: c.ID, Error: "an earlier " + c.Type + " has not ended"})
		return
	}
	go func() {
		p := run()
		p.ID = c.ID
		n.Add(-1)
		r.reply(p)
	}()
}
