// This file is the bridge over which other processes reach the stand-in: a connection for each connection and for each command.

package killed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// wish is what a connection over the bridge begins with, a line of JSON.
type wish struct {
	Network, Address string
	Shell, Line      string
	In               []byte
}

// answer is the line that comes back; after that of a dialled connection its bytes follow.
type answer struct {
	Out     string
	Error   string
	Refused bool
}

// serve is the bridge's end at the stand-in.
func serve(file string, s Stand) (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = os.WriteFile(file, []byte(l.Addr().String()), 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the bridge: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer context.AfterFunc(ctx, func() { c.Close() })()
				defer c.Close()
				pass(ctx, c, s)
			})
		}
	})
	return func() { l.Close(); cancel(); wg.Wait() }, nil
}

func pass(ctx context.Context, c net.Conn, s Stand) {
	var w wish
	if err := readLine(c, &w); err != nil {
		return
	}
	tell := func(out string, err error) error {
		a := answer{Out: out}
		if err != nil {
			a.Error, a.Refused = err.Error(), errors.Is(err, syscall.ECONNREFUSED)
		}
		return writeLine(c, a)
	}
	if w.Shell != "" {
		sh, ok := s.Shells[w.Shell]
		if !ok {
			_ = tell("", fmt.Errorf("the stand-in has no shell %s", w.Shell))
			return
		}
		_ = tell(sh.Run(ctx, w.Line, bytes.NewReader(w.In)))
		return
	}
	far, err := s.Dial(ctx, w.Network, w.Address)
	if tell("", err) != nil || err != nil {
		return
	}
	defer context.AfterFunc(ctx, func() { far.Close() })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(far, c)
		far.Close()
	}()
	_, _ = io.Copy(c, far)
	c.Close()
	<-done
}

// bridge is its other end: the file that says where it is.
type bridge string

// ask sends a wish; the connection is the caller's when the answer is no error.
func (b bridge) ask(ctx context.Context, w wish) (net.Conn, answer, error) {
	at, err := os.ReadFile(string(b))
	if err != nil {
		return nil, answer{}, err
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", string(at))
	if err != nil {
		return nil, answer{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	var a answer
	err = writeLine(c, w)
	if err == nil {
		err = readLine(c, &a)
	}
	switch {
	case !stop():
		err = ctx.Err()
	case err == nil && a.Refused:
		err = &net.OpError{Op: "dial", Net: w.Network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	case err == nil && a.Error != "":
		err = errors.New(a.Error)
	}
	if err != nil {
		c.Close()
		return nil, a, err
	}
	return c, a, nil
}

func (b bridge) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, _, err := b.ask(ctx, wish{Network: network, Address: address})
	if err != nil {
		return nil, err
	}
	return dialled{c, name(address)}, nil
}

// dialled is a connection that says whom it was dialled to: SSH compares that with its known hosts.
type dialled struct {
	net.Conn
	to name
}

// RemoteAddr is the address that was dialled.
func (d dialled) RemoteAddr() net.Addr { return d.to }

type name string

// Network is what it would be without the bridge.
func (name) Network() string  { return "tcp" }
func (n name) String() string { return string(n) }

// far is a shell over the bridge.
type far struct {
	b    bridge
	name string
}

// Run runs a command there.
func (f far) Run(ctx context.Context, line string, in io.Reader) (string, error) {
	w := wish{Shell: f.name, Line: line}
	if in != nil {
		var err error
		if w.In, err = io.ReadAll(in); err != nil {
			return "", err
		}
	}
	c, a, err := f.b.ask(ctx, w)
	if c != nil {
		c.Close()
	}
	return a.Out, err
}

func writeLine(c net.Conn, v any) error { return json.NewEncoder(c).Encode(v) }

// readLine reads a line and not a byte more: what follows is somebody else's.
func readLine(c net.Conn, v any) error {
	var line []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, one); err != nil {
			return err
		}
		if one[0] == '\n' {
			return json.Unmarshal(line, v)
		}
		line = append(line, one[0])
	}
}
