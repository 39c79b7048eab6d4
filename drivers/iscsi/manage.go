package iscsi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// request sends an immediate request and waits for the response PDU with its ITT.
func (s *Session) request(ctx context.Context, h *Header, data []byte) (PDU, error) {
	ch := make(chan PDU, 1)
	s.mu.Lock()
	if s.closing != nil {
		defer s.mu.Unlock()
		return PDU{}, s.closing
	}
	for s.nextITT == NoTag || s.inUse(s.nextITT) {
		s.nextITT++
	}
	itt := s.nextITT
	s.nextITT++
	s.replies[itt] = ch
	h.SetITT(itt)
	h.SetCmdSN(s.cmdSN)
	h.SetExpStatSN(s.expStatSN)
	s.conn.Send(h, data, nil)
	s.mu.Unlock()
	select {
	case p, ok := <-ch:
		if ok {
			return p, nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closing != nil {
			return PDU{}, s.closing
		}
		return PDU{}, ErrRejected
	case <-ctx.Done():
		s.mu.Lock()
		delete(s.replies, itt)
		s.mu.Unlock()
		return PDU{}, context.Cause(ctx)
	}
}

// AbortTask sends ABORT TASK for t and waits for the answer, one of the TMF codes. On TMFComplete t ends
// with ErrTaskAborted. On TMFNoTask its answer either came first, or the target never had it: then t stays
// as it is. A task that still waits for the command window is taken back without asking the target.
func (s *Session) AbortTask(ctx context.Context, t *Task) (response byte, err error) {
	s.mu.Lock()
	if s.tasks[t.itt] != t {
		s.mu.Unlock()
		return TMFNoTask, nil
	}
	if s.withdraw(t) {
		s.mu.Unlock()
		t.finish(ErrTaskAborted)
		return TMFComplete, nil
	}
	var h Header
	h[0], h[1] = OpTMFReq|ImmediateBit, FinalBit|TMFAbortTask
	h.SetLUN(t.LUN)
	h.SetWord(20, t.itt)
	h.SetWord(32, t.cmdSN) // RefCmdSN (RFC 7143 section 11.5.5)
	s.mu.Unlock()

	p, err := s.request(ctx, &h, nil)
	if err != nil {
		return 0, fmt.Errorf("aborting task 0x%x: %w", t.itt, err)
	}
	if p.Header[2] == TMFComplete {
		s.abandon(func(o *Task) bool { return o == t })
	}
	return p.Header[2], nil
}

// LUNReset sends LOGICAL UNIT RESET and waits for the answer. On TMFComplete every task of that unit that
// was outstanding ends with ErrTaskAborted; the unit reports UNIT ATTENTION 29h to the next command.
func (s *Session) LUNReset(ctx context.Context, l LUN) (response byte, err error) {
	s.mu.Lock()
	before := s.cmdSN
	s.mu.Unlock()
	var h Header
	h[0], h[1] = OpTMFReq|ImmediateBit, FinalBit|TMFLUNReset
	h.SetLUN(l)
	h.SetWord(20, NoTag)
	p, err := s.request(ctx, &h, nil)
	if err != nil {
		return 0, fmt.Errorf("resetting LUN %d: %w", l.Number(), err)
	}
	if p.Header[2] == TMFComplete {
		s.abandon(func(o *Task) bool { return o.LUN == l && o.cmdSN != 0 && SNLess(o.cmdSN, before) })
	}
	return p.Header[2], nil
}

// abandon ends the chosen tasks with ErrTaskAborted.
func (s *Session) abandon(pick func(*Task) bool) {
	s.mu.Lock()
	var gone []*Task
	for itt, t := range s.tasks {
		if pick(t) {
			gone = append(gone, t)
			delete(s.tasks, itt)
		}
	}
	s.mu.Unlock()
	for _, t := range gone {
		t.finish(ErrTaskAborted)
	}
}

// Ping sends a NOP-Out and waits for its echo (RFC 7143 section 11.18).
func (s *Session) Ping(ctx context.Context) error {
	var h Header
	h[0], h[1] = OpNopOut|ImmediateBit, FinalBit
	h.SetTTT(NoTag)
	if _, err := s.request(ctx, &h, nil); err != nil {
		return fmt.Errorf("pinging the target: %w", err)
	}
	return nil
}

// Logout closes the session in order (RFC 7143 section 11.14) and then the connection, at the latest
// after Config.LogoutTimeout. The connection is closed whatever is returned.
func (s *Session) Logout(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.LogoutTimeout)
	defer cancel()
	var h Header
	h[0], h[1] = OpLogout|ImmediateBit, FinalBit // reason 0: close the session
	p, err := s.request(ctx, &h, nil)
	s.Close()
	switch {
	case err != nil:
		return fmt.Errorf("logging out: %w", err)
	case p.Header[2] != 0:
		return fmt.Errorf("logging out: response %d", p.Header[2])
	}
	return nil
}

// Target is one answer of SendTargets (RFC 7143 Appendix C).
type Target struct {
	Name    string
	Portals []string // host:port,portal-group-tag as sent
}

// SendTargets asks for all targets, in a discovery session.
func (s *Session) SendTargets(ctx context.Context) ([]Target, error) {
	var text []byte
	data, ttt := Keys{{"SendTargets", "All"}}.Append(nil), NoTag
	for {
		var h Header
		h[0], h[1] = OpTextReq|ImmediateBit, FinalBit
		h.SetTTT(ttt)
		p, err := s.request(ctx, &h, data)
		if err != nil {
			return nil, fmt.Errorf("asking for targets: %w", err)
		}
		text = append(text, p.Data...)
		if p.Final() || p.TTT() == NoTag {
			break
		}
		data, ttt = nil, p.TTT()
	}
	keys, err := ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("answer to SendTargets: %w", err)
	}
	var out []Target
	for _, k := range keys {
		switch {
		case k.Name == "TargetName":
			out = append(out, Target{Name: k.Value})
		case k.Name == "TargetAddress" && len(out) > 0:
			last := &out[len(out)-1]
			last.Portals = append(last.Portals, k.Value)
		}
	}
	return out, nil
}

// TestReady sends TEST UNIT READY until it is answered with something else than UNIT ATTENTION (a new
// session gets 29h, and there may be several queued), at most 16 times. A bad status is a *StatusError.
func (s *Session) TestReady(ctx context.Context, l LUN) error {
	var err error
	for range 16 {
		r, derr := s.Do(ctx, Command{LUN: l, CDB: CDBTestUnitReady()})
		if derr != nil {
			return derr
		}
		err = r.Err(TestUnitReady)
		var se *StatusError
		if !errors.As(err, &se) || se.Status != StatusCheck || se.Sense.Key != SenseUnitAttention {
			return err
		}
	}
	return err
}

// LUNs asks LUN 0 with REPORT LUNS which logical units there are.
func (s *Session) LUNs(ctx context.Context) ([]LUN, error) {
	const room = 8 + 8*256
	for range 16 {
		r, err := s.Do(ctx, Command{CDB: CDBReportLUNs(room), InLen: room})
		if err != nil {
			return nil, err
		}
		if err = r.Err(ReportLUNs); err != nil {
			var se *StatusError
			if errors.As(err, &se) && se.Sense.Key == SenseUnitAttention {
				continue
			}
			return nil, err
		}
		var out []LUN
		for b := r.Data; len(b) >= 16; b = b[8:] {
			out = append(out, LUN(binary.BigEndian.Uint64(b[8:])))
		}
		return out, nil
	}
	return nil, fmt.Errorf("REPORT LUNS: unit attention does not end")
}

// Probe is the read-only wire check: log in, TEST UNIT READY on one LUN past its UNIT ATTENTION, log out.
// The error says at which step the path failed: it matches *LoginError, ErrConnection or *StatusError.
func Probe(ctx context.Context, portal, initiator, target string, lun int) error {
	s, err := Dial(ctx, Config{Portal: portal, InitiatorName: initiator, TargetName: target})
	if err != nil {
		return fmt.Errorf("probing %s LUN %d: %w", target, lun, err)
	}
	defer s.Close()
	if err := s.TestReady(ctx, NewLUN(lun)); err != nil {
		return fmt.Errorf("probing %s LUN %d: %w", target, lun, err)
	}
	bye, cancel := context.WithTimeout(ctx, politeness)
	defer cancel()
	_ = s.Logout(bye) // polite only: istgt takes 1 s for it (measured)
	return nil
}

// politeness is how long Probe waits for the answer to its logout.
const politeness = 200 * time.Millisecond

// Discover opens a discovery session and returns what SendTargets names.
func Discover(ctx context.Context, portal, initiator string) ([]Target, error) {
	s, err := Dial(ctx, Config{Portal: portal, InitiatorName: initiator})
	if err != nil {
		return nil, fmt.Errorf("discovering targets at %s: %w", portal, err)
	}
	defer s.Close()
	out, err := s.SendTargets(ctx)
	if err != nil {
		return nil, fmt.Errorf("discovering targets at %s: %w", portal, err)
	}
	return out, s.Logout(ctx)
}

// Withdraw takes a task back that still waits for the command window, so that it is never sent; Done is
// not called then. It is false for a task that was sent or has ended.
func (s *Session) Withdraw(t *Task) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.withdraw(t)
}

func (s *Session) withdraw(t *Task) bool {
	if s.tasks[t.itt] != t {
		return false
	}
	for i, w := range s.waiting {
		if w == t {
			s.waiting = append(s.waiting[:i], s.waiting[i+1:]...)
			delete(s.tasks, t.itt)
			return true
		}
	}
	return false
}
