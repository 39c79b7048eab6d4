package power

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/conformance"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

const password = "s3cret-of-the-bmc"

// controller is a Redfish service (DSP0266) with one system or several. A system that restarts is off until it is switched on: it is
// slow to come back.
type controller struct {
	*httptest.Server

	mu       sync.Mutex
	power    string
	types    []string // the resets that it lists
	asked    []string // the resets that were asked for
	systems  []string
	sessions map[string]bool
	logins   int
	hung     chan struct{}
	fail     int    // the status of every answer
	lag      string // the power that is shown once after a reset
}

func newController(t testing.TB) *controller {
	c := &controller{power: "On", systems: []string{"1"}, sessions: map[string]bool{}, types: []string{"On", "ForceOff", "GracefulRestart", "ForceRestart", "GracefulShutdown"}}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(c.serve))
	c.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.StartTLS()
	t.Cleanup(c.Close)
	return c
}

func (c *controller) set(do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
}

func (c *controller) state() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.power
}

func (c *controller) thumbprint() string {
	return tlstrust.Of(c.Certificate().Raw).String()
}

func (c *controller) serve(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	hung := c.hung
	c.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-r.Context().Done():
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	say := func(status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
	}
	refuse := func(status int, words string) {
		say(status, map[string]any{"error": map[string]any{"code": "Base.1.0.GeneralError", "message": words}})
	}
	link := func(s string) map[string]string { return map[string]string{"@odata.id": s} }
	const sessions, systems = "/redfish/v1/SessionService/Sessions", "/redfish/v1/Systems"
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case c.fail != 0:
		refuse(c.fail, "it fails, and says "+password)
	case path == "/redfish/v1":
		say(200, map[string]any{"@odata.id": "/redfish/v1/", "Systems": link(systems), "Links": map[string]any{"Sessions": link(sessions)}})
	case path == sessions && r.Method == http.MethodPost:
		var in struct{ UserName, Password string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || in.UserName != "admin" || in.Password != password {
			refuse(401, "who is that with "+in.Password)
			return
		}
		c.logins++
		token := fmt.Sprintf("token-%d", c.logins)
		c.sessions[token] = true
		w.Header().Set("X-Auth-Token", token)
		w.Header().Set("Location", sessions+"/"+token)
		say(201, map[string]any{})
	case !c.sessions[r.Header.Get("X-Auth-Token")]:
		refuse(401, "no session")
	case strings.HasPrefix(path, sessions+"/") && r.Method == http.MethodDelete:
		delete(c.sessions, strings.TrimPrefix(path, sessions+"/"))
		w.WriteHeader(204)
	case path == systems:
		var members []any
		for _, s := range c.systems {
			members = append(members, link(systems+"/"+s))
		}
		say(200, map[string]any{"@odata.id": systems, "Members": members, "Members@odata.count": len(members)})
	case strings.HasSuffix(path, "/Actions/ComputerSystem.Reset"):
		var in struct{ ResetType string }
		if json.NewDecoder(r.Body).Decode(&in) != nil || len(c.types) > 0 && !slices.Contains(c.types, in.ResetType) {
			refuse(400, "no such reset")
			return
		}
		c.asked = append(c.asked, in.ResetType)
		c.power = "Off"
		if in.ResetType == "On" || in.ResetType == "ForceOn" {
			c.power = "On"
		}
		w.WriteHeader(204)
	case strings.HasPrefix(path, systems+"/"):
		id := strings.TrimPrefix(path, systems+"/")
		power := c.power
		if c.lag != "" {
			power, c.lag = c.lag, ""
		}
		say(200, map[string]any{"@odata.id": path, "Id": id, "Name": "System", "HostName": "nas" + id, "PowerState": power,
			"Actions": map[string]any{"#ComputerSystem.Reset": map[string]any{"target": path + "/Actions/ComputerSystem.Reset", "ResetType@Redfish.AllowableValues": c.types}}})
	default:
		refuse(404, "nothing there")
	}
}

func (c *controller) config(t testing.TB) Config {
	return Config{Redfish: &Redfish{URL: c.URL, User: "admin", PasswordFile: file(t, password), Thumbprint: c.thumbprint()}}
}

func driver(t testing.TB, c Config) (*Driver, drivers.Clock) {
	t.Helper()
	clock := drivers.Clock{Zero: time.Now()}
	d, err := open(drivers.Env{ID: "target", Lane: drivers.Lane{Role: drivers.Target, Name: "nas", Provenance: drivers.Modelled}, Clock: clock,
		Portal: "192.0.2.7:3260"}, c)
	if err != nil {
		t.Fatal(err)
	}
	d.pace = pace{every: 60 * time.Millisecond, call: 800 * time.Millisecond, settle: 1200 * time.Millisecond, shutdown: 600 * time.Millisecond}
	return d, clock
}

func options(c *controller) conformance.Options {
	return conformance.Options{
		State: c.state,
		Hang: func() func() {
			ch := make(chan struct{})
			c.set(func() { c.hung = ch })
			return func() {
				c.set(func() { c.hung = nil })
				close(ch)
			}
		},
		Fail: func() func() {
			c.set(func() { c.fail = 500 })
			return func() { c.set(func() { c.fail = 0 }) }
		},
	}
}

func TestConformance(t *testing.T) {
	for name, types := range map[string][]string{
		"restarts":           {"On", "ForceOff", "GracefulRestart", "ForceRestart"},
		"only shuts down":    {"On", "ForceOff", "GracefulShutdown", "ForceRestart"},
		"does not tell what": nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := newController(t)
			c.types = types
			conf := c.config(t)
			o := options(c)
			if name != "restarts" {
				o.Hang = nil // it hangs as the first does
			}
			conformance.Run(t, func(t *testing.T) (drivers.Driver, drivers.Clock) { return driver(t, conf) }, o)
			c.set(func() { NewWithT(t).Expect(c.sessions).To(BeEmpty(), "sessions that were left open") })
		})
	}
}

func journal(us *[]drivers.Undo) drivers.Journal {
	return func(_ ctx, u drivers.Undo) error { *us = append(*us, u); return nil }
}

func TestPowerCuts(t *testing.T) {
	for name, w := range map[string]struct {
		cut   string
		types []string
		want  string
	}{
		"a cycle":                     {"", []string{"On", "PowerCycle", "ForceRestart"}, "PowerCycle"},
		"a cycle without PowerCycle":  {"cycle", []string{"On", "ForceRestart"}, "ForceRestart"},
		"off until the undo":          {"off", []string{"On", "ForceOff"}, "ForceOff"},
		"a cycle by one who is quiet": {"cycle", nil, "ForceRestart"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newController(t)
			c.types = w.types
			conf := c.config(t)
			conf.Cut = w.cut
			d, _ := driver(t, conf)
			defer d.Close()
			full := errors.New("full")
			g.Expect(d.CutPower(t.Context(), func(ctx, drivers.Undo) error { return full })).To(MatchError(full))
			g.Expect(c.asked).To(BeEmpty())
			var us []drivers.Undo
			g.Expect(d.CutPower(t.Context(), journal(&us))).To(Succeed())
			g.Expect(c.asked).To(Equal([]string{w.want}))
			g.Expect(d.CutPower(t.Context(), journal(&us))).To(MatchError(ContainSubstring("not on")))
			g.Expect(us).To(HaveLen(1))
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.Undone))
			g.Expect(d.Undo(t.Context(), us[0])).To(Equal(drivers.NothingLeft))
			g.Expect(c.state()).To(Equal("On"))
		})
	}
}

func TestUndoOfOneThatIsOnItsWay(t *testing.T) {
	for name, w := range map[string]struct {
		lag, power string
		want       drivers.UndoResult
	}{
		"going off":                 {"PoweringOff", "Off", drivers.Undone},
		"coming on by itself":       {"PoweringOn", "On", drivers.NothingLeft},
		"still on, and then off":    {"On", "Off", drivers.Undone},
		"on, and nothing goes off":  {"On", "On", drivers.NothingLeft},
		"off, and has always been":  {"Off", "Off", drivers.Undone},
		"stopped half-way, and off": {"PoweringOn", "Off", drivers.Undone},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newController(t)
			c.power, c.lag = w.power, w.lag
			d, _ := driver(t, c.config(t))
			defer d.Close()
			u := drivers.Undo{Op: opOn, Args: map[string]string{"power": "on", "goes_off_until": time.Now().Add(500 * time.Millisecond).Format(time.RFC3339Nano)}}
			g.Expect(d.Undo(t.Context(), u)).To(Equal(w.want))
			g.Expect(c.state()).To(Equal("On"))
		})
	}
	d, _ := driver(t, newController(t).config(t))
	_, err := d.Undo(t.Context(), drivers.Undo{Op: opOn, Args: map[string]string{"power": "off", "goes_off_until": "yesterday"}})
	NewWithT(t).Expect(err).To(HaveOccurred())
}

func TestProbeSaysWhatIsWrong(t *testing.T) {
	for name, w := range map[string]struct {
		change func(*controller, *Redfish)
		says   string
	}{
		"wrong password":  {func(_ *controller, r *Redfish) { r.PasswordFile = file(t, "not-the-password") }, `does not let "admin" in`},
		"other pin":       {func(_ *controller, r *Redfish) { r.Thumbprint = strings.Repeat("00:", 31) + "00" }, "write thumbprint: "},
		"no authority":    {func(_ *controller, r *Redfish) { r.Thumbprint = "" }, "write thumbprint: "},
		"nobody there":    {func(_ *controller, r *Redfish) { r.URL = "127.0.0.1:1" }, "nothing listens"},
		"which system":    {func(c *controller, _ *Redfish) { c.systems = []string{"1", "2"} }, "2 systems are meant"},
		"no such system":  {func(_ *controller, r *Redfish) { r.System = "nas9" }, `0 systems are meant by "nas9", of 1`},
		"no systems":      {func(c *controller, _ *Redfish) { c.systems = nil }, "0 systems are meant"},
		"off":             {func(c *controller, _ *Redfish) { c.power = "Off" }, "not on"},
		"odd":             {func(c *controller, _ *Redfish) { c.power = "Perhaps" }, `"Perhaps"`},
		"no Redfish":      {func(c *controller, _ *Redfish) { c.fail = 404 }, "there is no Redfish"},
		"not permitted":   {func(c *controller, _ *Redfish) { c.fail = 403 }, "does not let"},
		"a broken answer": {func(c *controller, _ *Redfish) { c.fail = 500 }, "HTTP 500"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			c := newController(t)
			conf := c.config(t)
			w.change(c, conf.Redfish)
			d, _ := driver(t, conf)
			defer d.Close()
			err := d.Probe(t.Context())
			var op *drivers.Operator
			g.Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
			g.Expect(err).To(MatchError(ContainSubstring(w.says)))
			g.Expect(err.Error()).NotTo(Or(ContainSubstring(password), ContainSubstring("not-the-password")))
			if strings.Contains(w.says, "thumbprint") {
				g.Expect(op.Do).To(ContainSubstring(c.thumbprint()))
			}
		})
	}
}

func TestTrustAndSessions(t *testing.T) {
	g := NewWithT(t)
	c := newController(t)
	c.systems = []string{"1", "2"}
	conf := c.config(t)
	conf.Redfish.Thumbprint = ""
	conf.Redfish.CAFile = file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate().Raw})))
	conf.Redfish.System = "nas2"
	d, _ := driver(t, conf)
	g.Expect(d.Probe(t.Context())).To(Succeed())
	g.Expect(d.Probe(t.Context())).To(Succeed())
	g.Expect(c.logins).To(Equal(1))
	c.set(func() { c.sessions = map[string]bool{} }) // it starts anew
	g.Expect(d.Probe(t.Context())).To(Succeed())
	g.Expect(c.logins).To(Equal(2))
	f := d.Examine(t.Context())
	g.Expect(f[0].OK).To(BeTrue())
	g.Expect(f[1].Say).To(ContainSubstring("authorities"))
	d.env.Portal = "127.0.0.1:3260"
	g.Expect(d.Examine(t.Context())[0].OK).To(BeFalse())
	g.Expect(d.Close()).To(Succeed())
	g.Expect(c.sessions).To(BeEmpty())
}

func TestConfigurationsThatCannotBe(t *testing.T) {
	secret := file(t, "x")
	for name, c := range map[string]Config{
		"neither":        {},
		"both":           {Redfish: &Redfish{}, IPMI: &IPMI{}},
		"cut":            {Cut: "slowly", IPMI: &IPMI{Address: "a", User: "u", PasswordFile: secret}},
		"not https":      {Redfish: &Redfish{URL: "http://bmc", User: "u", PasswordFile: secret}},
		"a user in it":   {Redfish: &Redfish{URL: "https://u:p@bmc", User: "u", PasswordFile: secret}},
		"no user":        {Redfish: &Redfish{URL: "bmc", PasswordFile: secret}},
		"no password":    {Redfish: &Redfish{URL: "bmc", User: "u"}},
		"thumbprint":     {Redfish: &Redfish{URL: "bmc", User: "u", PasswordFile: secret, Thumbprint: "12"}},
		"two trusts":     {Redfish: &Redfish{URL: "bmc", User: "u", PasswordFile: secret, Thumbprint: "12", CAFile: secret}},
		"no certificate": {Redfish: &Redfish{URL: "bmc", User: "u", PasswordFile: secret, CAFile: secret}},
		"cipher 0":       {IPMI: &IPMI{Address: "bmc", User: "u", PasswordFile: secret, Cipher: 1}},
		"no address":     {IPMI: &IPMI{User: "u", PasswordFile: secret}},
		"long password":  {IPMI: &IPMI{Address: "bmc", User: "u", PasswordFile: file(t, strings.Repeat("x", 21))}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(drivers.Env{ID: "target"}, c)
			var op *drivers.Operator
			NewWithT(t).Expect(errors.As(err, &op)).To(BeTrue(), "%v", err)
		})
	}
}

func FuzzReaders(f *testing.F) {
	f.Add("PoweringOn", "aa:bb")
	f.Fuzz(func(t *testing.T, word, more string) {
		if s, err := statusOf(word); err == nil && s.word != word {
			t.Error(s)
		}
		if p := plain(word+password+more, password); strings.Contains(p, password) {
			t.Error(p)
		}
	})
}
