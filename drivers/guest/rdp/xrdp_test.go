package rdp_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/guest/rdp"
)

// xrdp sends no Save Session Info PDU. But its session brings a process (chansrv) that speaks to the client's device channel, and
// FreeRDP says when it is told what that can: before there is a session nobody does so.
var xrdpLoggedOn = []string{"rdpdr.client] - Checking ExtendedPDU"}

var lane = drivers.Lane{Role: drivers.Guest, Name: "w", Provenance: drivers.Embedded}

// secret is a file with a password.
func secret(t testing.TB, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// prober makes one for the box.
func (b *box) prober(change func(*rdp.Config)) *rdp.Prober {
	b.t.Helper()
	c := rdp.Config{Address: boxAddress, User: boxUser, PasswordFile: secret(b.t, boxPassword), Logon: rdp.Desktop,
		Client: &rdp.FreeRDP{LoggedOn: xrdpLoggedOn}, Logf: b.t.Logf}
	if change != nil {
		change(&c)
	}
	p, err := rdp.New(c, drivers.Clock{Zero: time.Now()}, lane, b.Dial)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			b.t.Error(err)
		}
	})
	return p
}

func TestStagesOfXrdp(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBox(t, "xrdp", "xrdp-sesman", "Xorg", "ss")
	defer b.logs("/run/xrdp.log", "/run/sesman.log", "/run/xrdp.out")
	b.xrdp("negotiate")
	p := b.prober(func(c *rdp.Config) { c.Limit = 3 * time.Second; c.LogonLimit = 40 * time.Second })

	a := p.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.Refused, "tcp", "refused"}))
	g.Expect(p.Probe(t.Context())).To(MatchError(ContainSubstring("nothing listens there")))

	b.startXrdp()
	a = p.Try(t.Context(), rdp.None)
	g.Expect([]any{a.Stage, a.Way, a.Protocol, a.CredSSP, a.Trust}).To(Equal([]any{rdp.TLS, "", "tls", "", "first use"}), "%v", a.Err)
	certificate := a.Certificate
	a = p.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Way, a.Depth}).To(Equal([]any{rdp.Logon, "", rdp.Desktop}), "%v", a.Err)
	t.Logf("a logon took %v", a.Ended-a.Begun)
	a = p.Try(t.Context(), rdp.Credentials)
	g.Expect([]any{a.Stage, a.Way}).To(Equal([]any{rdp.TLS, "without CredSSP"}), "xrdp has none")

	wrong := b.prober(func(c *rdp.Config) {
		c.PasswordFile, c.LogonLimit, c.Fingerprint = secret(t, "not this"), 5*time.Second, certificate
	})
	a = wrong.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way, a.Trust}).To(Equal([]any{rdp.TLS, "logon", "timeout", "pinned"}), "%v", a.Err)

	other := b.prober(func(c *rdp.Config) { c.Fingerprint = "00" + certificate[2:] })
	a = other.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.X224, "tls", "certificate"}), "nobody logs on there")

	b.signal("sesman", "KILL")
	quick := b.prober(func(c *rdp.Config) { c.LogonLimit = 5 * time.Second })
	a = quick.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.TLS, "logon", "timeout"}), "%v", a.Err)

	b.signal("xrdp", "STOP")
	a = p.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.Silent, "x224", "timeout"}), "%v", a.Err)
	b.signal("xrdp", "KILL")

	b.xrdp("rdp")
	b.sh(`for i in $(seq 50); do ss -Hltn "sport = :3389" | grep -q . || exit 0; sleep 0.1; done; exit 1`)
	b.up("xrdp", "xrdp -n")
	b.listening("3389")
	a = p.Try(t.Context(), rdp.Desktop)
	g.Expect([]any{a.Stage, a.Missing, a.Way}).To(Equal([]any{rdp.X224, "tls", "negotiation"}), "%v", a.Err)
	t.Logf("without TLS: %v", a.Err)
}

// watcher keeps what was observed.
type watcher struct {
	mu  sync.Mutex
	all []drivers.Observation
}

func (w *watcher) emit(o drivers.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, o)
}

// states are the values of a topic's states.
func (w *watcher) states(topic string) func() []string {
	return func() (s []string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, o := range w.all {
			if o.Kind == drivers.State && o.Topic == topic {
				s = append(s, o.Value)
			}
		}
		return s
	}
}

// of are the observations of a kind and topic.
func (w *watcher) of(kind drivers.Kind, topic string) (all []drivers.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.all {
		if o.Kind == kind && o.Topic == topic {
			all = append(all, o)
		}
	}
	return all
}

// observe runs until the test ends.
func (w *watcher) observe(t *testing.T, p *rdp.Prober) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Observe(ctx, w.emit) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestHeldAtXrdp holds a session while the server is stopped for a while, and then cut off by a reset.
func TestHeldAtXrdp(t *testing.T) {
	t.Parallel()
	g := NewWithT(t)
	b := newBox(t, "xrdp", "xrdp-sesman", "Xorg", "ss")
	defer b.logs("/run/xrdp.log", "/run/xrdp.out")
	b.xrdp("negotiate")
	b.startXrdp()
	p := b.prober(func(c *rdp.Config) { c.Logon = rdp.None; c.Limit = 3 * time.Second; c.Every = time.Second })
	var w watcher
	w.observe(t, p)
	// A busy machine may make the session look slow at any time: so it is the newest state that counts.
	newest := func(topic string) func() string {
		return func() string {
			all := w.states(topic)()
			if len(all) == 0 {
				return ""
			}
			return all[len(all)-1]
		}
	}
	g.Eventually(newest("rdp.held"), "60s").Should(Equal("connected"))
	g.Eventually(func() int { return len(w.of(drivers.Sample, "rdp.held")) }, "60s").Should(BeNumerically(">=", 2), "it answers when it is asked for its screen")
	for _, o := range w.of(drivers.Sample, "rdp.held") {
		t.Logf("the screen came after %.3f s", o.Num)
	}
	g.Eventually(newest("rdp.new"), "60s").Should(Equal("tls"))

	b.signal("xrdp", "STOP")
	g.Eventually(newest("rdp.held"), "60s").Should(Equal("unresponsive"))
	g.Eventually(w.states("rdp.new"), "60s").Should(ContainElement("silent"))
	b.signal("xrdp", "CONT")
	g.Eventually(newest("rdp.held"), "60s").Should(Equal("connected"))
	// The kernel of a stopped server may have taken no more connections in between: those are refused, as a tcp timeout.
	g.Eventually(newest("rdp.new"), "60s").Should(Equal("tls"))

	b.sh("ss -K sport = :3389 >/dev/null") // the server's end alone: it sends a reset
	g.Eventually(newest("rdp.held"), "60s").Should(Equal("dropped"))
	states := w.of(drivers.State, "rdp.held")
	g.Expect(states[len(states)-1].Text).To(Equal("reset by the guest"))
	for _, o := range states {
		g.Expect(o.Lo).To(BeNumerically("<=", o.Hi))
	}
	g.Expect(w.of(drivers.Event, drivers.LabFailure)).To(BeEmpty())

	p.Booted()
	g.Eventually(newest("rdp.held"), "60s").Should(Equal("connected"))
}
