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
	pacedRounds = 2 // between two beats, where there is a pace: most of what an idle agent costs is waking up
	atOnce      = 1
)

// The limits of Options.Pace in Hz. An agent that did a thousand things a second would be a load of its own, and measure itself.
const (
	minPace   = 1
	maxPace   = 10
	servePace = 4
)

// Options says what the agent works on. Only tests need more than Instance and Keep.
type Options struct {
	Instance   string        // letters, digits and dashes, at most 64
	Keep       string        // when set, logs of instances whose names begin otherwise are deleted at the start
	Dir        string        // the folder of the acknowledged-write log
	Device     string        // what is read; empty for the disk of the root file system
	Kmsg       string        // the kernel's log
	Seed       string        // the folder with SHA256SUMS and the files it names
	Folder     string        // folders below this one are listed, one after the other; Windows only
	Pace       float64       // beats, records and reads a second, 1 to 10; 0 for the fixed pace and the two pauses below
	WriteEvery time.Duration // the pause between two records of the log
	ReadEvery  time.Duration // the pause between two reads
	Alone      time.Duration // an agent that listens ends when it has had no client for so long
	Lock       bool          // keep all memory of this process in memory
	Quiet      bool          // take commands and do nothing else: no reads, no writes, no kernel log
}

// Defaults returns the options for a guest.
func Defaults() Options {
	return Options{
		Lock: true, Dir: defaultDir, Kmsg: defaultKmsg, Seed: defaultSeed, Folder: defaultFolder,
		WriteEvery: 200 * time.Millisecond, ReadEvery: 500 * time.Millisecond, Alone: 4 * time.Hour,
	}
}

// Check refuses options that make no sense, and applies the pace.
func (o *Options) Check() error {
	if !instanceName.MatchString(o.Instance) {
		return fmt.Errorf("the instance %q is not made of 1 to 64 letters, digits and dashes", o.Instance)
	}
	if o.Alone < 0 {
		return fmt.Errorf("an agent cannot be alone for %v", o.Alone)
	}
	if o.Pace == 0 {
		return nil
	}
	if !(o.Pace >= minPace && o.Pace <= maxPace) { // not a number is refused too
		return fmt.Errorf("the pace %g Hz is not between %d and %d: a faster agent would be a load of its own, a slower one would see too little",
			o.Pace, minPace, maxPace)
	}
	o.WriteEvery = o.beatEvery()
	o.ReadEvery = o.WriteEvery
	return nil
}

// beatEvery is the time between two beats.
func (o *Options) beatEvery() time.Duration {
	if o.Pace == 0 {
		return beatEvery
	}
	return time.Duration(float64(time.Second) / o.Pace)
}

var instanceName = regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`)

// resident is one running agent.
type resident struct {
	o       Options
	out     chan []byte // for the pipe
	keep    *backlog    // in place of out, for an agent that listens
	disk    disk
	hello   agent.Hello
	begun   int64 // when hello was made, on the guest's monotonic clock
	locked  atomic.Pointer[string]
	dropped atomic.Uint64
	rounds  atomic.Uint64
	load    load
	busy    sync.Map      // command type -> *atomic.Int32, how many are running
	end     chan struct{} // takes the word of a client that the agent is to end; nil where its input's end says so
}

// newResident looks at the guest. It starts nothing.
func newResident(o Options) *resident {
	r := &resident{o: o}
	r.load.r = r
	r.lock()
	r.disk = rootDisk(o)
	r.hello, r.begun = hostFacts(r.disk), monotonic()
	r.hello.Protocol, r.hello.Instance, r.hello.Without = agent.Protocol, o.Instance, r.disk.without
	r.hello.Linux = ownFacts(context.Background(), o.Dir) // it has a bound of its own
	return r
}

// lock keeps the memory of this process in memory, and keeps the reason when it cannot.
func (r *resident) lock() {
	why := ""
	if r.o.Lock {
		if err := lockMemory(); err != nil {
			why = err.Error()
		}
	}
	r.locked.Store(&why)
}

// sayHello is the hello as it is now.
func (r *resident) sayHello() *agent.Hello {
	h := r.hello
	h.Uptime += since(r.begun).Seconds()
	h.Locked, h.System = *r.locked.Load(), systemState(r.disk)
	return &h
}

// begin starts the work.
func (r *resident) begin(ctx context.Context) {
	if r.o.Quiet {
		return
	}
	go r.work(ctx)
	go r.beat(ctx)
	go r.readDisk(ctx, r.disk)
	r.alongside(ctx, r.disk)
	go func() {
		if r.o.Keep != "" {
			removeOld(r.o.Dir, r.o.Keep)
		}
		(&writer{r: r, pause: r.o.WriteEvery}).run(ctx)
	}()
}

// Run runs the agent until in ends, and returns nil then. Goroutines that hang in a call to the disk are left behind: the
// caller ends the process.
func Run(ctx context.Context, o Options, in io.Reader, out io.Writer) error {
	if err := o.Check(); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := newResident(o)
	r.out = make(chan []byte, queuedLines)
	r.send(agent.Message{Type: agent.TypeHello, Hello: r.sayHello()})

	broken := make(chan error, 1)
	go r.writeOut(ctx, out, broken)
	r.begin(ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.takeCommands(ctx, in, r.reply) }()
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
	b, err := line(m)
	if err != nil {
		r.dropped.Add(1)
		return
	}
	if r.keep != nil {
		r.dropped.Add(r.keep.put(m.Type, b))
		return
	}
	select {
	case r.out <- b:
	default:
		r.dropped.Add(1)
	}
}

// line is a message with the present time.
func line(m agent.Message) ([]byte, error) {
	m.T = monotonic()
	b, err := json.Marshal(m)
	return append(b, '\n'), err
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
	pause := roundPause
	if r.o.Pace != 0 {
		pause = r.o.beatEvery() / pacedRounds
	}
	every(ctx, pause, func() {
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
	every(ctx, r.o.beatEvery(), func() {
		r.send(agent.Message{Type: agent.TypeBeat, Beat: &agent.Beat{Rounds: r.rounds.Load(), Dropped: r.dropped.Load()}})
	})
}

// takeCommands returns nil when in ends.
func (r *resident) takeCommands(ctx context.Context, in io.Reader, reply func(agent.Reply)) error {
	lines := agent.NewReader(in)
	for {
		var c agent.Command
		err := lines.Next(&c)
		var bad *agent.LineError
		switch {
		case errors.As(err, &bad):
			reply(agent.Reply{Error: bad.Error()})
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading commands: %w", err)
		default:
			r.do(ctx, c, reply)
		}
	}
}

func (r *resident) reply(p agent.Reply) { r.send(agent.Message{Type: agent.TypeReply, Reply: &p}) }

// do answers a command; what may hang runs in a goroutine of its own, one of a kind.
func (r *resident) do(ctx context.Context, c agent.Command, reply func(agent.Reply)) {
	switch c.Type {
	case agent.CmdPing:
		reply(agent.Reply{ID: c.ID})
	case agent.CmdLoad:
		if r.o.Quiet || c.N < 0 || c.N > 64 {
			reply(agent.Reply{ID: c.ID, Error: fmt.Sprintf("cannot run %d writers", c.N)})
			return
		}
		r.load.set(ctx, c.N)
		reply(agent.Reply{ID: c.ID})
	case agent.CmdDropCaches:
		r.alone(c, reply, func() agent.Reply {
			if err := dropCaches(syncBound); err != nil {
				return agent.Reply{Error: err.Error()}
			}
			return agent.Reply{}
		})
	case agent.CmdVerify:
		r.alone(c, reply, func() agent.Reply { return agent.Reply{Files: verify(c.Files)} })
	case agent.CmdSeed:
		r.alone(c, reply, func() agent.Reply {
			result, text, err := checkSeed(r.o.Seed)
			p := agent.Reply{Seed: result, Text: text}
			if err != nil {
				p.Error = err.Error()
			}
			return p
		})
	case agent.CmdEnd:
		if r.end == nil {
			reply(agent.Reply{ID: c.ID, Error: "this agent ends when its input does"})
			return
		}
		reply(agent.Reply{ID: c.ID})
		select {
		case r.end <- struct{}{}:
		default:
		}
	default:
		reply(agent.Reply{ID: c.ID, Error: fmt.Sprintf("no such command: %q", c.Type)})
	}
}

// alone runs a command in a goroutine unless one of its type is still running.
func (r *resident) alone(c agent.Command, reply func(agent.Reply), run func() agent.Reply) {
	v, _ := r.busy.LoadOrStore(c.Type, new(atomic.Int32))
	n := v.(*atomic.Int32)
	if n.Add(1) > atOnce {
		n.Add(-1)
		reply(agent.Reply{ID: c.ID, Error: "an earlier " + c.Type + " has not ended"})
		return
	}
	go func() {
		p := run()
		p.ID = c.ID
		n.Add(-1)
		reply(p)
	}()
}
