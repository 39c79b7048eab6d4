// This file reads what Prism answers. What an answer has to have is a pointer here and is looked for: an answer of another shape is
// an error, and never a zero that would look like "no failure can be tolerated" or like "nothing is left to copy".

package nutanix

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// errForm says that an answer does not have the form that it should.
var errForm = errors.New("the answer has another form than this API gives it")

func form(format string, a ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errForm}, a...)...)
}

// decode reads one JSON value; null is none.
func decode[T any](b []byte) (T, error) {
	var v T
	if strings.TrimSpace(string(b[:min(len(b), 16)])) == "null" {
		return v, form("it is null")
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return v, form("%v", err)
	}
	return v, nil
}

// entities reads a list as v1 and v2 give it: all of it, or an error. Each entity is checked.
func entities[Raw, T any](b []byte, one func(Raw) (T, error)) ([]T, error) {
	v, err := decode[struct {
		Entities *[]Raw `json:"entities"`
		Metadata struct {
			Total  *int `json:"grand_total_entities"`
			TotalC *int `json:"grandTotalEntities"`
		} `json:"metadata"`
	}](b)
	if err != nil {
		return nil, err
	}
	if v.Entities == nil {
		return nil, form("it has no entities")
	}
	for _, n := range []*int{v.Metadata.Total, v.Metadata.TotalC} {
		if n != nil && *n > len(*v.Entities) {
			return nil, form("it has %d of %d entities", len(*v.Entities), *n)
		}
	}
	out := make([]T, 0, len(*v.Entities))
	for i, raw := range *v.Entities {
		t, err := one(raw)
		if err != nil {
			return nil, fmt.Errorf("entity %d: %w", i, err)
		}
		out = append(out, t)
	}
	return out, nil
}

// text takes a text that has to be there.
func text(key string, s *string) (string, error) {
	if s == nil || *s == "" {
		return "", form("it has no %s", key)
	}
	return strings.ToValidUTF8((*s)[:min(len(*s), 200)], "?"), nil
}

// texts takes several of them.
func texts(err error, pairs map[string]*string) (map[string]string, error) {
	out := map[string]string{}
	for key, s := range pairs {
		v, missing := text(key, s)
		if err == nil {
			err = missing
		}
		out[key] = v
	}
	return out, err
}

// cluster is what cluster/ says.
type cluster struct{ name, version string }

func readCluster(b []byte) (cluster, error) {
	v, err := decode[struct{ Name, Version *string }](b)
	t, err := texts(err, map[string]*string{"name": v.Name, "version": v.Version})
	if err != nil {
		return cluster{}, err
	}
	return cluster{t["name"], t["version"]}, nil
}

// host is one of hosts/.
type host struct {
	uuid, name, address, cvm string
	hypervisor               string // kKvm, kVMware
	state                    string // kAcropolisNormal, ...; "" where it is not told
	boot                     int64  // µs since 1970
}

func readHosts(b []byte) ([]host, error) {
	type raw struct {
		UUID, Name *string
		Address    *string `json:"hypervisor_address"`
		CVM        *string `json:"service_vmexternal_ip"`
		Type       *string `json:"hypervisor_type"`
		State      string  `json:"hypervisor_state"`
		Boot       *int64  `json:"boot_time_in_usecs"`
	}
	hosts, err := entities(b, func(r raw) (host, error) {
		t, err := texts(nil, map[string]*string{"uuid": r.UUID, "name": r.Name, "hypervisor_address": r.Address, "service_vmexternal_ip": r.CVM, "hypervisor_type": r.Type})
		if err == nil && (r.Boot == nil || *r.Boot <= 0) {
			err = form("it has no boot_time_in_usecs")
		}
		if err != nil {
			return host{}, err
		}
		return host{t["uuid"], t["name"], t["hypervisor_address"], t["service_vmexternal_ip"], t["hypervisor_type"], r.State, *r.Boot}, nil
	})
	if err == nil && len(hosts) == 0 {
		err = form("it has no host")
	}
	return hosts, err
}

// disk is one of disks/. online is the flag of that name: disk_status knows only NORMAL and the steps of a planned removal.
type disk struct {
	id, serial, cvm string
	online          bool
}

func readDisks(b []byte) ([]disk, error) {
	type raw struct {
		ID     *string `json:"id"`
		CVM    *string `json:"cvm_ip_address"`
		Online *bool   `json:"online"`
		Config *struct {
			Serial *string `json:"serial_number"`
		} `json:"disk_hardware_config"`
	}
	return entities(b, func(r raw) (disk, error) {
		if r.Config == nil {
			return disk{}, form("it has no disk_hardware_config")
		}
		t, err := texts(nil, map[string]*string{"id": r.ID, "cvm_ip_address": r.CVM, "serial_number": r.Config.Serial})
		if err == nil && r.Online == nil {
			err = form("it has no online")
		}
		if err != nil {
			return disk{}, err
		}
		return disk{t["id"], t["serial_number"], t["cvm_ip_address"], *r.Online}, nil
	})
}

// vm is one of vms/; host is "" of one that is off.
type vm struct {
	uuid, name, host string
	on               bool
}

func readVMs(b []byte) ([]vm, error) {
	type raw struct {
		UUID, Name *string
		Host       *string `json:"host_uuid"`
		Power      *string `json:"power_state"`
	}
	return entities(b, func(r raw) (vm, error) {
		t, err := texts(nil, map[string]*string{"uuid": r.UUID, "name": r.Name, "power_state": r.Power})
		if err != nil {
			return vm{}, err
		}
		v := vm{uuid: t["uuid"], name: t["name"], on: strings.EqualFold(t["power_state"], "on")}
		if r.Host != nil {
			v.host = *r.Host
		}
		if v.on && v.host == "" {
			return vm{}, form("%s is on and has no host_uuid", v.name)
		}
		return v, nil
	})
}

// controller is one of v1's vms that are CVMs.
type controller struct{ name, host string }

func readControllers(b []byte) ([]controller, error) {
	type raw struct {
		Name *string `json:"vmName"`
		Host *string `json:"hostUuid"`
	}
	return entities(b, func(r raw) (controller, error) {
		t, err := texts(nil, map[string]*string{"vmName": r.Name, "hostUuid": r.Host})
		return controller{t["vmName"], t["hostUuid"]}, err
	})
}

// reads is what v1's vms say of where a VM's reads came from, bytes since some moment. told is false where they say nothing.
type reads struct {
	uuid          string
	local, remote int64
	told          bool
}

// readReads reads them. The statistics' names are v4's (controllerReadSourceEstore...), as v1 writes such names (from memory).
func readReads(b []byte) ([]reads, error) {
	type raw struct {
		UUID  *string           `json:"uuid"`
		Stats map[string]string `json:"stats"`
	}
	return entities(b, func(r raw) (reads, error) {
		id, err := text("uuid", r.UUID)
		if err != nil {
			return reads{}, err
		}
		out := reads{uuid: id}
		for _, tier := range []string{"ssd", "hdd"} {
			for where, sum := range map[string]*int64{"local": &out.local, "remote": &out.remote} {
				n, err := strconv.ParseInt(r.Stats["controller_read_source_estore_"+tier+"_"+where+"_bytes"], 10, 64)
				if err == nil && n >= 0 && n < 1<<62 { // -1 is how Prism says that it does not know
					*sum, out.told = *sum+n, true
				}
			}
		}
		return out, nil
	})
}

// ha is what ha/ says.
type ha struct{ failing []string }

func readHA(b []byte) (ha, error) {
	v, err := decode[struct {
		Failing *[]string `json:"failover_in_progress_host_uuids"`
		Enabled *bool     `json:"failover_enabled"`
	}](b)
	if err == nil && v.Enabled == nil {
		err = form("it has no failover_enabled")
	}
	if err != nil {
		return ha{}, err
	}
	if v.Failing == nil { // Prism leaves empty lists out or writes null
		return ha{}, nil
	}
	return ha{*v.Failing}, nil
}

// The domains of fault tolerance.
const (
	domainDisk = "DISK"
	domainNode = "NODE"
)

// tolerance is what the cluster says of failures in one domain.
type tolerance struct {
	failures    int    // how many the weakest component tolerates
	weakest     string // that component
	computing   bool   // some component is being computed anew, so that its number is an old one
	unprotected int64  // bytes with too few copies
}

// readTolerance reads cluster/domain_fault_tolerance_status/DOMAIN: a bare list. An object in its place is an error, however much
// it looks like an entry.
func readTolerance(domain string) func([]byte) (tolerance, error) {
	return func(b []byte) (tolerance, error) {
		list, err := decode[[]struct {
			Domain     *string `json:"domain_type"`
			Components map[string]*struct {
				Failures  *int  `json:"number_of_failures_tolerable"`
				Computing *bool `json:"under_computation"`
			} `json:"component_fault_tolerance_status"`
			Unprotected *int64 `json:"cluster_under_replicated_data_bytes"`
		}](b)
		if err != nil {
			return tolerance{}, err
		}
		for _, e := range list {
			if e.Domain == nil || !strings.EqualFold(strings.TrimPrefix(*e.Domain, "k"), domain) {
				continue
			}
			switch {
			case len(e.Components) == 0:
				return tolerance{}, form("it has no component_fault_tolerance_status")
			case e.Unprotected == nil || *e.Unprotected < 0:
				return tolerance{}, form("it has no cluster_under_replicated_data_bytes")
			}
			out := tolerance{failures: -1, unprotected: *e.Unprotected}
			for name, c := range e.Components {
				if c == nil || c.Failures == nil || *c.Failures < 0 || c.Computing == nil {
					return tolerance{}, form("%s has no number_of_failures_tolerable or no under_computation", name)
				}
				out.computing = out.computing || *c.Computing
				if out.failures < 0 || *c.Failures < out.failures || *c.Failures == out.failures && name < out.weakest {
					out.failures, out.weakest = *c.Failures, name
				}
			}
			return out, nil
		}
		return tolerance{}, form("it says nothing of the domain %s", domain)
	}
}

// task is one of tasks/list, or of the audit.
type task struct {
	uuid, operation string
	at              int64 // µs since 1970
	user            string
	vms             []string // names or ids of the VMs that it is about
}

type entityRef struct {
	ID   string `json:"entity_id"`
	Type string `json:"entity_type"`
	Name string `json:"entity_name"`
}

func vmsOf(refs []entityRef) []string {
	var out []string
	for _, r := range refs {
		switch {
		case !strings.Contains(strings.ToLower(r.Type), "vm"):
		case r.Name != "":
			out = append(out, r.Name)
		default:
			out = append(out, r.ID)
		}
	}
	return out
}

func readTasks(b []byte) ([]task, error) {
	type raw struct {
		UUID      *string
		Operation *string     `json:"operation_type"`
		Created   *int64      `json:"create_time_usecs"`
		Entities  []entityRef `json:"entity_list"`
	}
	return entities(b, func(r raw) (task, error) {
		t, err := texts(nil, map[string]*string{"uuid": r.UUID, "operation_type": r.Operation})
		if err == nil && (r.Created == nil || *r.Created <= 0) {
			err = form("it has no create_time_usecs")
		}
		if err != nil {
			return task{}, err
		}
		return task{uuid: t["uuid"], operation: t["operation_type"], at: *r.Created, vms: vmsOf(r.Entities)}, nil
	})
}

// readAudits reads what users have called for (field names from memory: where they are others, this is an error, and then nobody
// says that nobody called).
func readAudits(b []byte) ([]task, error) {
	type raw struct {
		UUID      *string
		Operation *string     `json:"operation_type"`
		User      *string     `json:"user_name"`
		At        *int64      `json:"op_start_timestamp_in_usecs"`
		Entities  []entityRef `json:"affected_entity_list"`
	}
	return entities(b, func(r raw) (task, error) {
		t, err := texts(nil, map[string]*string{"uuid": r.UUID, "operation_type": r.Operation, "user_name": r.User})
		if err == nil && (r.At == nil || *r.At <= 0) {
			err = form("it has no op_start_timestamp_in_usecs")
		}
		if err != nil {
			return task{}, err
		}
		return task{uuid: t["uuid"], operation: t["operation_type"], at: *r.At, user: t["user_name"], vms: vmsOf(r.Entities)}, nil
	})
}

// readProblem finds the words of an error's body, which is no page for browsers: a message, with a code of its own where there is
// one, or Prism Central's lists and maps of them.
func readProblem(b []byte) string {
	v, err := decode[struct {
		Message string
		Code    int
		List    []struct{ Reason, Message string } `json:"message_list"`
		Info    map[string]string                  `json:"message_info"`
	}](b)
	var said []string
	switch {
	case err != nil:
	case v.Message != "" && v.Code != 0:
		return fmt.Sprintf("%d %s", v.Code, v.Message)
	case v.Message != "":
		return v.Message
	case len(v.List) > 0:
		for _, m := range v.List {
			said = append(said, strings.Trim(m.Reason+": "+m.Message, ": "))
		}
	default:
		for _, k := range slices.Sorted(maps.Keys(v.Info)) {
			said = append(said, k+": "+v.Info[k])
		}
	}
	if len(said) > 0 {
		return strings.Join(said, "; ")
	}
	if s := strings.TrimSpace(string(b[:min(len(b), 2*textLimit)])); !strings.HasPrefix(s, "<") {
		return s
	}
	return ""
}
