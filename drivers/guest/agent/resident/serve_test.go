package resident

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/link"
)

const patience = 20 * time.Second

// tempDir is a folder that goes with the test. Under Wine, which lacks a call that Go removes folders with, it goes with the prefix.
func tempDir(t *testing.T) string {
	t.Helper()
	if runtime.GOOS != "windows" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "apd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// server is an agent in this process that listens, on files of the test.
type server struct {
	t       *testing.T
	client  *link.Client
	address string
	ended   chan error
}

func serve(t *testing.T, prepare func(o *Options)) *server {
	t.Helper()
	t.Parallel()
	dir := tempDir(t)
	o := Options{
		Instance: "test-1", Dir: filepath.Join(dir, "log"), Device: filepath.Join(dir, "device"), Kmsg: filepath.Join(dir, "kmsg"),
		Seed: filepath.Join(dir, "seed"), Folder: dir, Pace: maxPace, Alone: time.Minute,
	}
	g := NewWithT(t)
	g.Expect(os.WriteFile(o.Device, make([]byte, 1<<20), 0o600)).To(Succeed())
	g.Expect(os.WriteFile(o.Kmsg, nil, 0o600)).To(Succeed())
	if prepare != nil {
		prepare(&o)
	}
	id, client, err := link.New("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ln, err := Listen(id)
	g.Expect(err).NotTo(HaveOccurred())
	ctx, stop := context.WithCancel(context.Background())
	s := &server{t, client, ln.Addr().String(), make(chan error, 1)}
	done := make(chan struct{})
	go func() {
		s.ended <- Serve(ctx, o, ln)
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		select {
		case <-done:
		case <-time.After(patience):
			t.Error("the agent did not end")
		}
	})
	return s
}

// listener is one client of an agent that listens.
type listener struct {
	t    *testing.T
	conn net.Conn
	in   *agent.Reader
}

func (s *server) dial() *listener {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.client.Dial(ctx, nil, s.address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return &listener{s.t, c, agent.NewReader(c)}
}

func (l *listener) next() (agent.Message, error) {
	var m agent.Message
	if err := l.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return m, err
	}
	err := l.in.Next(&m)
	if err == nil && !m.Valid() {
		err = fmt.Errorf("not a message: %+v", m)
	}
	return m, err
}

func (l *listener) until(what string, good func(m agent.Message) bool) agent.Message {
	l.t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		m, err := l.next()
		if err != nil {
			l.t.Fatalf("waiting for %s: %v", what, err)
		}
		if good(m) {
			return m
		}
	}
	l.t.Fatalf("never came: %s", what)
	return agent.Message{}
}

func (l *listener) say(c agent.Command) {
	l.t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.conn.Write(append(b, '\n')); err != nil {
		l.t.Fatal(err)
	}
}

func (l *listener) ask(c agent.Command) agent.Reply {
	l.t.Helper()
	l.say(c)
	return *l.until("the reply to "+c.Type, func(m agent.Message) bool { return m.Type == agent.TypeReply && m.Reply.ID == c.ID }).Reply
}

func ack(seq uint64) func(m agent.Message) bool {
	return func(m agent.Message) bool {
		return m.Type == agent.TypeWrite && m.IO.Phase == agent.Done && m.IO.Error == "" && m.IO.Seq >= seq
	}
}

// What the agent saw while nobody was there comes after the hello, in its order and without a hole.
func TestServeGoesOnWithoutItsClient(t *testing.T) {
	g := NewWithT(t)
	s := serve(t, nil)
	one := s.dial()
	h, err := one.next()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(h.Type).To(Equal(agent.TypeHello))
	g.Expect(h.Hello.Instance).To(Equal("test-1"))
	last := one.until("record 3", ack(3))
	g.Expect(one.conn.Close()).To(Succeed())
	logged := last.IO.Path
	g.Eventually(func() (int64, error) {
		st, err := os.Stat(logged)
		return st.Size() / agent.RecordSize, err
	}, patience).Should(BeNumerically(">", last.IO.Seq+5), "the agent stopped writing when its client went")

	two := s.dial()
	again, err := two.next()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(again.Type).To(Equal(agent.TypeHello), "hello first")
	g.Expect(again.Hello.BootID).To(Equal(h.Hello.BootID))
	g.Expect(again.Hello.Uptime).To(BeNumerically(">", h.Hello.Uptime))
	var before int64
	var first, seq uint64
	m := two.until("what was seen meanwhile, and live messages behind it", func(m agent.Message) bool {
		g.Expect(m.T).To(BeNumerically(">=", before-int64(time.Millisecond)), "out of order") // senders may overtake each other by a hair
		before = m.T
		if ack(1)(m) {
			if first == 0 {
				first = m.IO.Seq
			} else {
				g.Expect(m.IO.Seq).To(Equal(seq + 1))
			}
			seq = m.IO.Seq
		}
		return m.T > again.T && m.Type == agent.TypeBeat
	})
	g.Expect(m.Beat.Dropped).To(BeZero())
	g.Expect(first).To(BeNumerically("<=", last.IO.Seq+3), "the backlog begins late: more was lost than what was on its way")
	p := two.ask(agent.Command{Type: agent.CmdVerify, ID: "v", Files: []agent.LogFile{{Path: logged, Instance: "test-1", Acked: seq}}})
	g.Expect(p.Files).To(HaveLen(1))
	g.Expect(p.Files[0].Found).To(Equal(seq))
	g.Expect(p.Files[0].Missing).To(BeZero())
}

func TestServeTakesTheNewerClient(t *testing.T) {
	g := NewWithT(t)
	s := serve(t, nil)
	one := s.dial()
	one.until("hello", func(m agent.Message) bool { return m.Type == agent.TypeHello })
	g.Expect(one.ask(agent.Command{Type: agent.CmdLoad, ID: "1", N: 2}).Error).To(BeEmpty())
	one.say(agent.Command{Type: agent.CmdPing, ID: "of the first"})
	two := s.dial()
	g.Expect(two.next()).To(HaveField("Type", agent.TypeHello))
	var err error
	for err == nil { // what was on its way, then the end
		_, err = one.next()
	}
	var slow net.Error
	g.Expect(errors.As(err, &slow) && slow.Timeout()).To(BeFalse(), "the older client was not let go: %v", err)
	two.say(agent.Command{Type: agent.CmdPing, ID: "of the second"})
	two.until("the second's own answer, not the first's", func(m agent.Message) bool {
		if m.Type == agent.TypeReply {
			g.Expect(m.Reply.ID).To(Equal("of the second"))
		}
		return m.Type == agent.TypeReply
	})
	two.until("the extra writers at work still", func(m agent.Message) bool {
		return m.Type == agent.TypeLoad && len(m.Load.Writers) == 2 && m.Load.Writers[0].Acked > 3
	})
}

func TestServeEndsWhenTold(t *testing.T) {
	g := NewWithT(t)
	s := serve(t, nil)
	c := s.dial()
	g.Expect(c.ask(agent.Command{Type: agent.CmdEnd, ID: "e"}).Error).To(BeEmpty())
	g.Expect(c.conn.Close()).To(Succeed())
	g.Eventually(s.ended, patience).Should(Receive(BeNil()))
	_, err := net.Dial("tcp", s.address)
	g.Expect(err).To(HaveOccurred(), "it still listens")
}

func TestServeEndsWhenAlone(t *testing.T) {
	g := NewWithT(t)
	s := serve(t, func(o *Options) { o.Alone = 300 * time.Millisecond })
	g.Eventually(s.ended, patience).Should(Receive(BeNil()))
}

func TestPipedAgentEndsWithItsInputOnly(t *testing.T) {
	r := &resident{out: make(chan []byte, 10)}
	r.do(t.Context(), agent.Command{Type: agent.CmdEnd, ID: "e"}, r.reply)
	if b := <-r.out; !strings.Contains(string(b), "ends when its input does") {
		t.Fatalf("%s", b)
	}
}

// A thousand a second, and everything else outside of the limits, is refused, and the limits are not.
func TestPace(t *testing.T) {
	for _, pace := range []float64{1, 4, 10} {
		o := Options{Instance: "i", Pace: pace}
		if err := o.Check(); err != nil || o.WriteEvery != time.Duration(float64(time.Second)/pace) || o.ReadEvery != o.WriteEvery {
			t.Errorf("%g Hz: %v, %v", pace, err, o.WriteEvery)
		}
	}
	nan := 0.0
	for _, pace := range []float64{1000, 10.5, 0.5, -1, nan / nan} {
		o := Options{Instance: "i", Pace: pace}
		if err := o.Check(); err == nil || !strings.Contains(err.Error(), "not between 1 and 10") {
			t.Errorf("%g Hz was taken: %v", pace, err)
		}
	}
	for _, o := range []Options{{Instance: ""}, {Instance: "a/b"}, {Instance: "i", Alone: -1}} {
		if o.Check() == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if err := Serve(t.Context(), Options{Instance: "i"}, closed{}); err == nil {
		t.Error("an agent that stays for ever was taken")
	}
}

type closed struct{ net.Listener }

func (closed) Close() error { return nil }

func TestIdentityIsDeletedOnceItIsRead(t *testing.T) {
	g := NewWithT(t)
	id, _, err := link.New("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	text, err := json.Marshal(id)
	g.Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(tempDir(t), "identity")
	for content, good := range map[string]bool{string(text): true, "{}": false, strings.Repeat("x", link.MaxIdentity+1): false} {
		g.Expect(os.WriteFile(path, []byte(content), 0o600)).To(Succeed())
		got, err := ReadIdentity(path)
		g.Expect(err == nil).To(Equal(good))
		g.Expect(got == id).To(Equal(good))
		_, err = os.Stat(path)
		g.Expect(err).To(MatchError(fs.ErrNotExist))
	}
	_, err = ReadIdentity(path)
	g.Expect(err).To(MatchError(fs.ErrNotExist))
	id.Listen = "203.0.113.1:1" // not an address of this machine (RFC 5737)
	_, err = Listen(id)
	g.Expect(err).To(MatchError(ContainSubstring("listening for the client")))
}

func TestBacklogIsBounded(t *testing.T) {
	g := NewWithT(t)
	k := newBacklog()
	start := []byte("the start of the read that hangs\n")
	g.Expect(k.put(agent.TypeRead, start)).To(BeZero())
	beat := []byte(strings.Repeat("b", 80) + "\n")
	const beats = 100_000
	var lost uint64
	for range beats {
		lost += k.put(agent.TypeBeat, bytes.Clone(beat))
	}
	g.Expect(k.ticks.bytes).To(BeNumerically("<=", keepTicks))
	g.Expect(lost).To(BeEquivalentTo(beats - len(k.ticks.lines)))
	g.Expect(len(k.ticks.lines)).To(BeNumerically(">", 4*60*45), "three quarters of an hour of beats at four a second")
	out, upTo := k.peek(nil)
	g.Expect(string(out)).To(Equal(string(start)), "beats pushed out a step")
	g.Expect(upTo).To(BeEquivalentTo(1))
	again, _ := k.peek(nil)
	g.Expect(string(again)).To(Equal(string(out)), "it was forgotten before it was said")
	k.said(upTo)
	for range beats {
		lost += k.put(agent.TypeWrite, bytes.Clone(beat))
	}
	g.Expect(k.steps.bytes).To(BeNumerically("<=", keepSteps))
	kept := len(k.steps.lines) + len(k.ticks.lines)
	g.Expect(lost).To(BeEquivalentTo(2*beats - kept))

	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Logf("%d lines and %d bytes are kept; this process's heap has %d KiB in use", kept, k.steps.bytes+k.ticks.bytes, m.HeapInuse>>10)
	said, buf := 0, make([]byte, 0, batch)
	for {
		out, upTo := k.peek(buf)
		if upTo == 0 {
			break
		}
		g.Expect(len(out)).To(BeNumerically("<=", batch))
		said += len(out) / len(beat)
		k.said(upTo)
	}
	g.Expect(said).To(Equal(kept))
	g.Expect(k.steps.bytes + k.ticks.bytes).To(BeZero())
	g.Expect(k.put(agent.TypeWrite, make([]byte, keepSteps+1))).To(BeZero(), "a line that is too long alone is kept: the newest always is")
}

func TestBusy(t *testing.T) {
	g := NewWithT(t)
	sec := int64(time.Second)
	for _, c := range []struct {
		idle, stamp time.Duration
		mono        int64
		want        float64
		ok          bool
	}{
		{time.Second, time.Second, sec, 0, true},
		{0, time.Second, sec, 100, true},                                 // never idle: every request hangs
		{400 * time.Millisecond, time.Second, sec, 60, true},             //
		{400 * time.Millisecond, time.Hour, sec, 60, true},               // the clock was set forward
		{400 * time.Millisecond, -time.Hour, sec, 60, true},              // and back
		{1020 * time.Millisecond, time.Second, sec, 0, true},             // a reading that is a little late
		{-time.Second, time.Second, sec, 0, false},                       // the counters began anew
		{0, 0, 0, 0, false},                                              // twice the same moment
		{510 * time.Millisecond, 1020 * time.Millisecond, sec, 50, true}, // the counters' own clock is the better one
	} {
		before := diskTimes{idle: time.Hour, stamp: 10 * time.Hour, taken: 5 * sec}
		got, ok := busyPercent(before, diskTimes{before.idle + c.idle, before.stamp + c.stamp, before.taken + c.mono})
		g.Expect(ok).To(Equal(c.ok), "%+v", c)
		g.Expect(got).To(BeNumerically("~", c.want, 0.001), "%+v", c)
	}
}

func FuzzReadPerformance(f *testing.F) {
	whole := make([]byte, performanceSize)
	whole[idleTimeAt], whole[queryTimeAt] = 10, 20
	f.Add(whole)
	f.Add(whole[:queryTimeAt])
	f.Add([]byte(strings.Repeat("\xff", performanceSize)))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := readPerformance(b, 7)
		if err != nil {
			return
		}
		if d.stamp < 0 || d.taken != 7 {
			t.Fatalf("%+v", d)
		}
		if p, ok := busyPercent(d, d); ok || p != 0 {
			t.Fatal(p, ok)
		}
	})
}

func TestReadPerformance(t *testing.T) {
	g := NewWithT(t)
	b := make([]byte, performanceSize)
	b[idleTimeAt+1], b[queryTimeAt+2] = 1, 1 // 256 and 65536 units of 100 ns
	d, err := readPerformance(b, 3)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(d).To(Equal(diskTimes{idle: 25600, stamp: 6553600, taken: 3}))
	_, err = readPerformance(b[:queryTimeAt+7], 3)
	g.Expect(err).To(HaveOccurred())
	b[queryTimeAt+7] = 0x80
	_, err = readPerformance(b, 3)
	g.Expect(err).To(HaveOccurred())
}
