package nutanix

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/tlstrust"
	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
	"github.com/allpathsdown/allpathsdown/fixtures/simulated/vsphere"
)

// goodCentral is one whole answer for each reader of Prism Central; every reader has to take its own, and no other.
var goodCentral = map[string]struct {
	body string
	read func([]byte) (any, error)
}{
	"clusters": {`{"metadata":{"kind":"cluster","total_matches":1},"entities":[` + aCluster + `]}`, reader(readCentralClusters)},
	"cluster":  {aCluster, reader(readCentralCluster)},
	"vms":      {`{"metadata":{"kind":"vm","total_matches":3,"offset":0},"entities":[` + aVM + `]}`, reader(readCentralVMs)},
	"vm":       {aVM, reader(readCentralVM)},
	"pending":  {aPending, reader(readCentralVM)},
	"task": {`{"uuid":"t","status":"RUNNING","operation_type":"VmMigrate","creation_time_usecs":1,"entity_reference_list":[{"kind":"vm","uuid":"v"},{"kind":"host","uuid":"h"}]}`,
		reader(readCentralTask)},
	"self": {`{"resources":{"version":"pc.2024.1","cluster_uuid":"c","pc_vm_list":[{"vm_uuid":"v","vm_name":"pc","power_state":"ON","cluster_reference":{"kind":"cluster","uuid":"e"}}]}}`,
		reader(readCentralSelf)},
}

const (
	aCluster = `{"metadata":{"kind":"cluster","uuid":"c"},"status":{"name":"lab","state":"COMPLETE","resources":{"config":{"build":{"version":"6.8.1"},"service_list":["AOS"]}}}}`
	aVM      = `{"metadata":{"kind":"vm","uuid":"v"},"spec":{"name":"wanted","resources":{"power_state":"OFF"}},"status":{"name":"vm","state":"COMPLETE","cluster_reference":{"kind":"cluster","uuid":"c"},` +
		`"resources":{"power_state":"ON","host_reference":{"kind":"host","uuid":"h"}}}}`
	aPending = `{"metadata":{"kind":"vm","uuid":"v"},"spec":{"name":"new","cluster_reference":{"kind":"cluster","uuid":"c"}},"status":{"state":"PENDING","execution_context":{"task_uuid":"t"}}}`
)

// sameKind tells the two answers that one reader takes.
func sameKind(a, b string) bool { return a == "vm" && b == "pending" || a == "pending" && b == "vm" }

func TestCentralsReplies(t *testing.T) {
	for name, g := range goodCentral {
		if v, err := g.read([]byte(g.body)); err != nil || reflect.ValueOf(v).IsZero() {
			t.Errorf("%s: its own answer: %+v, %v", name, v, err)
		}
		bads := []string{"", "null", "{}", "[]", "true", `"x"`, "<html>", `{"entities":null}`, `{"entities":[]}`, `{"entities":[null]}`, "[null]", "[{}]", g.body[:len(g.body)/2],
			`{"metadata":{"kind":"vm","total_matches":1},"entities":[null]}`, `{"metadata":{"kind":"cluster","total_matches":1},"entities":[{}]}`, `{"resources":null}`,
			`{"api_version":"3.1","kind":"status","state":"ERROR","code":422,"message_list":[{"message":"no","reason":"INVALID_REQUEST"}]}`}
		for other, o := range goodCentral {
			if other != name && !sameKind(other, name) {
				bads = append(bads, o.body)
			}
		}
		for _, o := range good {
			bads = append(bads, o.body)
		}
		for _, bad := range bads {
			if v, err := g.read([]byte(bad)); !errors.Is(err, errForm) || !reflect.ValueOf(v).IsZero() {
				t.Errorf("%s takes %s for %+v (%v)", name, bad, v, err)
			}
		}
	}
}

// TestCentralsRequiredFields: each thing that an answer has to have is missed.
func TestCentralsRequiredFields(t *testing.T) {
	for name, cuts := range map[string][][2]string{
		"cluster": {{`"kind":"cluster",`, ""}, {`"cluster"`, `"vm"`}, {`,"uuid":"c"`, ""}, {`"name":"lab",`, ""}, {`"6.8.1"`, `""`}, {`"6.8.1"`, `6`}, {`"AOS"`, ""}, {`"AOS"`, `"X"`},
			{`"state":"COMPLETE",`, ""}, {`"build":{"version":"6.8.1"},`, ""}},
		"clusters": {{`"total_matches":1`, `"total_matches":0`}, {`"kind":"cluster",`, ""}, {`,"total_matches":1`, ""}, {`"total_matches":1`, `"total_matches":"1"`}},
		"vm": {{`"kind":"vm",`, ""}, {`,"uuid":"v"`, ""}, {`"name":"vm",`, ""}, {`"power_state":"ON",`, ""}, {`"ON"`, `"on"`}, {`"ON"`, `1`}, {`"ON"`, `null`}, {`"kind":"host",`, ""},
			{`,"host_reference":{"kind":"host","uuid":"h"}`, ""}, {`"uuid":"h"`, `"uuid":""`}, {`"cluster_reference":{"kind":"cluster","uuid":"c"},`, ""}, {`"kind":"host"`, `"kind":"vm"`}},
		"pending": {{`"kind":"vm",`, ""}, {`,"uuid":"v"`, ""}, {`"name":"new",`, ""}, {`"task_uuid":"t"`, ""}, {`"task_uuid":"t"`, `"task_uuid":["t"]`}, {`PENDING`, `COMPLETE`},
			{`"cluster_reference":{"kind":"cluster","uuid":"c"}`, `"x":1`}},
		"vms": {{`"total_matches":3`, `"total_matches":-1`}, {`"kind":"vm",`, ""}, {`"offset":0`, `"offset":"0"`}},
		"task": {{`"uuid":"t",`, ""}, {`"RUNNING"`, `"kRunning"`}, {`"status":"RUNNING",`, ""}, {`"operation_type":"VmMigrate",`, ""}, {`_usecs":1`, `_usecs":0`}, {`_usecs":1`, `_usecs":"1"`},
			{`"kind":"vm",`, ""}, {`"uuid":"v"`, `"uuid":null`}},
		"self": {{`pc.2024.1`, `6.8.1`}, {`"cluster_uuid":"c",`, ""}, {`"vm_uuid":"v",`, ""}, {`"vm_name":"pc",`, ""}, {`"power_state":"ON",`, ""},
			{`,"cluster_reference":{"kind":"cluster","uuid":"e"}`, ""}},
	} {
		g := goodCentral[name]
		for _, cut := range cuts {
			bad := strings.Replace(g.body, cut[0], cut[1], 1)
			if bad == g.body {
				t.Fatalf("%s has no %s", name, cut[0])
			}
			if v, err := g.read([]byte(bad)); !errors.Is(err, errForm) || !reflect.ValueOf(v).IsZero() {
				t.Errorf("%s without %s is taken for %+v (%v)", name, cut[0], v, err)
			}
		}
	}
}

// FuzzCentral: no reader panics, and none gives anything together with an error, or anything without a name.
func FuzzCentral(f *testing.F) {
	for _, g := range goodCentral {
		f.Add([]byte(g.body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, g := range goodCentral {
			v, err := g.read(b)
			if err != nil && (!errors.Is(err, errForm) || !reflect.ValueOf(v).IsZero()) {
				t.Errorf("%s gives %+v with the error %v", name, v, err)
			}
			if err != nil {
				continue
			}
			switch v := v.(type) {
			case page[centralVM]:
				for _, m := range v.all {
					if m.uuid == "" || m.name == "" || m.cluster == "" || (m.power == "") != (m.pending != "") || m.power == "ON" && m.host == "" {
						t.Errorf("half a VM: %+v", m)
					}
				}
				if v.total < len(v.all) {
					t.Errorf("%d of %d", len(v.all), v.total)
				}
			case centralTask:
				if v.uuid == "" || v.status == "" || v.operation == "" || v.at <= 0 {
					t.Errorf("half a task: %+v", v)
				}
			case centralSelf:
				if v.version == "" || v.uuid == "" || len(v.vms) == 0 {
					t.Errorf("half a Prism Central: %+v", v)
				}
			}
		}
		_ = readProblem(b)
	})
}

// served is a Prism Central that answers as it is told, and a client of it.
func served(t *testing.T, h http.HandlerFunc) *central {
	t.Helper()
	srv := httptest.NewTLSServer(h)
	t.Cleanup(srv.Close)
	tr, err := tlstrust.New(tlstrust.Config{Thumbprint: vsphere.Thumbprint(srv.TLS.Certificates[0])})
	if err != nil {
		t.Fatal(err)
	}
	return &central{newPrism(srv.Listener.Addr().String(), "u", "secret", tr, nil), time.Minute, 1} // none of these tests is about time
}

// The answers that are ours, and how many of each were recorded; and those that are not, with the reason.
var (
	ourReplies = []struct {
		method, path string // as path.Match has it
		least        int
		read         string // of goodCentral
	}{
		{"POST", "/api/nutanix/v3/clusters/list", 1, "clusters"},
		{"GET", "/api/nutanix/v3/clusters/*", 1, "cluster"},
		{"POST", "/api/nutanix/v3/vms/list", 1, "vms"},
		{"GET", "/api/nutanix/v3/vms/*", 2, "vm"},
		{"POST", "/api/nutanix/v3/vms", 1, "pending"},
		{"PUT", "/api/nutanix/v3/vms/*", 1, "pending"},
		{"GET", "/api/nutanix/v3/tasks/*", 3, "task"},
		{"GET", "/api/nutanix/v3/prism_central", 1, "self"},
	}
	otherReplies = []struct{ method, path, why string }{
		{"*", "/api/nutanix/v3/recovery_plans", "plans for disasters are not watched"},
		{"*", "/api/nutanix/v3/recovery_plans/*", "plans for disasters are not watched"},
		{"*", "/api/nutanix/v3/subnets/*", "the guests' networks are not watched"},
		{"*", "/api/nutanix/v3/idempotence_identifiers", "uuids set aside for calls that change something, of which there are none here"},
		{"*", "/api/nutanix/v3/idempotence_identifiers/*", "uuids set aside for calls that change something, of which there are none here"},
		{"GET", "/karbon/v1-alpha.1/version", "Kubernetes on top of the cluster is not watched"},
		{"*", "/karbon/v1-alpha.1/k8s/cluster-registrations*", "Kubernetes on top of the cluster is not watched"},
		{"*", "/karbon/v1-alpha.1/k8s/cluster-registrations/*", "Kubernetes on top of the cluster is not watched"},
		{"*", "/karbon/v1-alpha.1/k8s/cluster-registrations/*/*", "Kubernetes on top of the cluster is not watched"},
		{"*", "/karbon/v1-alpha.1/k8s/cluster-registrations/*/addons/*/*", "Kubernetes on top of the cluster is not watched"},
	}
)

func fits(r recording, method, pattern string) bool {
	ok, _ := path.Match(strings.TrimSuffix(pattern, "/"), strings.TrimSuffix(r.path, "/"))
	return ok && (method == "*" || method == r.method)
}

// TestRealRepliesOfCentral sends every recorded answer of a real Prism Central through the client: what is ours is read, an error is
// an error with its number and its words, and each of the rest is named and is taken by no reader.
func TestRealRepliesOfCentral(t *testing.T) {
	t.Parallel()
	all := recordings(t)
	var now atomic.Pointer[recording]
	c := served(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		r := now.Load()
		w.WriteHeader(r.status)
		_, _ = w.Write([]byte(r.body))
	})
	counts, refused, others := map[string]int{}, map[int]int{}, map[string]int{}
	for _, r := range all {
		now.Store(&r)
		b, err := c.prism.call(t.Context(), c.limit, r.method, r.path, nil)
		if r.status/100 != 2 {
			refused[r.status]++
			words := map[int]string{404: "Failed to determine the cluster status", 422: "602 ", 500: "No category mappings"}[r.status]
			if status(err) != r.status || words == "" || !strings.Contains(err.Error(), words) {
				t.Errorf("%s: %v", r, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", r, err)
			continue
		}
		ours := ""
		for _, o := range ourReplies {
			if fits(r, o.method, o.path) {
				ours = o.read
			}
		}
		why := ""
		for _, o := range otherReplies {
			if ours == "" && fits(r, o.method, o.path) {
				why = o.why
			}
		}
		if ours == "" && why == "" {
			t.Errorf("%s is neither ours nor named as not ours", r)
		}
		if why != "" {
			others[why]++
		}
		for name, g := range goodCentral {
			v, err := g.read(b)
			if name != ours {
				if sameKind(name, ours) {
					continue
				}
				if !errors.Is(err, errForm) || !reflect.ValueOf(v).IsZero() {
					t.Errorf("%s takes %s for %+v (%v)", name, r, v, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", r, err)
				continue
			}
			checkReal(t, r, v)
			counts[name]++
		}
	}
	for _, o := range ourReplies {
		if counts[o.read] < o.least {
			t.Errorf("%d of %s were read, and %d or more are recorded", counts[o.read], o.read, o.least)
		}
	}
	if refused[404] == 0 || refused[422] == 0 || refused[500] == 0 {
		t.Errorf("errors: %v", refused)
	}
	t.Logf("%d real answers: read %v, errors %v, not ours %v", len(all), counts, refused, others)
}

// checkReal checks what was read of a real answer.
func checkReal(t *testing.T, r recording, v any) {
	t.Helper()
	id := path.Base(r.path)
	cluster := func(c centralCluster) bool {
		_, known := family(c.version)
		return len(c.uuid) == 36 && c.name != "" && c.central == (c.version == "pc") && known == !c.central
	}
	vm := func(m centralVM) bool {
		return len(m.uuid) == 36 && m.name == "test-vm" && m.power == "OFF" && m.host == "" && len(m.cluster) == 36
	}
	ok := false
	switch v := v.(type) {
	case page[centralCluster]: // cut down by who recorded it, and a page of a list all the same
		ok = len(v.all) == 2 && v.total == 5 && cluster(v.all[0]) && cluster(v.all[1]) && v.all[0].central != v.all[1].central
	case centralCluster:
		ok = cluster(v) && v.uuid == id && !v.central && v.version == "6.5.4.5"
	case page[centralVM]:
		ok = len(v.all) == 1 && v.total == 1 && vm(v.all[0])
	case centralVM:
		ok = vm(v) && v.uuid == id
		if r.status == http.StatusAccepted {
			ok = len(v.uuid) == 36 && v.name == "test-vm" && len(v.cluster) == 36 && len(v.pending) == 36 && v.power == "" && v.host == ""
		}
	case centralTask:
		ok = v.uuid == id && v.status == "SUCCEEDED" && v.operation == "RegisterK8s" && v.at > 1e15
	case centralSelf:
		ok = v.version == "pc.2024.1.0.1" && len(v.uuid) == 36 && len(v.vms) == 3 && v.vms[0].power == "ON" && len(v.vms[0].cluster) == 36
	}
	if !ok {
		t.Errorf("%s is read as %+v", r, v)
	}
}

// TestHalfAListIsNone: a list of which a part never comes, or whose pages are not those asked for, is an error.
func TestHalfAListIsNone(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]string{
		"the rest never comes": {`{"metadata":{"kind":"vm","total_matches":3},"entities":[` + aVM + `]}`, `{"metadata":{"kind":"vm","total_matches":3},"entities":[]}`},
		"the same page again": {`{"metadata":{"kind":"vm","total_matches":2,"offset":0},"entities":[` + aVM + `]}`,
			`{"metadata":{"kind":"vm","total_matches":2,"offset":0},"entities":[` + aVM + `]}`},
		"there is no end":      {`{"metadata":{"kind":"vm","total_matches":1000},"entities":[` + aVM + `]}`},
		"a bad entity":         {`{"metadata":{"kind":"vm","total_matches":2},"entities":[` + aVM + `]}`, `{"metadata":{"kind":"vm","total_matches":2},"entities":[{}]}`},
		"a page of other kind": {`{"metadata":{"kind":"host","total_matches":0},"entities":[]}`},
	} {
		var calls atomic.Int32
		c := served(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(answers[min(int(calls.Add(1)), len(answers))-1]))
		})
		if vms, err := c.vms(t.Context()); err == nil || vms != nil || calls.Load() > pageLimit {
			t.Errorf("%s: %+v, %v after %d calls", name, vms, err, calls.Load())
		}
	}
}

// withCentral names the stand-in's Prism Central in a lab.
func withCentral(t *testing.T, c sim.Config) *lab {
	t.Helper()
	l := newLab(t, c)
	secret := filepath.Join(t.TempDir(), "central")
	if err := os.WriteFile(secret, []byte(sim.CentralPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l.conf.Central = &Central{Address: sim.CentralAddress, User: sim.User, PasswordFile: secret, Thumbprint: l.sim.Thumbprint}
	return l
}

// TestCentral asks the stand-in for everything, in pages that are too short for it.
func TestCentral(t *testing.T) {
	t.Parallel()
	l := withCentral(t, sim.Config{Nodes: 3, Disks: 1, VMs: 3})
	d := l.open()
	d.central.page = 4
	ctx := t.Context()
	clusters, err := d.central.clusters(ctx)
	if err != nil || len(clusters) != 2 || clusters[0].version != "6.8.1" || clusters[0].central || !clusters[1].central {
		t.Errorf("clusters: %+v, %v", clusters, err)
	}
	vms, err := d.central.vms(ctx)
	if err != nil || len(vms) != 10 || vms[9].name != "vm-c3" || vms[9].host == "" || vms[9].power != "ON" || vms[9].cluster != clusters[0].uuid {
		t.Errorf("VMs: %+v, %v", vms, err)
	}
	l.sim.Restart("vm-a1", 1)
	if k, err := d.central.task(ctx, "00000004-0000-4000-8000-000000000000"); err != nil || k.operation != "HaFailover" || k.status != "SUCCEEDED" || len(k.vms) != 1 || k.vms[0] != vms[1].uuid {
		t.Errorf("task: %+v, %v", k, err)
	}
	if _, err := d.central.task(ctx, "none"); status(err) != http.StatusNotFound || !strings.Contains(err.Error(), "ENTITY_NOT_FOUND") {
		t.Errorf("no task: %v", err)
	}
	if s, err := d.central.self(ctx); err != nil || s.version != "pc.2024.1.0.1" || s.uuid != clusters[1].uuid || len(s.vms) != 1 {
		t.Errorf("itself: %+v, %v", s, err)
	}
	if err := d.Probe(ctx); err != nil {
		t.Error(err)
	}
	if _, err := ask(ctx, d, "/api/nutanix/v3/prism_central", readCentralSelf); status(err) != http.StatusNotFound {
		t.Errorf("Prism Element plays Prism Central: %v", err)
	}
}

// TestCentralTellsOfVMs: while Prism Element alone is silent, a VM that is restarted elsewhere is seen; its place as Prism Element
// told it stays what it was, and Prism Central's word ends as Prism Element speaks again.
func TestCentralTellsOfVMs(t *testing.T) {
	t.Parallel()
	l := withCentral(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1})
	d := l.open()
	n := l.watch(d)
	n.state(t, 0, "vm/vm-a1", drivers.TopicPlace, sim.HostOf(0))
	from := n.len()
	l.sim.Mute(true)
	n.state(t, from, "cluster", drivers.TopicAPI, "silent")
	n.state(t, from, "cluster", centrally, "answers")
	n.state(t, from, "vm/vm-a1", centralPlace, sim.HostOf(0))
	n.state(t, from, "vm/vm-a1", centralPower, "on")
	l.sim.Restart("vm-a1", 2)
	o, quietUntil := n.state(t, from, "vm/vm-a1", centralPlace, sim.HostOf(2))
	if o.Lo >= o.Hi || o.Lane.Provenance != drivers.Modelled || o.Text == "" {
		t.Errorf("it was told as %+v", o)
	}
	n.mu.Lock()
	for i, o := range n.all[:quietUntil] {
		if strings.Contains(o.Lane.Name, "elsewhere") || i >= from && o.Topic == drivers.TopicPlace || i < from && strings.HasPrefix(o.Topic, centrally) {
			t.Errorf("told: %+v", o)
		}
	}
	n.mu.Unlock()
	l.sim.Mute(false)
	n.state(t, quietUntil, "vm/vm-a1", drivers.TopicPlace, sim.HostOf(2))
	n.state(t, quietUntil, "vm/vm-a1", centralPlace, notAsked)
	n.state(t, quietUntil, "cluster", centrally, notAsked)
}

// TestCentralIsSilentToo: where both are, both are told to be.
func TestCentralIsSilentToo(t *testing.T) {
	t.Parallel()
	l := withCentral(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1})
	n := l.watch(l.open())
	n.state(t, 0, "vm/vm-a1", drivers.TopicPlace, sim.HostOf(0))
	from := n.len()
	l.sim.Hang(true)
	n.state(t, from, "cluster", centrally, "silent")
}

func TestCentralIsChecked(t *testing.T) {
	t.Parallel()
	l := withCentral(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1, CentralInside: true})
	whole := *l.conf.Central
	for want, change := range map[string]func(*Central){
		"has no address": func(c *Central) { c.Address = "" },
		"no usable login for Prism Central": func(c *Central) {
			c.PasswordFile = "" // the environment has none, and Prism Element's is not taken
		},
		"no usable trust in Prism Central": func(c *Central) { c.Thumbprint = "aa" },
	} {
		c := whole
		change(&c)
		conf := l.conf
		conf.Central = &c
		_, err := open(drivers.Env{ID: "cluster", Dial: l.sim.Dial}, conf, func(string) string { return "" })
		if op := (*drivers.Operator)(nil); !errors.As(err, &op) || !strings.Contains(op.Cause, want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	var to string
	conf := l.conf
	conf.Central = &Central{Address: "pc.example.net", User: "u", PasswordEnv: "PC", Thumbprint: l.sim.Thumbprint}
	d, err := open(drivers.Env{ID: "cluster", Dial: func(_ context.Context, _, at string) (net.Conn, error) { to = at; return nil, errors.New("no") }}, conf,
		func(key string) string { return map[string]string{"PC": "p"}[key] })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.central.self(t.Context()); err == nil || to != "pc.example.net:9440" {
		t.Errorf("%v, by way of %s", err, to)
	}

	for want, change := range map[string]func(){
		"certificate": func() { l.conf.Central.Thumbprint = strings.Repeat("ab", 32) },
		"401":         func() { l.conf.Central.User = "nobody" },
	} {
		c := whole
		l.conf.Central = &c
		change()
		err := l.open().Probe(t.Context())
		if op := (*drivers.Operator)(nil); !errors.As(err, &op) || !strings.Contains(op.Cause, "Prism Central") || !strings.Contains(err.Error()+op.Do, want) {
			t.Errorf("%s: %v", want, err)
		}
	}

	l.conf.Central = &whole
	found := l.open().examineCentral(t.Context())
	if len(found) != 1 || found[0].OK || !strings.Contains(found[0].Say, "vm-a1") {
		t.Errorf("Prism Central on the cluster: %+v", found)
	}
	outside := withCentral(t, sim.Config{Nodes: 3, Disks: 1, VMs: 1})
	if found := outside.open().Examine(t.Context()); len(found) != 2 || !found[1].OK {
		t.Errorf("Prism Central elsewhere: %+v", found)
	}
}
