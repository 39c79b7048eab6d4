// This file is the listening side: who does not show the client's certificate in time never reaches Accept.

package link

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// How long a handshake may last, and how many may be under way: a port scanner must not use up the guest's memory.
const (
	handshakeLimit = 10 * time.Second
	handshakes     = 8
	sendBuffer     = 16 << 10    // bytes; what lies there when a connection breaks is lost, though it was sent
	retryAccept    = time.Second // after an error that is not the listener's end, such as a lack of handles
)

// listener gives out connections whose client has proven itself.
type listener struct {
	net.Listener
	config *tls.Config
	ready  chan net.Conn
	ctx    context.Context
	stop   context.CancelFunc
	at     sync.WaitGroup
}

// Listen takes the connections of ln for an agent. Its Accept returns connections that are authenticated already, so one
// that is not the client's can neither speak nor push a client away. Close closes ln as well.
func Listen(id Identity, ln net.Listener) (net.Listener, error) {
	config, err := id.config()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &listener{Listener: ln, config: config, ready: make(chan net.Conn), ctx: ctx, stop: stop}
	l.at.Go(l.take)
	return l, nil
}

func (l *listener) take() {
	free := make(chan struct{}, handshakes)
	for {
		select {
		case free <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		raw, err := l.Listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			l.stop()
			return
		case err != nil:
			<-free
			t := time.NewTimer(retryAccept)
			select {
			case <-t.C:
			case <-l.ctx.Done():
				t.Stop()
				return
			}
			continue
		}
		l.at.Go(func() {
			conn, err := l.greet(raw)
			<-free
			if err != nil {
				return
			}
			select {
			case l.ready <- conn:
			case <-l.ctx.Done():
				_ = conn.Close()
			}
		})
	}
}

func (l *listener) greet(raw net.Conn) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeLimit)
	defer cancel()
	if c, ok := raw.(*net.TCPConn); ok {
		_ = c.SetWriteBuffer(sendBuffer) // the system's own size does as well, with more to lose
	}
	conn := tls.Server(raw, l.config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return conn, nil
}

// Accept returns the next connection of the client.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.ctx.Done():
		return nil, fmt.Errorf("waiting for a client: %w", net.ErrClosed)
	}
}

// Close ends the listening and waits for what it began. Connections that were given out stay.
func (l *listener) Close() error {
	l.stop()
	err := l.Listener.Close()
	l.at.Wait()
	if err != nil {
		return fmt.Errorf("closing the listener: %w", err)
	}
	return nil
}
