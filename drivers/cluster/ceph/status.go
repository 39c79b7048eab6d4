package ceph

// This file reads what the cluster says of itself. A reply that lacks what is asked for is an error, and never a zero.

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// status is the part of "ceph status -f json" that counts.
type status struct {
	Health *struct {
		Status string                 `json:"status"`
		Checks map[string]healthCheck `json:"checks"`
	} `json:"health"`
	OSDMap *struct {
		NumOSDs *int `json:"num_osds"`
		Up      *int `json:"num_up_osds"`
		In      *int `json:"num_in_osds"`
	} `json:"osdmap"`
	PGMap *struct {
		PGs      *int      `json:"num_pgs"`
		States   []pgState `json:"pgs_by_state"`
		Degraded int64     `json:"degraded_objects"`  // absent when there are none
		Total    int64     `json:"degraded_total"`    // copies of all of them
		Misplace int64     `json:"misplaced_objects"` // absent when there are none
		Objects  int64     `json:"num_objects"`
		Bytes    *int64    `json:"data_bytes"`
	} `json:"pgmap"`
}

type healthCheck struct {
	Severity string `json:"severity"`
	Summary  struct {
		Message string `json:"message"`
	} `json:"summary"`
}

type pgState struct {
	Name  string `json:"state_name"`
	Count int    `json:"count"`
}

func (s status) check() error {
	switch {
	case s.Health == nil || s.Health.Status == "":
		return errors.New("ceph's status has no health")
	case s.OSDMap == nil || s.OSDMap.NumOSDs == nil || s.OSDMap.Up == nil || s.OSDMap.In == nil:
		return errors.New("ceph's status does not count its OSDs")
	case s.PGMap == nil || s.PGMap.PGs == nil || s.PGMap.Bytes == nil:
		return errors.New("ceph's status does not count its placement groups")
	}
	return nil
}

// lacks says what redundancy the cluster lacks; "" for none. That an OSD is down and out is no lack once its copies were made
// anew: that is what healing is.
func (s status) lacks() string {
	if *s.PGMap.PGs == 0 {
		return "it has no placement groups yet"
	}
	var bad []string
	for _, st := range s.PGMap.States {
		// One that is looked through has its copies; one whose copies only lie elsewhere than planned has them, too.
		if !strings.HasPrefix(st.Name, "active+clean") && !strings.HasPrefix(st.Name, "active+remapped") {
			bad = append(bad, fmt.Sprintf("%d placement groups are %s", st.Count, st.Name))
		}
	}
	if s.PGMap.Degraded > 0 {
		bad = append(bad, fmt.Sprintf("%d objects have too few copies", s.PGMap.Degraded))
	}
	if down := *s.OSDMap.In - *s.OSDMap.Up; down > 0 {
		bad = append(bad, fmt.Sprintf("%d of %d OSDs in use are down", down, *s.OSDMap.In))
	}
	return strings.Join(bad, ", ")
}

// unprotected estimates the bytes of data that have fewer copies than they should: objects are of one size here.
func (s status) unprotected() float64 {
	if s.PGMap.Objects == 0 {
		return 0
	}
	return float64(*s.PGMap.Bytes) / float64(s.PGMap.Objects) * float64(s.PGMap.Degraded)
}

// healing tells whether copies are being made anew.
func (s status) healing() bool {
	return slices.ContainsFunc(s.PGMap.States, func(st pgState) bool {
		return strings.Contains(st.Name, "recover") || strings.Contains(st.Name, "backfill")
	})
}

// stuck are the words of the checks that tell of an I/O that takes too long.
func (s status) stuck() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Health.Checks)) {
		if name == "SLOW_OPS" || name == "BLUESTORE_SLOW_OP_ALERT" || name == "DEVICE_HEALTH" {
			out = append(out, s.Health.Checks[name].Summary.Message)
		}
	}
	return strings.Join(out, "; ")
}

// osdDump is the part of "ceph osd dump -f json" that counts.
type osdDump struct {
	OSDs []struct {
		ID *int `json:"osd"`
		Up *int `json:"up"`
		In *int `json:"in"`

		UpFrom int `json:"up_from"` // the epoch of the map in which it came up last
	} `json:"osds"`
}

func (o osdDump) check() error {
	if len(o.OSDs) == 0 {
		return errors.New("ceph's map has no OSD")
	}
	for _, d := range o.OSDs {
		if d.ID == nil || d.Up == nil || d.In == nil {
			return errors.New("ceph's map does not say whether an OSD is up and in")
		}
	}
	return nil
}
