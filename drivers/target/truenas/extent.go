// This file reads what a LUN is made of: its extent's file or volume, and the ZFS pool that it is on.

package truenas

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The kinds of an extent. In REST v1.0 they are written File, ZVOL and Disk; v2.0 says FILE and DISK.
const (
	extentFile = "file"
	extentZvol = "zvol"
	extentDisk = "disk" // a whole disk, which no version from 12.0 on makes any more
)

// extentKind tells the kind of an extent by its type and its path, without /dev/ (tag TS-25.10.0, plugins/iscsi_/extents.py).
func extentKind(typ, path string) string {
	switch {
	case strings.EqualFold(typ, "file"):
		return extentFile
	case strings.HasPrefix(path, "zvol/"):
		return extentZvol
	}
	return extentDisk
}

// poolOf is the pool that an extent is on: of a file below /mnt, or of a volume. "" for what is on none.
func (l lun) poolOf() string {
	rest := ""
	switch l.kind {
	case extentFile:
		rest, _ = strings.CutPrefix(l.path, "/mnt/")
		if rest == l.path {
			return ""
		}
	case extentZvol:
		rest = l.dataset()
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// dataset is the name of a volume. Its device has + for a space (tag TS-25.10.0, plugins/zfs_/utils.py, zvol_path_to_name).
func (l lun) dataset() string {
	return strings.ReplaceAll(strings.TrimPrefix(l.path, "zvol/"), "+", " ")
}

// errGone says that a file, a volume or a pool is not there.
var errGone = errors.New("it is not there")

// readStat reads filesystem.stat, in bytes.
func readStat(b []byte) (int64, error) {
	v, err := decode[struct {
		Size *int64 `json:"size"`
	}](b)
	if err == nil && (v.Size == nil || *v.Size < 0) {
		err = fmt.Errorf("%w: no size in it", errForm)
	}
	if err != nil {
		return 0, err
	}
	return *v.Size, nil
}

// readDataset reads of pool.dataset.query the size of a volume, in bytes (tag FN-11.2-U8, plugins/pool.py, __transform).
func readDataset(b []byte, name string) (int64, error) {
	list, err := decode[[]struct {
		ID   string `json:"id"`
		Size struct {
			Raw string `json:"rawvalue"`
		} `json:"volsize"`
	}](b)
	if err != nil {
		return 0, err
	}
	for _, e := range list[:min(len(list), maxList)] {
		if e.ID != name {
			continue
		}
		n, err := strconv.ParseInt(e.Size.Raw, 10, 64)
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%w: the volume has the size %.40q", errForm, e.Size.Raw)
		}
		return n, nil
	}
	return 0, errGone
}

// readZvols reads v1.0's list of a pool's volumes (tag 11.0-RC, docs/api/resources/storage.rst). Their names are without the pool's.
func readZvols(b []byte, name string) (int64, error) {
	list, err := decode[[]struct {
		Name string      `json:"name"`
		Size json.Number `json:"volsize"`
	}](b)
	if err != nil {
		return 0, err
	}
	for _, e := range list[:min(len(list), maxList)] {
		if e.Name != name {
			continue
		}
		n, err := e.Size.Int64()
		if err != nil || n < 0 {
			return 0, fmt.Errorf("%w: the volume has the size %.40q", errForm, e.Size)
		}
		return n, nil
	}
	return 0, errGone
}

// pool is a ZFS pool as the system tells of it.
type pool struct {
	name, state string
	ill         []string // in which ways it is not well
}

// text says how it is.
func (p pool) text() string { return strings.Join(p.ill, "; ") }

// mostIll bounds a list of what is ill.
const mostIll = 8

func (p *pool) add(format string, a ...any) {
	if len(p.ill) < mostIll {
		p.ill = append(p.ill, strings.ToValidUTF8(fmt.Sprintf(format, a...), "?"))
	}
}

// vdev is a device of a pool, or a group of them (py-libzfs, ZFSVdev; the names of the counters are its).
type vdev struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Path   string `json:"path"`
	Status string `json:"status"`
	Stats  struct {
		Read  json.Number `json:"read_errors"`
		Write json.Number `json:"write_errors"`
		Sum   json.Number `json:"checksum_errors"`
	} `json:"stats"`
	Children []vdev `json:"children"`
}

// maxDepth bounds how deep a topology is read; real ones have three levels.
const maxDepth = 10

// look notes what is ill of a device and of those below it.
func (p *pool) look(v vdev, depth int) {
	if depth > maxDepth {
		return
	}
	name := v.Name
	if v.Path != "" {
		name = v.Path
	}
	if name == "" {
		name = strings.ToLower(v.Type)
	}
	if v.Status != "" && v.Status != "ONLINE" && v.Status != "AVAIL" { // a spare that waits
		p.add("%.100s is %.40s", name, v.Status)
	}
	if positive(v.Stats.Read) || positive(v.Stats.Write) || positive(v.Stats.Sum) {
		p.add("%.100s has %s read, %s write and %s checksum errors", name, zero(v.Stats.Read), zero(v.Stats.Write), zero(v.Stats.Sum))
	}
	for _, c := range v.Children {
		p.look(c, depth+1)
	}
}

func positive(n json.Number) bool {
	f, err := n.Float64()
	return err == nil && f > 0
}

func zero(n json.Number) json.Number {
	if n == "" {
		return "0"
	}
	return n
}

// poolOf is what a pool's own status says of it; good is the API's word for a pool that is well.
func poolOf(name, status, good string) (pool, error) {
	if status == "" {
		return pool{}, fmt.Errorf("%w: no status in it", errForm)
	}
	p := pool{name: name, state: strings.ToValidUTF8(status[:min(len(status), 40)], "?")}
	if status != good {
		p.add("it is %s", p.state)
	}
	return p, nil
}

// readPool reads pool.query (tag TS-25.10.0, api/v25_10_0/pool.py, PoolEntry). Before 11.2 healthy is not in it (tag FN-11.1-U7,
// plugins/pool.py).
func readPool(b []byte, name string) (pool, error) {
	list, err := decode[[]struct {
		Name    string `json:"name"`
		Status  string `json:"status"`
		Healthy *bool  `json:"healthy"`
		Detail  string `json:"status_detail"`
		Scan    *struct {
			Function string      `json:"function"`
			Errors   json.Number `json:"errors"`
		} `json:"scan"`
		Topology map[string][]vdev `json:"topology"`
	}](b)
	if err != nil {
		return pool{}, err
	}
	for _, e := range list[:min(len(list), maxList)] {
		if e.Name != name {
			continue
		}
		p, err := poolOf(name, e.Status, "ONLINE")
		if err != nil {
			return pool{}, err
		}
		for _, group := range slices.Sorted(maps.Keys(e.Topology)) {
			for _, v := range e.Topology[group] {
				p.look(v, 0)
			}
		}
		if e.Scan != nil && positive(e.Scan.Errors) {
			p.add("its last %.20s met %s errors", strings.ToLower(e.Scan.Function), e.Scan.Errors)
		}
		if e.Healthy != nil && !*e.Healthy && len(p.ill) == 0 {
			p.add("it is not healthy: %.300s", e.Detail)
		}
		return p, nil
	}
	return pool{}, errGone
}

// vdevV1 is v1.0's node of a pool's status. Its counters are zpool's words: "0", "1.2K".
type vdevV1 struct {
	Name     string   `json:"name"`
	Status   string   `json:"status"`
	Read     anything `json:"read"`
	Write    anything `json:"write"`
	Sum      anything `json:"cksum"`
	Children []vdevV1 `json:"children"`
}

// anything is a number or a text, as text.
type anything string

// UnmarshalJSON takes either.
func (a *anything) UnmarshalJSON(b []byte) error {
	*a = anything(strings.Trim(string(b[:min(len(b), 40)]), `"`))
	return nil
}

func (a anything) none() bool { return a == "" || a == "0" || a == "null" }

func (p *pool) lookV1(v vdevV1, depth int) {
	if depth > maxDepth {
		return
	}
	if v.Status != "" && v.Status != "ONLINE" && v.Status != "AVAIL" && v.Status != "HEALTHY" && depth > 0 {
		p.add("%.100s is %.40s", v.Name, v.Status)
	}
	if !v.Read.none() || !v.Write.none() || !v.Sum.none() {
		p.add("%.100s has %s read, %s write and %s checksum errors", v.Name, v.Read, v.Write, v.Sum)
	}
	for _, c := range v.Children {
		p.lookV1(c, depth+1)
	}
}

// readPoolV1 reads v1.0's list of volumes, whose word for a good one is HEALTHY, and the status of the one, an object or a list of one
// (tag 11.0-RC, docs/api/resources/storage.rst and gui/api/resources.py, VolumeResourceMixin). It tells nothing of scrubs.
func readPoolV1(volumes, status []byte, name string) (pool, error) {
	list, err := decode[[]struct {
		Name   string `json:"vol_name"`
		Status string `json:"status"`
	}](volumes)
	if err != nil {
		return pool{}, err
	}
	for _, e := range list[:min(len(list), maxList)] {
		if e.Name != name {
			continue
		}
		p, err := poolOf(name, e.Status, "HEALTHY")
		if err != nil {
			return pool{}, err
		}
		tree, err := decode[[]vdevV1](status)
		if err != nil {
			one, oneErr := decode[vdevV1](status)
			if oneErr != nil {
				return pool{}, oneErr
			}
			tree = []vdevV1{one}
		}
		for _, v := range tree {
			p.lookV1(v, 0)
		}
		return p, nil
	}
	return pool{}, errGone
}
