// This file runs one script in the guest over WinRM: a connection, a login, a shell, a command, all of its input, all of its
// output, each step after the other on that one connection. Its context bounds all of it, also where the guest hangs; a
// script is never tried twice here.

package windows

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bodgit/ntlmssp"
	ntlmhttp "github.com/bodgit/ntlmssp/http"
	"github.com/google/uuid"
	"github.com/masterzen/winrm"
	"github.com/masterzen/winrm/soap"

	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// The stages of a call, in order: what the client was waiting for.
const (
	stageTCP     = "tcp"
	stageTLS     = "tls"
	stageAuth    = "auth"
	stageShell   = "shell"   // a shell of one's own: a process in the guest
	stageCommand = "command" // its command was begun and gives no answer
	stageScript  = "script"  // the answer is not the script's
)

// The ways in which a stage fails.
const (
	byTimeout     = "timeout"
	byRefusal     = "refused"
	byClosing     = "closed"
	byCertificate = "certificate mismatch"
	byFailure     = "failed"
)

// callError says at which stage a call failed, and how.
type callError struct {
	stage, way string
	err        error
}

func (e *callError) Error() string { return e.stage + " " + e.way + ": " + e.err.Error() }
func (e *callError) Unwrap() error { return e.err }

// words are the stage and the way alone, as observations carry them.
func (e *callError) words() string { return e.stage + " " + e.way }

// fail makes a callError. over tells that the time was up, whatever error that led to.
func fail(stage string, err error, over bool) *callError {
	var before *callError
	if errors.As(err, &before) { // dialling failed inside a request
		return before
	}
	var timeout net.Error
	var cert *tlstrust.Untrusted
	way := byFailure
	switch {
	case errors.As(err, &cert):
		way = byCertificate
	case over, errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		way = byTimeout
	case errors.Is(err, errUnauthorized), errors.Is(err, syscall.ECONNREFUSED):
		way = byRefusal
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		errors.Is(err, net.ErrClosed), errors.Is(err, io.ErrClosedPipe):
		way = byClosing
	}
	return &callError{stage, way, err}
}

var errUnauthorized = errors.New("the WinRM service refuses the credentials")

// The sizes and times that WinRM is asked for. The envelope is what package winrm asks for too; the service's own limit is
// MaxEnvelopeSizekb, 500 by default (from memory). An idle shell is to go by itself: nobody can delete one whose answer never
// came, and a user may have only so many.
const (
	envelopeSize     = 153600
	operationSeconds = 20
	shellIdle        = "PT180.000S"
	maxOutput        = 4 << 20
)

// chunkSize is how much of the input goes into one envelope, in bytes before base64: well below envelopeSize.
const chunkSize = 96 << 10

// call is one connection to the WinRM service and what is asked over it.
type call struct {
	d    *Driver
	ctx  context.Context
	url  string
	http *http.Client
	ntlm *ntlmhttp.Client // nil for basic
	auth *ntlmssp.Client

	mu    sync.Mutex
	conns []net.Conn
}

// newCall makes a call that nothing has been sent for. end has to be called.
func (d *Driver) newCall(ctx context.Context) (*call, error) {
	scheme := "https"
	if d.cfg.HTTP {
		scheme = "http"
	}
	c := &call{d: d, ctx: ctx, url: scheme + "://" + d.cfg.Address + "/wsman"}
	tr := &http.Transport{
		Proxy:           nil, // a proxy would be one more thing that can fail in an outage
		MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true,
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return c.dial(network, address, false)
		},
		DialTLSContext: func(_ context.Context, network, address string) (net.Conn, error) {
			return c.dial(network, address, true)
		},
	}
	c.http = &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if d.cfg.Auth == authNTLM {
		user, domain := splitUser(d.cfg.User)
		n, err := ntlmssp.NewClient(ntlmssp.SetUserInfo(user, d.password), ntlmssp.SetDomain(domain), ntlmssp.SetVersion(ntlmssp.DefaultVersion()))
		if err != nil {
			return nil, fmt.Errorf("preparing NTLM: %w", err)
		}
		c.auth = n
		if c.ntlm, err = ntlmhttp.NewClient(c.http, n, ntlmhttp.SendCBT(!d.cfg.HTTP)); err != nil {
			return nil, fmt.Errorf("preparing NTLM: %w", err)
		}
	}
	return c, nil
}

// splitUser splits DOMAIN\user and user@domain.
func splitUser(s string) (user, domain string) {
	if domain, user, ok := strings.Cut(s, `\`); ok {
		return user, domain
	}
	if user, domain, ok := strings.Cut(s, "@"); ok {
		return user, domain
	}
	return s, ""
}

// dial connects, once: a call has one connection, and when that is gone the call is over.
func (c *call) dial(network, address string, secure bool) (net.Conn, error) {
	c.mu.Lock()
	again := len(c.conns) > 0
	c.mu.Unlock()
	if again {
		return nil, &callError{stageAuth, byClosing, errors.New("the connection was closed between two requests")}
	}
	dial := c.d.env.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	raw, err := dial(c.ctx, network, address)
	if err != nil {
		return nil, fail(stageTCP, err, c.ctx.Err() != nil)
	}
	c.mu.Lock()
	c.conns = append(c.conns, raw)
	c.mu.Unlock()
	if !secure {
		return raw, nil
	}
	conn, err := c.d.trust.Over(c.ctx, raw, c.d.cfg.Address)
	if err != nil {
		_ = raw.Close()
		return nil, fail(stageTLS, err, c.ctx.Err() != nil)
	}
	return conn, nil
}

// end closes the connection without a word to the service, so that it can never block.
func (c *call) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.http.CloseIdleConnections()
}

// post sends one message and reads the answer. An answer that is a fault is an error, a *fault.
func (c *call) post(ctx context.Context, message string) (e envelope, err error) {
	defer func() { // the NTLM library slices what the server sent without looking
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: NTLM: %v", errNotSOAP, p)
		}
	}()
	body, kind := []byte(message), "application/soap+xml;charset=UTF-8"
	// Over http messages are sealed, which a service with its defaults insists on; nothing but the log-in goes unsealed.
	seal := c.d.cfg.HTTP && message != ""
	if seal {
		if c.auth == nil || !c.auth.Complete() || c.auth.SecuritySession() == nil {
			return e, errUnauthorized
		}
		if body, err = sealed(c.auth.SecuritySession(), message); err != nil {
			return e, err
		}
		kind = sealType
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return e, fmt.Errorf("making a request: %w", err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("User-Agent", "apd")
	var resp *http.Response
	if c.ntlm != nil {
		resp, err = c.ntlm.Do(req)
	} else {
		req.SetBasicAuth(c.d.cfg.User, c.d.password)
		resp, err = c.http.Do(req)
	}
	if err != nil {
		return e, err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return e, fmt.Errorf("reading the answer: %w", err)
	case len(b) > maxAnswer:
		return e, fmt.Errorf("%w: it has more than %d bytes", errNotSOAP, maxAnswer)
	case resp.StatusCode == http.StatusUnauthorized:
		return e, errUnauthorized
	}
	if len(b) == 0 && resp.StatusCode == http.StatusOK {
		return envelope{}, nil // of a log-in, a Signal or a Delete
	}
	if seal {
		if b, err = opened(c.auth.SecuritySession(), resp.Header.Get("Content-Type"), b); err != nil {
			return e, fmt.Errorf("HTTP status %d: %w", resp.StatusCode, err)
		}
	}
	e, err = parseEnvelope(b)
	switch {
	case err != nil:
		return e, fmt.Errorf("HTTP status %d: %w", resp.StatusCode, err)
	case e.fault != nil:
		return e, e.fault
	case resp.StatusCode != http.StatusOK:
		return e, fmt.Errorf("HTTP status %d without a fault", resp.StatusCode)
	}
	return e, nil
}

// create is the message that asks for a shell. Package winrm's own does not say when an idle one may go.
func (c *call) create(p *winrm.Parameters) string {
	m := soap.NewMessage()
	m.Header().To(c.url).ReplyTo("http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous").MaxEnvelopeSize(p.EnvelopeSize).
		Id("uuid:" + uuid.NewString()).Locale(p.Locale).Timeout(p.Timeout).
		Action("http://schemas.xmlsoap.org/ws/2004/09/transfer/Create").
		ResourceURI("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd").
		AddOption(soap.NewHeaderOption("WINRS_NOPROFILE", "TRUE")).AddOption(soap.NewHeaderOption("WINRS_CODEPAGE", "65001")).Build()
	shell := m.CreateBodyElement("Shell", soap.DOM_NS_WIN_SHELL)
	for _, part := range [][2]string{{"IdleTimeOut", shellIdle}, {"InputStreams", "stdin"}, {"OutputStreams", "stdout stderr"}} {
		m.CreateElement(shell, part[0], soap.DOM_NS_WIN_SHELL).SetContent(part[1])
	}
	return m.String()
}

// result is what a command left.
type result struct {
	stdout, stderr []byte
	exit           int
}

// command runs one command line, gives it input and waits for its end. Every error is a *callError.
func (c *call) command(line string, input io.Reader) (result, error) {
	var r result
	p := winrm.NewParameters(fmt.Sprintf("PT%dS", operationSeconds), "en-US", envelopeSize)
	if c.ntlm != nil { // a sealed message needs a session, and the library sends a body only once: the first one carries nothing
		if _, err := c.post(c.ctx, ""); err != nil {
			return r, fail(stageAuth, err, c.ctx.Err() != nil)
		}
	}
	opened, err := c.post(c.ctx, c.create(p))
	if err == nil && opened.shell == "" {
		err = fmt.Errorf("%w: it names no shell", errNotSOAP)
	}
	if err != nil {
		stage := stageShell
		if errors.Is(err, errUnauthorized) {
			stage = stageAuth
		}
		return r, fail(stage, err, c.ctx.Err() != nil)
	}
	begun, err := c.post(c.ctx, winrm.NewExecuteCommandRequest(c.url, opened.shell, line, nil, p).String())
	if err == nil && begun.command == "" {
		err = fmt.Errorf("%w: it names no command", errNotSOAP)
	}
	if err != nil {
		return r, fail(stageCommand, err, c.ctx.Err() != nil)
	}
	if input != nil {
		if err := c.feed(opened.shell, begun.command, input, p); err != nil {
			return r, fail(stageCommand, fmt.Errorf("sending its input: %w", err), c.ctx.Err() != nil)
		}
	}
	for {
		got, err := c.post(c.ctx, winrm.NewGetOutputRequest(c.url, opened.shell, begun.command, "stdout stderr", p).String())
		var f *fault
		if errors.As(err, &f) && f.timedOut() {
			continue // nothing yet; the service has waited, and ctx ends it
		}
		if err != nil {
			return r, fail(stageCommand, err, c.ctx.Err() != nil)
		}
		r.stdout, r.stderr = append(r.stdout, got.stdout...), append(r.stderr, got.stderr...)
		if len(r.stdout)+len(r.stderr) > maxOutput {
			return r, fail(stageScript, fmt.Errorf("it said more than %d bytes", maxOutput), false)
		}
		if got.done {
			r.exit = got.exit
			break
		}
		if c.ctx.Err() != nil {
			return r, fail(stageCommand, c.ctx.Err(), true)
		}
	}
	// The command has ended; that its shell goes too is only tidy, and bounded.
	ctx, cancel := context.WithTimeout(c.ctx, tidyLimit)
	defer cancel()
	if _, err := c.post(ctx, winrm.NewSignalRequest(c.url, opened.shell, begun.command, p).String()); err == nil {
		_, _ = c.post(ctx, winrm.NewDeleteShellRequest(c.url, opened.shell, p).String())
	}
	return r, nil
}

// tidyLimit bounds what is said after the result is here.
const tidyLimit = 5 * time.Second

// feed sends the input in lines' own time: one envelope after the other, the last with the end.
func (c *call) feed(shell, command string, input io.Reader, p *winrm.Parameters) error {
	buf := make([]byte, chunkSize)
	for {
		n, err := io.ReadFull(input, buf)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		if _, err := c.post(c.ctx, winrm.NewSendInputRequest(c.url, shell, command, buf[:n], last, p).String()); err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

// scriptError is a script that ended with an error of its own.
type scriptError struct {
	script string
	exit   int
	text   string
}

func (e *scriptError) Error() string {
	return fmt.Sprintf("the script %q ended with %d: %.300s", e.script, e.exit, e.text)
}

// run runs a script with its arguments and its input, and returns the JSON that it replied. Every error is a *callError or a
// *scriptError.
func (d *Driver) run(ctx context.Context, s script, args any, input io.Reader) ([]byte, error) {
	line, err := s.commandLine(args)
	if err != nil {
		return nil, &callError{stageScript, byFailure, err}
	}
	ctx, cancel := d.bound(ctx, callLimit)
	defer cancel()
	c, err := d.newCall(ctx)
	if err != nil {
		return nil, &callError{stageAuth, byFailure, err}
	}
	defer c.end()
	defer context.AfterFunc(ctx, c.end)()
	r, err := c.command(line, input)
	if err != nil {
		return nil, err
	}
	reply, err := parseReply(r.stdout)
	switch {
	case err == nil:
		return reply, nil
	case r.exit != 0 || len(bytes.TrimSpace(r.stderr)) > 0:
		return nil, &scriptError{s.name(), r.exit, clixml(r.stderr)}
	}
	return nil, &callError{stageScript, byFailure, fmt.Errorf("the script %q: %w", s.name(), err)}
}

// callLimit bounds a call whose context has no nearer deadline: the agent's megabytes go in one.
const callLimit = 5 * time.Minute

const replyMark = "apd-reply "

// parseReply finds the reply in what a script printed: the last line that begins with the mark, its JSON in base64, so that
// no code page and no width of a console can change it.
func parseReply(out []byte) ([]byte, error) {
	i := bytes.LastIndex(out, []byte(replyMark))
	if i < 0 || i > 0 && out[i-1] != '\n' {
		return nil, errors.New("it printed no reply")
	}
	line, _, _ := bytes.Cut(out[i+len(replyMark):], []byte("\n"))
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(line)))
	if err != nil {
		return nil, errors.New("its reply is not in base64")
	}
	return b, nil
}

// clixml takes the words out of what PowerShell writes to a standard error that is not a console.
func clixml(b []byte) string {
	s := string(b)
	if !strings.HasPrefix(s, "#< CLIXML") {
		return strings.TrimSpace(s)
	}
	var words []string
	for _, part := range strings.Split(s, `<S S="Error">`)[1:] {
		text, _, _ := strings.Cut(part, "</S>")
		words = append(words, strings.NewReplacer("_x000D__x000A_", " ", "&lt;", "<", "&gt;", ">", "&quot;", `"`, "&amp;", "&").Replace(text))
	}
	return strings.Join(strings.Fields(strings.Join(words, "")), " ")
}
