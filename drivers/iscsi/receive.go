package iscsi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// read is the session's reading goroutine: it dispatches PDUs, and when the connection ends it tells
// every task and closes done.
func (s *Session) read() {
	var h Header
	var err error
	for err == nil {
		if _, err = s.conn.ReadHeader(&h); err == nil {
			s.lastRecv.Store(int64(time.Since(s.epoch)))
			err = s.dispatch(&h)
		}
	}
	if err == io.EOF {
		err = fmt.Errorf("closed by the target: %w", err)
	}
	if werr := s.conn.WriteErr(); werr != nil && errors.Is(err, net.ErrClosed) {
		err = werr // the writer met the end first
	}
	why := lost("%w", err)
	s.mu.Lock()
	if s.closing == nil {
		s.closing = why
	}
	s.err = s.closing
	tasks, replies := s.tasks, s.replies
	s.tasks, s.replies, s.waiting = nil, nil, nil
	s.mu.Unlock()

	// RST: what this side had under way must not be executed after somebody has replayed it elsewhere.
	s.conn.Reset()
	<-s.conn.Done()
	for _, ch := range replies {
		close(ch)
	}
	for _, t := range tasks {
		t.finish(s.err)
	}
	close(s.done)
}

func (t *Task) finish(err error) {
	t.Err = err
	if t.Done != nil {
		t.Done(t)
	}
}

// window takes ExpCmdSN and MaxCmdSN (RFC 7143 section 4.2.2.1) and, when the PDU carries one, StatSN.
func (s *Session) window(h *Header, status bool) {
	s.mu.Lock()
	s.windowLocked(h, status)
	s.mu.Unlock()
}

func (s *Session) windowLocked(h *Header, status bool) {
	if m := h.MaxCmdSN(); SNLess(s.maxCmdSN, m) && !SNLess(m, h.ExpCmdSN()-1) {
		s.maxCmdSN = m
		s.launch()
	}
	if status && SNLess(s.expStatSN, h.StatSN()+1) {
		s.expStatSN = h.StatSN() + 1
	}
}

func (s *Session) dispatch(h *Header) error {
	switch h.Opcode() {
	case OpDataIn:
		return s.dataIn(h)
	case OpSCSIResp:
		return s.response(h)
	case OpR2T:
		return s.r2t(h)
	case OpNopIn:
		return s.nopIn(h)
	case OpTMFResp, OpTextResp, OpLogoutResp:
		return s.reply(h)
	case OpAsync:
		return s.async(h)
	case OpReject:
		return s.reject(h)
	}
	return fmt.Errorf("opcode 0x%02x from the target: %w", h.Opcode(), ErrFormat)
}

func (s *Session) dataIn(h *Header) error {
	s.mu.Lock()
	t := s.tasks[h.ITT()]
	s.mu.Unlock()
	off, n := int(h.BufferOffset()), h.DataLen()
	switch {
	case t == nil: // late data of an aborted task
		if err := s.conn.Skip(h); err != nil {
			return err
		}
	case off+n > len(t.In):
		return fmt.Errorf("Data-In of %d bytes at %d for a buffer of %d: %w", n, off, len(t.In), ErrFormat)
	default:
		if err := s.conn.ReadData(h, t.In[off:off+n]); err != nil {
			return err
		}
		t.got = max(t.got, off+n)
	}
	if h.Flags()&DataInStatus == 0 {
		return nil
	}
	s.complete(h, Result{Status: h[3], Flags: h.Flags() & (Underflow | Overflow), Residual: h.Residual()})
	return nil
}

func (s *Session) response(h *Header) error {
	r := Result{Response: h[2], Status: h[3], Flags: h.Flags() & (Underflow | Overflow), Residual: h.Residual()}
	if n := h.DataLen(); n > 0 {
		b := make([]byte, n)
		if err := s.conn.ReadData(h, b); err != nil {
			return err
		}
		r.Sense = ParseSenseSegment(b)
	}
	s.complete(h, r)
	return nil
}

func (s *Session) complete(h *Header, r Result) {
	s.mu.Lock()
	t := s.tasks[h.ITT()]
	delete(s.tasks, h.ITT())
	s.windowLocked(h, true)
	s.mu.Unlock()
	if t == nil {
		return
	}
	r.Data = t.In[:t.got]
	t.Result = r
	t.finish(nil)
}

func (s *Session) r2t(h *Header) error {
	if err := s.conn.Skip(h); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windowLocked(h, false)
	t := s.tasks[h.ITT()]
	if t == nil {
		return nil // aborted: its data must never be sent
	}
	from, n := int(h.BufferOffset()), int(h.Residual())
	if from+n > len(t.Out) || n == 0 {
		return fmt.Errorf("R2T for %d bytes at %d of %d: %w", n, from, len(t.Out), ErrFormat)
	}
	s.sendData(t, h.TTT(), from, from+n)
	return nil
}

// nopIn takes the echo of our own NOP-Out, or answers the target's ping (RFC 7143 section 11.19).
func (s *Session) nopIn(h *Header) error {
	data := make([]byte, h.DataLen())
	if err := s.conn.ReadData(h, data); err != nil {
		return err
	}
	s.window(h, h.ITT() != NoTag)
	if h.ITT() != NoTag {
		s.hand(PDU{Header: *h, Data: data})
	}
	if h.TTT() == NoTag {
		return nil
	}
	var o Header
	o[0], o[1] = OpNopOut|ImmediateBit, FinalBit
	o.SetLUN(h.LUN())
	o.SetITT(NoTag)
	o.SetTTT(h.TTT())
	s.immediate(&o, data)
	return nil
}

// immediate sends an immediate request, which carries CmdSN but takes none.
func (s *Session) immediate(h *Header, data []byte) {
	s.mu.Lock()
	h.SetCmdSN(s.cmdSN)
	h.SetExpStatSN(s.expStatSN)
	s.conn.Send(h, data, nil)
	s.mu.Unlock()
}

// reply hands a Task Management, Text or Logout Response to whoever asked.
func (s *Session) reply(h *Header) error {
	p := PDU{Header: *h, Data: make([]byte, h.DataLen())}
	if err := s.conn.ReadData(h, p.Data); err != nil {
		return err
	}
	s.window(h, true)
	s.hand(p)
	return nil
}

func (s *Session) hand(p PDU) {
	s.mu.Lock()
	ch := s.replies[p.ITT()]
	delete(s.replies, p.ITT())
	s.mu.Unlock()
	if ch != nil {
		ch <- p // one place of buffer, one reply
	}
}

func (s *Session) async(h *Header) error {
	data := make([]byte, h.DataLen())
	if err := s.conn.ReadData(h, data); err != nil {
		return err
	}
	s.window(h, true)
	ev := AsyncEvent{Event: h[36], VCode: h[37], LUN: h.LUN(),
		Param1: binary.BigEndian.Uint16(h[38:]), Param2: binary.BigEndian.Uint16(h[40:]), Param3: binary.BigEndian.Uint16(h[42:])}
	if ev.Event == 0 {
		ev.Sense = ParseSenseSegment(data)
	}
	if s.cfg.OnAsync != nil {
		s.cfg.OnAsync(ev)
	}
	switch ev.Event {
	case 1, 2, 3: // logout wanted, or the target is about to drop us: the same to a one-connection session
		return fmt.Errorf("target sent Asynchronous Message %d", ev.Event)
	}
	return nil
}

// reject fails the task whose header the target sent back (RFC 7143 section 11.17); without such a task
// nothing sensible is left but to end the session.
func (s *Session) reject(h *Header) error {
	data := make([]byte, h.DataLen())
	if err := s.conn.ReadData(h, data); err != nil {
		return err
	}
	s.window(h, true)
	if len(data) >= HeaderLen {
		bad := Header(data[:HeaderLen])
		s.mu.Lock()
		t, ch := s.tasks[bad.ITT()], s.replies[bad.ITT()]
		delete(s.tasks, bad.ITT())
		delete(s.replies, bad.ITT())
		s.mu.Unlock()
		if ch != nil {
			close(ch)
			return nil
		}
		if t != nil {
			t.finish(fmt.Errorf("%w, reason 0x%02x", ErrRejected, h[2]))
			return nil
		}
	}
	return fmt.Errorf("%w, reason 0x%02x", ErrRejected, h[2])
}

// keepalive sends a NOP-Out after NoopInterval of silence and ends the session after NoopTimeout more.
// Anything that the target sends counts as life, as in open-iscsi, from which ESXi's initiator derives.
func (s *Session) keepalive() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	pinged := int64(-1) // time of the NOP-Out that has seen nothing since
	for {
		cfg := s.noop.Load()
		interval, timeout := cfg[0], cfg[1]
		if interval <= 0 {
			timer.Reset(time.Hour)
		} else {
			now, last := int64(time.Since(s.epoch)), s.lastRecv.Load()
			if last > pinged {
				pinged = -1
			}
			switch {
			case pinged >= 0 && now-pinged >= int64(timeout):
				s.fail(lost("%w within %v after %v of silence", ErrNoopTimeout, timeout, interval), true)
				return
			case pinged >= 0:
				timer.Reset(time.Duration(pinged + int64(timeout) - now))
			case now-last >= int64(interval):
				s.ping()
				pinged = now
				timer.Reset(timeout)
			default:
				timer.Reset(time.Duration(last + int64(interval) - now))
			}
		}
		select {
		case <-timer.C:
		case <-s.kick:
		case <-s.done:
			return
		}
	}
}

func (s *Session) ping() {
	var h Header
	h[0], h[1] = OpNopOut|ImmediateBit, FinalBit
	h.SetTTT(NoTag)
	s.mu.Lock()
	if s.closing == nil {
		for s.nextITT == NoTag || s.inUse(s.nextITT) {
			s.nextITT++
		}
		h.SetITT(s.nextITT)
		s.nextITT++
		h.SetCmdSN(s.cmdSN)
		h.SetExpStatSN(s.expStatSN)
		s.conn.Send(&h, nil, nil)
	}
	s.mu.Unlock()
}
