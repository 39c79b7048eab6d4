package link

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

const patience = 10 * time.Second

// greeter listens as an agent does and says one line to each client, then sends back what it hears.
func greeter(t *testing.T) (Identity, *Client, string, chan net.Conn) {
	t.Helper()
	g := NewWithT(t)
	id, client, err := New("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	raw, err := net.Listen("tcp", id.Listen)
	g.Expect(err).NotTo(HaveOccurred())
	ln, err := Listen(id, raw)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { _ = ln.Close() })
	taken := make(chan net.Conn, 8)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			taken <- c
			go func() {
				_, _ = io.WriteString(c, "hello\n")
				_, _ = io.Copy(c, c)
				_ = c.Close()
			}()
		}
	}()
	return id, client, ln.Addr().String(), taken
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// hears tells whether the connection brings the hello, and sends a line there and back.
func hears(c net.Conn) error {
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	lines := bufio.NewReader(c)
	for _, want := range []string{"hello\n", "there and back\n"} {
		if got, err := lines.ReadString('\n'); got != want {
			return fmt.Errorf("heard %q: %w", got, err)
		}
		if _, err := io.WriteString(c, "there and back\n"); err != nil {
			return err
		}
	}
	return nil
}

func TestTheClientOfTheRunIsHeard(t *testing.T) {
	g := NewWithT(t)
	_, client, address, _ := greeter(t)
	for range 3 {
		c, err := client.Dial(limited(t), nil, address)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(c.(*tls.Conn).ConnectionState().Version).To(BeEquivalentTo(tls.VersionTLS13))
		g.Expect(hears(c)).To(Succeed())
	}
	dialled := ""
	c, err := client.Dial(limited(t), func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled = network + " " + address
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}, address)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hears(c)).To(Succeed())
	g.Expect(dialled).To(Equal("tcp " + address))
}

// Whoever is not the client gets no byte of the protocol, and the listener never gives the connection out.
func TestNobodyElseIsHeard(t *testing.T) {
	g := NewWithT(t)
	id, client, address, taken := greeter(t)
	other, stranger, err := New("")
	g.Expect(err).NotTo(HaveOccurred())
	// Knows the right agent, has the certificate of another run.
	stranger.config.RootCAs = client.config.RootCAs
	nobody := &Client{client.config.Clone()}
	nobody.config.Certificates = nil
	// The agent's own certificate is no client's, though the same authority signed it.
	pair, err := tls.X509KeyPair([]byte(id.Cert), []byte(id.Key))
	g.Expect(err).NotTo(HaveOccurred())
	agent := &Client{client.config.Clone()}
	agent.config.Certificates = []tls.Certificate{pair}
	old := &Client{client.config.Clone()}
	old.config.MinVersion, old.config.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	for name, c := range map[string]*Client{"another run's client": stranger, "no certificate": nobody, "the agent's own": agent, "TLS 1.2": old} {
		conn, err := c.Dial(limited(t), nil, address)
		if err == nil {
			err = hears(conn)
		}
		g.Expect(err).To(MatchError(ContainSubstring("tls: ")), name)
	}

	plain, err := net.Dial("tcp", address)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.WriteString(plain, `{"type":"ping","id":"1"}`+"\n")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(plain.SetDeadline(time.Now().Add(patience))).To(Succeed())
	b, err := io.ReadAll(plain)
	g.Expect(errors.Is(err, io.EOF) || err == nil || strings.Contains(err.Error(), "reset")).To(BeTrue(), "%v", err)
	g.Expect(string(b)).NotTo(ContainSubstring("hello"))
	g.Expect(plain.Close()).To(Succeed())
	g.Expect(taken).To(BeEmpty())

	// And the client does not speak with an agent of another run.
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ln, err := Listen(other, raw)
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = ln.Close() }()
	_, err = client.Dial(limited(t), nil, ln.Addr().String())
	g.Expect(err).To(MatchError(ContainSubstring("agreeing on TLS")))
}

// Connections that say nothing are bounded in number, do not keep Close waiting, and the client still comes through.
func TestSilentConnectionsHoldNothingUp(t *testing.T) {
	g := NewWithT(t)
	_, client, address, _ := greeter(t)
	for range handshakes - 1 {
		c, err := net.Dial("tcp", address)
		g.Expect(err).NotTo(HaveOccurred())
		defer func() { _ = c.Close() }()
	}
	c, err := client.Dial(limited(t), nil, address)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(hears(c)).To(Succeed())
}

func TestCloseEndsTheWaiting(t *testing.T) {
	g := NewWithT(t)
	id, client, err := New("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	raw, err := net.Listen("tcp", id.Listen)
	g.Expect(err).NotTo(HaveOccurred())
	ln, err := Listen(id, raw)
	g.Expect(err).NotTo(HaveOccurred())
	silent, err := net.Dial("tcp", ln.Addr().String())
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = silent.Close() }()
	ended := make(chan error, 1)
	go func() { _, err := ln.Accept(); ended <- err }()
	g.Expect(ln.Close()).To(Succeed())
	g.Eventually(ended, patience).Should(Receive(MatchError(net.ErrClosed)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err = client.Dial(ctx, nil, raw.Addr().String())
	g.Expect(err).To(MatchError(ContainSubstring("connecting to the agent")))
}

func TestDialEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	_, client, err := New("")
	g.Expect(err).NotTo(HaveOccurred())
	silent, err := net.Listen("tcp", "127.0.0.1:0") // answers with nothing
	g.Expect(err).NotTo(HaveOccurred())
	defer func() { _ = silent.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = client.Dial(ctx, nil, silent.Addr().String())
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
}

func TestIdentityKeepsItsKey(t *testing.T) {
	g := NewWithT(t)
	id, _, err := New("0.0.0.0:5990")
	g.Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(id)
	g.Expect(err).NotTo(HaveOccurred())
	again, err := Parse(text)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again == id).To(BeTrue())
	for _, shown := range []string{fmt.Sprint(id), fmt.Sprintf("%v %+v %#v %s", id, id, id, id), fmt.Sprint(&id)} {
		g.Expect(shown).NotTo(ContainSubstring("KEY"))
	}
	broken := id
	broken.Key = strings.Replace(id.Key, "M", "N", 1)
	b, err := json.Marshal(broken)
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Parse(b)
	g.Expect(err).To(HaveOccurred())
	g.Expect(err.Error()).NotTo(ContainSubstring(strings.Split(id.Key, "\n")[1]))
	for _, bad := range []string{"", "{}", `{"cert":1}`, string(text) + "x", strings.Replace(string(text), `"listen"`, `"more":1,"listen"`, 1),
		strings.Replace(string(text), "0.0.0.0:5990", "nowhere", 1), strings.Repeat(" ", MaxIdentity) + string(text)} {
		_, err := Parse([]byte(bad))
		g.Expect(err).To(HaveOccurred(), "%.40q", bad)
	}
	other, _, err := New("")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(other.Key).NotTo(Equal(id.Key))
}

func FuzzParse(f *testing.F) {
	id, _, err := New("h:1")
	if err != nil {
		f.Fatal(err)
	}
	text, err := json.Marshal(id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"cert":"","key":"","client_ca":"","listen":":1"}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, in []byte) {
		id, err := Parse(in)
		if err != nil {
			return
		}
		b, err := json.Marshal(id)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := Parse(b); err != nil || again != id {
			t.Fatalf("what was read is not read again: %v", err)
		}
	})
}
