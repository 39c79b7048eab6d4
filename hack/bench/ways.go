package main

// This file is the ways from the initiator to the target: each but the direct one is a process of its own, so that
// they have the same chances and their processor time can be told apart.

import (
	"bufio"
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"
)

// way is one way to the target.
type way struct {
	name string
	addr string // host:port
	cmd  *exec.Cmd
}

const (
	direct  = "direct"
	ours    = "proxy"
	again   = "proxy again" // the very same: what ratio identical things have is the noise of the measurement
	armed   = "proxy, a fault armed on another LUN"
	toxi    = "toxiproxy"
	another = "proxy of the other build"
	goCopy  = "Go io.Copy"
	cCopy   = "C copy"
	socat   = "socat"
)

// toxiproxyPackage is built into a folder of the benchmark's own: it is no dependency of this module.
const toxiproxyPackage = "github.com/Shopify/toxiproxy/v2/cmd/server@v2.12.0"

//go:embed testdata/copy.c
var copySource []byte

// child is what this program does as a way; it lives as long as its standard input.
func child(name, target string) error {
	var addr string
	switch name {
	case ours, again, armed:
		iscsiproxy.ShareCores()
		p, err := iscsiproxy.Listen(iscsiproxy.Config{Listen: "127.0.0.1:0", Target: target})
		if err != nil {
			return err
		}
		if name == armed {
			two := 2
			for range 4 {
				if _, err := p.Stall(iscsiproxy.Rule{LUN: &two}); err != nil {
					return err
				}
			}
		}
		addr = p.Addr()
	case goCopy:
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go copyAll(l, target)
		addr = l.Addr().String()
	}
	fmt.Println(addr)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

func copyAll(l net.Listener, target string) {
	for {
		a, err := l.Accept()
		if err != nil {
			return
		}
		b, err := net.Dial("tcp", target)
		if err != nil {
			_ = a.Close()
			continue
		}
		for _, c := range [][2]net.Conn{{a, b}, {b, a}} {
			go func() {
				_, _ = io.Copy(c[0], c[1])
				_, _ = c[0].Close(), c[1].Close()
			}()
		}
	}
}

// start starts a process and reads the address that it prints, or takes the one that it was given.
func start(name, addr string, argv ...string) (*way, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	if _, err := cmd.StdinPipe(); err != nil { // closed when this process ends
		return nil, err
	}
	var out io.Reader
	var err error
	if addr == "" {
		if out, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	w := &way{name: name, addr: addr, cmd: cmd}
	if out != nil {
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			w.stop()
			return nil, fmt.Errorf("starting %s: no address: %w", name, err)
		}
		w.addr = strings.TrimSpace(line)
	}
	return w, nil
}

func (w *way) stop() {
	if w.cmd != nil {
		_ = w.cmd.Process.Kill()
		_ = w.cmd.Wait()
	}
}

// cpu is the processor time that the way's process has used, and those of its children that live: socat has one a connection.
func (w *way) cpu() time.Duration {
	if w.cmd == nil {
		return 0
	}
	pid := w.cmd.Process.Pid
	sum := clock(pid)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, f := range bytes.Fields(b) {
		if child, err := strconv.Atoi(string(f)); err == nil {
			sum += clock(child)
		}
	}
	return sum
}

// clock is the processor time of a process to the nanosecond, where /proc/PID/stat has ticks of 10 ms. The number of the
// clock is what clock_getcpuclockid(3) would say.
func clock(pid int) time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(^int32(pid)<<3|2, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// ways starts all that there are, or those that are asked for. What cannot be had is left out, with the reason.
func ways(ctx context.Context, target, dir string, o options) (list []*way, missing []string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	list = []*way{{name: direct, addr: target}}
	add := func(name string, start func() (*way, error)) {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ";"), name) {
			return
		}
		if w, err := start(); err != nil {
			missing = append(missing, err.Error())
		} else {
			list = append(list, w)
		}
	}
	for _, name := range []string{ours, again, armed, goCopy} {
		add(name, func() (*way, error) { return start(name, "", self, "-child", name, "-target", target) })
	}
	if o.other != "" {
		add(another, func() (*way, error) { return start(another, "", o.other, "-child", ours, "-target", target) })
	}
	add(toxi, func() (*way, error) { return startToxiproxy(ctx, target, dir) })
	add(cCopy, func() (*way, error) { return startC(ctx, target, dir) })
	add(socat, func() (*way, error) { return startSocat(target) })
	return list, missing, nil
}

// compile builds a program of one file in dir.
func compile(ctx context.Context, dir, name string, source []byte) (bin string, err error) {
	bin = filepath.Join(dir, name)
	if err := os.WriteFile(bin+".c", source, 0o600); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "cc", "-O2", "-pthread", "-o", bin, bin+".c").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s.c cannot be built (Debian packages gcc and libc6-dev): %w %s", name, err, bytes.TrimSpace(out))
	}
	return bin, nil
}

func startC(ctx context.Context, target, dir string) (*way, error) {
	bin, err := compile(ctx, dir, "copy", copySource)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cCopy, err)
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	return start(cCopy, "", bin, host, port)
}

// startSocat gives socat what suits it: a large buffer and no Nagle delay, without which it is several times slower.
func startSocat(target string) (*way, error) {
	bin, err := exec.LookPath("socat")
	if err != nil {
		return nil, errors.New("socat is not installed (Debian package socat)")
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	w, err := start(socat, addr, bin, "-b", "262144", "TCP-LISTEN:"+port+",bind=127.0.0.1,fork,reuseaddr,nodelay", "TCP:"+target+",nodelay")
	if err != nil {
		return nil, err
	}
	return w, answers(addr)
}

func startToxiproxy(ctx context.Context, target, dir string) (*way, error) {
	bin := filepath.Join(dir, "server")
	cmd := exec.CommandContext(ctx, "go", "install", toxiproxyPackage)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("toxiproxy cannot be built: %w %s", err, bytes.TrimSpace(out))
	}
	api, err := freeAddr()
	if err != nil {
		return nil, err
	}
	listen, err := freeAddr()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(api)
	w, err := start(toxi, listen, bin, "-host", host, "-port", port)
	if err != nil {
		return nil, err
	}
	body, _ := json.Marshal(map[string]any{"name": "target", "listen": listen, "upstream": target, "enabled": true})
	if err = answers(api); err == nil {
		var resp *http.Response
		if resp, err = http.Post("http://"+api+"/proxies", "application/json", bytes.NewReader(body)); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusCreated {
				err = fmt.Errorf("toxiproxy: %s", resp.Status)
			}
		}
	}
	if err != nil {
		w.stop()
		return nil, err
	}
	return w, nil
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

// answers waits until somebody listens.
func answers(addr string) error {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) {
			return err
		}
	}
}
