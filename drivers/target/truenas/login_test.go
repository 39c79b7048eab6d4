// These tests go through logins that are refused, certificates that are not trusted, and lab files that are wrong.

package truenas

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/truenas"
)

func TestCredentials(t *testing.T) {
	expired := func(x *sim.Lies) { x.Expired = true }
	for name, c := range map[string]struct {
		version string
		key     bool
		factor  bool
		lie     func(*sim.Lies)
		say     []string
	}{
		"wrong password, v1":      {each[0], false, false, func(x *sim.Lies) { x.Unauthorized = true }, []string{"user or password is wrong", "root"}},
		"wrong password, v2":      {each[1], false, false, func(x *sim.Lies) { x.Unauthorized = true }, []string{"user or password is wrong", "two-factor"}},
		"wrong password, jsonrpc": {each[2], false, false, func(x *sim.Lies) { x.Unauthorized = true }, []string{"user or password is wrong"}},
		"echo, v2":                {each[1], false, false, func(x *sim.Lies) { x.Unauthorized, x.EchoSecrets = true, true }, []string{"***"}},
		"echo, jsonrpc":           {each[3], true, false, func(x *sim.Lies) { x.EchoSecrets = true }, []string{"***"}},
		"wrong key, v2":           {each[1], true, false, func(x *sim.Lies) { x.Unauthorized = true }, []string{"API key is wrong, revoked or expired"}},
		"wrong key, jsonrpc":      {each[3], true, false, func(x *sim.Lies) { x.Unauthorized = true }, []string{"API key is wrong"}},
		"expired key, v2":         {each[1], true, false, expired, []string{"revoked or expired"}},
		"expired key, jsonrpc":    {each[2], true, false, expired, []string{"revoked or expired"}},
		"key on FreeNAS":          {"FreeNAS-11.3-U5", true, false, nil, []string{"FreeNAS up to 11.3 has none"}},
		"second factor, v2":       {"TrueNAS-SCALE-24.10.2", false, true, nil, []string{"second factor", "api_key_file"}},
		"second factor, old v2":   {each[1], false, true, nil, []string{"two-factor", "api_key_file"}},
		"second factor, jsonrpc":  {each[3], false, true, nil, []string{"second factor", "api_key_file"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, c.version, nil, func(s *sim.Config) { s.TwoFactor = c.factor })
			if c.key {
				l.withKey()
			}
			if c.lie != nil {
				l.lie(c.lie)
			}
			told(t, l.open().Probe(t.Context()), c.say...)
		})
	}
}

func TestCertificate(t *testing.T) {
	l := newLab(t, each[2], newDaemon(t), nil)
	pin := l.conf.Thumbprint
	shown, err := tlstrust.Parse(pin)
	if err != nil {
		t.Fatal(err)
	}
	l.conf.Thumbprint = ""
	told(t, l.open().Probe(t.Context()), "not trusted", shown.String())
	l.conf.Thumbprint = strings.Repeat("ab", 32)
	told(t, l.open().Probe(t.Context()), "not the pinned one", shown.String())
	for _, r := range l.nas.Requests() {
		t.Errorf("it sent %v to a server that is not trusted", r)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, l.nas.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	l.conf.Thumbprint, l.conf.CAFile = "", ca
	if err := l.open().Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// A key never leaves without TLS: the system would revoke it.
func TestNoKeyWithoutTLS(t *testing.T) {
	l := newLab(t, "TrueNAS-25.10.0", nil, func(c *sim.Config) { c.Remote = true }).withKey()
	l.conf.URL, l.conf.Thumbprint = "http://nas.test", ""
	c := l.conf
	env := drivers.Env{ID: "target", Dial: plainDial(strings.TrimPrefix(l.nas.PlainURL, "http://"))}
	_, err := open(env, c, func(k string) string { return l.env[k] })
	told(t, err, "revokes", "nothing was sent")
	if r := l.nas.Requests(); len(r) != 0 {
		t.Errorf("it sent %v", r)
	}
	l.env = map[string]string{"TRUENAS_PASSWORD": password}
	_, err = open(env, c, func(k string) string { return l.env[k] })
	told(t, err, "http")
	l.conf.URL = l.nas.PlainURL // loopback
	if _, err := l.tryOpen(); err != nil {
		t.Error(err)
	}
}

func TestConfigurations(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := Config{URL: "https://nas", User: "root", PasswordFile: file, Portal: "10.0.0.1:3260", Target: iqn}
	for name, c := range map[string]struct {
		change func(*Config)
		say    string
	}{
		"no url":         {func(c *Config) { c.URL = "" }, "no url"},
		"password in it": {func(c *Config) { c.URL = "https://root:hunter22@nas" }, "password in it"},
		"ftp":            {func(c *Config) { c.URL = "ftp://nas" }, "only https"},
		"no portal":      {func(c *Config) { c.Portal = "" }, "portal"},
		"short target":   {func(c *Config) { c.Target = "lab" }, "target"},
		"lun":            {func(c *Config) { c.LUN = -1 }, "lun"},
		"api":            {func(c *Config) { c.API = "v3" }, "api is v3"},
		"no secret":      {func(c *Config) { c.PasswordFile = "" }, "neither a password nor an API key"},
		"no user":        {func(c *Config) { c.User = "" }, "no user"},
		"no file":        {func(c *Config) { c.PasswordFile = filepath.Join(dir, "none") }, "password_file"},
		"thumbprint":     {func(c *Config) { c.Thumbprint = "abcd" }, "thumbprint"},
		"ca_file":        {func(c *Config) { c.CAFile = file }, "ca_file"},
	} {
		conf := good
		c.change(&conf)
		_, err := open(drivers.Env{ID: "target"}, conf, func(string) string { return "" })
		t.Run(name, func(t *testing.T) {
			told(t, err, c.say)
			if strings.Contains(err.Error(), "hunter22") {
				t.Errorf("it repeats the password: %v", err)
			}
		})
	}
	if _, err := open(drivers.Env{ID: "target"}, good, func(string) string { return "" }); err != nil {
		t.Error(err)
	}
}
