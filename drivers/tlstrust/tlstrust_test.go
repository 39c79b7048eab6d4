package tlstrust

import (
	"context"
	"crypto/sha1"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

// server is an HTTPS server with a certificate of its own, for 127.0.0.1 and example.com.
func server(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// shake connects to the server, which is called address.
func shake(t *testing.T, s *httptest.Server, tr Trust, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn, err := tr.Over(ctx, raw, address)
	if (conn == nil) != (err != nil) {
		t.Errorf("%v and %v", conn, err)
	}
	return err
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTrust(t *testing.T) {
	s := server(t)
	raw := s.Certificate().Raw
	print, old := Of(raw), sha1.Sum(raw)
	other := strings.Repeat("AB:", 31) + "AB"
	ca := write(t, "ca", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}))
	at := s.Listener.Addr().String()
	for name, c := range map[string]struct {
		conf Config
		at   string
		ok   bool
	}{
		"a pin":                      {Config{Thumbprint: print.String()}, at, true},
		"in small letters":           {Config{Thumbprint: strings.ToLower(strings.ReplaceAll(print.String(), ":", ""))}, at, true},
		"with spaces":                {Config{Thumbprint: strings.ReplaceAll(print.String(), ":", " ")}, at, true},
		"a pin whatever the name":    {Config{Thumbprint: print.String()}, "nas.test:443", true},
		"SHA-1":                      {Config{Thumbprint: Thumbprint(old[:]).String(), SHA1: true}, at, true},
		"another pin":                {Config{Thumbprint: other}, at, false},
		"another pin, authorities":   {Config{Thumbprint: other, CAFile: ca}, at, false},
		"known":                      {Config{Known: map[string]Thumbprint{at: print}}, at, true},
		"known as another":           {Config{Known: map[string]Thumbprint{at: Of(nil)}}, at, false},
		"known elsewhere":            {Config{Known: map[string]Thumbprint{"nas.test:443": print}}, at, false},
		"a pin before what is known": {Config{Thumbprint: print.String(), Known: map[string]Thumbprint{at: Of(nil)}}, at, true},
		"authorities":                {Config{CAFile: ca}, "example.com:443", true},
		"several files":              {Config{CAFile: ca + string(filepath.ListSeparator) + ca}, "example.com:443", true},
		"authorities, another name":  {Config{CAFile: ca}, "nas.test:443", false},
		"nothing":                    {Config{}, at, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			tr, err := New(c.conf)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(tr.Pinned()).To(Equal(c.conf.Thumbprint != ""))
			err = shake(t, s, tr, c.at)
			if c.ok {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			var bad *Untrusted
			g.Expect(errors.As(err, &bad)).To(BeTrue(), "%v", err)
			g.Expect(bad.Shown).To(Equal(print)) // which one to pin
			g.Expect(bad.Do("the system's", "look there")).To(Equal(`If this is the system's certificate (look there), write thumbprint: "` + print.String() + `"`))
			g.Expect(err).To(MatchError(ContainSubstring(map[bool]string{true: "is not the pinned one", false: "is not trusted"}[bad.Pinned])))
		})
	}
}

// TestNoTLS has an other end that speaks something else, or nothing: that is no certificate that could be pinned.
func TestNoTLS(t *testing.T) {
	g := NewWithT(t)
	tr, err := New(Config{Thumbprint: Of(nil).String()})
	g.Expect(err).NotTo(HaveOccurred())
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go func() {
		_, _ = b.Write([]byte("HTTP/1.0 400 Bad Request\r\n\r\n"))
	}()
	go func() { _, _ = io.Copy(io.Discard, b) }() // a pipe has no room
	short, end := context.WithTimeout(t.Context(), 10*time.Second)
	defer end()
	_, err = tr.Over(short, a, "nas:443")
	var bad *Untrusted
	g.Expect(err).To(MatchError(ContainSubstring("agreeing on TLS")))
	g.Expect(errors.As(err, &bad)).To(BeFalse())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, d := net.Pipe()
	defer c.Close()
	defer d.Close()
	_, err = tr.Over(ctx, c, "nas:443")
	g.Expect(err).To(MatchError(context.Canceled))
	_, err = tr.Over(ctx, c, "nas")
	g.Expect(err).To(MatchError(ContainSubstring("missing port")))
}

func TestConfig(t *testing.T) {
	g := NewWithT(t)
	for want, c := range map[string]Config{
		"is hexadecimal digits":                                    {Thumbprint: "what?"},
		"has 32 bytes (SHA-256), and this one has 20":              {Thumbprint: strings.Repeat("00", 20)},
		"has 20 (SHA-1) or 32 (SHA-256) bytes, and this one has 2": {Thumbprint: "AB:CD", SHA1: true},
		"reading ca_file":                                          {CAFile: "/there/is/none"},
		"has no certificate in PEM":                                {CAFile: write(t, "ca", []byte("no"))},
	} {
		_, err := New(c)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
}

func TestReadKnown(t *testing.T) {
	g := NewWithT(t)
	known := map[string]Thumbprint{}
	a, b := strings.Repeat("AB:", 31)+"AB", strings.Repeat("CD", 20)
	ReadKnown([]byte("esx1:8443 "+a+"\nesx2 "+b+"\n[fe80::1] "+b+"\n# no\n\nesx3\n"), known)
	g.Expect(known).To(HaveLen(3))
	g.Expect(known["esx1:8443"].String()).To(Equal(a))
	g.Expect(known).To(And(HaveKey("esx2:443"), HaveKey("[fe80::1]:443")))
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "AB:CD", strings.Repeat("ab", 32), strings.Repeat("AB:", 19) + "AB", "esx1 " + strings.Repeat("ab", 20), "[::1]:443 " + strings.Repeat("ab", 32) + "\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, parse := range []func(string) (Thumbprint, error){Parse, ParseEither} {
			p, err := parse(text)
			if (p == nil) != (err != nil) {
				t.Errorf("%v and %v", p, err)
			}
			if err == nil {
				if again, err := ParseEither(p.String()); err != nil || again.String() != p.String() {
					t.Errorf("%v became %v, %v", p, again, err)
				}
			}
		}
		known := map[string]Thumbprint{}
		ReadKnown([]byte(text), known)
		for host, p := range known {
			if _, _, err := net.SplitHostPort(host); err != nil || len(p) < 20 {
				t.Errorf("%q has %v", host, p)
			}
		}
	})
}
