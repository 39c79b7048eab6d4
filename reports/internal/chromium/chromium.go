// Package chromium drives a headless Chromium over its DevTools pipe, for the tests of the HTML report: it opens a page, asks it
// questions, and tells what it asked for and what it complained of.
package chromium

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Path is where Debian has it.
const Path = "/usr/bin/chromium"

// patience bounds one answer of the browser.
const patience = 60 * time.Second

// Browser is a running Chromium.
type Browser struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  io.ReadCloser
	dir  string
	mu   sync.Mutex
	next int
	wait map[int]chan reply
	tabs map[string]*Page
	done chan struct{}
}

type message struct {
	ID      int                       `json:"id,omitempty"`
	Session string                    `json:"sessionId,omitempty"`
	Method  string                    `json:"method,omitempty"`
	Params  json.RawMessage           `json:"params,omitempty"`
	Result  json.RawMessage           `json:"result,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

type reply struct {
	result json.RawMessage
	err    error
}

// Start starts a browser with a profile of its own, which Close takes away.
func Start() (*Browser, error) {
	dir, err := os.MkdirTemp("", "chromium")
	if err != nil {
		return nil, fmt.Errorf("making the browser's folder: %w", err)
	}
	toR, toW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the browser's pipe: %w", err)
	}
	fromR, fromW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making the browser's pipe: %w", err)
	}
	b := &Browser{in: toW, out: fromR, dir: dir, wait: map[int]chan reply{}, tabs: map[string]*Page{}, done: make(chan struct{})}
	b.cmd = exec.Command(Path, "--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--user-data-dir="+dir, "--no-first-run", "--disable-gpu",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "about:blank")
	b.cmd.Env = append(os.Environ(), "HOME="+dir)
	b.cmd.ExtraFiles = []*os.File{toR, fromW} // its descriptors 3 and 4
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = b.cmd.Start()
	toR.Close()
	fromW.Close()
	if err != nil {
		toW.Close()
		fromR.Close()
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting the browser: %w", err)
	}
	go b.read()
	return b, nil
}

// Close ends the browser with all that it started.
func (b *Browser) Close() error {
	_, _ = b.call("", "Browser.close", nil) // it may be gone before it answers
	b.in.Close()
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // what is left of its group
	_ = b.cmd.Wait()
	b.out.Close()
	if err := os.RemoveAll(b.dir); err != nil {
		return fmt.Errorf("taking the browser's folder away: %w", err)
	}
	return nil
}

func (b *Browser) read() {
	defer close(b.done)
	in := bufio.NewReaderSize(b.out, 1<<20)
	for {
		data, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for _, c := range b.wait {
				c <- reply{err: errors.New("the browser has ended")}
			}
			b.wait = nil
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(data[:len(data)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if c := b.wait[m.ID]; c != nil {
			delete(b.wait, m.ID)
			r := reply{result: m.Result}
			if m.Error != nil {
				r.err = errors.New(m.Error.Message)
			}
			c <- r
		} else if p := b.tabs[m.Session]; p != nil {
			p.event(m)
		}
		b.mu.Unlock()
	}
}

func (b *Browser) call(session, method string, args any) (json.RawMessage, error) {
	params, err := json.Marshal(args)
	if err != nil {
		return nil, fmt.Errorf("asking the browser for %s: %w", method, err)
	}
	c := make(chan reply, 1)
	b.mu.Lock()
	if b.wait == nil {
		b.mu.Unlock()
		return nil, errors.New("the browser has ended")
	}
	b.next++
	m := message{ID: b.next, Session: session, Method: method}
	if args != nil {
		m.Params = params
	}
	b.wait[m.ID] = c
	data, err := json.Marshal(m)
	if err == nil {
		_, err = b.in.Write(append(data, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("asking the browser for %s: %w", method, err)
	}
	select {
	case r := <-c:
		if r.err != nil {
			return nil, fmt.Errorf("asking the browser for %s: %w", method, r.err)
		}
		return r.result, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("asking the browser for %s: no answer in %s", method, patience)
	}
}

// Page is an open page.
type Page struct {
	b       *Browser
	session string
	loaded  chan struct{}

	Requests   []string // addresses that were asked for, the page's own too
	Complaints []string // errors of the console, exceptions that nobody caught
}

// View is how a page is looked at.
type View struct {
	Width, Height int  // px
	Dark          bool // the reader prefers dark pages
	NoScript      bool
}

// Open opens an address and waits until everything is loaded.
func (b *Browser) Open(address string, v View) (*Page, error) {
	var target struct{ TargetID, SessionID string }
	res, err := b.call("", "Target.createTarget", map[string]any{"url": "about:blank"})
	if err == nil {
		err = json.Unmarshal(res, &target)
	}
	if err == nil {
		res, err = b.call("", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true})
	}
	if err == nil {
		err = json.Unmarshal(res, &target)
	}
	if err != nil {
		return nil, fmt.Errorf("opening a page: %w", err)
	}
	p := &Page{b: b, session: target.SessionID, loaded: make(chan struct{}, 1)}
	b.mu.Lock()
	b.tabs[p.session] = p
	b.mu.Unlock()
	scheme := "light"
	if v.Dark {
		scheme = "dark"
	}
	for _, c := range []struct {
		method string
		args   any
	}{
		{"Page.enable", nil}, {"Runtime.enable", nil}, {"Log.enable", nil}, {"Network.enable", nil},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": v.Width, "height": v.Height, "deviceScaleFactor": 1, "mobile": false}},
		{"Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}},
		{"Emulation.setScriptExecutionDisabled", map[string]any{"value": v.NoScript}},
		{"Page.navigate", map[string]any{"url": address}},
	} {
		if _, err := p.call(c.method, c.args); err != nil {
			return nil, fmt.Errorf("opening %s: %w", address, err)
		}
	}
	select {
	case <-p.loaded:
		return p, nil
	case <-b.done:
		return nil, fmt.Errorf("opening %s: the browser has ended", address)
	case <-time.After(patience):
		return nil, fmt.Errorf("opening %s: not loaded in %s", address, patience)
	}
}

func (p *Page) call(method string, args any) (json.RawMessage, error) {
	return p.b.call(p.session, method, args)
}

// event takes what the page reports; the browser's lock is held.
func (p *Page) event(m message) {
	var e struct {
		Request          struct{ URL string }
		Entry            struct{ Level, Text string }
		Type             string
		Args             []struct{ Value, Description any }
		ExceptionDetails struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if json.Unmarshal(m.Params, &e) != nil {
		return
	}
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case p.loaded <- struct{}{}:
		default:
		}
	case "Network.requestWillBeSent":
		p.Requests = append(p.Requests, e.Request.URL)
	case "Log.entryAdded":
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			p.Complaints = append(p.Complaints, e.Entry.Text)
		}
	case "Runtime.consoleAPICalled":
		p.Complaints = append(p.Complaints, fmt.Sprint("console.", e.Type, " ", e.Args))
	case "Runtime.exceptionThrown":
		p.Complaints = append(p.Complaints, e.ExceptionDetails.Text+" "+e.ExceptionDetails.Exception.Description)
	}
}

// Heard returns what the page has asked for and complained of so far.
func (p *Page) Heard() (requests, complaints []string) {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return append([]string{}, p.Requests...), append([]string{}, p.Complaints...)
}

// Ask evaluates an expression in the page, waits for it where it is a promise, and decodes what comes of it. It works where the page's own
// scripts are forbidden too.
func (p *Page) Ask(expression string, answer any) error {
	res, err := p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if err != nil {
		return err
	}
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	if err := json.Unmarshal(res, &r); err != nil {
		return fmt.Errorf("reading the page's answer: %w", err)
	}
	if x := r.ExceptionDetails; x != nil {
		return fmt.Errorf("asking the page: %s", strings.TrimSpace(x.Text+" "+x.Exception.Description))
	}
	if answer == nil || len(r.Result.Value) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Result.Value, answer); err != nil {
		return fmt.Errorf("reading the page's answer: %w", err)
	}
	return nil
}

// Type presses keys, one event each, in the page's focus.
func (p *Page) Type(keys string) error {
	for _, k := range keys {
		if _, err := p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyDown", "key": string(k), "text": string(k)}); err != nil {
			return err
		}
		if _, err := p.call("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": string(k)}); err != nil {
			return err
		}
	}
	return nil
}

// Move puts the mouse somewhere, in px of the window.
func (p *Page) Move(x, y float64) error {
	_, err := p.call("Input.dispatchMouseEvent", map[string]any{"type": "mouseMoved", "x": x, "y": y})
	return err
}

// Picture takes a picture of the page as PNG, at most high px of it; 0 is all.
func (p *Page) Picture(wide, high int) ([]byte, error) {
	if high == 0 {
		if err := p.Ask("Math.ceil(document.documentElement.scrollHeight)", &high); err != nil {
			return nil, err
		}
	}
	res, err := p.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true,
		"clip": map[string]any{"x": 0, "y": 0, "width": wide, "height": high, "scale": 1}})
	if err != nil {
		return nil, err
	}
	var r struct{ Data string }
	if err := json.Unmarshal(res, &r); err != nil {
		return nil, fmt.Errorf("reading the picture: %w", err)
	}
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		return nil, fmt.Errorf("reading the picture: %w", err)
	}
	return b, nil
}

// Close closes the page.
func (p *Page) Close() error {
	_, err := p.call("Page.close", nil)
	p.b.mu.Lock()
	delete(p.b.tabs, p.session)
	p.b.mu.Unlock()
	return err
}
