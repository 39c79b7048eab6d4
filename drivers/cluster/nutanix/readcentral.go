// This file reads what Prism Central's v3 answers, as strictly as read.go reads Prism Element's answers. The forms are those of
// recordings of a real one (see central_test.go); of hosts and of lists of tasks there is no recording, so there is no reader.

package nutanix

import (
	"fmt"
	"slices"
	"strings"
)

// page is a part of a list.
type page[T any] struct {
	all    []T
	total  int  // how many there are in all
	offset *int // at which it begins, where that is told
}

// named is what every entity of v3 has. What was asked of it (its spec) is no evidence: a VM that is to be on may be off.
type named struct {
	Kind *string `json:"kind"`
	UUID *string `json:"uuid"`
}

func (m *named) check(kind string) error {
	switch {
	case m == nil:
		return form("it has no metadata")
	case m.Kind == nil || *m.Kind != kind:
		return form("its kind is not %s", kind)
	}
	return nil
}

// readPage reads a list of one kind. That it is not all of the list is for the caller to notice.
func readPage[Raw, T any](kind string, b []byte, one func(Raw) (T, error)) (page[T], error) {
	v, err := decode[struct {
		Entities *[]Raw `json:"entities"`
		Metadata *struct {
			named
			Total  *int `json:"total_matches"`
			Offset *int `json:"offset"`
		} `json:"metadata"`
	}](b)
	switch {
	case err != nil:
	case v.Entities == nil:
		err = form("it has no entities")
	case v.Metadata == nil:
		err = form("it has no metadata")
	case v.Metadata.Total == nil || *v.Metadata.Total < len(*v.Entities):
		err = form("it has no total_matches, or more entities than that")
	default:
		err = v.Metadata.check(kind)
	}
	if err != nil {
		return page[T]{}, err
	}
	out := page[T]{total: *v.Metadata.Total, offset: v.Metadata.Offset}
	for i, raw := range *v.Entities {
		t, err := one(raw)
		if err != nil {
			return page[T]{}, fmt.Errorf("entity %d: %w", i, err)
		}
		out.all = append(out.all, t)
	}
	return out, nil
}

// reading makes of a reader of a decoded thing one of its JSON.
func reading[Raw, T any](one func(Raw) (T, error)) func([]byte) (T, error) {
	return func(b []byte) (T, error) {
		raw, err := decode[Raw](b)
		if err != nil {
			var none T
			return none, err
		}
		return one(raw)
	}
}

// reference points at another entity.
type reference struct {
	Kind *string `json:"kind"`
	UUID *string `json:"uuid"`
}

// to returns where it points, which has to be of a kind.
func (r *reference) to(key, kind string) (string, error) {
	if r == nil || r.UUID == nil || *r.UUID == "" || r.Kind == nil || *r.Kind != kind {
		return "", form("it has no %s", key)
	}
	return text(key, r.UUID)
}

// centralCluster is one of clusters/list.
type centralCluster struct {
	uuid, name string
	version    string // of AOS; "pc" of a Prism Central
	central    bool   // it is a Prism Central, which lists itself among its clusters
}

type rawCluster struct {
	Metadata *named `json:"metadata"`
	Status   *struct {
		Name      *string `json:"name"`
		State     *string `json:"state"`
		Resources *struct {
			Config *struct {
				Build *struct {
					Version *string `json:"version"`
				} `json:"build"`
				Services []string `json:"service_list"`
			} `json:"config"`
		} `json:"resources"`
	} `json:"status"`
}

func centralClusterOf(r rawCluster) (centralCluster, error) {
	if err := r.Metadata.check("cluster"); err != nil {
		return centralCluster{}, err
	}
	if r.Status == nil || r.Status.Resources == nil || r.Status.Resources.Config == nil || r.Status.Resources.Config.Build == nil {
		return centralCluster{}, form("it has no status, or no config or build in it")
	}
	c := r.Status.Resources.Config
	t, err := texts(nil, map[string]*string{"uuid": r.Metadata.UUID, "name": r.Status.Name, "state": r.Status.State, "version": c.Build.Version})
	is := slices.Contains(c.Services, "PRISM_CENTRAL")
	if err == nil && !is && !slices.Contains(c.Services, "AOS") {
		err = form("its service_list tells neither of AOS nor of a Prism Central")
	}
	if err != nil {
		return centralCluster{}, err
	}
	return centralCluster{t["uuid"], t["name"], t["version"], is}, nil
}

func readCentralClusters(b []byte) (page[centralCluster], error) {
	return readPage("cluster", b, centralClusterOf)
}

var readCentralCluster = reading(centralClusterOf)

// centralVM is one of vms/list. host is "" of one that is off. Of a VM whose making or changing was only taken note of, the task
// that does it is all that is known: it has neither a power state nor a host.
type centralVM struct{ uuid, name, cluster, host, power, pending string }

// powerStates are v3's: a word that is none of them is not understood, and so is an error.
var powerStates = []string{"ON", "OFF", "PAUSED", "UNKNOWN"}

type rawVM struct {
	Metadata *named `json:"metadata"`
	Spec     *struct {
		Name    *string    `json:"name"`
		Cluster *reference `json:"cluster_reference"`
	} `json:"spec"`
	Status *struct {
		Name    *string `json:"name"`
		State   *string `json:"state"`
		Context struct {
			Task any `json:"task_uuid"` // one of what is pending, and a list of what is done
		} `json:"execution_context"`
		Cluster   *reference `json:"cluster_reference"`
		Resources *struct {
			Power *string    `json:"power_state"`
			Host  *reference `json:"host_reference"`
		} `json:"resources"`
	} `json:"status"`
}

func centralVMOf(r rawVM) (centralVM, error) {
	if err := r.Metadata.check("vm"); err != nil {
		return centralVM{}, err
	}
	switch {
	case r.Status == nil:
		return centralVM{}, form("it has no status")
	case r.Status.Resources == nil && r.Status.State != nil && *r.Status.State == "PENDING":
		return pendingVM(r)
	case r.Status.Resources == nil:
		return centralVM{}, form("it has no resources in its status, and is not pending")
	}
	on := r.Status.Resources
	t, err := texts(nil, map[string]*string{"uuid": r.Metadata.UUID, "name": r.Status.Name, "state": r.Status.State, "power_state": on.Power})
	if err == nil && !slices.Contains(powerStates, t["power_state"]) {
		err = form("its power_state is %q", t["power_state"])
	}
	v := centralVM{uuid: t["uuid"], name: t["name"], power: t["power_state"]}
	if err == nil {
		v.cluster, err = r.Status.Cluster.to("cluster_reference", "cluster")
	}
	if err == nil && (on.Host != nil || v.power == "ON") {
		v.host, err = on.Host.to("host_reference", "host")
	}
	if err != nil {
		return centralVM{}, err
	}
	return v, nil
}

// pendingVM reads what v3 answers to a call that makes or changes a VM. Name and cluster are those that were asked for.
func pendingVM(r rawVM) (centralVM, error) {
	if r.Spec == nil {
		return centralVM{}, form("it is pending and has no spec")
	}
	id, _ := r.Status.Context.Task.(string)
	t, err := texts(nil, map[string]*string{"uuid": r.Metadata.UUID, "name": r.Spec.Name, "task_uuid": &id})
	v := centralVM{uuid: t["uuid"], name: t["name"], pending: t["task_uuid"]}
	if err == nil {
		v.cluster, err = r.Spec.Cluster.to("cluster_reference", "cluster")
	}
	if err != nil {
		return centralVM{}, err
	}
	return v, nil
}

func readCentralVMs(b []byte) (page[centralVM], error) { return readPage("vm", b, centralVMOf) }

var readCentralVM = reading(centralVMOf)

// centralTask is one of tasks/. Who called for it v3 does not say of a task.
type centralTask struct {
	task
	status string
}

// taskStates are v3's.
var taskStates = []string{"QUEUED", "RUNNING", "SUCCEEDED", "ABORTED", "SUSPENDED", "FAILED"}

var readCentralTask = reading(func(r struct {
	UUID      *string     `json:"uuid"`
	Status    *string     `json:"status"`
	Operation *string     `json:"operation_type"`
	Created   *int64      `json:"creation_time_usecs"`
	Entities  []reference `json:"entity_reference_list"`
}) (centralTask, error) {
	t, err := texts(nil, map[string]*string{"uuid": r.UUID, "status": r.Status, "operation_type": r.Operation})
	switch {
	case err != nil:
	case !slices.Contains(taskStates, t["status"]):
		err = form("its status is %q", t["status"])
	case r.Created == nil || *r.Created <= 0:
		err = form("it has no creation_time_usecs")
	}
	out := centralTask{task{uuid: t["uuid"], operation: t["operation_type"]}, t["status"]}
	for _, e := range r.Entities {
		if err == nil && (e.Kind == nil || e.UUID == nil) {
			err = form("an entity of it has no kind or no uuid")
		}
		if err == nil && *e.Kind == "vm" {
			out.vms = append(out.vms, *e.UUID)
		}
	}
	if err != nil {
		return centralTask{}, err
	}
	out.at = *r.Created
	return out, nil
})

// centralOwn is a VM in which Prism Central itself runs.
type centralOwn struct{ uuid, name, cluster, power string }

// centralSelf is what prism_central says: its version, its uuid as a cluster, and the VMs that it lives in.
type centralSelf struct {
	version, uuid string
	vms           []centralOwn
}

var readCentralSelf = reading(func(r struct {
	Resources *struct {
		Version *string `json:"version"`
		UUID    *string `json:"cluster_uuid"`
		VMs     []struct {
			UUID    *string    `json:"vm_uuid"`
			Name    *string    `json:"vm_name"`
			Power   *string    `json:"power_state"`
			Cluster *reference `json:"cluster_reference"`
		} `json:"pc_vm_list"`
	} `json:"resources"`
}) (centralSelf, error) {
	if r.Resources == nil {
		return centralSelf{}, form("it has no resources")
	}
	t, err := texts(nil, map[string]*string{"version": r.Resources.Version, "cluster_uuid": r.Resources.UUID})
	if err == nil && !strings.HasPrefix(t["version"], "pc.") {
		err = form("its version is no Prism Central's")
	}
	if err == nil && len(r.Resources.VMs) == 0 {
		err = form("it has no pc_vm_list")
	}
	out := centralSelf{version: t["version"], uuid: t["cluster_uuid"]}
	for i, v := range r.Resources.VMs {
		if err != nil {
			break
		}
		var is map[string]string
		if is, err = texts(nil, map[string]*string{"vm_uuid": v.UUID, "vm_name": v.Name, "power_state": v.Power}); err != nil {
			break
		}
		own := centralOwn{uuid: is["vm_uuid"], name: is["vm_name"], power: is["power_state"]}
		if own.cluster, err = v.Cluster.to("cluster_reference", "cluster"); err != nil {
			err = fmt.Errorf("VM %d: %w", i, err)
		}
		out.vms = append(out.vms, own)
	}
	if err != nil {
		return centralSelf{}, err
	}
	return out, nil
})
