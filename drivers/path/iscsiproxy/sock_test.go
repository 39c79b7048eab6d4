package iscsiproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// socks is a sock and the other end of its connection.
func socks(t *testing.T) (*sock, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = a.Close(), b.Close() })
	return newSock(a).(*sock), b.(*net.TCPConn)
}

// A sock behaves as the connection does that it stands for: data, end, reset, close, and deadlines as kicks, which also wake
// who waits already and leave what comes later alone.
func TestSock(t *testing.T) {
	s, far := socks(t)
	buf := make([]byte, 1<<20)
	got := make(chan error, 1)
	read := func() { _, err := s.Read(buf); got <- err }
	go read()
	time.Sleep(10 * time.Millisecond) // most likely it waits by now; the test holds either way
	_ = s.SetReadDeadline(past)
	if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a kick: %v", err)
	}
	_ = s.SetReadDeadline(time.Time{})
	go read()
	_, _ = far.Write([]byte("x"))
	if err := <-got; err != nil || buf[0] != 'x' {
		t.Errorf("data after a kick: %v", err)
	}

	sent := make(chan int, 1)
	go func() { // far more than the buffers of both ends hold
		n, err := s.Write(bytes.Repeat([]byte("y"), 64<<20))
		got <- err
		sent <- n
	}()
	time.Sleep(50 * time.Millisecond)
	_ = s.SetWriteDeadline(past)
	err, n := <-got, <-sent
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 64<<20 {
		t.Errorf("a kicked write: %d bytes, %v", n, err)
	}
	_ = s.SetWriteDeadline(time.Time{})
	if err := s.CloseWrite(); err != nil {
		t.Error(err)
	}
	if m, err := io.Copy(io.Discard, far); err != nil || m != int64(n) {
		t.Errorf("%d bytes were told to be out, %d are: %v", n, m, err)
	}
	if _, err := s.Write([]byte("z")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write behind the end: %v", err)
	}
	_ = far.CloseWrite()
	if _, err := s.Read(buf); err != io.EOF {
		t.Errorf("the end: %v", err)
	}

	s, far = socks(t)
	_, _ = far.Write([]byte("x"))
	reset(far)
	var last error
	for last == nil {
		_, last = s.Read(buf)
	}
	if !errors.Is(last, syscall.ECONNRESET) {
		t.Errorf("a reset: %v", last)
	}
	s, _ = socks(t)
	go read()
	time.Sleep(10 * time.Millisecond)
	_ = s.Close()
	if err := <-got; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestSockAllocs(t *testing.T) {
	s, far := socks(t)
	a, b := make([]byte, 4096), make([]byte, 4096)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := far.Write(a); err != nil {
			t.Fatal(err)
		}
		n, err := s.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a read and write", n)
	}
}
