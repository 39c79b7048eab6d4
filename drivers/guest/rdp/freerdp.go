// This file logs on with xfreerdp, and holds a session with it.

package rdp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/allpathsdown/allpathsdown/drivers/localproc"
)

// FreeRDP is the Client for real guests: Debian's freerdp2-x11 (2.11) on a screen in memory (xvfb). The password goes to its
// standard input; its certificate check is the fingerprint that our own connection met. Its log comes over a pipe; no line of
// it is passed on but those of errors, since it has the secret of automatic reconnection in it.
type FreeRDP struct {
	// LoggedOn are pieces of log lines of which one says that somebody is logged on. The default are those of the Save
	// Session Info PDU with which a server says so: [MS-RDPBCGR] 3.3.5.10.1 and 2.2.10.1.1, INFOTYPE_LOGON,
	// INFOTYPE_LOGON_LONG and INFOTYPE_LOGON_PLAINNOTIFY.
	LoggedOn []string

	mu      sync.Mutex
	desk    *desk
	running map[*client]bool
	closed  bool
}

// saveSessionInfo is how FreeRDP 2.11 logs the PDU: the strings of libfreerdp/core/info.c.
var saveSessionInfo = []string{"core.info] - LogonInfoV1:", "core.info] - LogonInfoV2:", "core.info] - LogonPlainNotify"}

// These lines are of libfreerdp/core too. accepted is the step that is taken when CredSSP is through: the guest has proved that
// it knows what the password says, and the next is the connection of the session.
const (
	accepted    = "CONNECTION_STATE_NLA --> CONNECTION_STATE_MCS_CONNECT"
	filters     = "com.freerdp.core.info:DEBUG,com.freerdp.core.connection:DEBUG"
	noScreen    = "failed to open display" // of client/X11/xf_client.c
	errorLevel  = "[ERROR]"
	keptErrors  = 12
	maxLine     = 8 << 10                            // bytes; longer ones are cut
	badPassword = "LogonErrorInfo: Data: 0x00000000" // LOGON_FAILED_BAD_PASSWORD, [MS-RDPBCGR] 2.2.10.1.1.4.1.1
)

// refusals are the errors that mean that the credentials are no good, by FreeRDP's names (freerdp/error.h).
var refusals = []string{
	"ERRCONNECT_LOGON_FAILURE", "ERRCONNECT_WRONG_PASSWORD", "ERRCONNECT_AUTHENTICATION_FAILED", "ERRCONNECT_ACCESS_DENIED",
	"ERRCONNECT_ACCOUNT_", "ERRCONNECT_PASSWORD_", "ERRCONNECT_LOGON_TYPE_NOT_GRANTED", badPassword,
}

// programs finds xfreerdp and Xvfb.
func programs() (xfreerdp, xvfb string, err error) {
	xfreerdp, err = localproc.LookPath("xfreerdp")
	if err == nil {
		xvfb, err = localproc.LookPath("Xvfb")
	}
	return xfreerdp, xvfb, err
}

// Check looks for the programs.
func (f *FreeRDP) Check() error {
	_, _, err := programs()
	return err
}

// client is one running xfreerdp.
type client struct {
	f     *FreeRDP
	cmd   *exec.Cmd
	relay *relay
	desk  *desk
	lines sync.WaitGroup
	ended chan struct{} // closed when the process has ended and its log is read
	err   error         // of the process, after ended

	accepted chan struct{} // closed at the line
	loggedOn chan struct{} // closed at the line

	mu     sync.Mutex
	errors []string // the newest lines of errors
}

// run starts xfreerdp.
func (f *FreeRDP) run(ctx context.Context, t Target, heard func()) (*client, error) {
	xfreerdp, xvfb, err := programs()
	if err != nil {
		return nil, err
	}
	d, err := f.screen(ctx, xvfb)
	if err != nil {
		return nil, err
	}
	r, err := startRelay(t, heard)
	if err != nil {
		return nil, err
	}
	log, out, err := os.Pipe()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("making a pipe: %w", err)
	}
	c := &client{f: f, relay: r, desk: d, ended: make(chan struct{}), accepted: make(chan struct{}), loggedOn: make(chan struct{})}
	c.cmd = exec.Command(xfreerdp, "/v:"+r.Address, "/u:"+t.User, "/d:"+t.Domain, "/from-stdin:force",
		"/cert:deny,fingerprint:sha256:"+t.Fingerprint, "/size:640x480", "/bpp:16", "-clipboard", "-auto-reconnect", "-grab-keyboard",
		"/log-level:WARN", "/log-filters:"+filters)
	// The log's own appender for files is flushed at every line, other than its standard output.
	c.cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + d.home, "DISPLAY=" + d.display, "XAUTHORITY=" + d.keyFile(), "LC_ALL=C",
		"WLOG_APPENDER=FILE", "WLOG_FILEAPPENDER_OUTPUT_FILE_PATH=/proc/self/fd", "WLOG_FILEAPPENDER_OUTPUT_FILE_NAME=3",
	}
	c.cmd.ExtraFiles = []*os.File{out}
	c.cmd.Stdin = strings.NewReader(t.Password + "\n")
	err = start(c.cmd, syscall.SIGKILL)
	_ = out.Close()
	if err != nil {
		_ = log.Close()
		r.Close()
		return nil, fmt.Errorf("starting xfreerdp: %w", err)
	}
	on := f.LoggedOn
	if on == nil {
		on = saveSessionInfo
	}
	c.lines.Go(func() {
		defer log.Close()
		c.read(log, on)
	})
	go func() {
		c.err = c.cmd.Wait()
		c.lines.Wait()
		close(c.ended)
	}()
	f.mu.Lock()
	gone := f.closed
	if !gone {
		f.running[c] = true
	}
	f.mu.Unlock()
	if gone {
		c.Close()
		return nil, errors.New("the client is closed")
	}
	return c, nil
}

// screen returns the desk that all use, and makes it when there is none.
func (f *FreeRDP) screen(ctx context.Context, xvfb string) (*desk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, errors.New("the client is closed")
	}
	if f.desk != nil && !f.desk.alive() {
		f.desk.Close()
		f.desk = nil
	}
	if f.desk == nil {
		d, err := newDesk(ctx, xvfb)
		if err != nil {
			return nil, err
		}
		f.desk = d
		if f.running == nil {
			f.running = map[*client]bool{}
		}
	}
	return f.desk, nil
}

// read takes note of the log until it ends.
func (c *client) read(log io.Reader, loggedOn []string) {
	in := bufio.NewReaderSize(log, maxLine)
	once := func(ch chan struct{}) {
		select {
		case <-ch:
		default:
			close(ch)
		}
	}
	for {
		b, cut, err := in.ReadLine()
		if err != nil {
			return
		}
		line := string(b)
		for cut && err == nil {
			_, cut, err = in.ReadLine()
		}
		if strings.Contains(line, accepted) {
			once(c.accepted)
		}
		for _, s := range loggedOn {
			if strings.Contains(line, s) {
				once(c.loggedOn)
			}
		}
		if strings.Contains(line, errorLevel) && !strings.Contains(line, "com.freerdp.utils") || strings.Contains(line, badPassword) {
			if _, text, ok := strings.Cut(line, "] - "); ok { // without the time and the thread, which are news each time
				line = text
			}
			c.mu.Lock()
			if len(c.errors) == keptErrors {
				c.errors = c.errors[1:]
			}
			c.errors = append(c.errors, line)
			c.mu.Unlock()
		}
	}
}

// failure says why xfreerdp ended before it was let in.
func (c *client) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	way, text := wayFailed, fmt.Sprintf("xfreerdp ended: %v", c.err)
	for _, line := range c.errors {
		if strings.Contains(line, noScreen) {
			return errors.New("xfreerdp: " + line)
		}
		for _, r := range refusals {
			if strings.Contains(line, r) {
				return &LogonError{Way: wayRefused, Err: errors.New(line)}
			}
		}
		text = line
	}
	if !c.desk.alive() {
		return errors.New("the screen of xfreerdp has ended")
	}
	var exit *exec.ExitError
	if errors.As(c.err, &exit) && exit.ExitCode() < 0 {
		return fmt.Errorf("xfreerdp was ended by a signal: %w", c.err)
	}
	select {
	case <-c.relay.ended:
		if c.relay.end.ByGuest {
			way, text = wayClosed, c.relay.end.Text+", "+text
		}
	default:
	}
	return &LogonError{Way: way, Err: errors.New(text)}
}

// Logon logs on and leaves.
func (f *FreeRDP) Logon(ctx context.Context, t Target, d Depth) error {
	c, err := f.run(ctx, t, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	reached := c.loggedOn
	if d == Credentials {
		reached = c.accepted
	}
	return c.wait(ctx, reached)
}

// wait waits until a line was seen.
func (c *client) wait(ctx context.Context, reached chan struct{}) error {
	select {
	case <-reached:
		return nil
	case <-c.ended:
		select {
		case <-reached:
			return nil
		default:
			return c.failure()
		}
	case <-ctx.Done():
		return &LogonError{Way: wayTimeout, Err: ctx.Err()}
	}
}

// Open opens a session that stays.
func (f *FreeRDP) Open(ctx context.Context, t Target, heard func()) (Session, error) {
	c, err := f.run(ctx, t, heard)
	if err != nil {
		return nil, err
	}
	if err := c.wait(ctx, c.loggedOn); err != nil {
		c.Close()
		return nil, err
	}
	return &freeSession{client: c}, nil
}

// freeSession is a held xfreerdp.
type freeSession struct{ *client }

// Refresh makes its window small and large again. The windows of logons that just go on are so too, which harms nobody.
func (s *freeSession) Refresh(ctx context.Context) error {
	return blink(ctx, s.desk.display, s.desk.cookie)
}

// Ended is closed when the process has ended: it ends when its connection does.
func (s *freeSession) Ended() <-chan struct{} { return s.ended }

// Why tells the guest's doing from the client's own.
func (s *freeSession) Why() End {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := ""
	for _, line := range s.errors {
		if strings.Contains(line, "ERRINFO_") { // the guest told why: [MS-RDPBCGR] 2.2.5.1
			return End{ByGuest: true, Text: line}
		}
		last = line
	}
	select {
	case <-s.relay.ended: // known before the client can see it
		if s.relay.end.ByGuest {
			return s.relay.end
		}
	default:
	}
	return End{Text: strings.TrimSuffix(fmt.Sprintf("xfreerdp ended by itself: %v: %s", s.err, last), ": ")}
}

// Close ends the process and its connection, and waits for both: neither can be held up by the guest.
func (c *client) Close() {
	c.relay.Close()
	_ = c.cmd.Process.Kill()
	<-c.ended
	c.f.mu.Lock()
	delete(c.f.running, c)
	c.f.mu.Unlock()
}

// Close ends what still runs.
func (f *FreeRDP) Close() error {
	f.mu.Lock()
	f.closed = true
	var all []*client
	for c := range f.running {
		all = append(all, c)
	}
	f.mu.Unlock()
	for _, c := range all {
		c.Close()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.desk != nil {
		f.desk.Close()
		f.desk = nil
	}
	return nil
}
