package windows

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dylanmei/winrmtest"
	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/rdp"
	vsphere "github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/windows"
)

// upRig is a guest that is up, on the real clock.
func upRig(t testing.TB, c sim.Config) *rig {
	t.Helper()
	c.Boot = time.Millisecond
	r := newRig(t, t.TempDir(), &loop{}, c)
	t.Cleanup(func() { _ = r.guest.Close() })
	for up := false; !up; time.Sleep(time.Millisecond) {
		up, _ = r.guest.Up()
	}
	return r
}

func TestLogin(t *testing.T) {
	r := upRig(t, sim.Config{Basic: true})
	other, err := vsphere.SelfSigned("elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(r.dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := func(name string, c tls.Certificate) string {
		return file(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}))
	}
	for name, c := range map[string]struct {
		change func(*Config)
		says   string // of the error; empty: it works
	}{
		"ntlm and pin":    {func(*Config) {}, ""},
		"domain user":     {func(c *Config) { c.User = `SIMULATED\administrator` }, ""},
		"user principal":  {func(c *Config) { c.User = "Administrator@simulated" }, ""},
		"basic":           {func(c *Config) { c.Auth = authBasic }, ""},
		"pin with colons": {func(c *Config) { c.Thumbprint = vsphere.Thumbprint(r.cert) }, ""},
		"authority":       {func(c *Config) { c.Thumbprint, c.CAFile = "", ca("ca.pem", r.cert) }, ""},
		"other pin":       {func(c *Config) { c.Thumbprint = thumb(other) }, "not the pinned one"},
		"other authority": {func(c *Config) { c.Thumbprint, c.CAFile = "", ca("other.pem", other) }, "not trusted"},
		"no trust":        {func(c *Config) { c.Thumbprint = "" }, "not trusted"},
		"wrong password":  {func(c *Config) { c.PasswordFile = file("wrong", []byte("guess")) }, "refuses the credentials"},
		"wrong basic":     {func(c *Config) { c.Auth, c.PasswordFile = authBasic, file("wrong", []byte("guess")) }, "refuses the credentials"},
		"other user":      {func(c *Config) { c.User = "Guest" }, "refuses the credentials"},
		"wrong port":      {func(c *Config) { c.Address = "windows:5987" }, "nothing listens"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			d := r.open(t, func(cfg *Config, _ *drivers.Env) { c.change(cfg) })
			defer d.Close()
			err := d.Probe(t.Context())
			if c.says == "" {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err.Error()).To(ContainSubstring(c.says))
			g.Expect(err.Error()).NotTo(ContainSubstring("guess"))
			g.Expect(err.Error()).NotTo(ContainSubstring(secret))
		})
	}
}

func TestNotAdmin(t *testing.T) {
	r := upRig(t, sim.Config{NotAdmin: true})
	d := r.open(t, nil)
	defer d.Close()
	NewWithT(t).Expect(d.Probe(t.Context())).To(MatchError(ContainSubstring("not an administrator")))
}

func TestBadConfig(t *testing.T) {
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{Address: "w:5986", User: "u", PasswordFile: password}
	for says, change := range map[string]func(*Config){
		"host:port":            func(c *Config) { c.Address = "w" },
		"neither ntlm":         func(c *Config) { c.Auth = "kerberos" },
		"would show":           func(c *Config) { c.HTTP, c.Auth = true, authBasic },
		"certificate to check": func(c *Config) { c.HTTP, c.Thumbprint = true, strings.Repeat("ab", 32) },
		"no user":              func(c *Config) { c.User = "" },
		"no port":              func(c *Config) { c.AgentPort = 70000 },
		"logon is":             func(c *Config) { c.RDP = &rdp.Config{Address: "w", Logon: "all"} },
		"usable password":      func(c *Config) { c.PasswordFile = "" },
		"both given":           func(c *Config) { c.PasswordEnv = "X" },
		"this one has 20":      func(c *Config) { c.Thumbprint = strings.Repeat("ab", 20) },
		"hexadecimal":          func(c *Config) { c.Thumbprint = "xyz" },
		"reading ca_file":      func(c *Config) { c.CAFile = filepath.Join(dir, "none") },
		"no certificate":       func(c *Config) { c.CAFile = password },
	} {
		cfg := good
		change(&cfg)
		_, err := Open(t.Context(), drivers.Env{ID: "guest/w", Decode: func(v any) error { *v.(*Config) = cfg; return nil }})
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(says)))
	}
}

// TestPlainHTTP speaks without TLS, sealed by NTLM, and notes that in the record.
func TestPlainHTTP(t *testing.T) {
	g := NewWithT(t)
	r := upRig(t, sim.Config{})
	l, err := r.net.Listen("windows:5985")
	g.Expect(err).NotTo(HaveOccurred())
	go func() { _ = r.guest.Serve(l, tls.Certificate{}) }()
	var wire bytes.Buffer
	var mu sync.Mutex
	d := r.open(t, func(c *Config, e *drivers.Env) {
		c.Address, c.HTTP, c.Thumbprint = "windows:5985", true, ""
		e.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := r.net.Dial(ctx, network, address)
			return &tapped{conn, &mu, &wire}, err
		}
	})
	defer d.Close()
	g.Expect(d.Probe(t.Context())).To(Succeed())
	mu.Lock()
	g.Expect(wire.String()).To(ContainSubstring("Encrypted Boundary"))
	g.Expect(wire.String()).NotTo(ContainSubstring("powershell"))
	g.Expect(wire.String()).NotTo(ContainSubstring(secret))
	mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	s, done := &seen{}, make(chan error, 1)
	go func() { done <- d.Observe(ctx, s.emit) }()
	g.Eventually(func() []string { return s.values(drivers.Event, "winrm") }).WithTimeout(10 * time.Second).Should(Equal([]string{"plain-http"}))
	g.Eventually(func() []string { return s.values(drivers.State, "agent") }).WithTimeout(20 * time.Second).Should(ContainElement("up"))
	cancel()
	g.Expect(<-done).To(Succeed())
}

// tapped keeps what is written.
type tapped struct {
	net.Conn
	mu   *sync.Mutex
	wire *bytes.Buffer
}

func (c *tapped) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.wire.Write(b)
	c.mu.Unlock()
	return c.Conn.Write(b)
}

func TestFirewall(t *testing.T) {
	g := NewWithT(t)
	r := upRig(t, sim.Config{})
	closed := r.open(t, nil)
	defer closed.Close()
	g.Expect(closed.OpenFirewall(t.Context(), func(context.Context, drivers.Undo) error { t.Error("nothing is to be journalled"); return nil })).To(Succeed())
	g.Expect(r.guest.State()).To(Equal("firewall map[]"))
	d := r.open(t, func(c *Config, _ *drivers.Env) { c.Firewall = true })
	defer d.Close()
	full := errors.New("the disk of the journal is full")
	g.Expect(d.OpenFirewall(t.Context(), func(context.Context, drivers.Undo) error { return full })).To(MatchError(full))
	g.Expect(r.guest.State()).To(Equal("firewall map[]"))
	var u drivers.Undo
	g.Expect(d.OpenFirewall(t.Context(), func(_ context.Context, got drivers.Undo) error {
		g.Expect(r.guest.State()).To(Equal("firewall map[]"))
		u = got
		return nil
	})).To(Succeed())
	g.Expect(r.guest.State()).To(Equal("firewall map[apd-agent-47801:true]"))
	b, err := json.Marshal(u)
	g.Expect(err).NotTo(HaveOccurred())
	var back drivers.Undo
	g.Expect(json.Unmarshal(b, &back)).To(Succeed())
	for _, want := range []drivers.UndoResult{drivers.Undone, drivers.NothingLeft} {
		got, err := closed.Undo(t.Context(), back)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(want))
		g.Expect(r.guest.State()).To(Equal("firewall map[]"))
	}
	back.Args["rule"] = "RemoteDesktop-UserMode-In-TCP"
	_, err = d.Undo(t.Context(), back)
	g.Expect(err).To(HaveOccurred()) // it closes nothing that is not its own
}

// TestArguments puts what could be code into every argument.
func TestArguments(t *testing.T) {
	g := NewWithT(t)
	nasty := "'; Remove-Item C:\\ -Recurse; ' \" $(whoami) `n \x00 & | %PATH% ]]> </rsp:Command> ’ “ \u2018 @ARGS@"
	for _, s := range scripts {
		line, err := s.commandLine(map[string]any{"name": nasty})
		g.Expect(err).NotTo(HaveOccurred(), s.name())
		g.Expect(regexp.MustCompile(`^[A-Za-z0-9 .+/=-]+$`).MatchString(line)).To(BeTrue(), s.name())
		name, args, err := decodeCommandLine(line)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(name).To(Equal(s.name()))
		var back map[string]string
		g.Expect(json.Unmarshal(args, &back)).To(Succeed())
		g.Expect(back["name"]).To(Equal(nasty))
		g.Expect(strings.Count(string(s), argsMark)).To(Equal(1), s.name())
		g.Expect(string(s)).To(HavePrefix("# apd: "), s.name())
		for _, c := range string(s) { // no code page can change it
			g.Expect(c).To(And(BeNumerically("<", 127), Or(BeNumerically(">=", ' '), Equal('\n'))), s.name())
		}
		for _, pair := range []string{"{}", "()"} { // a text that lost a bracket
			g.Expect(strings.Count(string(s), pair[:1])).To(Equal(strings.Count(string(s), pair[1:])), "%s %s", s.name(), pair)
		}
	}
	line, err := scriptLogs.commandLine(map[string]any{"since": time.Now().UTC().Format(time.RFC3339Nano), "queries": queries})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(len(line)).To(BeNumerically("<=", maxCommandLine))
	_, err = scriptFacts.commandLine(map[string]any{"name": strings.Repeat("x", 9000)})
	g.Expect(err).To(HaveOccurred())
}

// TestQuiet checks that no goroutine and no time is spent where a context ended before.
func TestEnded(t *testing.T) {
	g := NewWithT(t)
	r := upRig(t, sim.Config{})
	d := r.open(t, nil)
	defer d.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g.Expect(d.Probe(ctx)).NotTo(Succeed())
	_, err := d.openAgent(ctx, true)
	g.Expect(err).To(HaveOccurred())
	g.Expect(d.OpenFirewall(ctx, func(ctx context.Context, _ drivers.Undo) error { return ctx.Err() })).To(Succeed())
}

// peer is winrmtest, a WinRM server that others wrote, behind a front that takes what it does not know: it has no Send.
type peer struct {
	remote *winrmtest.Remote
	mu     sync.Mutex
	stdin  bytes.Buffer
}

var sent = regexp.MustCompile(`<(?:[a-z]+:)?Stream[^>]*>([^<]*)</`)

func newPeer(t *testing.T) (*peer, *httptest.Server) {
	p := &peer{remote: winrmtest.NewRemote()}
	t.Cleanup(p.remote.Close)
	front := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: fmt.Sprintf("%s:%d", p.remote.Host, p.remote.Port)})
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("shell/Send")) {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			front.ServeHTTP(w, r)
			return
		}
		b, err := base64.StdEncoding.DecodeString(string(sent.FindSubmatch(body)[1]))
		if err != nil {
			t.Error(err)
		}
		p.mu.Lock()
		p.stdin.Write(b)
		p.mu.Unlock()
		w.Header().Set("Content-Type", "application/soap+xml")
		_, _ = io.WriteString(w, `<env:Envelope xmlns:env="http://www.w3.org/2003/05/soap-envelope"/>`)
	}))
	t.Cleanup(srv.Close)
	return p, srv
}

// TestPeer reads facts from winrmtest and pushes an agent to it.
func TestPeer(t *testing.T) {
	g := NewWithT(t)
	p, srv := newPeer(t)
	password := filepath.Join(t.TempDir(), "password")
	g.Expect(os.WriteFile(password, []byte(secret), 0o600)).To(Succeed())
	cfg := Config{Address: srv.Listener.Addr().String(), Thumbprint: thumb(srv.TLS.Certificates[0]), Auth: authBasic, User: "u", PasswordFile: password}
	d, err := Open(t.Context(), drivers.Env{ID: "guest/w", Clock: drivers.Clock{Zero: time.Now()}, Decode: func(v any) error { *v.(*Config) = cfg; return nil }})
	g.Expect(err).NotTo(HaveOccurred())
	defer d.Close()
	says := func(script string, what func() any) {
		p.remote.CommandFunc(func(line string) bool {
			name, _, err := decodeCommandLine(line)
			return err == nil && name == script
		}, func(out, _ io.Writer) int {
			b, _ := json.Marshal(what())
			_, _ = io.WriteString(out, "some profile talks\r\n"+replyMark+base64.StdEncoding.EncodeToString(b)+"\r\n")
			return 0
		})
	}
	now := time.Now().UTC().Format(time.RFC3339Nano)
	says("facts", func() any {
		return map[string]any{"os": "Microsoft Windows 11", "build": "22631.", "arch": "AMD64", "boot": now, "now": now, "admin": true, "crash_dump": 9}
	})
	settings, err := d.Settings(t.Context())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(settings).To(And(HaveKeyWithValue("build", "22631"), HaveKeyWithValue("disk_timeout", "default"), HaveKeyWithValue("crash_dump", "9"),
		HaveKeyWithValue("auto_repair", "unknown"), HaveKeyWithValue("page_file", "none")))
	g.Expect(d.Probe(t.Context())).To(Succeed())
	program := bytes.Repeat([]byte("program\x00\xff"), 1<<16)
	got := ""
	says("push", func() any {
		p.mu.Lock()
		defer p.mu.Unlock()
		got = p.stdin.String()
		return map[string]any{"path": `C:\ProgramData\apd\agent-x.exe`, "sha256": strings.ToUpper(hashOf(program))}
	})
	g.Expect(d.push(t.Context(), "agent-x.exe", hashOf(program), program)).To(Succeed())
	g.Expect(unpacked(got)).To(Equal(program))
	g.Expect(d.push(t.Context(), "agent-x.exe", hashOf([]byte("another")), program)).To(MatchError(ContainSubstring("did not arrive whole")))
}

// TestGarbage lets a server answer what it should not.
func TestGarbage(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	shell := `<e:Envelope xmlns:e="x"><ShellId>1</ShellId><CommandId>2</CommandId>%s</e:Envelope>`
	for name, answer := range map[string]func(w http.ResponseWriter){
		"nothing":   func(http.ResponseWriter) {},
		"html":      func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") },
		"empty":     func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<Envelope/>") },
		"status":    func(w http.ResponseWriter) { w.WriteHeader(503) },
		"redirect":  func(w http.ResponseWriter) { w.Header().Set("Location", "http://192.0.2.1/"); w.WriteHeader(302) },
		"challenge": func(w http.ResponseWriter) { w.Header().Set("WWW-Authenticate", "Negotiate AAAA"); w.WriteHeader(401) },
		"no base64": func(w http.ResponseWriter) { w.Header().Set("WWW-Authenticate", "Negotiate !!"); w.WriteHeader(401) },
		"fault": func(w http.ResponseWriter) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, fmt.Sprintf(shell, "<Fault/>"))
		},
		"no reply": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, fmt.Sprintf(shell, `<CommandState State="`+doneState+`"/>`))
		},
		"bad output": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, fmt.Sprintf(shell, `<Stream Name="stdout">*</Stream>`))
		},
		"bad exit": func(w http.ResponseWriter) { _, _ = io.WriteString(w, fmt.Sprintf(shell, `<ExitCode>x</ExitCode>`)) },
		"long":     func(w http.ResponseWriter) { _, _ = w.Write(bytes.Repeat([]byte("<a>"), 2<<20)) },
		"reply is none": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, fmt.Sprintf(shell, `<Stream Name="stdout">`+base64.StdEncoding.EncodeToString([]byte("apd-reply e30=\r\n"))+`</Stream><CommandState State="`+doneState+`"/>`))
		},
	} {
		for _, auth := range []string{authNTLM, authBasic} {
			t.Run(name+" "+auth, func(t *testing.T) {
				g := NewWithT(t)
				srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					answer(w)
				}))
				defer srv.Close()
				cfg := Config{Address: srv.Listener.Addr().String(), Thumbprint: thumb(srv.TLS.Certificates[0]), Auth: auth, User: "u", PasswordFile: password}
				d, err := Open(t.Context(), drivers.Env{ID: "guest/w", Clock: drivers.Clock{Zero: time.Now()}, Decode: func(v any) error { *v.(*Config) = cfg; return nil }})
				g.Expect(err).NotTo(HaveOccurred())
				defer d.Close()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				var op *drivers.Operator
				err = d.Probe(ctx)
				g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
				g.Expect(ctx.Err()).NotTo(HaveOccurred())
			})
		}
	}
}
