// This file has the SSH server whose shells run in a box.

package boxtest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Server lets one key in and runs its commands in a box.
type Server struct {
	Config sshell.Config // how a driver logs in
	Peer   string        // the client's address, as the shells are told it; "" tells them nothing

	box *Box
	cfg *ssh.ServerConfig

	mu    sync.Mutex
	hung  chan struct{} // closed when the server goes on; nil: it answers
	fail  bool          // it hangs up
	conns map[net.Conn]bool
}

// Serve starts a server on a loopback address.
func Serve(t testing.TB, b *Box) *Server {
	t.Helper()
	host, _ := key(t)
	user, private := key(t)
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(Scratch(t), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{box: b, Peer: "192.0.2.1", conns: map[net.Conn]bool{}}
	s.cfg = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, errors.New("not this key")
		}
		return nil, nil
	}}
	s.cfg.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Config = sshell.Config{Address: l.Addr().String(), KeyFile: file, HostKey: string(ssh.MarshalAuthorizedKey(host.PublicKey()))}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			wg.Go(func() { s.connection(ctx, c) })
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		s.mu.Lock()
		for c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

func key(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, k, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

// Hang makes the server accept and say nothing until release is called.
func (s *Server) Hang() (release func()) {
	ch := make(chan struct{})
	s.mu.Lock()
	s.hung = ch
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hung = nil
		s.mu.Unlock()
		close(ch)
	}
}

// Fail makes the server hang up at once until mend is called.
func (s *Server) Fail() (mend func()) {
	set := func(v bool) {
		s.mu.Lock()
		s.fail = v
		s.mu.Unlock()
	}
	set(true)
	return func() { set(false) }
}

func (s *Server) connection(ctx context.Context, c net.Conn) {
	defer func() {
		_ = c.Close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	s.mu.Lock()
	hung, fail := s.hung, s.fail
	s.mu.Unlock()
	if fail {
		return
	}
	if hung != nil {
		select {
		case <-hung:
		case <-ctx.Done():
		}
		return
	}
	conn, chans, reqs, err := ssh.NewServerConn(c, s.cfg)
	if err != nil {
		return
	}
	defer conn.Close()
	go ssh.DiscardRequests(reqs)
	var wg sync.WaitGroup
	defer wg.Wait()
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		wg.Go(func() {
			for r := range reqs {
				_ = r.Reply(r.Type == "exec", nil)
				if r.Type == "exec" && len(r.Payload) > 4 {
					wg.Go(func() { s.exec(ctx, ch, string(r.Payload[4:])) })
				}
			}
		})
	}
}

// exec runs a command as a login shell would, and tells it where the connection comes from (sshd(8), SSH_CONNECTION).
func (s *Server) exec(ctx context.Context, ch ssh.Channel, line string) {
	defer ch.Close()
	cmd := s.box.Command(ctx, "/bin/sh", "-c", line)
	if s.Peer != "" {
		cmd.Env = append(cmd.Env, "SSH_CONNECTION="+s.Peer+" 50022 "+Management+" 22")
	}
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	go func() {
		_, _ = io.Copy(in, ch) // ends with the channel
		_ = in.Close()
	}()
	status := uint32(0)
	if cmd.Wait() != nil {
		status = uint32(cmd.ProcessState.ExitCode())
	}
	_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
}
