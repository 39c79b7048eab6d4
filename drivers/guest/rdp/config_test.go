package rdp

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// nobody is a client that cannot do anything.
type nobody struct{ missing error }

func (n nobody) Check() error                             { return n.missing }
func (nobody) Logon(context.Context, Target, Depth) error { return errors.New("it is broken") }
func (nobody) Close() error                               { return nil }
func (nobody) Open(context.Context, Target, func()) (Session, error) {
	return nil, errors.New("it is broken")
}

func TestConfig(t *testing.T) {
	t.Setenv("APD_RDP_TEST", "p")
	dir := t.TempDir()
	file := func(name, content string) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return f
	}
	yes := true
	sum := strings.Repeat("aB", 32)
	for name, c := range map[string]struct {
		change func(*Config)
		want   string // "" for a good one
	}{
		"good":               {func(*Config) {}, ""},
		"no user":            {func(c *Config) { *c = Config{Address: "h", Client: nobody{errors.New("not there")}} }, ""},
		"a file":             {func(c *Config) { c.PasswordEnv, c.PasswordFile = "", file("good", "word with spaces\r\n") }, ""},
		"a pin":              {func(c *Config) { c.Fingerprint = sum }, ""},
		"no address":         {func(c *Config) { c.Address = "" }, "neither a host nor host:port"},
		"no client":          {func(c *Config) { c.Client = nobody{errors.New("not there")} }, "apt-get install freerdp2-x11 xvfb"},
		"no password":        {func(c *Config) { c.PasswordEnv = "" }, "neither password_env nor password_file"},
		"two passwords":      {func(c *Config) { c.PasswordFile = "f" }, "both given"},
		"an empty variable":  {func(c *Config) { c.PasswordEnv = "APD_RDP_TEST_NONE" }, "APD_RDP_TEST_NONE is not set"},
		"no such file":       {func(c *Config) { c.PasswordEnv, c.PasswordFile = "", filepath.Join(dir, "none") }, "reading password_file"},
		"an empty file":      {func(c *Config) { c.PasswordEnv, c.PasswordFile = "", file("empty", "\n") }, "is empty"},
		"two lines":          {func(c *Config) { c.PasswordEnv, c.PasswordFile = "", file("two", "a\nb\n") }, "more than one line"},
		"a logon of nobody":  {func(c *Config) { c.User, c.Logon = "", Credentials }, "no user to log on"},
		"a session of none":  {func(c *Config) { c.User, c.Hold = "", &yes }, "no user to log on"},
		"an unknown depth":   {func(c *Config) { c.Logon = "all" }, `logon is "all"`},
		"a negative time":    {func(c *Config) { c.Every = -1 }, "negative"},
		"a short pin":        {func(c *Config) { c.Fingerprint = "abcd" }, "2 bytes instead of 32"},
		"no pin":             {func(c *Config) { c.Fingerprint = "xyz" }, "not a SHA-256"},
		"a pin and a CA":     {func(c *Config) { c.Fingerprint, c.CAFile = sum, "f" }, "both given"},
		"no such CA":         {func(c *Config) { c.CAFile = filepath.Join(dir, "none") }, "ca_file cannot be used"},
		"a CA that is empty": {func(c *Config) { c.CAFile = file("ca", "nothing") }, "no certificate in it"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			cfg := Config{Address: "guest", User: "u", PasswordEnv: "APD_RDP_TEST", Client: nobody{}}
			c.change(&cfg)
			p, err := New(cfg, drivers.Clock{Zero: time.Now()}, drivers.Lane{}, nil)
			if c.want == "" {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(p.Close()).To(Succeed())
				return
			}
			var o *drivers.Operator
			g.Expect(errors.As(err, &o)).To(BeTrue())
			g.Expect(err).To(MatchError(ContainSubstring(c.want)))
			g.Expect(o.Do).NotTo(BeEmpty())
		})
	}
	g := NewWithT(t)
	p, err := New(Config{Address: "guest", User: "u", PasswordEnv: "APD_RDP_TEST", Client: nobody{}}, drivers.Clock{}, drivers.Lane{}, nil)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect([]any{p.cfg.Address, p.cfg.Logon, *p.cfg.Hold, p.cfg.Every, p.cfg.Limit}).To(Equal([]any{"guest:3389", Credentials, true, 5 * time.Second, 8 * time.Second}))
	for in, want := range map[string]string{"::1": "[::1]:3389", "[::1]": "[::1]:3389", "[::1]:99": "[::1]:99", "h:99": "h:99"} {
		p, err := New(Config{Address: in}, drivers.Clock{}, drivers.Lane{}, nil)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(p.cfg.Address).To(Equal(want))
	}
}
