// This file talks to a controller over IPMI 2.0. Each call has a session of its own: controllers have few, and one that is kept has to be
// kept alive.

package power

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/bougou/go-ipmi"
)

// ipmiBMC is a controller that speaks IPMI over RMCP+.
type ipmiBMC struct {
	at, host       string
	port           int
	user, password string
	cipher         ipmi.CipherSuiteID
}

// ipmiAnswer is how long one datagram is waited for before it is sent again.
const ipmiAnswer = time.Second

func newIPMI(c IPMI) (*ipmiBMC, error) {
	at := c.Address
	if _, _, err := net.SplitHostPort(at); err != nil {
		at = net.JoinHostPort(strings.Trim(c.Address, "[]"), "623") // section 13.1.2
	}
	host, port, err := net.SplitHostPort(at)
	n, nerr := strconv.ParseUint(port, 10, 16)
	if err != nil || nerr != nil || host == "" || n == 0 {
		return nil, errors.New("ipmi.address is not host:port")
	}
	b := &ipmiBMC{at: at, host: host, port: int(n), user: c.User, cipher: ipmi.CipherSuiteID(c.Cipher)}
	switch c.Cipher {
	case 0:
		b.cipher = ipmi.CipherSuiteID17 // suite 0 itself, which lets anybody in, cannot be asked for
	case 3, 17:
	default:
		return nil, fmt.Errorf("ipmi.cipher is %d, and has to be 17 or 3: the others do not both sign and encrypt well", c.Cipher)
	}
	if b.user == "" {
		return nil, errors.New("ipmi.user is not given")
	}
	b.password, err = secret(c.PasswordFile, "IPMI_PASSWORD")
	if err == nil && len(b.password) > 20 {
		err = errors.New("an IPMI 2.0 password has at most 20 bytes (section 22.30)")
	}
	return b, err
}

func (b *ipmiBMC) address() string { return b.at }
func (b *ipmiBMC) close()          {}

func (b *ipmiBMC) secrecy() []string {
	out := []string{"RMCP+ with cipher suite " + strconv.Itoa(int(b.cipher))}
	if b.cipher == ipmi.CipherSuiteID3 {
		out = append(out, "which signs with SHA-1")
	}
	return append(out, "a controller hands a hash of the password to whoever asks (RAKP, section 13.20): a long password, a network of its own")
}

// dialer makes the one socket of a session, and closes it when the context ends: the library itself would wait on.
type dialer struct {
	ctx  context.Context
	at   string
	mu   sync.Mutex
	conn net.Conn
}

// Dial does not heed the address that the library puts together, which is none for IPv6.
func (d *dialer) Dial(network, _ string) (net.Conn, error) {
	var nd net.Dialer
	c, err := nd.DialContext(d.ctx, network, d.at)
	if err == nil {
		d.mu.Lock()
		d.conn = c
		d.mu.Unlock()
		context.AfterFunc(d.ctx, func() { c.Close() })
	}
	return c, err
}

func (d *dialer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		d.conn.Close()
	}
}

// with opens a session for f. The library reads what comes from outside without looking twice, so what it trips over is an error here.
func (b *ipmiBMC) with(ctx context.Context, f func(context.Context, *ipmi.Client) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the controller's answer is not IPMI")
		}
	}()
	c, err := ipmi.NewClient(b.host, b.port, b.user, b.password)
	if err != nil {
		return b.tidy(err)
	}
	in, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &dialer{ctx: in, at: b.at}
	defer d.close()
	c.WithInterface(ipmi.InterfaceLanplus).WithUDPProxy(d).WithTimeout(ipmiAnswer).WithRetry(2, 0).WithCipherSuiteID(b.cipher).
		WithMaxPrivilegeLevel(ipmi.PrivilegeLevelOperator)
	id, err := login(in, c)
	if err != nil {
		return b.tidy(err)
	}
	if err = f(in, c); err == nil { // no farewell to one that is silent
		_, _ = c.CloseSession(in, &ipmi.CloseSessionRequest{SessionID: id})
	}
	return b.tidy(err)
}

// login opens a session (section 13.15) with the one cipher suite that is configured, for an operator, who may control the chassis. The
// library's own Connect first asks what the controller can do in a format that strict ones do not answer, and leaves a goroutine behind.
func login(ctx context.Context, c *ipmi.Client) (session uint32, err error) {
	opened, err := c.OpenSession(ctx)
	if err != nil {
		return 0, fmt.Errorf("open session failed: %w", err)
	}
	if _, err = c.RAKPMessage1(ctx); err != nil {
		return 0, fmt.Errorf("rakp 1 failed: %w", err)
	}
	if _, err = c.RAKPMessage3(ctx); err != nil {
		return 0, fmt.Errorf("rakp 3 failed: %w", err)
	}
	got, err := c.SetSessionPrivilegeLevel(ctx, ipmi.PrivilegeLevelOperator)
	if err == nil && got.PrivilegeLevel&0x0f < uint8(ipmi.PrivilegeLevelOperator) {
		err = fmt.Errorf("it is %d", got.PrivilegeLevel)
	}
	if err != nil {
		return 0, fmt.Errorf("privilege refused: %w", err)
	}
	return opened.ManagedSystemSessionID, nil
}

func (b *ipmiBMC) status(ctx context.Context) (s status, err error) {
	err = b.with(ctx, func(ctx context.Context, c *ipmi.Client) error {
		r, err := c.GetChassisStatus(ctx) // section 28.2
		if err == nil {
			s = status{on: r.PowerIsOn, sure: true, word: map[bool]string{true: "on", false: "off"}[r.PowerIsOn]}
		}
		return err
	})
	return s, err
}

// controls are the chassis controls of section 28.3. IPMI has none for a restart in order.
var controls = map[action]ipmi.ChassisControl{actOn: ipmi.ChassisControlPowerUp, actOff: ipmi.ChassisControlPowerDown,
	actCycle: ipmi.ChassisControlPowerCycle, actShutdown: ipmi.ChassisControlSoftShutdown}

func (b *ipmiBMC) can(ctx context.Context, a action) (bool, error) {
	_, ok := controls[a]
	return ok, ctx.Err()
}

func (b *ipmiBMC) do(ctx context.Context, a action) error {
	control, ok := controls[a]
	if !ok {
		return fmt.Errorf("IPMI has no way for %q", a)
	}
	return b.with(ctx, func(ctx context.Context, c *ipmi.Client) error {
		_, err := c.ChassisControl(ctx, control)
		return err
	})
}

var errCipher = errors.New("the controller does not take that cipher suite")

// tidy makes an error short. Nothing of what the library says about the login stays: it prints hashes of the password.
func (b *ipmiBMC) tidy(err error) error {
	if err == nil {
		return nil
	}
	s := strings.ToLower(err.Error())
	var ne net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return syscall.ECONNREFUSED
	case errors.As(err, &ne) && ne.Timeout(), errors.Is(err, os.ErrDeadlineExceeded):
		return errSilent
	case strings.Contains(s, "canceled from caller"), errors.Is(err, net.ErrClosed):
		return errSilent
	case strings.Contains(s, "open session failed"), strings.Contains(s, "cipher suite") && !strings.Contains(s, "rakp"):
		return errCipher
	case strings.Contains(s, "rakp"), strings.Contains(s, "authcode"), strings.Contains(s, "privilege"):
		return errLogin
	}
	return errors.New(plain(err.Error(), b.password))
}

func (b *ipmiBMC) blame(err error) outcome {
	switch {
	case errors.Is(err, errLogin):
		return outcome{fmt.Sprintf("the controller at %s does not let %q in as an operator", b.at, b.user), "Correct ipmi.user and password_file, and the user's privilege there"}
	case errors.Is(err, errCipher):
		return outcome{fmt.Sprintf("the controller at %s does not take cipher suite %d", b.at, b.cipher), "Write cipher: 3 for an older one, or permit 17 there"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return outcome{"no IPMI listens at " + b.at, "Correct ipmi.address, or switch IPMI over LAN on there"}
	}
	return outcome{"the controller at " + b.at + " cannot be worked with", "Try by hand: ipmitool -I lanplus chassis status"}
}
