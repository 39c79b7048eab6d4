package iscsiproxy

// This file is one direction of a connection: read, scan, write, and keep what may not go on.

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/iscsi"
)

const (
	bufSize   = 128 << 10 // between 64 KiB (best for small I/O) and 256 KiB (best for large reads), measured
	stashSize = 64 << 20  // bytes that one direction keeps during a silence; with more the connection is reset after it
)

// half is one direction.
type half struct {
	pr       *pair
	toTarget bool
	src, dst net.Conn
	buf      []byte
	have     int  // bytes in buf
	left     int  // bytes of the present PDU that are still to come
	dropping bool // they are thrown away
	mangle   mangle
	notes    []note // of what happened while a lock was held
	met      bool   // the first Login Request has come
	deaf     bool   // the proxy has refused the login: nothing more goes on
	hangup   bool   // the connection ends with what is written next
	blind    bool   // what comes is not iSCSI
	alt      []byte
	stash    []byte // bytes that wait for the silence to end
	overflow bool
	silences uint32 // how many silences were over when src was last seen to be there

	nextStat, expCmd, maxCmd uint32        // last seen from the target
	want                     iscsi.Digests // what the login has agreed on so far
}

func (h *half) run() {
	for {
		n, err := h.src.Read(h.buf[h.have:])
		woken := errors.Is(err, os.ErrDeadlineExceeded)
		if woken {
			_ = h.src.SetReadDeadline(time.Time{}) // before looking, so that no later kick is lost
		}
		h.have += n
		if n > 0 || woken {
			out, pos := h.scan()
			werr := h.deliver(out)
			h.have = copy(h.buf, h.buf[pos:h.have])
			if werr != nil {
				h.pr.shut(true)
				return
			}
			if h.hangup && len(h.stash) == 0 {
				h.pr.shut(false)
				return
			}
		}
		if err != nil && !woken {
			h.finish(err)
			return
		}
	}
}

// deliver writes b, or keeps it while the path is silent or not yet connected.
func (h *half) deliver(b []byte) error {
	if len(h.stash) > 0 || h.overflow {
		h.keep(b)
		if b = h.stash; !h.mayFlush() {
			return nil
		}
		if h.overflow {
			return errors.New("more bytes than can be kept")
		}
		n, err := h.write(b)
		h.stash = append(h.stash[:0], h.stash[n:]...)
		if len(h.stash) == 0 && cap(h.stash) > bufSize {
			h.stash = nil
		}
		return err
	}
	if len(b) == 0 {
		return nil
	}
	n, err := h.write(b)
	h.keep(b[n:])
	return err
}

func (h *half) keep(b []byte) {
	if h.overflow = h.overflow || len(h.stash)+len(b) > stashSize; h.overflow {
		h.stash = nil
		return
	}
	h.stash = append(h.stash, b...)
}

// mayFlush looks whether what was kept may go on. The sender may have closed just before the silence ended.
func (h *half) mayFlush() bool {
	return !h.pr.p.silent.Load() && h.pr.isReady() && established(h.src)
}

// outlived tells whether the sender is still there after every silence: bytes that it sent in one may only be read
// when that is over, and are not to be delivered when it has closed in it.
func (h *half) outlived() bool {
	n := h.pr.p.silences.Load()
	if n != h.silences && !established(h.src) {
		return false
	}
	h.silences = n
	return true
}

// write writes until all is out or the path falls silent; it returns how much is out.
func (h *half) write(b []byte) (n int, err error) {
	p := h.pr.p
	if h.toTarget && !h.pr.isReady() {
		return 0, nil
	}
	for n < len(b) {
		p.gate.RLock()
		if p.silent.Load() || !h.outlived() {
			p.gate.RUnlock()
			return n, nil
		}
		m, err := h.dst.Write(b[n:])
		p.gate.RUnlock()
		n += m
		if errors.Is(err, os.ErrDeadlineExceeded) {
			_ = h.dst.SetWriteDeadline(time.Time{})
		} else if err != nil {
			return n, err
		}
	}
	return n, nil
}

// finish is the end of src. In a silence its bytes are thrown away, and the other side learns of it when the
// silence ends.
func (h *half) finish(err error) {
	pr, p := h.pr, h.pr.p
	if p.silent.Load() || len(h.stash) > 0 || h.overflow {
		if n := len(h.stash) + h.have; n > 0 {
			h.discarded(n)
		}
		h.stash = nil
		p.untilOpen(pr.gone)
		pr.shut(true)
		return
	}
	if err != io.EOF || !pr.isReady() {
		pr.shut(true)
		return
	}
	if n := h.have; n > 0 && !h.deaf { // the beginning of a PDU that never ends
		h.have = 0
		if h.deliver(h.buf[:n]) != nil {
			pr.shut(true)
			return
		}
		if len(h.stash) > 0 {
			h.finish(err)
			return
		}
	}
	if t, ok := h.dst.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
	if pr.ended.Add(1) == 2 {
		pr.shut(false)
	}
}

func (h *half) discarded(n int) {
	p := h.pr.p
	p.mu.Lock()
	for _, f := range p.faults {
		if kinds[f.Kind].silent {
			f.discarded.Add(int64(n))
		}
	}
	p.mu.Unlock()
	p.emit(Event{What: "discard", Conn: h.pr.id, Initiator: h.pr.name(), Bytes: n, Detail: h.from()})
}

// established tells whether the peer has sent neither FIN nor RST: the first byte of Linux's struct
// tcp_info is the state, and 1 is TCP_ESTABLISHED.
func established(c net.Conn) bool {
	t, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	rc, err := t.SyscallConn()
	if err != nil {
		return false
	}
	state := 0
	if err := rc.Control(func(fd uintptr) {
		state, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	}); err != nil {
		return false
	}
	return err == nil && state&0xff == 1
}
