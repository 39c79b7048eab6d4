// This file is the system that a driver logs in to.

package oversshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
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
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/sshell"
)

// Box is a system with an SSH server. Commands run on this machine, with the Box's own programs first in the path, and with the
// files that Map names in place of the machine's.
type Box struct {
	Dir  string
	Addr string
	t    testing.TB
	key  string // the user's private key, a file
	user ssh.PublicKey

	// OnDown and OnUp are what a reboot does to the storage; Down is how long the system is away, below 0 for ever.
	OnDown, OnUp func()
	Down         time.Duration

	mu     sync.Mutex
	host   ssh.Signer
	paths  []string
	env    []string
	silent bool
	l      net.Listener
	conns  map[net.Conn]bool
	over   chan struct{}
	wg     sync.WaitGroup
}

func newKey(t testing.TB) (ssh.Signer, ed25519.PrivateKey) {
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

// Key writes a new private key into a file.
func Key(t testing.TB, dir, name string) (file string, public ssh.PublicKey) {
	t.Helper()
	s, key := newKey(t)
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, s.PublicKey()
}

// New starts a Box. Its user is root, as far as id(1) tells, or the user of sudo is; its shutdown(8) reboots it.
func New(t testing.TB) *Box {
	t.Helper()
	b := &Box{Dir: Dir(t), t: t, Down: 700 * time.Millisecond, conns: map[net.Conn]bool{}, over: make(chan struct{})}
	b.key, b.user = Key(t, b.Dir, "key")
	b.Rekey()
	b.Map("/proc/sys/kernel/random/boot_id", filepath.Join(b.Dir, "boot_id"))
	b.newBoot()
	b.Program("id", "echo 0")
	b.Program("shutdown", `touch "$BOX/reboot"`)
	b.listen("127.0.0.1:0")
	b.Addr = b.l.Addr().String()
	t.Cleanup(func() {
		close(b.over)
		b.unplug()
		b.wg.Wait()
	})
	return b
}

// SSH is how to log in.
func (b *Box) SSH() sshell.Config {
	b.mu.Lock()
	defer b.mu.Unlock()
	return sshell.Config{Address: b.Addr, User: "root", KeyFile: b.key, HostKey: string(ssh.MarshalAuthorizedKey(b.host.PublicKey()))}
}

// Rekey gives the system a new host key.
func (b *Box) Rekey() {
	host, _ := newKey(b.t)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.host = host
}

// Map makes commands use another file or folder in place of one of the machine's. What was said last counts.
func (b *Box) Map(from, to string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paths = append([]string{from, to}, b.paths...)
}

// Setenv sets a variable for all commands: NAME=value.
func (b *Box) Setenv(kv string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.env = append(b.env, kv)
}

// Program puts a shell script into the path. BOX is the Box's folder there.
func (b *Box) Program(name, script string) string {
	b.t.Helper()
	return b.Write(filepath.Join("bin", name), "#!/bin/sh\n"+script+"\n")
}

// Write writes a file below the Box's folder, at once for whoever looks.
func (b *Box) Write(name, text string) string {
	b.t.Helper()
	path := filepath.Join(b.Dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(text), 0o755)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		b.t.Error(err)
	}
	return path
}

// Silence makes the server accept everything and say nothing, or speak again.
func (b *Box) Silence(on bool) {
	b.mu.Lock()
	b.silent = on
	b.mu.Unlock()
	b.cut()
}

func (b *Box) newBoot() {
	var id [16]byte
	_, _ = rand.Read(id[:])
	h := hex.EncodeToString(id[:])
	b.Write("boot_id", h[:8]+"-"+h[8:12]+"-"+h[12:16]+"-"+h[16:20]+"-"+h[20:]+"\n")
}

// Reboot takes the system down and, after Down, up again with another boot id.
func (b *Box) Reboot() {
	b.unplug()
	if b.OnDown != nil {
		b.OnDown()
	}
	if b.Down < 0 {
		return
	}
	select {
	case <-b.over:
		return
	case <-time.After(b.Down):
	}
	b.newBoot()
	if b.OnUp != nil {
		b.OnUp()
	}
	b.listen(b.Addr)
}

func (b *Box) listen(at string) {
	l, err := net.Listen("tcp", at)
	if err != nil {
		b.t.Error(err)
		return
	}
	b.mu.Lock()
	b.l = l
	b.mu.Unlock()
	b.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns[c] = true
			b.mu.Unlock()
			b.wg.Go(func() { b.serve(c) })
		}
	})
	select {
	case <-b.over: // the test ended meanwhile
		_ = l.Close()
	default:
	}
}

func (b *Box) unplug() {
	b.mu.Lock()
	l := b.l
	b.mu.Unlock()
	_ = l.Close()
	b.cut()
}

func (b *Box) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.Close()
	}
}

func (b *Box) serve(c net.Conn) {
	defer func() {
		_ = c.Close()
		b.mu.Lock()
		delete(b.conns, c)
		b.mu.Unlock()
	}()
	b.mu.Lock()
	host, silent := b.host, b.silent
	b.mu.Unlock()
	if silent {
		_, _ = io.Copy(io.Discard, c)
		return
	}
	cfg := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
		if !bytes.Equal(k.Marshal(), b.user.Marshal()) {
			return nil, errors.New("not this key")
		}
		return nil, nil
	}}
	cfg.AddHostKey(host)
	conn, chans, reqs, err := ssh.NewServerConn(c, cfg)
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
			defer ch.Close()
			for r := range reqs {
				ok := r.Type == "exec"
				_ = r.Reply(ok, nil)
				if ok {
					b.exec(ch, string(r.Payload[4:]))
					return
				}
			}
		})
	}
}

// exec runs one command; its standard input is read to the end first, for the files that Map replaces are named there.
func (b *Box) exec(ch ssh.Channel, line string) {
	in, err := io.ReadAll(ch)
	if err != nil {
		return
	}
	b.mu.Lock()
	names := strings.NewReplacer(b.paths...)
	env := append([]string{"HOME=" + b.Dir, "BOX=" + b.Dir, "PATH=" + b.Dir + "/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, b.env...)
	b.mu.Unlock()
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Env, cmd.Dir = env, b.Dir
	cmd.Stdin = strings.NewReader(names.Replace(string(in)))
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	if err := Start(cmd); err != nil {
		b.t.Error(err)
		return
	}
	ended := make(chan struct{})
	b.wg.Go(func() { // a command goes with its connection
		buf := make([]byte, 1)
		for {
			select {
			case <-ended:
				return
			case <-b.over:
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				return
			case <-time.After(20 * time.Millisecond):
				if _, err := ch.SendRequest("keepalive@openssh.com", false, buf); err != nil {
					_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
					return
				}
			}
		}
	})
	_ = cmd.Wait()
	close(ended)
	_, _ = ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, uint32(max(cmd.ProcessState.ExitCode(), 0))))
	reboot := filepath.Join(b.Dir, "reboot")
	if os.Remove(reboot) == nil {
		b.wg.Go(b.Reboot)
	}
}

// Await waits until ok, for what a test changes from outside.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(fmt.Sprint("waiting in vain: ", what))
		}
	}
}
