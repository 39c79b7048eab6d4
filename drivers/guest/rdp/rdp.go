// Package rdp looks at a guest's Remote Desktop service from outside, in two ways at once: it tries new connections, each as far
// as it gets, and it holds one session open that was there before anything broke.
//
// What it reports, all times on the harness's clock (sample units in brackets):
//
//	rdp.new          state   the stage that a new connection reaches: refused, silent, x224, tls, logon (see Stage)
//	rdp.new          sample  [s] a connection took that reached all that was asked for
//	rdp.held         state   connected, unresponsive (no byte for 5 s after the screen was asked for), dropped; unknown when our
//	                         own client broke, which is a LabFailure
//	rdp.held         sample  [s] from asking for the screen to the next byte from the guest
//	rdp.certificate  event   Value is how it is trusted: pinned, verified, first use; Attrs sha256
//
// The Text of rdp.new is what the client was waiting for and what became of it ("tls timeout"), empty when nothing was missing;
// its Attrs are way, protocol, credssp, certificate, depth and error.
//
// Own code speaks X.224, TLS and the first round of CredSSP, which needs no password. For a logon and for the held session an
// existing client is used: a Client, normally FreeRDP.
//
// What "logon" means depends on the depth. "session" is a session that the guest says somebody is logged on in; "credentials"
// ends where the guest has taken the credentials (CredSSP, before there is a session). A Windows that is no server lets one
// user in at a time: there a new session takes the place of the held one, so "credentials" is the default. A guest that still
// checks passwords may yet be unable to give a desktop: a claim that no desktop can be had is not refuted by "credentials".
package rdp

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// Depth is how far a new connection is to be taken.
type Depth string

// The depths.
const (
	None        Depth = "none"        // to the challenge of CredSSP, where the guest has it, else to TLS; no password is used
	Credentials Depth = "credentials" // to the guest's word that the credentials are good; only with CredSSP
	Desktop     Depth = "session"     // to a session with somebody logged on
)

// The pace and the limits, where the configuration does not say.
const (
	defaultEvery   = 5 * time.Second
	defaultLimit   = 8 * time.Second
	defaultLogon   = 15 * time.Second
	defaultPort    = "3389" // [MS-RDPBCGR] 2.1
	heldLimit      = 60 * time.Second
	heldAgain      = 5 * time.Second
	maxPassword    = 256 // bytes; FreeRDP's prompt takes no more (mem)
	probeHeadstart = 2 * time.Second
)

// Config is what a lab file says of a guest's RDP service.
type Config struct {
	Address      string        `yaml:"address"`       // host or host:port; port 3389 by default
	User         string        `yaml:"user"`          // empty: nobody logs on, and no session is held
	Domain       string        `yaml:"domain"`        // empty: the guest's own accounts
	PasswordEnv  string        `yaml:"password_env"`  // the environment variable that holds the password, or
	PasswordFile string        `yaml:"password_file"` // a file that holds it in one line
	Fingerprint  string        `yaml:"fingerprint"`   // SHA-256 of the certificate, hex with or without colons; or
	CAFile       string        `yaml:"ca_file"`       // PEM of who signed it; neither: the first one seen is trusted, and that is told
	Logon        Depth         `yaml:"logon"`         // none, credentials (default where there is a user), session
	Hold         *bool         `yaml:"hold"`          // hold a session open; default true where there is a user
	Every        time.Duration `yaml:"every"`         // from one new connection to the next; default 5 s
	Limit        time.Duration `yaml:"limit"`         // of one, up to the challenge; default 8 s
	LogonLimit   time.Duration `yaml:"logon_limit"`   // of the logon that follows; default 15 s

	Client Client                        `yaml:"-"` // who logs on; default FreeRDP
	Logf   func(format string, a ...any) `yaml:"-"` // for people; never a secret
}

// Target is what a Client connects to.
type Target struct {
	Address     string
	Dial        drivers.Dial
	Fingerprint string // SHA-256 of the certificate that it is to meet, lower-case hex with colons
	User        string
	Domain      string
	Password    string
}

// Client is a program that logs on to a guest.
type Client interface {
	// Check tells whether the program can be used on this machine.
	Check() error
	// Logon logs on anew and leaves. ctx bounds it. What the guest did is a *LogonError; any other error is our own.
	Logon(ctx context.Context, t Target, d Depth) error
	// Open opens a session to be held and returns when somebody is logged on in it; errors are as with Logon. ctx bounds the
	// opening. heard is called, from any goroutine, whenever bytes come from the guest.
	Open(ctx context.Context, t Target, heard func()) (Session, error)
	// Close ends everything that still runs.
	Close() error
}

// Session is an open one.
type Session interface {
	// Refresh asks the guest to send its screen anew.
	Refresh(ctx context.Context) error
	// Ended is closed when the session has ended; Why says how.
	Ended() <-chan struct{}
	Why() End
	// Close ends it. It takes no longer than a moment, whatever the guest does.
	Close()
}

// End is how a session ended.
type End struct {
	ByGuest bool // by the guest or the network; false: our own client broke
	Text    string
}

// LogonError is what a guest did instead of letting somebody in.
type LogonError struct {
	Way string // timeout, refused (the credentials), closed, failed
	Err error
}

func (e *LogonError) Error() string { return "logon " + e.Way + ": " + e.Err.Error() }
func (e *LogonError) Unwrap() error { return e.Err }

// Prober looks at one guest.
type Prober struct {
	cfg      Config
	clock    drivers.Clock
	lane     drivers.Lane
	dial     drivers.Dial
	password string
	pool     *x509.CertPool
	boots    chan struct{} // has one when the guest booted anew

	mu        sync.Mutex
	pin       string // the fingerprint to meet; set at the first connection when none is configured
	refused   time.Time
	observing bool
}

// New reads the configuration. It does not talk to the guest. A nil dial is the network's own way.
func New(cfg Config, clock drivers.Clock, lane drivers.Lane, dial drivers.Dial) (*Prober, error) {
	bad := func(cause, do string, err error) (*Prober, error) {
		return nil, &drivers.Operator{Cause: "rdp: " + cause, Impact: "The guest's remote desktop cannot be looked at", Do: do, Err: err}
	}
	if _, _, err := net.SplitHostPort(cfg.Address); err != nil {
		cfg.Address = net.JoinHostPort(strings.Trim(cfg.Address, "[]"), defaultPort)
	}
	if host, _, err := net.SplitHostPort(cfg.Address); err != nil || host == "" {
		return bad("address is neither a host nor host:port", "Write address: the guest's name or number, with :port where it is not 3389", err)
	}
	p := &Prober{clock: clock, lane: lane, dial: dial, boots: make(chan struct{}, 1)}
	if p.dial == nil {
		p.dial = (&net.Dialer{KeepAlive: -1}).DialContext // whether the guest still answers is ours to find out, not the kernel's
	}
	cfg.Every, cfg.Limit, cfg.LogonLimit = cmp.Or(cfg.Every, defaultEvery), cmp.Or(cfg.Limit, defaultLimit), cmp.Or(cfg.LogonLimit, defaultLogon)
	if cfg.Every < 0 || cfg.Limit < 0 || cfg.LogonLimit < 0 {
		return bad("a time is negative", "Write every, limit and logon_limit as times like 5s", nil)
	}
	if cfg.Logf == nil {
		cfg.Logf = func(string, ...any) {}
	}
	switch {
	case cfg.User == "" && (cfg.Logon == Credentials || cfg.Logon == Desktop || cfg.Hold != nil && *cfg.Hold):
		return bad("there is no user to log on", "Write user, and password_env or password_file; or logon: none and hold: false", nil)
	case cfg.User == "":
		cfg.Logon = None
	case cfg.Logon == "":
		cfg.Logon = Credentials
	}
	if cfg.Logon != None && cfg.Logon != Credentials && cfg.Logon != Desktop {
		return bad(fmt.Sprintf("logon is %q", cfg.Logon), "Write logon: none, credentials or session", nil)
	}
	if cfg.Hold == nil {
		hold := cfg.User != ""
		cfg.Hold = &hold
	}
	if cfg.User != "" {
		var err error
		if p.password, err = readPassword(cfg); err != nil {
			return bad("no usable password", "Give password_env (the name of a variable that is set) or password_file (a file of one line)", err)
		}
	}
	switch {
	case cfg.Fingerprint != "" && cfg.CAFile != "":
		return bad("fingerprint and ca_file are both given", "Write the one that is meant", nil)
	case cfg.Fingerprint != "":
		var err error
		if p.pin, err = parseFingerprint(cfg.Fingerprint); err != nil {
			return bad("fingerprint is not a SHA-256", "Write the 64 hex digits of the certificate's SHA-256, as openssl x509 -fingerprint -sha256 prints them", err)
		}
	case cfg.CAFile != "":
		pem, err := os.ReadFile(cfg.CAFile)
		p.pool = x509.NewCertPool()
		if err == nil && !p.pool.AppendCertsFromPEM(pem) {
			err = errors.New("there is no certificate in it")
		}
		if err != nil {
			return bad("ca_file cannot be used", "Write the path of a PEM file with the certificate of who signed the guest's", err)
		}
	}
	if cfg.Client == nil {
		cfg.Client = &FreeRDP{}
	}
	p.cfg = cfg
	if p.logsOn() {
		if err := cfg.Client.Check(); err != nil {
			return bad("the client cannot be used", "Install it (apt-get install freerdp2-x11 xvfb); or write logon: none and hold: false", err)
		}
	}
	return p, nil
}

// logsOn tells whether the client is needed at all.
func (p *Prober) logsOn() bool { return p.cfg.Logon != None || *p.cfg.Hold }

// readPassword takes the password from where the configuration says.
func readPassword(cfg Config) (string, error) {
	var s string
	switch {
	case cfg.PasswordEnv != "" && cfg.PasswordFile != "":
		return "", errors.New("password_env and password_file are both given")
	case cfg.PasswordEnv != "":
		if s = os.Getenv(cfg.PasswordEnv); s == "" {
			return "", fmt.Errorf("the variable %s is not set", cfg.PasswordEnv)
		}
	case cfg.PasswordFile != "":
		b, err := os.ReadFile(cfg.PasswordFile)
		if err != nil {
			return "", fmt.Errorf("reading password_file: %w", err)
		}
		if s = strings.TrimRight(string(b), "\r\n"); s == "" {
			return "", fmt.Errorf("%s is empty", cfg.PasswordFile)
		}
	default:
		return "", errors.New("neither password_env nor password_file is given")
	}
	if strings.ContainsAny(s, "\r\n\x00") || len(s) > maxPassword {
		return "", fmt.Errorf("the password has more than one line or more than %d bytes", maxPassword)
	}
	return s, nil
}

// Booted says that the guest booted anew: the session to hold, if it dropped, is opened again.
func (p *Prober) Booted() {
	select {
	case p.boots <- struct{}{}:
	default:
	}
}

// Observe reports until ctx ends. Only one Observe of a prober runs at a time.
func (p *Prober) Observe(ctx context.Context, emit func(drivers.Observation)) error {
	p.mu.Lock()
	if p.observing {
		p.mu.Unlock()
		return errors.New("rdp: it is being observed already")
	}
	p.observing = true
	p.mu.Unlock()
	r := &reporter{clock: p.clock, lane: p.lane, emit: emit, last: map[string]string{}}
	var wg sync.WaitGroup
	wg.Go(func() { p.tryConnections(ctx, r) })
	if *p.cfg.Hold {
		wg.Go(func() { p.keepHeld(ctx, r) })
	}
	wg.Wait()
	p.mu.Lock()
	p.observing = false
	p.mu.Unlock()
	return nil
}

// Probe makes one connection as far as the configuration wants it, and says what is in the way.
func (p *Prober) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Limit+p.cfg.LogonLimit+probeHeadstart)
	defer cancel()
	return p.operator(p.Try(ctx, p.cfg.Logon))
}

// operator explains an attempt that did not get as far as it was to.
func (p *Prober) operator(a Attempt) error {
	if a.Way == "" {
		return nil
	}
	bad := func(cause, do string) error {
		return &drivers.Operator{
			Cause:  fmt.Sprintf("rdp: connecting to %s: %s", p.cfg.Address, cause),
			Impact: "What the guest's remote desktop does during the fault could not be told from what it does now", Do: do, Err: a.Err,
		}
	}
	switch {
	case a.Way == wayOurs:
		return bad("the client on this machine fails", "Install freerdp2-x11 and xvfb, and start xfreerdp by hand")
	case a.Way == wayCertificate:
		return bad("the certificate is not the one that the lab file names",
			"Make sure that the address is the guest's; its certificate now is SHA-256 "+a.Certificate)
	case a.Stage == Refused && a.Way == wayRefused:
		return bad("nothing listens there", "Start the guest and switch Remote Desktop on, or correct the port in address")
	case a.Stage == Refused:
		return bad("no answer from that address", "Power the guest on, check the address and the firewalls between")
	case a.Stage == Silent:
		return bad("the port is open and then nothing comes that is RDP", "Check the port in address; the guest's disk may be away from an earlier run: reset it")
	case a.Stage == X224:
		return bad("it agrees on no TLS: "+a.words(), "Allow TLS 1.2 and Network Level Authentication in the guest's remote desktop settings")
	case a.Way == wayRefused:
		return bad("the guest refuses the credentials", "Check user, domain and the password, and that this user may log on by Remote Desktop")
	case a.Way == wayNoCredSSP:
		return bad("the guest checks no credentials before a session", "Write logon: session (a new session may take the held one's place), or logon: none")
	}
	return bad("it fails: "+a.words(), "Log on by hand with the same user and password")
}

// Close ends what still runs on this machine. It changes nothing in the guest.
func (p *Prober) Close() error { return p.cfg.Client.Close() }
