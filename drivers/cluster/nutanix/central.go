// This file is the other side of Nutanix: Prism Central, whose v3 tells of the clusters that it manages, and which may still answer
// when the cluster under fault takes its Prism Element along. It is asked only then, and only for what VMs do. What it says is what
// it heard last from that cluster, so it has topics of its own and never stands in for Prism Element's word.

package nutanix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
)

// Central says how to reach a Prism Central that manages the cluster. Its login is its own: Prism Element's is not sent to it.
type Central struct {
	Address      string `yaml:"address" json:"address"` // host:port; the port is 9440 when it is left out
	User         string `yaml:"user" json:"user"`
	PasswordFile string `yaml:"password_file" json:"password_file"` // or NUTANIX_CENTRAL_PASSWORD
	PasswordEnv  string `yaml:"password_env" json:"password_env"`   // another variable than that
	Thumbprint   string `yaml:"thumbprint" json:"thumbprint"`       // SHA-256 of its certificate
	CAFile       string `yaml:"ca_file" json:"ca_file"`             // PEM
}

// v3 is the generation of Prism Central's REST that is spoken here.
const v3 = "/api/nutanix/v3/"

// The bounds of a list: how much is asked for at once (v3 gives no more than 500 VMs, from memory), and how often.
const (
	pageLength = 500
	pageLimit  = 20
)

// central makes calls to Prism Central: as bounded, and as single, as those to Prism Element.
type central struct {
	prism *prism
	limit time.Duration
	page  int
}

// openCentral checks its configuration; cause and do of an error are for the operator.
func openCentral(c Central, dial drivers.Dial, getenv func(string) string) (out *central, cause, do string, err error) {
	if c.Address == "" {
		return nil, "central has no address", "Write address: below central:, or leave central out", nil
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		c.Address = net.JoinHostPort(strings.Trim(c.Address, "[]"), "9440")
	}
	env := c.PasswordEnv
	if env == "" {
		env = "NUTANIX_CENTRAL_PASSWORD"
	}
	password, err := secret(c.PasswordFile, env, getenv)
	if err != nil || c.User == "" {
		return nil, "no usable login for Prism Central", "Give central: user, and password_file or NUTANIX_CENTRAL_PASSWORD", err
	}
	tr, err := tlstrust.New(tlstrust.Config{Thumbprint: c.Thumbprint, CAFile: c.CAFile})
	if err != nil {
		return nil, "no usable trust in Prism Central's certificate", "Give central: thumbprint or ca_file", err
	}
	return &central{newPrism(c.Address, c.User, password, tr, dial), defaults.prism, pageLength}, "", "", nil
}

// get makes a call for one thing, and reads its answer.
func get[T any](ctx context.Context, c *central, path string, read func([]byte) (T, error)) (T, error) {
	return asked(ctx, c, http.MethodGet, path, nil, read)
}

func asked[T any](ctx context.Context, c *central, method, path string, body any, read func([]byte) (T, error)) (T, error) {
	var none T
	b, err := c.prism.call(ctx, c.limit, method, v3+path, body)
	if err != nil {
		return none, err
	}
	v, err := read(b)
	if err != nil {
		return none, fmt.Errorf("%s %s: %w", method, v3+path, err)
	}
	return v, nil
}

// list asks for all of a kind, page by page: all of it, or an error.
func list[T any](ctx context.Context, c *central, kind string, read func([]byte) (page[T], error)) ([]T, error) {
	var out []T
	path := kind + "s/list"
	for range pageLimit {
		p, err := asked(ctx, c, http.MethodPost, path, map[string]any{"kind": kind, "offset": len(out), "length": c.page}, read)
		switch {
		case err != nil:
			return nil, err
		case p.offset != nil && *p.offset != len(out):
			return nil, fmt.Errorf("POST %s: %w", v3+path, form("it begins at %d, and was asked for what is after %d", *p.offset, len(out)))
		}
		out = append(out, p.all...)
		if len(out) >= p.total {
			return out, nil
		}
		if len(p.all) == 0 {
			return nil, fmt.Errorf("POST %s: %w", v3+path, form("it has %d of %d entities", len(out), p.total))
		}
	}
	return nil, fmt.Errorf("POST %s: there are more than the %d that are asked for", v3+path, len(out))
}

func (c *central) clusters(ctx context.Context) ([]centralCluster, error) {
	return list(ctx, c, "cluster", readCentralClusters)
}

func (c *central) vms(ctx context.Context) ([]centralVM, error) {
	return list(ctx, c, "vm", readCentralVMs)
}

func (c *central) task(ctx context.Context, uuid string) (centralTask, error) {
	return get(ctx, c, "tasks/"+uuid, readCentralTask)
}

func (c *central) self(ctx context.Context) (centralSelf, error) {
	return get(ctx, c, "prism_central", readCentralSelf)
}

// probeCentral checks that Prism Central answers and knows the cluster, where the lab file names one.
func (d *Driver) probeCentral(ctx context.Context, l *layout) error {
	if d.central == nil {
		return nil
	}
	all, err := d.central.clusters(ctx)
	if err == nil && !slices.ContainsFunc(all, func(c centralCluster) bool { return !c.central && c.name == l.name }) {
		err = errors.New("it manages no cluster " + l.name)
	}
	if err == nil {
		_, err = d.central.vms(ctx)
	}
	if err == nil {
		return nil
	}
	at, do := d.central.prism.host, "Check central:, or leave it out: it is a second source and no more"
	var cert *tlstrust.Untrusted
	if errors.As(err, &cert) {
		do = cert.Do("Prism Central's", "openssl x509 -noout -fingerprint -sha256 shows it")
	}
	return &drivers.Operator{Cause: d.env.ID + ": Prism Central at " + at + " is of no use", Do: do, Err: err,
		Impact: "While Prism Element is silent nobody would tell where VMs are, and the lab file says that somebody does"}
}

// examineCentral tells whether Prism Central would go with the cluster that it is to tell of.
func (d *Driver) examineCentral(ctx context.Context) []drivers.Finding {
	const what = "Prism Central lives on another cluster"
	if d.central == nil {
		return nil
	}
	self, err := d.central.self(ctx)
	if err != nil {
		return []drivers.Finding{{What: what, Say: "It does not tell where it lives (" + d.cause(err) + ")."}}
	}
	vms, err := ask(ctx, d, v2+"vms/", readVMs)
	if err != nil {
		return []drivers.Finding{{What: what, Say: "Prism Element does not tell which VMs it has (" + d.cause(err) + ")."}}
	}
	for _, v := range vms {
		if slices.ContainsFunc(self.vms, func(own centralOwn) bool { return own.uuid == v.uuid }) {
			return []drivers.Finding{{What: what, Say: "Its " + v.name + " is a VM of the cluster under fault, so it may go silent together with Prism Element."}}
		}
	}
	return []drivers.Finding{{What: what, OK: true}}
}

// The topics of what Prism Central says, beside the states of the same VMs that Prism Element tells.
const (
	centrally    = "central"       // of the cluster: answers, silent, or not asked
	centralPlace = "central-place" // of vm/NAME
	centralPower = "central-power"
)

// lookCentral asks Prism Central where VMs are, since Prism Element does not say. VMs and hosts are known by what Prism Element
// said of them before: those of other clusters have no lane here.
func (w *watcher) lookCentral(ctx context.Context, since time.Duration, l *layout) {
	if w.d.central == nil {
		return
	}
	vms, err := w.d.central.vms(ctx)
	if err != nil {
		is := "silent"
		if answered(err) {
			is = "answers"
		}
		w.state(ctx, since, whole, centrally, is, w.d.cause(err))
		return
	}
	w.state(ctx, since, whole, centrally, "answers", "")
	for _, v := range vms {
		name := w.name(v.uuid)
		if name == v.uuid || v.pending != "" {
			continue
		}
		place := "nowhere"
		if n := l.byHost(v.host); n != nil {
			place = n.host
		} else if v.host != "" {
			place = v.host
		}
		const say = "Prism Central's word, which may be an old one"
		w.state(ctx, since, ofVM+name, centralPlace, place, say)
		w.state(ctx, since, ofVM+name, centralPower, strings.ToLower(v.power), say)
	}
}

// leaveCentral ends what Prism Central told, as Prism Element tells it again: else an old word would seem to hold on.
func (w *watcher) leaveCentral(ctx context.Context, since time.Duration) {
	if is := w.was(whole, centrally); is == "" || is == notAsked {
		return
	}
	w.mu.Lock()
	var lanes []stateKey
	for k := range w.last {
		if k.topic == centralPlace || k.topic == centralPower {
			lanes = append(lanes, k)
		}
	}
	w.mu.Unlock()
	for _, k := range lanes {
		w.state(ctx, since, k.lane, k.topic, notAsked, "")
	}
	w.state(ctx, since, whole, centrally, notAsked, "")
}

const notAsked = "not asked"
