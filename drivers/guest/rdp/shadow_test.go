package rdp_test

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers/guest/rdp"
)

// shadowSAM has the box's user with the NT hash of boxPassword, as `winpr-hash -f sam` prints it.
const shadowSAM = boxUser + ":::962cbf15919d91caf0aa44a907c5ac25:::"

// TestCredSSP has a server that checks credentials with CredSSP before there is a session, as Windows does: FreeRDP's own. It
// needs a screen to show. It sends no Save Session Info PDU either.
func TestCredSSP(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBox(t, "freerdp-shadow-cli", "ss")
	defer b.logs("/run/shadow.out")
	b.sh(`echo '` + shadowSAM + `' >/run/sam`)
	b.up("screen", "Xvfb :5 -noreset -nolisten tcp -screen 0 640x480x24")
	// The server ends at once when the screen is not ready yet.
	b.up("shadow", `sh -c 'while :; do DISPLAY=:5 HOME=/tmp freerdp-shadow-cli /port:3389 /bind-address:127.0.0.1 /sec:nla /sam-file:/run/sam; sleep 0.2; done'`)
	b.listening("3389")
	p := b.prober(func(c *rdp.Config) { c.Logon = ""; c.LogonLimit = 40 * time.Second })

	a := p.Try(t.Context(), rdp.None)
	g.Expect([]any{a.Stage, a.Way, a.Protocol, a.CredSSP}).To(Equal([]any{rdp.TLS, "", "credssp", "challenge"}), "%v", a.Err)
	a = p.Try(t.Context(), rdp.Credentials)
	g.Expect([]any{a.Stage, a.Way, a.Depth}).To(Equal([]any{rdp.Logon, "", rdp.Credentials}), "%v", a.Err)
	t.Logf("credentials were taken after %v", a.Ended-a.Begun)
	g.Expect(p.Probe(t.Context())).To(Succeed())

	wrong := b.prober(func(c *rdp.Config) { c.Logon, c.PasswordFile = "", secret(t, "not this") })
	a = wrong.Try(t.Context(), rdp.Credentials)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.TLS, "logon", "closed"}), "this server hangs up: %v", a.Err)
	g.Expect(a.Err).NotTo(MatchError(ContainSubstring("not this")))

	b.signal("shadow", "STOP") // between the handshake and the challenge there is no stopping it from outside; before, there is
	stopped := b.prober(func(c *rdp.Config) { c.Limit = time.Second })
	g.Expect(stopped.Try(t.Context(), rdp.Credentials).Stage).To(Equal(rdp.Silent))
}
