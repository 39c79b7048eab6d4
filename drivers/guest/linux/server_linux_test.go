package linux

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// server is an SSH server in this process that runs real shells on real terminals of this machine: the guest of the tests.
type server struct {
	t       *testing.T
	dir     string // the guest's home; the agent's memory is here too
	addr    string
	keyFile string
	hostKey string

	// agent, when set, plays the agent in place of the real one.
	agent func(ch io.ReadWriter)

	mu     sync.Mutex
	cfg    *ssh.ServerConfig
	silent bool // accept, then say nothing
	deaf   bool // no answers to keepalives
	conns  map[net.Conn]bool
	procs  sync.WaitGroup
}

func newKey(t *testing.T) (ssh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return s, key
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{t: t, dir: t.TempDir(), conns: map[net.Conn]bool{}}
	host, _ := newKey(t)
	user, userKey := newKey(t)
	block, err := ssh.MarshalPrivateKey(userKey, "")
	if err != nil {
		t.Fatal(err)
	}
	s.keyFile = filepath.Join(s.dir, "key")
	s.write("key", string(pem.EncodeToMemory(block)))
	s.hostKey = string(ssh.MarshalAuthorizedKey(host.PublicKey()))
	s.cfg = &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if string(k.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, fmt.Errorf("not this key")
		}
		return nil, nil
	}}
	s.cfg.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = l.Addr().String()
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
			wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.cut()
		wg.Wait()
		s.procs.Wait()
	})
	return s
}

// write puts a file into the guest's home.
func (s *server) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(text), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		s.t.Fatal(err)
	}
}

// cut ends all connections.
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *server) set(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
}

func (s *server) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		s.set(func() { delete(s.conns, c) })
	}()
	var silent bool
	s.set(func() { silent = s.silent })
	if silent {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	conn, chans, reqs, err := ssh.NewServerConn(c, s.cfg)
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() { _ = conn.Close() }()
	wg.Go(func() {
		for r := range reqs {
			var deaf bool
			s.set(func() { deaf = s.deaf })
			if !deaf {
				_ = r.Reply(false, nil)
			}
		}
	})
	for nc := range chans {
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { s.session(ch, reqs) })
	}
}

// session runs what one channel asks for: a command with pipes, or a login shell on a terminal.
func (s *server) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var once sync.Once
	for r := range reqs {
		switch r.Type {
		case "pty-req":
			_ = r.Reply(true, nil)
		case "shell":
			_ = r.Reply(true, nil)
			once.Do(func() { s.procs.Go(func() { s.shell(ch) }) })
		case "exec":
			_ = r.Reply(true, nil)
			line := string(r.Payload[4:])
			once.Do(func() { s.procs.Go(func() { s.exec(ch, line) }) })
		default:
			_ = r.Reply(false, nil)
		}
	}
	_ = ch.Close()
}

func (s *server) env() []string {
	return []string{"HOME=" + s.dir, "PATH=" + s.dir + "/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb"}
}

func (s *server) exec(ch ssh.Channel, line string) {
	defer func() { _ = ch.Close() }()
	line = strings.NewReplacer("/run/apd", s.dir+"/run", "/dev/shm/apd", s.dir+"/shm", "/sbin/apd-poweroff", s.dir+"/poweroff").Replace(line)
	if s.agent != nil && strings.Contains(line, "-remove -instance") {
		s.agent(ch)
		return
	}
	cmd := exec.Command("/bin/bash", "-c", line)
	cmd.Env, cmd.Dir = s.env(), s.dir
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	in, err := cmd.StdinPipe()
	if err != nil || cmd.Start() != nil {
		return
	}
	go func() {
		_, _ = io.Copy(in, ch) // ends with the channel
		_ = in.Close()
	}()
	err = cmd.Wait()
	status := uint32(0)
	if err != nil {
		status = uint32(cmd.ProcessState.ExitCode())
	}
	_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, status))
}

// shell runs bash as a login shell on a terminal that does not echo.
func (s *server) shell(ch ssh.Channel) {
	defer func() { _ = ch.Close() }()
	master, slave, err := terminal()
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = master.Close() }()
	cmd := &exec.Cmd{
		Path: "/bin/bash", Args: []string{"-bash"}, Env: s.env(), Dir: s.dir, Stdin: slave, Stdout: slave, Stderr: slave,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true, Setctty: true},
	}
	err = cmd.Start()
	_ = slave.Close()
	if err != nil {
		s.t.Error(err)
		return
	}
	go func() {
		_, _ = io.Copy(master, ch)
		_ = cmd.Process.Kill()
	}()
	_, _ = io.Copy(ch, master)
	_ = cmd.Wait()
}

// terminal opens a pair of pseudo-terminals.
func terminal() (master, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	mode, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		return nil, nil, err
	}
	mode.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(int(slave.Fd()), unix.TCSETS, mode); err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd), "ptmx"), slave, nil
}
