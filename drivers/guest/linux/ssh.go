// This file logs in over SSH, and knows how far a login came.

package linux

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// The stages of a login, in order: what the client was waiting for.
const (
	stageTCP     = "tcp"
	stageBanner  = "banner"
	stageKex     = "kex"
	stageAuth    = "auth"
	stageSession = "session"
	stageCommand = "command"
)

// The ways in which a stage fails.
const (
	byTimeout = "timeout"
	byRefusal = "refused"
	byClosing = "closed"
	byHostKey = "host key mismatch"
	byFailure = "failed"
)

// loginError says at which stage a login failed, and how.
type loginError struct {
	stage, way string
	err        error
}

func (e *loginError) Error() string { return e.stage + " " + e.way + ": " + e.err.Error() }
func (e *loginError) Unwrap() error { return e.err }

// words are the stage and the way alone, as observations carry them.
func (e *loginError) words() string { return e.stage + " " + e.way }

// fail makes a loginError. over tells that the time was up, whatever error that led to.
func fail(stage string, err error, over bool) *loginError {
	var timeout net.Error
	way := byFailure
	switch {
	case errors.Is(err, sshell.ErrHostKey):
		way = byHostKey
	case over, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		way = byTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		way = byRefusal
	case stage == stageAuth && strings.Contains(err.Error(), "unable to authenticate"):
		way = byRefusal
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed):
		way = byClosing
	}
	return &loginError{stage, way, err}
}

// client is a logged-in connection. Its deadline is the one of the context that it was dialled with, until free.
type client struct {
	*ssh.Client
	conn net.Conn
	stop func() bool // unbinds the connection from that context
}

// free lifts the deadline: from here on every call needs its own bound.
func (c *client) free() {
	c.stop()
	_ = c.conn.SetDeadline(time.Time{})
}

// end closes the connection without a word to the server, so that it can never block.
func (c *client) end() {
	c.stop()
	_ = c.conn.Close()
	_ = c.Client.Close()
}

// watchedConn notes when the first byte came.
type watchedConn struct {
	net.Conn
	heard atomic.Bool
}

func (c *watchedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.heard.Store(true)
	}
	return n, err
}

// dial logs in. ctx has to have a deadline; it bounds the login and all that follows until free. Its error is a *loginError.
func (d *Driver) dial(ctx context.Context) (*client, error) {
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "tcp", d.cfg.Address)
	if err != nil {
		return nil, fail(stageTCP, err, ctx.Err() != nil)
	}
	conn := &watchedConn{Conn: raw}
	if until, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(until)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	var keyed atomic.Bool
	cfg := *d.ssh
	cfg.HostKeyCallback = func(host string, remote net.Addr, key ssh.PublicKey) error {
		if err := d.ssh.HostKeyCallback(host, remote, key); err != nil {
			return err
		}
		keyed.Store(true)
		return nil
	}
	cc, chans, reqs, err := ssh.NewClientConn(conn, d.cfg.Address, &cfg)
	if err != nil {
		stop()
		_ = conn.Close()
		stage := stageBanner
		switch {
		case keyed.Load():
			stage = stageAuth
		case conn.heard.Load():
			stage = stageKex
		}
		return nil, fail(stage, err, ctx.Err() != nil)
	}
	return &client{ssh.NewClient(cc, chans, reqs), conn, stop}, nil
}

// command runs one command over a client that still has its deadline and returns its output. A command that ran and failed
// gives an *ssh.ExitError; every other error is a *loginError.
func (c *client) command(ctx context.Context, line string, in io.Reader) (string, error) {
	s, err := c.NewSession()
	if err != nil {
		return "", fail(stageSession, err, ctx.Err() != nil)
	}
	defer func() { _ = s.Close() }()
	s.Stdin = in
	out, err := s.CombinedOutput(line)
	text := strings.TrimSpace(string(out))
	var exit *ssh.ExitError
	switch {
	case err == nil:
		return text, nil
	case errors.As(err, &exit):
		return text, err
	}
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) && ctx.Err() == nil {
		err = io.EOF // the connection went while the command ran
	}
	return text, fail(stageCommand, err, ctx.Err() != nil)
}
