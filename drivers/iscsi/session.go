package iscsi

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Command is one SCSI command.
type Command struct {
	LUN   LUN
	CDB   []byte // 6 to 16 bytes
	Out   []byte // data for the target; nil: none
	InLen int    // bytes expected from the target; 0: none. Out and InLen exclude each other.
	Attr  byte   // AttrSimple and so on; the zero value is untagged
	Bits  byte   // CmdRead or CmdWrite for a command that expects to transfer 0 bytes in that direction
}

// Result is what the target answered. A status other than GOOD is not an error of Do; see Err.
type Result struct {
	Response byte   // iSCSI response code, 0 completed at target, 1 target failure (RFC 7143 section 11.4.3)
	Status   byte   // SAM status, valid when Response is 0
	Flags    byte   // Underflow, Overflow bits
	Residual uint32 // bytes, meaning by Flags
	Data     []byte // data from the target
	Sense    []byte // raw sense data
}

// Err is nil for GOOD and a *StatusError otherwise; op is only for its text.
func (r *Result) Err(op byte) error {
	if r.Response != 0 {
		return fmt.Errorf("scsi: command 0x%02x: iSCSI response 0x%02x", op, r.Response)
	}
	if r.Status == StatusGood {
		return nil
	}
	s, _ := ParseSense(r.Sense)
	return &StatusError{op, r.Status, s}
}

// Task is a command in flight. Submit it once; a Task may be reused after it has completed and Idle.
type Task struct {
	Command
	In     []byte      // where InLen bytes go; allocated by Submit when nil
	Done   func(*Task) // called once, no locks held, by the session's reading goroutine or by who aborted the task; must not block
	Result Result      // valid in and after Done
	Err    error       // why there is no Result: matches ErrConnection, ErrTaskAborted or ErrRejected

	itt    uint32
	cmdSN  uint32
	got    int // highest end of Data-In seen
	queued atomic.Int32
}

// PDUSent is for the send queue.
func (t *Task) PDUSent() { t.queued.Add(-1) }

// Idle tells whether the connection no longer refers to Out, so that its memory may be used again. It is
// seldom false after completion: only when the target answered before it took all the data.
func (t *Task) Idle() bool { return t.queued.Load() == 0 }

// Session is a full feature phase session of one connection (RFC 7143 section 4.3). All methods may be
// called from many goroutines.
type Session struct {
	cfg    Config
	params Params
	conn   *Conn

	mu        sync.Mutex
	cmdSN     uint32 // of the next non-immediate request
	maxCmdSN  uint32
	expStatSN uint32
	nextITT   uint32
	tasks     map[uint32]*Task
	waiting   []*Task // submitted, no CmdSN window yet, in order
	replies   map[uint32]chan PDU
	closing   error // why this side closed

	lastRecv atomic.Int64 // nanoseconds since epoch
	epoch    time.Time
	noop     atomic.Pointer[[2]time.Duration]
	kick     chan struct{}

	err  error // set before done is closed
	done chan struct{}
}

// Dial opens a session: TCP, login phase, then a reading and a keep-alive goroutine that live until the
// connection ends or Close. A refusal by the target matches *LoginError, everything else ErrConnection.
func Dial(ctx context.Context, cfg Config) (*Session, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	nc, rd, p, statSN, maxCmdSN, err := dial(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	s := &Session{cfg: cfg, params: p, cmdSN: 1, maxCmdSN: maxCmdSN, expStatSN: statSN, nextITT: 1,
		tasks: make(map[uint32]*Task), replies: make(map[uint32]chan PDU),
		epoch: time.Now(), kick: make(chan struct{}, 1), done: make(chan struct{})}
	s.conn = newConn(nc, rd)
	s.conn.SetDigests(p.Digests)
	s.SetKeepalive(cfg.NoopInterval, cfg.NoopTimeout)
	go s.read()
	go s.keepalive()
	return s, nil
}

// Params are the negotiated values.
func (s *Session) Params() Params { return s.params }

// ISID is the ISID in use, for a later reinstatement.
func (s *Session) ISID() [6]byte { return s.cfg.ISID }

// Done is closed when the session has ended and every task has been told.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session ended; it matches ErrConnection. It is nil before Done.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// SetKeepalive changes interval and timeout of the NOP-Out keep-alive of the running session.
func (s *Session) SetKeepalive(interval, timeout time.Duration) {
	s.noop.Store(&[2]time.Duration{interval, timeout})
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Submit sends t, or queues it in order until the target's command window opens; it never blocks.
// An error (matching ErrConnection) means that t was not taken and Done is not called.
func (s *Session) Submit(t *Task) error {
	if len(t.CDB) == 0 || len(t.CDB) > 16 || (len(t.Out) > 0 && t.InLen > 0) {
		return fmt.Errorf("iscsi: command with a CDB of %d bytes, %d bytes out, %d in: not supported", len(t.CDB), len(t.Out), t.InLen)
	}
	if t.In == nil && t.InLen > 0 {
		t.In = make([]byte, t.InLen)
	}
	t.Result, t.Err, t.got = Result{}, nil, 0
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing != nil {
		return s.closing
	}
	for s.nextITT == NoTag || s.inUse(s.nextITT) {
		s.nextITT++
	}
	t.itt = s.nextITT
	s.nextITT++
	s.tasks[t.itt] = t
	s.waiting = append(s.waiting, t)
	s.launch()
	return nil
}

func (s *Session) inUse(itt uint32) bool {
	return s.tasks[itt] != nil || s.replies[itt] != nil
}

// launch sends waiting tasks as far as the command window allows (RFC 7143 section 4.2.2.1). s.mu is held.
func (s *Session) launch() {
	n := 0
	for n < len(s.waiting) && !SNLess(s.maxCmdSN, s.cmdSN) {
		s.sendCommand(s.waiting[n])
		n++
	}
	if n > 0 {
		rest := copy(s.waiting, s.waiting[n:])
		clear(s.waiting[rest:])
		s.waiting = s.waiting[:rest]
	}
}

func (s *Session) sendCommand(t *Task) {
	var h Header
	h[0] = OpSCSICmd
	h[1] = FinalBit | t.Attr&7 | t.Bits&(CmdRead|CmdWrite)
	h.SetLUN(t.LUN)
	h.SetITT(t.itt)
	h.SetExpStatSN(s.expStatSN)
	t.cmdSN = s.cmdSN
	h.SetCmdSN(s.cmdSN)
	s.cmdSN++
	copy(h[32:], t.CDB)
	if t.InLen > 0 {
		h[1] |= CmdRead
		h.SetEDTL(uint32(t.InLen))
	}
	var imm []byte
	total := len(t.Out)
	if total > 0 {
		h[1] |= CmdWrite
		h.SetEDTL(uint32(total))
		if s.params.ImmediateData {
			imm = t.Out[:min(total, s.params.FirstBurst, s.params.MaxSendData)]
		}
	}
	first := len(imm)
	if total > first && !s.params.InitialR2T {
		first = min(total, s.params.FirstBurst)
	}
	if first > len(imm) {
		h[1] &^= FinalBit // unsolicited Data-Out follows (section 11.3.1)
	}
	t.queued.Add(1)
	s.conn.Send(&h, imm, t)
	if first > len(imm) {
		s.sendData(t, NoTag, len(imm), first)
	}
}

// sendData sends Out[from:to] as one sequence of Data-Out PDUs. s.mu is held.
func (s *Session) sendData(t *Task, ttt uint32, from, to int) {
	for sn := uint32(0); from < to; sn++ {
		n := min(to-from, s.params.MaxSendData)
		var h Header
		h[0] = OpDataOut
		if from+n == to {
			h[1] = FinalBit
		}
		h.SetLUN(t.LUN)
		h.SetITT(t.itt)
		h.SetTTT(ttt)
		h.SetExpStatSN(s.expStatSN)
		h.SetDataSN(sn)
		h.SetBufferOffset(uint32(from))
		t.queued.Add(1)
		s.conn.Send(&h, t.Out[from:from+n], t)
		from += n
	}
}

// Do runs one command and waits for it. Result.Err tells a bad SCSI status. When ctx ends first, Do
// returns its error and leaves the task with the target: use Submit and AbortTask to take it back.
func (s *Session) Do(ctx context.Context, c Command) (Result, error) {
	ch := make(chan struct{})
	t := &Task{Command: c, Done: func(*Task) { close(ch) }}
	if err := s.Submit(t); err != nil {
		return Result{}, fmt.Errorf("sending command 0x%02x: %w", c.CDB[0], err)
	}
	select {
	case <-ch:
	case <-ctx.Done():
		return Result{}, fmt.Errorf("waiting for command 0x%02x: %w", c.CDB[0], context.Cause(ctx))
	}
	if t.Err != nil {
		return Result{}, fmt.Errorf("command 0x%02x: %w", c.CDB[0], t.Err)
	}
	return t.Result, nil
}

// Close closes the connection (FIN) without a logout and waits until every task has been told.
func (s *Session) Close() { s.end(ErrClosed, false) }

// Reset closes the connection with RST, so that nothing that is still under way is executed later, and
// waits until every task has been told. It must not be called from a Done function.
func (s *Session) Reset() { s.end(ErrClosed, true) }

// ResetAsync is Reset without the wait: tasks are told soon after.
func (s *Session) ResetAsync() { s.fail(lost("%w", ErrClosed), true) }

func (s *Session) end(why error, rst bool) {
	s.fail(lost("%w", why), rst)
	<-s.done
}

// fail notes the first reason and closes the connection; the reading goroutine does the rest.
func (s *Session) fail(why error, rst bool) {
	s.mu.Lock()
	if s.closing == nil {
		s.closing = why
	}
	s.mu.Unlock()
	if rst {
		s.conn.Reset()
	} else {
		s.conn.Close()
	}
}
