package nutanix

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	sim "github.com/allpathsdown/allpathsdown/fixtures/simulated/nutanix"
)

// good is one whole answer for each reader; every reader has to take its own.
var good = map[string]struct {
	body string
	read func([]byte) (any, error)
}{
	"cluster": {`{"name":"c","version":"6.8.1"}`, reader(readCluster)},
	"hosts": {`{"metadata":{"grand_total_entities":1},"entities":[{"uuid":"u","name":"h","hypervisor_address":"10.0.0.1","service_vmexternal_ip":"10.0.0.2","hypervisor_type":"kKvm","boot_time_in_usecs":1700000000000000}]}`,
		reader(readHosts)},
	"disks":       {`{"entities":[{"id":"1::2","cvm_ip_address":"10.0.0.2","online":false,"disk_hardware_config":{"serial_number":"S"}}]}`, reader(readDisks)},
	"vms":         {`{"entities":[{"uuid":"u","name":"v","host_uuid":"h","power_state":"on"}]}`, reader(readVMs)},
	"controllers": {`{"entities":[{"vmName":"c","hostUuid":"h"}]}`, reader(readControllers)},
	"reads":       {`{"entities":[{"uuid":"u","stats":{"controller_read_source_estore_ssd_local_bytes":"5"}}]}`, reader(readReads)},
	"ha":          {`{"failover_enabled":true,"failover_in_progress_host_uuids":["h"]}`, reader(readHA)},
	"tolerance": {`[{"domain_type":"DISK","cluster_under_replicated_data_bytes":0,"component_fault_tolerance_status":{"METADATA":{"number_of_failures_tolerable":1,"under_computation":false}}}]`,
		reader(readTolerance(domainDisk))},
	"tasks":  {`{"entities":[{"uuid":"t","operation_type":"kVmMigrate","create_time_usecs":1,"entity_list":[{"entity_id":"v","entity_type":"VM"}]}]}`, reader(readTasks)},
	"audits": {`{"entities":[{"uuid":"t","operation_type":"x","user_name":"admin","op_start_timestamp_in_usecs":1}]}`, reader(readAudits)},
}

func reader[T any](read func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { v, err := read(b); return v, err }
}

func TestReplies(t *testing.T) {
	for name, g := range good {
		if _, err := g.read([]byte(g.body)); err != nil {
			t.Errorf("%s: its own answer: %v", name, err)
		}
		for _, bad := range []string{"", "null", "{}", "[]", "true", `"x"`, "<html>", `{"entities":null}`, `{"entities":{}}`, `{"entities":[null]}`, `{"entities":[{}]}`, "[null]", "[{}]", g.body[:len(g.body)/2],
			`{"metadata":{"grand_total_entities":3},"entities":[]}`} {
			v, err := g.read([]byte(bad))
			if !errors.Is(err, errForm) {
				t.Errorf("%s takes %s for %+v (%v)", name, bad, v, err)
			}
		}
	}
}

// TestAnObjectIsNoTolerance: the entry alone, out of its list, looks right in everything and is not what Prism answers.
func TestAnObjectIsNoTolerance(t *testing.T) {
	list := good["tolerance"].body
	for name, bad := range map[string]string{
		"an object":               list[1 : len(list)-1],
		"another domain":          strings.Replace(list, "DISK", "NODE", 1),
		"no number":               strings.Replace(list, `"number_of_failures_tolerable":1,`, "", 1),
		"a number below 0":        strings.Replace(list, `tolerable":1`, `tolerable":-1`, 1),
		"a number as text":        strings.Replace(list, `tolerable":1`, `tolerable":"1"`, 1),
		"no bytes":                strings.Replace(list, `"cluster_under_replicated_data_bytes":0,`, "", 1),
		"bytes null":              strings.Replace(list, `bytes":0`, `bytes":null`, 1),
		"no word on computations": strings.Replace(list, `,"under_computation":false`, "", 1),
		"no component":            strings.Replace(list, `"METADATA":{"number_of_failures_tolerable":1,"under_computation":false}`, "", 1),
	} {
		if v, err := readTolerance(domainDisk)([]byte(bad)); !errors.Is(err, errForm) || v != (tolerance{}) {
			t.Errorf("%s is taken for %+v (%v)", name, v, err)
		}
	}
	if v, err := readTolerance(domainDisk)([]byte(strings.Replace(list, "DISK", "kDisk", 1))); err != nil || v.failures != 1 {
		t.Errorf("the enumeration's name of the domain: %+v, %v", v, err)
	}
}

// FuzzReplies: no reader panics, and none gives anything together with an error.
func FuzzReplies(f *testing.F) {
	for _, g := range good {
		f.Add([]byte(g.body))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, g := range good {
			v, err := g.read(b)
			if err != nil && !errors.Is(err, errForm) {
				t.Errorf("%s: %v", name, err)
			}
			if r := reflect.ValueOf(v); err != nil && r.IsValid() && !r.IsZero() && (r.Kind() != reflect.Slice || r.Len() > 0) {
				t.Errorf("%s gives %+v with the error %v", name, v, err)
			}
			if d, ok := v.([]disk); ok && err == nil {
				for _, k := range d {
					if k.serial == "" || k.cvm == "" {
						t.Errorf("a disk without a name: %+v", k)
					}
				}
			}
			if tol, ok := v.(tolerance); ok && err == nil && (tol.failures < 0 || tol.unprotected < 0) {
				t.Errorf("a tolerance that cannot be: %+v", tol)
			}
		}
		_ = readProblem(b)
		_ = readAnswers(string(b))
		_ = rot(string(b))
	})
}

// TestWrongShape: with an object in place of the list nobody says that the cluster has its redundancy, nor that it has not.
func TestWrongShape(t *testing.T) {
	t.Parallel()
	l := newLab(t, sim.Config{Nodes: 3, Misbehave: sim.Misbehave{WrongShape: true}})
	d := l.open()
	for name, err := range map[string]error{"Probe": d.Probe(t.Context()), "Resilient": d.Resilient(t.Context())} {
		if !errors.Is(err, errForm) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
