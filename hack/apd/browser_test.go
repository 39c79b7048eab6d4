package main

// This file looks at the page of apd watch in a browser, as a reader does.

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/reports"
)

// browser is a Chromium with one page.
type browser struct {
	*testing.T
	conn    *websocket.Conn
	session string
	calls   int
	trouble []string // what its console says
}

// reply is an answer of the DevTools protocol, or an event.
type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Result json.RawMessage `json:"result"`
	Params json.RawMessage `json:"params"`
	Error  json.RawMessage `json:"error"`
}

func openBrowser(t *testing.T, url string) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/usr/bin/chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0",
		"--no-first-run", "--disable-background-networking", "--user-data-dir="+t.TempDir(), "about:blank")
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting chromium (hack/setup.sh test installs it): %v", err)
	}
	b := &browser{T: t}
	t.Cleanup(func() {
		if b.conn != nil {
			_ = wsjson.Write(ctx, b.conn, map[string]any{"id": 1 << 20, "method": "Browser.close"}) // it takes its children along
			_, _, _ = b.conn.Reader(ctx)
		} else {
			cmd.Process.Kill()
		}
		cmd.Wait()
	})
	for sc := bufio.NewScanner(said); ; {
		if !sc.Scan() {
			t.Fatal("chromium ended before it listened")
		}
		if at, ok := strings.CutPrefix(sc.Text(), "DevTools listening on "); ok {
			b.conn, _, err = websocket.Dial(ctx, at, nil)
			if err != nil {
				t.Fatal(err)
			}
			b.conn.SetReadLimit(1 << 24)
			go func() { // what it says later is read, so that it does not wait for a reader
				for sc.Scan() {
				}
			}()
			break
		}
	}
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	b.call("Runtime.enable", nil, nil)
	b.call("Log.enable", nil, nil)
	b.call("Page.navigate", map[string]any{"url": url}, nil)
	return b
}

func (b *browser) call(method string, params, answer any) {
	b.Helper()
	b.calls++
	m := map[string]any{"id": b.calls, "method": method}
	if params != nil {
		m["params"] = params
	}
	if b.session != "" {
		m["sessionId"] = b.session
	}
	if err := wsjson.Write(b.Context(), b.conn, m); err != nil {
		b.Fatal(err)
	}
	for {
		var r reply
		if err := wsjson.Read(b.Context(), b.conn, &r); err != nil {
			b.Fatal(err)
		}
		switch {
		case r.Method == "Runtime.exceptionThrown" || r.Method == "Log.entryAdded":
			b.trouble = append(b.trouble, string(r.Params))
		case r.ID == b.calls && r.Error != nil:
			b.Fatalf("%s: %s", method, r.Error)
		case r.ID == b.calls:
			if answer != nil {
				if err := json.Unmarshal(r.Result, answer); err != nil {
					b.Fatal(err)
				}
			}
			return
		}
	}
}

// ask evaluates an expression on the page; f is the window of the report that is shown, null before there is one.
func (b *browser) ask(expression string) any {
	b.Helper()
	var r struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	b.call("Runtime.evaluate", map[string]any{"returnByValue": true,
		"expression": "(f => " + expression + ")(document.querySelector('iframe:not(.next)')?.contentWindow)"}, &r)
	if r.ExceptionDetails != nil {
		return "exception: " + string(r.ExceptionDetails)
	}
	return r.Result.Value
}

// longPage is a report to scroll in, with a fold and a policy of its own as the real one has.
func longPage(r *record.Record, _ reports.Options) ([]byte, error) {
	return fmt.Appendf(nil, `<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>r</title><p id="plans">%d</p><details><summary>fold</summary>text</details><input><pre style="height:5000px">%s</pre><p id="a.claim">here</p>`,
		len(r.Plans), html.EscapeString(r.Header.ID)), nil
}

// TestWatchInABrowser reads a page, is somewhere in it when a newer one comes, and stays there.
func TestWatchInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts a browser")
	}
	g := NewWithT(t)
	was := livePage
	defer func() { livePage = was }()
	livePage = longPage
	run := runGoesOn(t, "one")
	run.Plan(record.Plan{Claim: "a.claim"})
	w := watching(t, run.Dir)
	w.every, w.pause = 20*time.Millisecond, 0
	l, err := listenLoopback("127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- w.serve(ctx, l) }()
	ended := sync.OnceValue(func() error { cancel(); return <-served })
	defer ended()
	b := openBrowser(t, "http://"+l.Addr().String()+"/#a.claim")
	sees := func(expression string) AsyncAssertion {
		return g.Eventually(func() any { return b.ask(expression) }).WithTimeout(20 * time.Second)
	}
	plans := `f?.document.getElementById("plans")?.textContent`
	sees(plans).Should(Equal("1"))
	sees(`f.scrollY > 1000`).Should(BeTrue(), "the address leads to the claim")
	b.ask(`{ f.scrollTo(0, 1234); f.document.querySelector("details").open = true; f.location.hash = "t=1-2"; f.scrollTo(0, 1234); }`)
	run.Plan(record.Plan{Claim: "b.claim"})
	sees(plans).Should(Equal("2"))
	g.Expect(b.ask(`f.scrollY`)).To(BeEquivalentTo(1234))
	g.Expect(b.ask(`f.document.querySelector("details").open`)).To(BeTrue())
	g.Expect(b.ask(`f.location.hash`)).To(Equal("#t=1-2"))
	sees(`location.hash`).Should(Equal("#t=1-2"), "it can be handed on")
	sees(`document.getElementById("state").textContent`).Should(HavePrefix("one: under way"))

	b.ask(`f.document.querySelector("input").focus()`) // who types is not disturbed
	newest := func() int {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.said.Page
	}
	before := newest()
	run.Plan(record.Plan{Claim: "c.claim"})
	g.Eventually(newest).Should(BeNumerically(">", before))
	g.Consistently(func() any { return b.ask(plans) }).WithTimeout(1500 * time.Millisecond).Should(Equal("2"))
	b.ask(`f.document.activeElement.blur()`)
	sees(plans).Should(Equal("3"))

	g.Expect(run.Close("done")).To(Succeed())
	sees(`document.getElementById("state").textContent`).Should(HavePrefix("one: ended (done)"))
	g.Expect(b.trouble).To(BeEmpty())
	g.Expect(ended()).To(Succeed())
	sees(`document.getElementById("state").textContent`).Should(ContainSubstring("cannot be reached"))
	g.Expect(b.ask(plans)).To(Equal("3"), "what was there stays")
}
