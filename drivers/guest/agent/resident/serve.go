// This file is the agent that listens: it goes on without its starter and without its client, and the newest client is the one
// that it speaks with.

package resident

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/link"
)

const (
	batch     = 16 << 10         // bytes that are written at once
	replies   = 64               // answers that wait for a client who does not take them
	loadAlone = 10 * time.Minute // without a client for so long, the extra writers end: they would fill the disk
	lastWords = 2 * time.Second  // how long the client has to take the answer to its word to end
	gcPercent = 50               // the heap is small; the memory of the guest counts more than the collector's work
)

// ReadIdentity reads the identity of an agent that is to listen, and deletes its file, be it good or not: it holds a key.
func ReadIdentity(path string) (link.Identity, error) {
	text, err := readIdentity(path)
	if gone := wipe(path); gone != nil && err == nil {
		err = fmt.Errorf("deleting the identity, which holds a key: %w", gone)
	}
	if err != nil {
		return link.Identity{}, err
	}
	return link.Parse(text)
}

func readIdentity(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	if st.Size() > link.MaxIdentity {
		return nil, fmt.Errorf("the identity has %d bytes, more than %d", st.Size(), link.MaxIdentity)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the identity: %w", err)
	}
	return text, nil
}

// wipe overwrites a small file before it is removed, as well as a file system lets anybody do that.
func wipe(path string) error {
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		if st, err := f.Stat(); err == nil && st.Size() <= link.MaxIdentity {
			_, _ = f.Write(make([]byte, st.Size()))
			_ = f.Sync()
		}
		_ = f.Close()
	}
	return os.Remove(path)
}

// Listen opens the address of an identity for Serve.
func Listen(id link.Identity) (net.Listener, error) {
	raw, err := net.Listen("tcp", id.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for the client: %w", err)
	}
	ln, err := link.Listen(id, raw)
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return ln, nil
}

// Leave makes this process independent of the one that started it, and lets its pipes go.
func Leave() error { return leave() }

// Serve runs the agent for the clients of ln, one at a time: a newer one replaces the older. Each hears the hello first, then
// what nobody heard before. It returns nil when a client said so or when nobody came for o.Alone, and closes ln.
func Serve(ctx context.Context, o Options, ln net.Listener) error {
	defer func() { _ = ln.Close() }()
	if o.Pace == 0 {
		o.Pace = servePace
	}
	if err := o.Check(); err != nil {
		return err
	}
	if o.Alone == 0 {
		return errors.New("an agent that listens must end when it has been alone for too long: say for how long")
	}
	debug.SetGCPercent(gcPercent)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := newResident(o)
	r.keep, r.end = newBacklog(), make(chan struct{}, 1)
	r.begin(ctx)

	clients, broken := make(chan net.Conn), make(chan error, 1)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				broken <- fmt.Errorf("waiting for clients: %w", err)
				return
			}
			select {
			case clients <- c:
			case <-ctx.Done():
				_ = c.Close()
				return
			}
		}
	}()
	alone, idle := time.NewTimer(o.Alone), time.NewTimer(loadAlone)
	defer alone.Stop()
	defer idle.Stop()
	var s *session
	var gone chan struct{} // of s; nil without one
	for {
		select {
		case c := <-clients:
			if s != nil {
				s.end()
				<-s.gone
			}
			alone.Stop()
			idle.Stop()
			s = r.speak(ctx, c)
			gone = s.gone
		case <-gone:
			s, gone = nil, nil
			alone.Reset(o.Alone)
			idle.Reset(loadAlone)
		case <-idle.C:
			if r.load.running() {
				r.load.set(ctx, 0)
			}
		case <-r.end:
			t := time.NewTimer(lastWords)
			defer t.Stop()
			select {
			case <-gone:
			case <-t.C:
			}
			return nil
		case <-alone.C:
			return nil
		case err := <-broken:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// session is one client.
type session struct {
	r       *resident
	conn    net.Conn
	replies chan []byte
	end     context.CancelFunc
	gone    chan struct{} // closed when nothing of the session runs any more
}

// speak begins a session. Commands work for the agent, not for the session: an extra writer outlives the client.
func (r *resident) speak(ctx context.Context, conn net.Conn) *session {
	own, end := context.WithCancel(ctx)
	s := &session{r: r, conn: conn, replies: make(chan []byte, replies), end: end, gone: make(chan struct{})}
	context.AfterFunc(own, func() { _ = conn.Close() })
	var both sync.WaitGroup
	both.Go(func() {
		defer end()
		s.write(own)
	})
	both.Go(func() {
		defer end()
		_ = r.takeCommands(ctx, conn, s.reply) // that the client left is all that can go wrong
	})
	go func() {
		both.Wait()
		close(s.gone)
	}()
	return s
}

// reply queues an answer for this client alone: another one may use the same numbers. It overtakes the backlog.
func (s *session) reply(p agent.Reply) {
	b, err := line(agent.Message{Type: agent.TypeReply, Reply: &p})
	if err != nil {
		s.r.dropped.Add(1)
		return
	}
	select {
	case s.replies <- b:
	default:
		s.r.dropped.Add(1)
	}
}

// write says hello, then everything else. Lines are forgotten when the system has taken them; the few that are on their way
// when the connection breaks are lost, and link keeps them few.
func (s *session) write(ctx context.Context) {
	hello, err := line(agent.Message{Type: agent.TypeHello, Hello: s.r.sayHello()})
	if err != nil {
		return
	}
	if _, err := s.conn.Write(hello); err != nil {
		return
	}
	buf := make([]byte, 0, batch)
	for {
		out, upTo := []byte(nil), uint64(0)
		select {
		case out = <-s.replies: // before the backlog: a ping measures how far away the agent is
		default:
			if out, upTo = s.r.keep.peek(buf); upTo > 0 {
				break
			}
			select {
			case out = <-s.replies:
			case <-s.r.keep.more:
				continue
			case <-ctx.Done():
				return
			}
		}
		if _, err := s.conn.Write(out); err != nil {
			return
		}
		s.r.keep.said(upTo)
	}
}
