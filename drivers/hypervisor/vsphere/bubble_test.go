package vsphere

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// memory is a listener without a network.
type memory struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newMemory() *memory { return &memory{conns: make(chan net.Conn), done: make(chan struct{})} }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error   { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case m.conns <- there:
		return here, nil
	case <-m.done:
		return nil, errors.New("nobody listens")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestBubble runs server and driver on a clock that does not pass while anybody has something to do: minutes in a moment.
func TestBubble(t *testing.T) {
	password := filepath.Join(t.TempDir(), "password")
	NewWithT(t).Expect(os.WriteFile(password, []byte(secret), 0o600)).To(Succeed())
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		m := simulator.ESX()
		g.Expect(m.Create()).To(Succeed())
		defer m.Remove()
		m.Service.Listen = &url.URL{Scheme: "http", Host: "esx1", User: url.UserPassword("root", secret)}
		c := *m.Service.Context
		m.Service.RegisterSDK(c.Map, c.Map.Path+"/vimService")
		l := newMemory()
		srv := &http.Server{Handler: m.Service.ServeMux}
		go func() { _ = srv.Serve(l) }()
		defer srv.Close()

		s := &sim{t: t, model: m, vms: []string{"ha-host_VM0", "ha-host_VM1"}, cfg: Config{URL: "http://esx1/sdk", User: "root", PasswordFile: password, Datastore: "LocalDS_0"}}
		d, err := s.open(func(_ *Config, e *drivers.Env) { e.Dial = l.dial })
		g.Expect(err).NotTo(HaveOccurred())
		defer d.Close()
		g.Expect(d.Probe(t.Context())).To(Succeed())

		ctx, cancel := context.WithCancel(t.Context())
		o, done := &seen{}, make(chan error, 1)
		go func() {
			done <- d.Observe(ctx, func(x drivers.Observation) {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.all = append(o.all, x)
			})
		}()
		time.Sleep(time.Minute)
		before := d.env.Clock.Now()
		s.post(&types.EventEx{EventTypeId: "esx.problem.storage.apd.start"})
		g.Expect(d.PowerOff(t.Context(), "ha-host_VM0")).To(Succeed())
		time.Sleep(5 * time.Minute)
		cancel()
		g.Expect(<-done).To(Succeed())
		g.Expect(o.values(hostLane, "manageable")).To(Equal([]string{"yes"}))
		g.Expect(o.values(vmLane("ha-host_VM0"), "power")).To(Equal([]string{"on", "off"}))
		e, err := o.event(hostLane, "event", "esx.problem.storage.apd.start")
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(e.Lo).To(BeNumerically("<=", before))
		g.Expect(e.Hi).To(BeNumerically(">=", before))
		g.Expect(len(o.find(hostLane, drivers.State, "manageable"))).To(BeNumerically("~", 360, 5))
	})
}
