package resident

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

// rig is an agent in this process on files of the test.
type rig struct {
	t    *testing.T
	in   io.WriteCloser
	msgs chan agent.Message
	end  chan error
	o    Options
}

// start runs an agent; prepare changes its options.
func start(t *testing.T, prepare func(o *Options)) *rig {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	o := Options{
		Instance: "test-1", Dir: filepath.Join(dir, "log"), Device: filepath.Join(dir, "device"), Kmsg: filepath.Join(dir, "kmsg"),
		Seed: filepath.Join(dir, "seed"), WriteEvery: 20 * time.Millisecond, ReadEvery: 20 * time.Millisecond,
	}
	if err := os.WriteFile(o.Device, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.Kmsg, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(&o)
	}
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	r := &rig{t, inW, make(chan agent.Message, 4096), make(chan error, 1), o}
	go func() { r.end <- Run(context.Background(), o, inR, outW) }()
	go func() {
		for lines := agent.NewReader(outR); ; {
			var m agent.Message
			if lines.Next(&m) != nil {
				return
			}
			if m.Valid() {
				r.msgs <- m
			}
		}
	}()
	t.Cleanup(func() {
		_ = inW.Close()
		select {
		case err := <-r.end:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("the agent did not end with its input")
		}
		_ = outW.Close()
	})
	return r
}

// until returns the first message that is good.
func (r *rig) until(what string, good func(m agent.Message) bool) agent.Message {
	r.t.Helper()
	limit := time.After(20 * time.Second)
	for {
		select {
		case m := <-r.msgs:
			if good(m) {
				return m
			}
		case <-limit:
			r.t.Fatalf("never came: %s", what)
		}
	}
}

func (r *rig) say(c agent.Command) {
	r.t.Helper()
	b, err := json.Marshal(c)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.in.Write(append(b, '\n')); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) ask(c agent.Command) agent.Reply {
	r.t.Helper()
	c.ID = "q"
	r.say(c)
	return *r.until("the reply to "+c.Type, func(m agent.Message) bool { return m.Type == agent.TypeReply && m.Reply.ID == "q" }).Reply
}

func (r *rig) beats(n int) {
	r.t.Helper()
	var rounds uint64
	for range n {
		m := r.until("a beat", func(m agent.Message) bool { return m.Type == agent.TypeBeat && m.Beat.Rounds > rounds })
		rounds = m.Beat.Rounds
	}
}

func TestAgentTellsAndObeys(t *testing.T) {
	r := start(t, nil)
	h := r.until("hello", func(agent.Message) bool { return true })
	if h.Type != agent.TypeHello || h.Hello.BootID == "" || h.Hello.Kernel == "" || h.Hello.RootFS == "" || h.T == 0 {
		t.Fatalf("hello: %+v", h)
	}
	r.until("a read", func(m agent.Message) bool {
		return m.Type == agent.TypeRead && m.IO.Phase == agent.Done && m.IO.Error == ""
	})
	w := r.until("record 5", func(m agent.Message) bool {
		return m.Type == agent.TypeWrite && m.IO.Phase == agent.Done && m.IO.Seq == 5 && m.IO.Error == ""
	})
	if w.IO.Path != filepath.Join(r.o.Dir, "acklog-test-1-0") {
		t.Fatal(w.IO.Path)
	}
	r.until("the mount", func(m agent.Message) bool { return m.Type == agent.TypeSystem && m.System.FS != "" })
	if p := r.ask(agent.Command{Type: agent.CmdPing}); p.Error != "" {
		t.Fatal(p.Error)
	}
	if p := r.ask(agent.Command{Type: "what"}); p.Error == "" {
		t.Fatal("an unknown command has no error")
	}
	p := r.ask(agent.Command{Type: agent.CmdVerify, Files: []agent.LogFile{
		{Path: w.IO.Path, Instance: "test-1", Acked: 5}, {Path: w.IO.Path + "x", Instance: "test-1", Writer: 1, Acked: 9},
	}})
	if len(p.Files) != 2 || p.Files[0].Found != 5 || p.Files[0].Missing != 0 || p.Files[1].Missing != 9 || p.Files[1].Error != "" {
		t.Fatalf("%+v", p)
	}
	r.beats(3)
}

func TestAgentLoad(t *testing.T) {
	r := start(t, nil)
	if p := r.ask(agent.Command{Type: agent.CmdLoad, N: 3}); p.Error != "" {
		t.Fatal(p.Error)
	}
	acked := map[string]agent.LogFile{}
	note := func(m agent.Message) {
		if m.Type != agent.TypeLoad {
			return
		}
		for _, w := range m.Load.Writers {
			acked[w.Path] = agent.LogFile{Path: w.Path, Instance: "test-1", Writer: w.Writer, Acked: w.Acked}
		}
	}
	r.until("three writers at work", func(m agent.Message) bool {
		note(m)
		n := 0
		for _, f := range acked {
			if f.Acked > 3 {
				n++
			}
		}
		return n == 3
	})
	r.say(agent.Command{Type: agent.CmdLoad})
	r.until("their end", func(m agent.Message) bool {
		note(m)
		return m.Type == agent.TypeLoad && m.Load.Wanted == 0 && len(m.Load.Writers) == 0
	})
	var files []agent.LogFile
	for _, f := range acked {
		files = append(files, f)
	}
	for _, f := range r.ask(agent.Command{Type: agent.CmdVerify, Files: files}).Files {
		if f.Missing+f.Corrupt+f.Disorder != 0 || f.Error != "" || f.Acked == 0 {
			t.Errorf("%+v", f)
		}
	}
}

// A pipe that nobody writes to is a disk that does not answer: reading it hangs. One whose writer left is a broken one.
func TestAgentLivesWithABlockedDisk(t *testing.T) {
	var f *os.File
	r := start(t, func(o *Options) {
		o.Device += ".fifo"
		err := unix.Mkfifo(o.Device, 0o600)
		if err == nil {
			f, err = os.OpenFile(o.Device, os.O_RDWR, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	began := r.until("the start of the read", func(m agent.Message) bool { return m.Type == agent.TypeRead })
	for n := 0; n < 8; { // two seconds of beats
		m := r.until("beats beside a blocked read", func(m agent.Message) bool { return m.Type == agent.TypeBeat || m.Type == agent.TypeRead })
		if m.Type == agent.TypeRead {
			t.Fatalf("the read came back: %+v", m.IO)
		}
		n++
	}
	r.until("a record beside a blocked read", func(m agent.Message) bool {
		return m.Type == agent.TypeWrite && m.IO.Phase == agent.Done && m.IO.Error == ""
	})
	if _, err := f.Write(make([]byte, blockSize)); err != nil {
		t.Fatal(err)
	}
	ok := r.until("the end of the read", func(m agent.Message) bool { return m.Type == agent.TypeRead && m.IO.Phase == agent.Done })
	if ok.IO.Error != "" || ok.IO.Seconds < 1 || ok.T-began.T < int64(time.Second) {
		t.Fatalf("%+v", ok.IO)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	r.until("an error", func(m agent.Message) bool { return m.Type == agent.TypeRead && m.IO.Error != "" })
	r.beats(2)
}

func TestAgentRepeatsTheRecordThatFailed(t *testing.T) {
	r := start(t, func(o *Options) { // the log's folder cannot be made: a file is in its way
		if err := os.WriteFile(o.Dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	first := func(m agent.Message) bool {
		return m.Type == agent.TypeWrite && m.IO.Phase == agent.Done && m.IO.Seq == 1
	}
	for range 2 {
		if m := r.until("an error", first); m.IO.Error != "not a directory (ENOTDIR)" {
			t.Fatalf("%+v", m.IO)
		}
	}
	if err := os.Remove(r.o.Dir); err != nil {
		t.Fatal(err)
	}
	r.until("record 1 acknowledged at last", func(m agent.Message) bool { return first(m) && m.IO.Error == "" })
	r.until("record 2", func(m agent.Message) bool { return m.Type == agent.TypeWrite && m.IO.Seq == 2 && m.IO.Error == "" })
}

func TestWriterBeginsANewFileWhenOneIsFull(t *testing.T) {
	dir := t.TempDir()
	r := &resident{o: Options{Instance: "t", Dir: dir}, out: make(chan []byte, 1000)}
	r.load.r = r
	ctx, stop := context.WithCancel(context.Background())
	w := &writer{r: r, number: 0, pause: time.Microsecond, limit: 3}
	done := make(chan struct{})
	go func() { w.run(ctx); close(done) }()
	for b := range r.out {
		var m agent.Message
		if err := json.Unmarshal(b, &m); err != nil {
			t.Fatal(err)
		}
		if m.IO.Path == filepath.Join(dir, "acklog-t-0.2") {
			break
		}
	}
	stop()
	<-done
	for _, name := range []string{"acklog-t-0", "acklog-t-0.1"} {
		f, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		res, err := agent.CheckLog(bytes.NewReader(f), agent.LogFile{Instance: "t", Acked: 3})
		if err != nil || res.Found != 3 || len(f) != 3*agent.RecordSize {
			t.Fatalf("%s: %+v %v", name, res, err)
		}
	}
}

func TestKernelLog(t *testing.T) {
	r := start(t, func(o *Options) {
		_ = os.Remove(o.Kmsg)
		if err := unix.Mkfifo(o.Kmsg, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	f, err := os.OpenFile(r.o.Kmsg, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fmt.Fprintf(f, "3,77,84940000,-;sd 0:0:0:0: [sda] timing out command, waited 180s\n SUBSYSTEM=scsi\n")
	m := r.until("the line", func(m agent.Message) bool { return m.Type == agent.TypeKmsg })
	if *m.Kmsg != (agent.Kmsg{Level: "err", Text: "sd 0:0:0:0: [sda] timing out command, waited 180s", At: 84.94}) {
		t.Fatalf("%+v", m.Kmsg)
	}
	fmt.Fprint(f, strings.Repeat("6,1,1,-;many\n", 500))
	passed, begun := 0, monotonic()
	r.until("two seconds' worth of beats", func(m agent.Message) bool {
		if m.Type == agent.TypeKmsg {
			passed++
		}
		return m.Type == agent.TypeBeat && m.T-begun > int64(2*time.Second)
	})
	if passed == 0 || passed > 4*kmsgPerSec {
		t.Fatalf("%d of 500 lines passed", passed)
	}
}

func TestSeed(t *testing.T) {
	dir := t.TempDir()
	check := func(want string) {
		t.Helper()
		if got, text, err := checkSeed(dir); got != want || err != nil {
			t.Fatalf("got %s (%s, %v), want %s", got, text, err, want)
		}
	}
	check(agent.SeedAbsent)
	data := bytes.Repeat([]byte("seed"), 100000)
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a", data)
	put("SHA256SUMS", fmt.Appendf(nil, "%x  a\n", sha256.Sum256(data)))
	check(agent.SeedOK)
	data[1000] ^= 1
	put("a", data)
	check(agent.SeedDamaged)
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	check(agent.SeedDamaged)
	put("SHA256SUMS", nil)
	check(agent.SeedDamaged)
}

func TestOldLogsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"acklog-old-1-0", "acklog-new-1-0", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	removeOld(dir, "new")
	left, err := filepath.Glob(dir + "/*")
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "acklog-new-1-0" {
		t.Fatal(left, err)
	}
}

func TestReadersOfText(t *testing.T) {
	dev, kind, mode, _ := mountedAt("rootfs / rootfs rw 0 0\n/dev/sda / xfs ro,relatime 0 0\n/dev/sdb /mnt ext4 rw 0 0\n", "/")
	if dev != "/dev/sda" || kind != "xfs" || mode != "ro" {
		t.Fatal(dev, kind, mode)
	}
	rel := osRelease("# x\nNAME=\"CentOS Linux\"\nID='centos'\nVERSION_ID=7\n")
	if rel["NAME"] != "CentOS Linux" || rel["ID"] != "centos" || rel["VERSION_ID"] != "7" {
		t.Fatal(rel)
	}
	if got := errText(fmt.Errorf("reading: %w", unix.EIO)); got != "input/output error (EIO)" {
		t.Fatal(got)
	}
	if err := bounded("this", time.Millisecond, func() error { select {} }); err == nil || !strings.Contains(err.Error(), "did not end") {
		t.Fatal(err)
	}
	if err := Run(context.Background(), Options{Instance: "../x"}, strings.NewReader(""), io.Discard); err == nil {
		t.Fatal("a bad name was taken")
	}
	for _, bad := range []string{"", "x", "1,2;t", "a,1,2,-;t", "1,2,b,-;t", " 1,2,3,-;t"} {
		if _, ok := parseKmsg(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
	if !errors.Is((&agent.LineError{Err: io.EOF}), io.EOF) {
		t.Fatal("the cause is lost")
	}
}
