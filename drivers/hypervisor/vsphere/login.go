// This file finds out where the API is and who logs in, from the lab file and from govc's variables.

package vsphere

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// login is an address and who logs in there. Its URL carries no user.
type login struct {
	url      *url.URL
	user     string
	password string
}

// loginOf reads the lab file's keys, then the variables that govc knows. inMemory allows http: no wire is involved.
func loginOf(cfg Config, env func(string) string, inMemory bool) (login, error) {
	text, own := cfg.URL, true
	if text == "" {
		text, own = env("GOVC_URL"), false
	}
	if text == "" {
		return login{}, errors.New("neither url nor GOVC_URL is given")
	}
	u, err := parseURL(text)
	if err != nil {
		return login{}, err
	}
	l := login{url: u, user: cfg.User}
	password, _ := u.User.Password()
	if own && password != "" {
		return login{}, errors.New("url has a password in it: put it into a file and name that as password_file")
	}
	if l.user == "" {
		l.user = env("GOVC_USERNAME")
	}
	if l.user == "" {
		l.user = u.User.Username()
	}
	u.User = nil
	switch {
	case cfg.PasswordFile != "":
		b, err := os.ReadFile(cfg.PasswordFile)
		if err != nil {
			return login{}, fmt.Errorf("reading password_file: %w", err)
		}
		l.password = strings.TrimRight(string(b), "\r\n")
	case env("GOVC_PASSWORD") != "":
		l.password = env("GOVC_PASSWORD")
	default:
		l.password = password
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return login{}, fmt.Errorf("the URL begins with %q, and only https is known", u.Scheme)
	case u.Scheme == "http" && !inMemory && !loopback(u.Hostname()):
		return login{}, errors.New("the URL begins with http, which would show the password to the network")
	case l.user == "":
		return login{}, errors.New("neither user nor GOVC_USERNAME is given")
	case l.password == "":
		return login{}, errors.New("neither password_file nor GOVC_PASSWORD is given")
	}
	return l, nil
}

// parseURL reads a URL or a host alone. Its errors do not repeat the text, which may have a password in it.
func parseURL(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, errors.New("the address of the API is not a URL")
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = "/sdk"
	}
	return u, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// scrub takes the password out of a text.
func (l login) scrub(text string) string {
	if len(l.password) < 3 {
		return text
	}
	for _, p := range []string{l.password, url.QueryEscape(l.password), url.PathEscape(l.password)} {
		text = strings.ReplaceAll(text, p, "***")
	}
	return text
}

// trustOf is what the certificate is checked against: the lab file's thumbprint or authorities, or what govc's variables name.
func trustOf(cfg Config, env func(string) string) (tlstrust.Trust, error) {
	c := tlstrust.Config{Thumbprint: cfg.Thumbprint, SHA1: true, CAFile: cfg.CAFile, Known: map[string]tlstrust.Thumbprint{}}
	if c.CAFile == "" {
		c.CAFile = env("GOVC_TLS_CA_CERTS")
	}
	for _, file := range filepath.SplitList(env("GOVC_TLS_KNOWN_HOSTS")) {
		b, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return tlstrust.Trust{}, fmt.Errorf("reading GOVC_TLS_KNOWN_HOSTS: %w", err)
		}
		tlstrust.ReadKnown(b, c.Known)
	}
	return tlstrust.New(c)
}

// insecure tells whether govc is told to trust anybody.
func insecure(env func(string) string) bool {
	return env("GOVC_INSECURE") == "1" || strings.EqualFold(env("GOVC_INSECURE"), "true")
}
