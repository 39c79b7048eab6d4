// This file finds out where the API is and who logs in, and keeps secrets off wires and out of texts.

package truenas

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
)

// login is an address and who logs in there. Its URL carries no user and no path.
type login struct {
	url      *url.URL
	user     string
	password string
	key      string // an API key, which goes before the password
}

// loginOf reads the lab file's keys and the variables TRUENAS_PASSWORD and TRUENAS_API_KEY. It fails where a secret would
// go over a wire in the clear: a system from 25.04 on revokes an API key that it is shown so (tag TS-25.04.0,
// plugins/auth.py). Its errors contain no secret.
func loginOf(cfg Config, getenv func(string) string) (login, error) {
	u, err := parseURL(cfg.URL)
	if err != nil {
		return login{}, err
	}
	l := login{url: u, user: cfg.User}
	if l.key, err = secret("api_key_file", cfg.APIKeyFile, getenv("TRUENAS_API_KEY")); err != nil {
		return login{}, err
	}
	if l.password, err = secret("password_file", cfg.PasswordFile, getenv("TRUENAS_PASSWORD")); err != nil {
		return login{}, err
	}
	if cfg.PasswordFile != "" && cfg.APIKeyFile == "" {
		l.key = "" // the lab file goes before the environment
	}
	plain := u.Scheme == "http" && !loopback(u.Hostname())
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return login{}, fmt.Errorf("the URL begins with %q, and only https is known", u.Scheme)
	case plain && l.key != "":
		return login{}, errors.New("the URL begins with http, and TrueNAS revokes an API key that is shown to it without TLS; nothing was sent")
	case plain:
		return login{}, errors.New("the URL begins with http, which would show the password to the network; nothing was sent")
	case l.key == "" && l.password == "":
		return login{}, errors.New("neither a password nor an API key is given")
	case l.user == "" && l.key == "":
		return login{}, errors.New("no user is given")
	}
	return l, nil
}

// secret reads a file, or takes the value of a variable.
func secret(key, file, value string) (string, error) {
	if file == "" {
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", key, err)
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", fmt.Errorf("%s is empty", key)
	}
	return s, nil
}

// parseURL reads a URL or a host alone. Its errors do not repeat the text, which may have a password in it.
func parseURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("no url is given")
	}
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("the address of the API is not a URL")
	}
	if _, has := u.User.Password(); has {
		return nil, errors.New("url has a password in it: put it into a file and name that as password_file")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// loopback tells whether nothing leaves this machine: the middleware counts such a transport as safe (tag TS-25.10.0,
// utils/origin.py).
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// secrets lists what must not appear in any text.
func (l login) secrets() []string {
	var out []string
	if l.password != "" {
		out = append(out, base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password)))
	}
	for _, s := range []string{l.key, l.password} {
		if len(s) >= 3 {
			out = append(out, s, url.QueryEscape(s), url.PathEscape(s), strings.Trim(fmt.Sprintf("%q", s), `"`))
		}
	}
	return out
}

// scrub takes the secrets out of a text.
func (l login) scrub(text string) string {
	for _, s := range l.secrets() {
		text = strings.ReplaceAll(text, s, "***")
	}
	return text
}

// textLimit bounds what is quoted from an answer, in bytes.
const textLimit = 400

// quote prepares an answer's words for people: one line, without secrets, not too long.
func (l login) quote(text string) string {
	text = strings.ToValidUTF8(strings.Join(strings.Fields(l.scrub(text)), " "), "?")
	if len(text) > textLimit {
		text = strings.ToValidUTF8(text[:textLimit], "") + " ..."
	}
	return text
}
