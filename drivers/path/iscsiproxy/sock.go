package iscsiproxy

// This file reads and writes sockets without telling the scheduler, which the calls of package net do for a case that
// cannot happen here: that the call blocks. On a machine that has no core to spare it is what costs most: a peer that a
// write has woken takes the core, the scheduler sees a long call, and hands what it believes is waiting to one more thread.

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"
)

// sock is a TCP connection. Reads are one system call when there is something to read, as writes are when there is room.
// Deadlines, closing and waiting are as ever. One goroutine may read and one may write.
type sock struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out call
}

// call is a system call on its way; try is made once, so that no call allocates.
type call struct {
	b     []byte
	n     int
	errno syscall.Errno
	try   func(fd uintptr) (done bool)
}

// newSock takes a connection over; what is not TCP stays what it is.
func newSock(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := t.SyscallConn()
	if err != nil { // closed already, which its reader will find out
		return c
	}
	s := &sock{TCPConn: t, raw: raw}
	s.in.try = func(fd uintptr) bool { return !s.in.again(syscall.SYS_READ, fd) }
	s.out.try = func(fd uintptr) bool {
		for s.out.n < len(s.out.b) {
			if s.out.again(syscall.SYS_WRITE, fd) {
				return false
			}
			if s.out.errno != 0 {
				break
			}
		}
		return true
	}
	return s
}

// again makes the system call for what is left of b; it is true when that would block.
func (c *call) again(trap, fd uintptr) bool {
	left := c.b[c.n:]
	for {
		n, _, errno := syscall.RawSyscall(trap, fd, uintptr(unsafe.Pointer(unsafe.SliceData(left))), uintptr(len(left)))
		switch errno {
		case 0:
			c.n += int(n)
		case syscall.EAGAIN:
			return true
		case syscall.EINTR:
			continue
		}
		c.errno = errno
		return false
	}
}

// do runs a call to its end, or to a deadline.
func (c *call) do(name string, rw func(func(uintptr) bool) error, b []byte) (int, error) {
	c.b, c.n, c.errno = b, 0, 0
	err := rw(c.try)
	c.b = nil
	if c.errno != 0 {
		err = os.NewSyscallError(name, c.errno)
	}
	return c.n, err
}

func (s *sock) Read(b []byte) (int, error) {
	n, err := s.in.do("read", s.raw.Read, b)
	if n == 0 && err == nil && len(b) > 0 {
		err = io.EOF
	}
	return n, err
}

func (s *sock) Write(b []byte) (int, error) { return s.out.do("write", s.raw.Write, b) }
