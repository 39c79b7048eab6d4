// The agent as a program of its own: on this Linux, and for Windows under Wine. Wine runs the very program that goes into a
// guest; what it lacks of Windows is said where it matters.

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
	"github.com/allpathsdown/allpathsdown/drivers/guest/agent/link"
)

const patience = 30 * time.Second

// alone is after how long a forgotten agent ends by itself: also when these tests are killed.
const alone = "60s"

// wine is Wine with a prefix that all tests share. Its server is started by the first program and ends soon after the last one,
// also when these tests are killed.
var wine struct {
	once sync.Once
	err  error
	dir  string
	env  []string
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, word := range []string{"-k", "-w"} { // end, and wait for the end
		if wine.env != nil {
			cmd := exec.Command("wineserver", word)
			cmd.Env = wine.env
			_ = cmd.Run() // that there is none is as good
		}
	}
	for _, dir := range []string{wine.dir, built} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// openWine makes the prefix. It is not an installed Windows with services and a desktop but only the folders that the agent
// looks for: WINEBOOTSTRAPMODE makes Wine take its own libraries without copies of them in the prefix, which spares 700 MB.
func openWine() error {
	dir, err := os.MkdirTemp("", "apd-wine-")
	if err != nil {
		return err
	}
	wine.dir = dir
	system := filepath.Join(dir, "drive_c", "windows", "system32")
	for _, d := range []string{system, dir + "/drive_c/ProgramData", dir + "/drive_c/windows/winsxs/one", dir + "/drive_c/windows/winsxs/two", dir + "/dosdevices"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for drive, place := range map[string]string{"c:": "../drive_c", "z:": "/"} { // without a name for / Wine starts nothing
		if err := os.Symlink(place, dir+"/dosdevices/"+drive); err != nil {
			return err
		}
	}
	for name, content := range map[string][]byte{
		dir + "/.update-timestamp":          []byte("disable\n"),
		system + "/bcryptprimitives.dll":    forwarder("bcryptprimitives.dll", "ProcessPrng", "ADVAPI32.SystemFunction036"),
		dir + "/drive_c/windows/a-file.txt": nil,
	} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	wine.env = append(os.Environ(), "WINEPREFIX="+dir, "WINEDEBUG=-all", "WINEBOOTSTRAPMODE=1", "HOME="+dir, "DISPLAY=",
		"WINEDLLOVERRIDES=mscoree=;mshtml=;winemenubuilder.exe=")
	return nil
}

// built is where the programs are built.
var (
	built    string
	builtErr error
	buildDir = sync.OnceFunc(func() { built, builtErr = os.MkdirTemp("", "apd-agent-") })
	programs sync.Map
)

// build builds a program of this module once.
func build(t *testing.T, name, goos string, arguments ...string) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("no Go toolchain here")
	}
	if buildDir(); builtErr != nil {
		t.Fatal(builtErr)
	}
	path := filepath.Join(built, name)
	once, _ := programs.LoadOrStore(name, sync.OnceValue(func() error {
		cmd := exec.Command("go", append(arguments[:1:1], append([]string{"-o", path}, arguments[1:]...)...)...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64", "GOOS="+goos)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return path
}

// guest is a system that the agent runs on, and a folder there under both its names.
type guest struct {
	name    string
	program string // for run
	dir     string // as the guest calls it
	host    string // as this machine does
	run     func(program string, arguments ...string) *exec.Cmd
	// starter runs a program in a shell of the guest, which waits for it.
	starter func(program string, arguments ...string) *exec.Cmd
}

// join is a path in the guest's folder, as the guest calls it.
func (g *guest) join(name string) string {
	if strings.Contains(g.dir, `\`) {
		return g.dir + `\` + name
	}
	return g.dir + "/" + name
}

func onLinux(t *testing.T) *guest {
	dir := t.TempDir()
	run := func(program string, arguments ...string) *exec.Cmd { return exec.Command(program, arguments...) }
	return &guest{
		name: "linux", program: build(t, "agent", "linux", "build", "."), dir: dir, host: dir, run: run,
		starter: func(program string, arguments ...string) *exec.Cmd {
			return run("/bin/sh", append([]string{"-c", `"$@"; exit`, "sh", program}, arguments...)...)
		},
	}
}

func underWine(t *testing.T) *guest {
	t.Helper()
	for _, program := range []string{"wine", "wineserver"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("Wine is not installed: ", err)
		}
	}
	wine.once.Do(func() { wine.err = openWine() })
	if wine.err != nil {
		t.Fatal(wine.err)
	}
	host, err := os.MkdirTemp(wine.dir+"/drive_c", "g")
	if err != nil {
		t.Fatal(err)
	}
	run := func(program string, arguments ...string) *exec.Cmd {
		cmd := exec.Command("wine", append([]string{program}, arguments...)...)
		cmd.Env, cmd.Dir = wine.env, wine.dir+"/drive_c"
		return cmd
	}
	return &guest{
		name: "windows", program: put(t, build(t, "agent.exe", "windows", "build", ".")), dir: `C:\` + filepath.Base(host), host: host, run: run,
		starter: func(program string, arguments ...string) *exec.Cmd {
			return run(`C:\windows\system32\cmd.exe`, append([]string{"/c", program}, arguments...)...)
		},
	}
}

// put brings a program into the prefix, and returns its name there.
func put(t *testing.T, path string) string {
	t.Helper()
	in := filepath.Join(wine.dir, "drive_c", filepath.Base(path))
	if err := os.Link(path, in); err != nil && !os.IsExist(err) {
		b, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(in, b, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return `C:\` + filepath.Base(path)
}

// eachGuest runs a test on every system.
func eachGuest(t *testing.T, test func(t *testing.T, g *guest)) {
	for name, open := range map[string]func(*testing.T) *guest{"linux": onLinux, "wine": underWine} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

// running is an agent that listens.
type running struct {
	t       *testing.T
	client  *link.Client
	address string
	started *exec.Cmd
}

// listen starts an agent by a way, which is g.run or g.starter, and waits until it listens.
func (g *guest) listen(t *testing.T, way func(string, ...string) *exec.Cmd, more ...string) *running {
	t.Helper()
	id, client, err := link.New("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.host+"/identity", text, 0o600); err != nil {
		t.Fatal(err)
	}
	device := g.host + "/device"
	if g.name == "linux" { // a test does not read this machine's disk
		if err := os.WriteFile(device, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		more = append(more, "-device", device, "-kmsg", os.DevNull)
	}
	cmd := way(g.program, append([]string{
		"-identity", g.join("identity"), "-instance", "test-1", "-dir", g.join("log"), "-seed", g.join("seed"), "-alone", alone, "-pace", "10",
	}, more...)...) // of a flag that comes twice the last one holds
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	cmd.WaitDelay = time.Second // a starter's child may keep what the starter left it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, client: client, started: cmd}
	t.Cleanup(r.end)
	line := make(chan string, 1)
	go func() {
		s, _ := bufio.NewReader(out).ReadString('\n')
		line <- strings.TrimSpace(s)
	}()
	select {
	case s := <-line:
		address, ok := strings.CutPrefix(s, "listening on ")
		if !ok {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			t.Fatalf("it does not listen: %q %s", s, said.String())
		}
		r.address = address
	case <-time.After(patience):
		_ = cmd.Process.Kill()
		t.Fatal("the agent does not say where it listens")
	}
	if _, err := os.Stat(g.host + "/identity"); !os.IsNotExist(err) {
		t.Error("the identity, which holds a key, is still there: ", err)
	}
	return r
}

// end tells the agent to end, if it is there, and waits until it is gone.
func (r *running) end() {
	if c, err := r.try(); err == nil {
		c.say(agent.Command{Type: agent.CmdEnd, ID: "end"})
		_ = c.conn.SetReadDeadline(time.Now().Add(patience))
		for err == nil || isLine(err) {
			var m agent.Message
			if err = c.in.Next(&m); m.Type == agent.TypeReply && m.Reply.ID == "end" {
				break
			}
		}
		_ = c.conn.Close()
	}
	_ = r.started.Wait()
	for limit := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // nobody tells of a port that closed
		c, err := net.Dial("tcp", r.address)
		if err != nil {
			return
		}
		_ = c.Close()
		if time.Now().After(limit) {
			r.t.Error("the agent did not end")
			return
		}
	}
}

func isLine(err error) bool {
	_, ok := err.(*agent.LineError)
	return ok
}

// kill ends the process that this test started at once, without a word to it.
func (r *running) kill() {
	r.t.Helper()
	if err := r.started.Process.Signal(syscall.SIGKILL); err != nil {
		r.t.Fatal(err)
	}
	_ = r.started.Wait()
}

// conversation is one client of an agent.
type conversation struct {
	t    *testing.T
	conn net.Conn
	in   *agent.Reader
}

func (r *running) try() (*conversation, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := r.client.Dial(ctx, nil, r.address)
	if err != nil {
		return nil, err
	}
	return &conversation{r.t, c, agent.NewReader(c)}, nil
}

// talk connects and returns the hello.
func (r *running) talk() (*conversation, *agent.Hello) {
	r.t.Helper()
	c, err := r.try()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.conn.Close() })
	m, err := c.next()
	if err != nil || m.Type != agent.TypeHello {
		r.t.Fatalf("it began with %+v: %v", m, err)
	}
	return c, m.Hello
}

func (c *conversation) next() (agent.Message, error) {
	var m agent.Message
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return m, err
	}
	err := c.in.Next(&m)
	if err == nil && !m.Valid() {
		err = fmt.Errorf("not a message: %+v", m)
	}
	return m, err
}

func (c *conversation) until(what string, good func(m agent.Message) bool) agent.Message {
	c.t.Helper()
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		m, err := c.next()
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
		if good(m) {
			return m
		}
	}
	c.t.Fatalf("never came: %s", what)
	return agent.Message{}
}

func (c *conversation) say(command agent.Command) {
	c.t.Helper()
	b, err := json.Marshal(command)
	if err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(append(b, '\n')); err != nil {
		c.t.Error(err)
	}
}

func (c *conversation) ask(command agent.Command) agent.Reply {
	c.t.Helper()
	command.ID = "q-" + command.Type
	c.say(command)
	return *c.until("the reply to "+command.Type, func(m agent.Message) bool {
		return m.Type == agent.TypeReply && m.Reply.ID == command.ID
	}).Reply
}

func done(kind string) func(m agent.Message) bool {
	return func(m agent.Message) bool { return m.Type == kind && m.IO.Phase == agent.Done }
}

func acked(seq uint64) func(m agent.Message) bool {
	return func(m agent.Message) bool { return done(agent.TypeWrite)(m) && m.IO.Error == "" && m.IO.Seq >= seq }
}
