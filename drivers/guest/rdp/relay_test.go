package rdp

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"

	. "github.com/onsi/gomega"
)

// relayed is a relay with a client and a guest at its ends.
type relayed struct {
	*relay
	client, guest *net.TCPConn
	heard         atomic.Int64
}

func newRelayed(t *testing.T) *relayed {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := &relayed{}
	r.relay, err = startRelay(Target{Address: ln.Addr().String(), Dial: (&net.Dialer{}).DialContext}, func() { r.heard.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", r.Address)
	if err != nil {
		t.Fatal(err)
	}
	g, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(g, make([]byte, 5)); err != nil { // the relay stands before a test does anything to its ends
		t.Fatal(err)
	}
	r.client, r.guest = c.(*net.TCPConn), g.(*net.TCPConn)
	t.Cleanup(func() {
		_ = c.Close()
		_ = g.Close()
		r.Close()
	})
	return r
}

func TestRelay(t *testing.T) {
	b := make([]byte, 4)
	t.Run("both ways", func(t *testing.T) {
		g := NewWithT(t)
		r := newRelayed(t)
		_, err := r.client.Write([]byte("ask?"))
		g.Expect(err).NotTo(HaveOccurred())
		_, err = io.ReadFull(r.guest, b)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.heard.Load()).To(BeZero(), "what the client says is no sign of life of the guest")
		_, err = r.guest.Write([]byte("yes!"))
		g.Expect(err).NotTo(HaveOccurred())
		_, err = io.ReadFull(r.client, b)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(b)).To(Equal("yes!"))
		g.Expect(r.heard.Load()).NotTo(BeZero())
		_, err = net.Dial("tcp", r.Address)
		g.Expect(err).To(HaveOccurred(), "it takes one connection only")
		select {
		case <-r.ended:
			t.Error("it has ended")
		default:
		}
	})
	t.Run("the guest closes", func(t *testing.T) {
		g := NewWithT(t)
		r := newRelayed(t)
		g.Expect(r.guest.Close()).To(Succeed())
		_, err := r.client.Read(b)
		g.Expect(err).To(MatchError(io.EOF))
		<-r.ended
		g.Expect(r.end).To(Equal(End{ByGuest: true, Text: "closed by the guest"}))
	})
	t.Run("the guest resets", func(t *testing.T) {
		g := NewWithT(t)
		r := newRelayed(t)
		g.Expect(r.guest.SetLinger(0)).To(Succeed())
		g.Expect(r.guest.Close()).To(Succeed())
		<-r.ended
		g.Expect(r.end).To(Equal(End{ByGuest: true, Text: "reset by the guest"}))
	})
	t.Run("the client closes", func(t *testing.T) {
		g := NewWithT(t)
		r := newRelayed(t)
		g.Expect(r.client.Close()).To(Succeed())
		<-r.ended
		g.Expect(r.end).To(Equal(End{Text: "closed by the client"}))
		_, err := r.guest.Read(b)
		g.Expect(err).To(HaveOccurred())
	})
	t.Run("the guest is not there", func(t *testing.T) {
		g := NewWithT(t)
		r, err := startRelay(Target{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") }}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		c, err := net.Dial("tcp", r.Address)
		g.Expect(err).NotTo(HaveOccurred())
		<-r.ended
		g.Expect(r.end).To(Equal(End{ByGuest: true, Text: "connecting: no way"}))
		_ = c.Close()
		r.Close()
	})
	t.Run("nobody connects", func(t *testing.T) {
		r, err := startRelay(Target{}, nil)
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
		r.Close()
	})
}
