package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

type status struct{ Status string }

func dial(t testing.TB, f *fakeQMP, events func(string, json.RawMessage)) *QMP {
	t.Helper()
	q, err := DialQMP(within(t, 5*time.Second), f.socket, events)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func TestQMPAnswers(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, func(w io.Writer, r request) {
		switch r.Execute {
		case "query-status":
			runs(w, r)
		case "echo":
			ok(w, r, string(r.Arguments))
		default:
			fmt.Fprintf(w, `{"error": {"class": "CommandNotFound", "desc": "The command %s has not been found"}, "id": %d}`+"\r\n", r.Execute, r.ID)
		}
	})
	q := dial(t, f, nil)
	ctx := within(t, 5*time.Second)
	var s status
	g.Expect(q.Do(ctx, "query-status", nil, &s)).To(Succeed())
	g.Expect(s.Status).To(Equal("running"))
	var back map[string]int
	g.Expect(q.Do(ctx, "echo", map[string]int{"x": 3}, &back)).To(Succeed())
	g.Expect(back).To(Equal(map[string]int{"x": 3}))
	g.Expect(q.Do(ctx, "nonsense", nil, nil)).To(MatchError("nonsense: QEMU says: The command nonsense has not been found"))
	g.Expect(q.Do(ctx, "echo", 7, &s)).To(MatchError(ContainSubstring("reading QEMU's answer")))
	g.Expect(q.Do(ctx, "echo", func() {}, nil)).To(HaveOccurred())
	g.Expect(q.Do(ctx, "query-status", nil, nil)).To(Succeed(), "none of this ends the connection")
}

// TestQMPLateAnswer gives a command up and checks that its answer, when it comes, is not taken for the next one's.
func TestQMPLateAnswer(t *testing.T) {
	g := NewWithT(t)
	late := make(chan struct{})
	f := startQMP(t, func(w io.Writer, r request) {
		if r.Execute == "slow" {
			<-late
			ok(w, r, `{"status": "late"}`)
			return
		}
		runs(w, r)
	})
	q := dial(t, f, nil)
	err := q.Do(within(t, 50*time.Millisecond), "slow", nil, nil)
	g.Expect(err).To(MatchError(ErrStalled))
	g.Expect(err).To(MatchError(context.DeadlineExceeded))
	close(late)
	for range 3 {
		var s status
		g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, &s)).To(Succeed())
		g.Expect(s.Status).To(Equal("running"))
	}
}

func TestQMPStalled(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, runs)
	q := dial(t, f, nil)
	f.hang()
	begun := time.Now()
	g.Expect(q.Do(within(t, 100*time.Millisecond), "query-status", nil, nil)).To(MatchError(ErrStalled))
	g.Expect(time.Since(begun)).To(And(BeNumerically(">=", 100*time.Millisecond), BeNumerically("<", 2*time.Second)))
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	g.Expect(q.Do(ctx, "query-status", nil, nil)).To(MatchError(ErrStalled), "canceled, without a deadline")
	f.release()
	g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, nil)).To(Succeed(), "it goes on when QEMU does")
}

// TestQMPStalledWhileConnecting has a monitor that accepts and says nothing.
func TestQMPStalledWhileConnecting(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, runs)
	f.hang()
	begun := time.Now()
	_, err := DialQMP(within(t, 100*time.Millisecond), f.socket, nil)
	g.Expect(err).To(MatchError(ErrStalled))
	g.Expect(time.Since(begun)).To(BeNumerically("<", 2*time.Second))
}

func TestQMPNobodyThere(t *testing.T) {
	_, err := DialQMP(within(t, time.Second), filepath.Join(shortDir(t), "none"), nil)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("connecting to the monitor")))
}

func TestQMPGarbage(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, func(w io.Writer, r request) {
		_, _ = io.WriteString(w, "\r\nnot json\r\n{}\r\n[]\r\nnull\r\n{\"id\": \"x\", \"return\": 1}\r\n{\"return\": {\"status\": \"nobody asked\"}}\r\n"+
			"{\"return\": {\"status\": \"another\"}, \"id\": 9999}\r\n{\"id\": 0, \"event\": 5}\r\n\xff\xfe\x00\r\n")
		runs(w, r)
		runs(w, r) // and once more
	})
	q := dial(t, f, nil)
	for range 3 {
		var s status
		g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, &s)).To(Succeed())
		g.Expect(s.Status).To(Equal("running"))
	}
}

func TestQMPClosed(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, func(w io.Writer, _ request) { _ = w.(net.Conn).Close() })
	q := dial(t, f, nil)
	g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, nil)).To(MatchError(net.ErrClosed), "while it waits")
	g.Eventually(q.Done()).Should(BeClosed())
	g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, nil)).To(MatchError(net.ErrClosed), "afterwards")
	g.Expect(q.Close()).To(Succeed())
}

// TestQMPTooLong ends a connection on which no line ends.
func TestQMPTooLong(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, func(w io.Writer, _ request) { _, _ = io.Copy(w, strings.NewReader(strings.Repeat("x", 5<<20))) })
	q := dial(t, f, nil)
	g.Expect(q.Do(within(t, 20*time.Second), "query-status", nil, nil)).To(MatchError(ContainSubstring("the monitor's connection ended")))
}

func TestQMPEvents(t *testing.T) {
	g := NewWithT(t)
	f := startQMP(t, func(w io.Writer, r request) {
		_, _ = io.WriteString(w, `{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}`+"\r\n"+
			`{"event": "BLOCK_IO_ERROR", "data": {"device": "d0"}, "timestamp": {"seconds": 1, "microseconds": 3}}`+"\r\n")
		runs(w, r)
	})
	type event struct{ name, data string }
	got := make(chan event, 10)
	q := dial(t, f, func(name string, data json.RawMessage) { got <- event{name, string(data)} })
	g.Expect(q.Do(within(t, 5*time.Second), "query-status", nil, nil)).To(Succeed())
	g.Expect(got).To(Receive(Equal(event{"STOP", ""})))
	g.Expect(got).To(Receive(Equal(event{"BLOCK_IO_ERROR", `{"device": "d0"}`})))
	g.Expect(got).To(BeEmpty())
}

// FuzzQMPRead lets a monitor say anything between a question and its answer.
func FuzzQMPRead(f *testing.F) {
	for _, s := range []string{"", greeting, `{"return": {}, "id": 1}`, `{"event": "STOP"}` + "\n" + `{"error": {"class": "x"}, "id": 2}`, "null\n[1]\n\xff", `{"id": 1e9}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		q := &QMP{conn: ours, wait: map[int]chan reply{}, closed: make(chan struct{}), next: 1 << 40}
		go q.read()
		defer func() {
			ours.Close()
			<-q.closed
		}()
		done := make(chan error, 1)
		var s status
		go func() { done <- q.Do(t.Context(), "query-status", nil, &s) }()
		asked := make([]byte, 1<<10)
		n, err := theirs.Read(asked)
		if err != nil || !bytes.HasSuffix(asked[:n], []byte("\n")) {
			t.Fatalf("the question is %q: %v", asked[:n], err)
		}
		if _, err := theirs.Write(append(said, "\n"+`{"return": {"status": "running"}, "id": 1099511627777}`+"\n"...)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil && !bytes.Contains(said, []byte("1099511627777")) {
			t.Fatal(err)
		}
	})
}
