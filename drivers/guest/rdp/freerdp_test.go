package rdp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

const secretWord = "a-very-secret-word"

// needPrograms skips a test where there is no xfreerdp.
func needPrograms(t *testing.T) {
	t.Helper()
	if _, _, err := programs(); err != nil {
		t.Skip(err)
	}
}

// deaf is a port that takes connections and says nothing, so that a client hangs.
func deaf(t testing.TB) Target {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return Target{Address: ln.Addr().String(), Dial: (&net.Dialer{}).DialContext, Fingerprint: strings.Repeat("00:", 31) + "00",
		User: "u", Password: secretWord}
}

// holder makes of a test process one that starts a client, says what it started, and waits to be killed.
const holder = "APD_RDP_TEST_HOLDER"

// TestNothingIsLeft kills a harness that has a client: no process and no file of it stays. While it ran, the password was in no
// command line and no environment.
func TestNothingIsLeft(t *testing.T) {
	needPrograms(t)
	g := NewWithT(t)
	if os.Getenv(holder) != "" {
		var f FreeRDP
		c, err := f.run(t.Context(), deaf(t), nil)
		g.Expect(err).NotTo(HaveOccurred())
		fmt.Println("started", c.cmd.Process.Pid, c.desk.screen.Process.Pid, c.desk.home, c.desk.display)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeft$")
	cmd.Env = append(os.Environ(), holder+"=1")
	out, err := cmd.StdoutPipe()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cmd.Start()).To(Succeed())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var client, screen int
	var home, display string
	for lines := bufio.NewScanner(out); home == "" && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "started %d %d %s %s", &client, &screen, &home, &display)
	}
	g.Expect(home).To(BeADirectory())
	clientID, err := localproc.Find(client)
	g.Expect(err).NotTo(HaveOccurred())
	screenID, err := localproc.Find(screen)
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() string { b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", client)); return string(b) }, "5s").Should(Equal("xfreerdp\n"))
	for _, f := range []string{"cmdline", "environ"} {
		var b []byte
		// The kernel names a process before it shows its arguments: in between they read as nothing.
		g.Eventually(func() (string, error) {
			var err error
			b, err = os.ReadFile(fmt.Sprintf("/proc/%d/%s", client, f))
			return string(b), err
		}, "5s").Should(ContainSubstring(map[string]string{"cmdline": "/from-stdin", "environ": "XAUTHORITY"}[f]))
		g.Expect(string(b)).NotTo(ContainSubstring(secretWord))
	}
	info, err := os.Stat(home + "/key")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(info.Mode().Perm()).To(Equal(os.FileMode(0o600)))

	g.Expect(cmd.Process.Kill()).To(Succeed())
	_ = cmd.Wait()
	g.Eventually(clientID.Alive, "10s").Should(BeFalse())
	g.Eventually(screenID.Alive, "10s").Should(BeFalse())
	g.Eventually(func() error { _, err := os.Stat(home); return err }, "10s").Should(MatchError(os.ErrNotExist))
	n := strings.TrimPrefix(display, ":")
	g.Expect("/tmp/.X11-unix/X" + n).NotTo(BeAnExistingFile())
	g.Eventually(func() error { _, err := os.Stat("/tmp/.X" + n + "-lock"); return err }, "10s").Should(MatchError(os.ErrNotExist))
}

// TestClientEnds has clients that end in every way before anybody is logged on: what the guest did, and what is our own.
func TestClientEnds(t *testing.T) {
	needPrograms(t)
	g := NewWithT(t)
	f := &FreeRDP{}
	defer f.Close()
	logon := func(t Target, limit time.Duration) error {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		return f.Logon(ctx, t, Desktop)
	}
	_, xvfb, _ := programs()
	_, err := f.screen(t.Context(), xvfb) // its start is not to count
	g.Expect(err).NotTo(HaveOccurred())
	var le *LogonError
	err = logon(deaf(t), time.Second)
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Way).To(Equal("timeout"))

	none := deaf(t)
	none.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no way") }
	err = logon(none, 20*time.Second)
	g.Expect(errors.As(err, &le)).To(BeTrue(), "%v", err)
	g.Expect(le.Way).To(Equal("closed"))
	g.Expect(err).NotTo(MatchError(ContainSubstring(secretWord)))

	c, err := f.run(t.Context(), deaf(t), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.cmd.Process.Kill()).To(Succeed())
	err = c.wait(t.Context(), c.loggedOn)
	g.Expect(errors.As(err, &le)).To(BeFalse(), "somebody killed the client, which says nothing about the guest: %v", err)
	g.Expect((&freeSession{c}).Why().ByGuest).To(BeFalse())
	c.Close()

	// The screen goes: so does the client, and the next one gets a new screen.
	c, err = f.run(t.Context(), deaf(t), nil)
	g.Expect(err).NotTo(HaveOccurred())
	old := c.desk
	g.Expect(old.screen.Process.Kill()).To(Succeed())
	<-old.ended
	err = c.wait(t.Context(), c.loggedOn)
	g.Expect(err).To(HaveOccurred())
	g.Expect(errors.As(err, &le)).To(BeFalse(), "%v", err)
	c.Close()
	c, err = f.run(t.Context(), deaf(t), nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.desk).NotTo(BeIdenticalTo(old))
	g.Expect(f.Close()).To(Succeed())
	_, err = f.run(t.Context(), deaf(t), nil)
	g.Expect(err).To(MatchError("the client is closed"))
}

// TestScreenIsLocked tries to get onto the screen without its key.
func TestScreenIsLocked(t *testing.T) {
	needPrograms(t)
	g := NewWithT(t)
	_, xvfb, _ := programs()
	d, err := newDesk(t.Context(), xvfb)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(blink(t.Context(), d.display, d.cookie)).To(MatchError("there is no window on the screen"))
	g.Expect(blink(t.Context(), d.display, make([]byte, 16))).To(MatchError("the screen lets nobody in"))
	d.Close()
	g.Expect(d.home).NotTo(BeADirectory())
	g.Expect(blink(t.Context(), d.display, d.cookie)).To(MatchError(ContainSubstring("connecting to the screen")))
}

// TestLog reads the lines of FreeRDP 2.11 that matter. Those of a real Windows were not at hand: the first are made from the
// strings in its library.
func TestLog(t *testing.T) {
	for name, c := range map[string]struct {
		line               string
		accepted, loggedOn bool
		kept               int
	}{
		"logged on, long":  {"[1] [2:3] [DEBUG][com.freerdp.core.info] - LogonInfoV2: SessionId: 0x00000002 UserName: [u] Domain: [W]", false, true, 0},
		"logged on, short": {"[1] [2:3] [DEBUG][com.freerdp.core.info] - LogonInfoV1: SessionId: 0x00000002 UserName: [u] Domain: [W]", false, true, 0},
		"logged on, plain": {"[1] [2:3] [DEBUG][com.freerdp.core.info] - LogonPlainNotify", false, true, 0},
		"only extended":    {"[1] [2:3] [DEBUG][com.freerdp.core.info] - LogonInfoExtended: fieldsPresent: 0x00000001", false, false, 0},
		"the cookie":       {"[1] [2:3] [DEBUG][com.freerdp.core.info] - ServerAutoReconnectCookie: Version: 1 LogonId: 2 SecurityVerifier: AABB", false, false, 0},
		"credentials good": {"[1] [2:3] [DEBUG][com.freerdp.core.connection] - rdp_client_transition_to_state CONNECTION_STATE_NLA --> CONNECTION_STATE_MCS_CONNECT", true, false, 0},
		"no CredSSP":       {"[1] [2:3] [DEBUG][com.freerdp.core.connection] - rdp_client_transition_to_state CONNECTION_STATE_NEGO --> CONNECTION_STATE_MCS_CONNECT", false, false, 0},
		"an error":         {"[1] [2:3] [ERROR][com.freerdp.core] - transport_read_layer:freerdp_set_last_error_ex ERRCONNECT_CONNECT_TRANSPORT_FAILED [0x0002000D]", false, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cl := &client{accepted: make(chan struct{}), loggedOn: make(chan struct{})}
			cl.read(strings.NewReader("nothing\n"+c.line+"\n"+c.line+"\n"+strings.Repeat("x", 3*maxLine)+"\nend"), saveSessionInfo)
			closed := func(ch chan struct{}) bool {
				select {
				case <-ch:
					return true
				default:
					return false
				}
			}
			g.Expect([]bool{closed(cl.accepted), closed(cl.loggedOn)}).To(Equal([]bool{c.accepted, c.loggedOn}))
			g.Expect(cl.errors).To(HaveLen(2 * c.kept))
		})
	}
	g := NewWithT(t)
	cl := &client{accepted: make(chan struct{}), loggedOn: make(chan struct{})}
	cl.read(strings.NewReader(strings.Repeat("[1] [2:3] [ERROR][a] - b\n", 100)), nil)
	g.Expect(cl.errors).To(HaveLen(keptErrors))
	for line, way := range map[string]string{
		"nla_recv_pdu:freerdp_set_last_error_ex ERRCONNECT_LOGON_FAILURE [0x00020014]":       "refused",
		"nla_recv_pdu:freerdp_set_last_error_ex ERRCONNECT_ACCOUNT_LOCKED_OUT [0x00020018]":  "refused",
		"transport_read_layer:freerdp_set_last_error_ex ERRCONNECT_CONNECT_TRANSPORT_FAILED": "failed",
	} {
		cl := &client{errors: []string{line}, relay: &relay{ended: make(chan struct{})}, desk: &desk{ended: make(chan struct{})}, err: errors.New("exit status 131")}
		var le *LogonError
		g.Expect(errors.As(cl.failure(), &le)).To(BeTrue())
		g.Expect(le.Way).To(Equal(way), line)
	}
}
