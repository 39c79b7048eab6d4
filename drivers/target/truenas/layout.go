// This file puts together what targets and LUNs a system has.

package truenas

import (
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
)

// parts are the lists that a layout is put together from, by v2.0's names.
type parts struct {
	base    string
	targets []struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
	}
	extents []struct {
		ID      int    `json:"id"`
		Name    string `json:"name"`
		Enabled *bool  `json:"enabled"`
		Locked  bool   `json:"locked"` // in later versions
		Type    string `json:"type"`
		Path    string `json:"path"`
		Disk    string `json:"disk"` // in place of the path, of what is no file
	}
	pairs []struct {
		Target int  `json:"target"`
		Extent int  `json:"extent"`
		LUN    *int `json:"lunid"`
	}
}

// readLayout puts the answers of iscsi.global.config, iscsi.target.query, iscsi.extent.query and
// iscsi.targetextent.query together.
func readLayout(global, targets, extents, pairs []byte) (layout, error) {
	base, err := decode[struct{ Basename string }](global)
	if err != nil {
		return layout{}, err
	}
	p := parts{base: base.Basename}
	if err := errors.Join(json.Unmarshal(targets, &p.targets), json.Unmarshal(extents, &p.extents), json.Unmarshal(pairs, &p.pairs)); err != nil {
		return layout{}, fmt.Errorf("%w: %v", errForm, err)
	}
	return p.layout(), nil
}

// layout names each target wholly: the base name goes before names that have none (tag 11.0-RC, gui/services/models.py).
func (p parts) layout() layout {
	var l layout
	for _, t := range p.targets[:min(len(p.targets), maxList)] {
		out := target{iqn: t.Name}
		if !strings.HasPrefix(t.Name, "iqn.") && !strings.HasPrefix(t.Name, "eui.") && !strings.HasPrefix(t.Name, "naa.") {
			out.iqn = p.base + ":" + t.Name
		}
		next := 0
		for _, pair := range p.pairs[:min(len(p.pairs), maxList)] {
			if pair.Target != t.ID {
				continue
			}
			n := next // without a number the next free one is given
			if pair.LUN != nil {
				n = *pair.LUN
			}
			next = max(next, n+1)
			one := lun{number: n}
			for _, e := range p.extents[:min(len(p.extents), maxList)] {
				if e.ID == pair.Extent {
					one.extent, one.off, one.locked = e.Name, e.Enabled != nil && !*e.Enabled, e.Locked
					one.path = e.Path
					if e.Disk != "" && !strings.EqualFold(e.Type, "file") {
						one.path = e.Disk
					}
					if !strings.EqualFold(e.Type, "file") {
						one.path = strings.TrimPrefix(one.path, "/dev/")
					}
					one.kind = extentKind(e.Type, one.path)
				}
			}
			out.luns = append(out.luns, one)
		}
		sort.Slice(out.luns, func(i, j int) bool { return out.luns[i].number < out.luns[j].number })
		l.targets = append(l.targets, out)
	}
	return l
}

// readLayoutV1 is the same for v1.0, whose names are others (tag 11.0-RC, gui/services/models.py).
func readLayoutV1(global, targets, extents, pairs []byte) (layout, error) {
	g, err := decode[struct {
		Base string `json:"iscsi_basename"`
	}](global)
	if err != nil {
		return layout{}, err
	}
	ts, terr := decode[[]struct {
		ID   int    `json:"id"`
		Name string `json:"iscsi_target_name"`
	}](targets)
	es, eerr := decode[[]struct {
		ID   int    `json:"id"`
		Name string `json:"iscsi_target_extent_name"`
		Type string `json:"iscsi_target_extent_type"`
		Path string `json:"iscsi_target_extent_path"` // with /dev/ where it is no file
	}](extents)
	ps, perr := decode[[]struct {
		Target int  `json:"iscsi_target"`
		Extent int  `json:"iscsi_extent"`
		LUN    *int `json:"iscsi_lunid"`
	}](pairs)
	if err := errors.Join(terr, eerr, perr); err != nil {
		return layout{}, err
	}
	p := parts{base: g.Base}
	for _, t := range ts {
		p.targets = append(p.targets, struct {
			ID   int    `json:"id"`
			Name string `json:"name"`
		}(t))
	}
	for _, e := range es {
		p.extents = append(p.extents, struct {
			ID      int    `json:"id"`
			Name    string `json:"name"`
			Enabled *bool  `json:"enabled"`
			Locked  bool   `json:"locked"`
			Type    string `json:"type"`
			Path    string `json:"path"`
			Disk    string `json:"disk"`
		}{ID: e.ID, Name: e.Name, Type: e.Type, Path: e.Path})
	}
	for _, x := range ps {
		p.pairs = append(p.pairs, struct {
			Target int  `json:"target"`
			Extent int  `json:"extent"`
			LUN    *int `json:"lunid"`
		}(x))
	}
	return p.layout(), nil
}
