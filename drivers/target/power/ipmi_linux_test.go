package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
)

type ctx = context.Context

// simulator is OpenIPMI's ipmi_sim, a real RMCP+ peer, whose power is a file.
type simulator struct {
	dir, addr string
	proc      *os.Process
}

func newSimulator(t *testing.T) *simulator {
	t.Helper()
	bin, err := exec.LookPath("ipmi_sim")
	if err != nil {
		t.Skip("the test needs ipmi_sim (Debian: openipmi)")
	}
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &simulator{dir: scratch(t), addr: free.LocalAddr().String()}
	_ = free.Close()
	_, port, _ := net.SplitHostPort(s.addr)
	s.write(t, "power", "1")
	s.write(t, "control", `#!/bin/sh
case "$*" in
"get power") echo "power:$(cat '`+s.dir+`/power')" ;;
"set power "*) echo "$3" >'`+s.dir+`/power' ;;
"set shutdown "*) echo 0 >'`+s.dir+`/power' ;;
esac
`)
	s.write(t, "lan.conf", fmt.Sprintf(`name "apd"
set_working_mc 0x20
startlan 1
addr 127.0.0.1 %s
priv_limit admin
allowed_auths_callback none md2 md5 straight
allowed_auths_user none md2 md5 straight
allowed_auths_operator none md2 md5 straight
allowed_auths_admin none md2 md5 straight
guid a123456789abcdefa123456789abcdef
endlan
chassis_control "%s/control"
user 2 true "admin" "%s" admin 10 none md2 md5 straight
user 3 true "viewer" "%[3]s" user 10 none md2 md5 straight
`, port, s.dir, password))
	s.write(t, "emu", "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nsel_enable 0x20 1000 0x0a\nmc_enable 0x20\n")
	cmd := exec.Command(bin, "-c", "lan.conf", "-f", "emu", "-s", s.dir)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // with the test, however it ends
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the signal comes when the thread ends that started it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	s.proc = cmd.Process
	t.Cleanup(func() {
		_ = s.proc.Kill()
		_ = in.Close()
		<-ended
	})
	return s
}

func (s *simulator) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (s *simulator) state() string {
	b, _ := os.ReadFile(filepath.Join(s.dir, "power"))
	return strings.TrimSpace(string(b))
}

func (s *simulator) config(t testing.TB) Config {
	return Config{IPMI: &IPMI{Address: s.addr, User: "admin", PasswordFile: file(t, password), Cipher: 3}}
}

func TestConformanceIPMI(t *testing.T) {
	s := newSimulator(t)
	conf := s.config(t)
	open := func(t *testing.T) (*Driver, drivers.Clock) {
		d, clock := driver(t, conf)
		d.pace.every = 150 * time.Millisecond
		return d, clock
	}
	d, _ := open(t)
	NewWithT(t).Eventually(func() error { return d.Probe(t.Context()) }, "10s").Should(Succeed())
	conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return open(t) }, conformance.Options{
		State: s.state,
		Hang: func() func() {
			_ = s.proc.Signal(syscall.SIGSTOP)
			return func() { _ = s.proc.Signal(syscall.SIGCONT) }
		},
		Fail: func() func() {
			s.write(t, "power", "0")
			return func() { s.write(t, "power", "1") }
		},
	})
}

func TestIPMI(t *testing.T) {
	s := newSimulator(t)
	conf := s.config(t)
	conf.Cut = "off"
	d, _ := driver(t, conf)
	g := NewWithT(t)
	g.Eventually(func() error { return d.Probe(t.Context()) }, "10s").Should(Succeed())
	var us []drivers.Undo
	g.Expect(d.CutPower(t.Context(), journal(&us))).To(Succeed())
	g.Expect(s.state()).To(Equal("0"))
	g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
	g.Expect(s.state()).To(Equal("1"))
	for name, w := range map[string]struct {
		change func(*IPMI)
		says   string
	}{
		"wrong password": {func(c *IPMI) { c.PasswordFile = file(t, "not-this") }, `does not let "admin" in`},
		"nobody":         {func(c *IPMI) { c.User = "nobody" }, `does not let "nobody" in`},
		"cipher suite":   {func(c *IPMI) { c.Cipher = 0 }, "Write cipher: 3"},
		"nobody there":   {func(c *IPMI) { c.Address = "127.0.0.1:1" }, "no IPMI listens"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			conf := s.config(t)
			w.change(conf.IPMI)
			d, _ := driver(t, conf)
			err := d.Probe(t.Context())
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(w.says)))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring(password), ContainSubstring("authcode")))
		})
	}
}

// TestAnswersThatAreNotIPMI answers with what no controller says: it must be an error, in time.
func TestAnswersThatAreNotIPMI(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answers := [][]byte{{}, {6}, []byte("\x06\x00\xff\x07\x06"), []byte("\x06\x00\xff\x07\x06\x11\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff"), make([]byte, 700)}
	done := make(chan struct{})
	next := make(chan []byte, 1)
	go func() {
		defer close(done)
		buf := make([]byte, 2048)
		var answer []byte
		for {
			_, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			select {
			case answer = <-next:
			default:
			}
			_, _ = conn.WriteTo(answer, from)
		}
	}()
	defer func() {
		_ = conn.Close()
		<-done
	}()
	d, _ := driver(t, Config{IPMI: &IPMI{Address: conn.LocalAddr().String(), User: "admin", PasswordFile: file(t, password)}})
	d.pace.call = 300 * time.Millisecond
	for _, a := range answers {
		next <- a
		if _, err := d.status(t.Context()); err == nil {
			t.Errorf("%x is taken for an answer", a)
		}
	}
}
