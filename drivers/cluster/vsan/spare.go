// This file finds out whether the cluster can spare the host under fault and its disks. An object that its policy gives one copy is
// healthy as long as that is there, so health does not tell.

package vsan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// component is a node of an object's layout, as the host's internal vSAN system tells it in JSON: a tree of RAID_0, RAID_1, RAID_5,
// RAID_6 and Concatenation below a Configuration, with Components and Witnesses as leaves. (The shape is that which VMware's Ruby
// console reads; the API's documentation only says that it is JSON.)
type component struct {
	kind     string
	disk     string // vSAN's uuid of the disk that has it
	children []component
}

// UnmarshalJSON reads a node and its children, which are fields of their own: child-1, child-2 and so on.
func (c *component) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return err
	}
	for name, into := range map[string]*string{"type": &c.kind, "diskUuid": &c.disk} {
		if raw, ok := fields[name]; ok {
			if err := json.Unmarshal(raw, into); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !strings.HasPrefix(name, "child-") {
			continue
		}
		var child component
		if err := json.Unmarshal(fields[name], &child); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.children = append(c.children, child)
	}
	switch {
	case c.kind == "":
		return errors.New("a part of an object without a type")
	case c.kind == "Component" && c.disk == "":
		return errors.New("a component without its disk")
	case c.kind != "Component" && c.kind != "Witness" && len(c.children) == 0:
		return fmt.Errorf("a %s of nothing", c.kind)
	}
	return nil
}

// survives tells whether all data below c is still there without some disks. A kind that is not known needs all that it has.
func (c component) survives(without map[string]bool) bool {
	lost := 0
	for _, child := range c.children {
		if !child.survives(without) {
			lost++
		}
	}
	switch c.kind {
	case "Witness":
		return true // it has no data, and what it votes on has as many others
	case "Component":
		return !without[c.disk]
	case "RAID_1":
		return lost < len(c.children)
	case "RAID_5":
		return lost <= 1
	case "RAID_6":
		return lost <= 2
	}
	return lost == 0
}

// onDisks is the host's answer.
type onDisks struct {
	On      map[string][]string `json:"objects_on_disks"` // by the disks' uuids: the uuids of objects
	Objects map[string]struct {
		Config struct {
			Content *component `json:"content"`
		} `json:"config"`
	} `json:"dom_objects"`
}

// sole reads an answer, and lists the objects that would be gone with the disks.
func sole(answer string, disks []string) ([]string, error) {
	var on onDisks
	if err := json.Unmarshal([]byte(answer), &on); err != nil {
		return nil, fmt.Errorf("reading what is on the disks (%.60q): %w", answer, err)
	}
	without := map[string]bool{}
	for _, uuid := range disks {
		without[uuid] = true
	}
	lost := map[string]bool{}
	for _, uuid := range disks {
		objects, ok := on.On[uuid]
		if !ok {
			return nil, fmt.Errorf("the host says nothing of what is on the disk %s", uuid)
		}
		for _, o := range objects {
			layout := on.Objects[o].Config.Content
			if layout == nil {
				return nil, fmt.Errorf("the host does not say how the object %s is laid out", o)
			}
			if !layout.survives(without) {
				lost[o] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(lost)), nil
}

// bears is what every fault asks before it journals anything: that the cluster has all its redundancy, and that no object would be
// gone with the host under fault. Of the host, also where one disk is meant: a stuck disk can take it down.
func (d *Driver) bears(ctx context.Context) error {
	p, all, err := d.redundant(ctx)
	if err != nil {
		return err
	}
	var uuids []string
	for _, one := range all {
		if one.host == p.target {
			uuids = append(uuids, one.uuid)
		}
	}
	var lost []string
	err = d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		res, err := methods.QueryObjectsOnPhysicalVsanDisk(ctx, c, &types.QueryObjectsOnPhysicalVsanDisk{This: p.within[p.target], Disks: uuids})
		if err == nil {
			lost, err = sole(res.Returnval, uuids)
		}
		return err
	})
	if err != nil {
		return &drivers.Operator{Cause: d.env.ID + ": it is not known whether the host " + d.cfg.Host + " has the last copy of something",
			Impact: "Nothing was broken", Do: "See that the host answers, and that the account may ask its internal vSAN system: QueryObjectsOnPhysicalVsanDisk", Err: d.conn.Operator(err)}
	}
	if len(lost) > 0 {
		return &drivers.Operator{Cause: fmt.Sprintf("%s: the disks of the host %s have the only copy of %d objects: %s", d.env.ID, d.cfg.Host, len(lost), strings.Join(lost[:min(len(lost), 3)], ", ")),
			Impact: "Nothing was broken: they would be lost, or away until the host is back", Do: "Give those machines a storage policy that tolerates a failure, or name another host"}
	}
	return nil
}
