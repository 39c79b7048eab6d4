// This file holds the goroutines that touch the disk: the reader, the writer of the log, the extra writers.

package resident

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// The sizes of uncached reads in bytes: multiples of every sector size.
const (
	blockSize = 4096
	chunkSize = 128 << 10
)

// since is the time since a reading of the guest's monotonic clock.
func since(begun int64) time.Duration { return time.Duration(monotonic() - begun) }

// readDisk reads one block past every cache, again and again, each at another place. The device stays open: to open an
// offline device anew would fail with another error than to read from it.
func (r *resident) readDisk(ctx context.Context, d disk) {
	var dev *device
	for {
		r.send(agent.Message{Type: agent.TypeRead, IO: &agent.IO{Phase: agent.Start}})
		begun := monotonic()
		var err error
		if dev == nil {
			dev, err = openDevice(d)
		}
		if err == nil {
			err = dev.read()
		}
		r.send(agent.Message{Type: agent.TypeRead, IO: &agent.IO{
			Phase: agent.Done, Seconds: since(begun).Seconds(), Error: errText(err),
		}})
		if !wait(ctx, r.o.ReadEvery) {
			return
		}
	}
}

// writer appends records to a log, each made durable before the next. Number 0 is the idle log writer, which tells of every
// step; the others are load, and tell their state on request.
type writer struct {
	r      *resident
	number int
	pause  time.Duration
	limit  uint64 // records a file; 0 for agent.MaxRecords

	mu    sync.Mutex
	state agent.LoadWriter
	ended bool
}

func (w *writer) run(ctx context.Context) {
	limit := w.limit
	if limit == 0 {
		limit = agent.MaxRecords
	}
	for part := 0; w.fill(ctx, filepath.FromSlash(agent.LogName(w.r.o.Dir, w.r.o.Instance, w.number, part)), limit); part++ {
		w.r.load.report()
	}
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
}

// fill writes one file until it is full or ctx ends, and tells whether the next one is wanted. A record that fails is
// written again, at its own place in the same file, once a second until it is acknowledged: there is never a gap.
func (w *writer) fill(ctx context.Context, path string, limit uint64) bool {
	var f *logFile
	defer func() { f.close() }()
	buf := make([]byte, agent.RecordSize)
	for seq := uint64(1); seq <= limit; {
		w.begin(path, seq)
		begun := monotonic()
		var err error
		if f == nil {
			f, err = openLog(path)
		}
		if err == nil {
			agent.Record{Instance: w.r.o.Instance, Writer: w.number, Seq: seq, T: monotonic()}.Encode(buf)
			err = f.append(buf, int64(seq-1)*agent.RecordSize)
		}
		w.done(path, seq, since(begun), err)
		pause := retryEvery
		if err == nil {
			seq++
			pause = w.pause
		}
		if !wait(ctx, pause) {
			return false
		}
	}
	return true
}

func (w *writer) begin(path string, seq uint64) {
	if w.number == 0 {
		w.r.send(agent.Message{Type: agent.TypeWrite, IO: &agent.IO{Phase: agent.Start, Path: path, Seq: seq}})
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.state.Path != path {
		w.state = agent.LoadWriter{Writer: w.number, Path: path}
	}
	w.state.Since = monotonic()
}

func (w *writer) done(path string, seq uint64, took time.Duration, err error) {
	if w.number == 0 {
		w.r.send(agent.Message{Type: agent.TypeWrite, IO: &agent.IO{
			Phase: agent.Done, Path: path, Seq: seq, Seconds: took.Seconds(), Error: errText(err),
		}})
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state.Since, w.state.Error = 0, errText(err)
	if err == nil {
		w.state.Acked = seq
	}
}

// load is the extra writers.
type load struct {
	r       *resident
	mu      sync.Mutex
	writers []*writer
	wanted  int
	next    int // the number of the next writer, never used twice
	stop    context.CancelFunc
}

// set replaces the extra writers by n new ones. Writers that hang end when their call returns.
func (l *load) set(ctx context.Context, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	first := l.stop == nil
	run, stop := context.WithCancel(ctx)
	l.stop, l.wanted = stop, n
	for range n {
		l.next++
		w := &writer{r: l.r, number: l.next, pause: loadPause}
		l.writers = append(l.writers, w)
		go w.run(run)
	}
	if first {
		go every(ctx, l.r.o.beatEvery(), l.report)
	}
}

// running tells whether extra writers are wanted.
func (l *load) running() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wanted > 0
}

// report sends the state of the writers; those that ended are told of once more and forgotten.
func (l *load) report() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.writers) == 0 {
		return
	}
	m := agent.Load{Wanted: l.wanted}
	left := l.writers[:0]
	for _, w := range l.writers {
		w.mu.Lock()
		if w.state.Path != "" {
			m.Writers = append(m.Writers, w.state)
		}
		if !w.ended {
			left = append(left, w)
		}
		w.mu.Unlock()
	}
	clear(l.writers[len(left):])
	l.writers = left
	l.r.send(agent.Message{Type: agent.TypeLoad, Load: &m})
	if len(left) == 0 && len(m.Writers) > 0 {
		l.r.send(agent.Message{Type: agent.TypeLoad, Load: &agent.Load{Wanted: l.wanted}})
	}
}

// bounded runs do and waits for at most bound. A call that hangs stays behind.
func bounded(what string, bound time.Duration, do func() error) error {
	_, err := within(what, bound, func() (struct{}, error) { return struct{}{}, do() })
	return err
}

// within is bounded for a call with a result.
func within[T any](what string, bound time.Duration, do func() (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := do()
		done <- result{v, err}
	}()
	t := time.NewTimer(bound)
	defer t.Stop()
	var none T
	select {
	case got := <-done:
		if got.err != nil {
			return none, fmt.Errorf("%s: %w", what, got.err)
		}
		return got.v, nil
	case <-t.C:
		return none, fmt.Errorf("%s did not end within %v", what, bound)
	}
}

// removeOld deletes the logs of instances whose names do not begin with keep.
func removeOld(dir, keep string) {
	logs, err := filepath.Glob(filepath.Join(dir, "acklog-*"))
	if err != nil {
		return
	}
	for _, name := range logs {
		if !strings.HasPrefix(filepath.Base(name), "acklog-"+keep) {
			_ = os.Remove(name)
		}
	}
}

// uncached reads a file past the caches, a chunk at a time.
type uncached struct {
	read  func(b []byte, off int64) (int, error) // none at the end of the file
	close func() error                           // the file, and buf
	buf   []byte
	left  []byte
	off   int64
	end   bool
}

func (u *uncached) Read(p []byte) (int, error) {
	if len(u.left) == 0 {
		if u.end {
			return 0, io.EOF
		}
		n, err := u.read(u.buf, u.off)
		if err != nil {
			return 0, err
		}
		// Less than a whole chunk is the end of the file; the next uncached read would not be aligned.
		u.end = n < len(u.buf)
		u.off += int64(n)
		u.left = u.buf[:n]
		if n == 0 {
			return 0, io.EOF
		}
	}
	n := copy(p, u.left)
	u.left = u.left[n:]
	return n, nil
}

func (u *uncached) Close() error { return u.close() }
