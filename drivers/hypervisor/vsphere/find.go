// This file finds things in the inventory by their exact names, or by their inventory paths where names are not enough.

package vsphere

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers"
)

// entity is one thing of the inventory.
type entity struct {
	name   string
	parent *ref
}

// inventory is the tree of all things that matter here.
type inventory map[ref]entity

// takeInventory reads the whole tree in one call.
func takeInventory(ctx context.Context, v *visit) (inventory, error) {
	cv, err := view.NewManager(v.Client).CreateContainerView(ctx, v.ServiceContent.RootFolder, nil, true)
	if err != nil {
		return nil, fmt.Errorf("listing the inventory: %w", err)
	}
	defer func() { _ = cv.Destroy(ctx) }() // it goes with the session at the latest
	skip := true
	found, err := retrieveSpec(ctx, v, types.PropertyFilterSpec{
		ObjectSet: []types.ObjectSpec{{Obj: cv.Reference(), Skip: &skip, SelectSet: []types.BaseSelectionSpec{
			&types.TraversalSpec{Type: "ContainerView", Path: "view"},
		}}},
		PropSet: []types.PropertySpec{
			{Type: "ManagedEntity", PathSet: []string{"name", "parent"}},
			{Type: "VirtualMachine", PathSet: []string{"parentVApp"}},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("listing the inventory: %w", err)
	}
	inv := make(inventory, len(found))
	for r, p := range found {
		e := entity{name: unescape(p.text("name"))}
		for _, path := range []string{"parentVApp", "parent"} {
			if up, ok := p[path].(ref); ok {
				e.parent = &up
			}
		}
		inv[r] = e
	}
	return inv, nil
}

// unescape turns a name of the API into the one that people see: the API escapes these three characters.
func unescape(name string) string {
	return strings.NewReplacer("%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%").Replace(name)
}

// path is the inventory path of a thing: /datacenter/vm/folder/name.
func (inv inventory) path(r ref) string {
	var parts []string
	for range 100 { // a tree that is read while it changes may have a loop
		e, ok := inv[r]
		if !ok {
			break // the root folder, which has no name in paths
		}
		parts = append([]string{e.name}, parts...)
		if e.parent == nil {
			break
		}
		r = *e.parent
	}
	return "/" + strings.Join(parts, "/")
}

// query is what is looked for.
type query struct {
	kind, name string
	within     string           // the path that it must lie under; "" for anywhere
	among      func(r ref) bool // nil: any
	key        string           // the key of the lab file that names it
}

var kindWords = map[string]string{"HostSystem": "host", "Datastore": "datastore", "VirtualMachine": "VM", "Datacenter": "datacenter"}

// find returns the one thing of that name. An empty name means the only one there is.
func (inv inventory) find(q query) (ref, error) {
	var hits []ref
	var near, paths []string
	for r, e := range inv {
		if r.Type != q.kind {
			continue
		}
		path := inv.path(r)
		if q.within != "" && !strings.HasPrefix(path, q.within+"/") || q.among != nil && !q.among(r) {
			continue
		}
		near = append(near, e.name)
		if q.name == "" || e.name == q.name || path == q.name || path == "/"+q.name {
			hits = append(hits, r)
			paths = append(paths, path)
		}
	}
	sort.Strings(paths)
	word := kindWords[q.kind]
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) == 0:
		return ref{}, &drivers.Operator{Cause: fmt.Sprintf("there is no %s %q", word, q.name), Impact: "What the lab file names cannot be watched",
			Do: fmt.Sprintf("Correct %s in the lab file. There is: %s", q.key, nearest(q.name, near))}
	case q.name == "":
		return ref{}, &drivers.Operator{Cause: fmt.Sprintf("there are %d %ss, and the lab file names none", len(hits), word), Impact: "It is not known which one is meant",
			Do: fmt.Sprintf("Write %s: and one of %s", q.key, listed(paths))}
	}
	return ref{}, &drivers.Operator{Cause: fmt.Sprintf("there are %s %ss of one name, %q", number(len(hits)), word, q.name), Impact: "It is not known which one is meant",
		Do: fmt.Sprintf("Write the inventory path in %s: one of %s", q.key, listed(paths))}
}

func number(n int) string {
	if n == 2 {
		return "two"
	}
	return fmt.Sprint(n)
}

const maxListed = 10

func listed(names []string) string {
	if more := len(names) - maxListed; more > 0 {
		names = append(append([]string{}, names[:maxListed]...), fmt.Sprintf("and %d more", more))
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// nearest lists names, those first that look like the one that was asked for.
func nearest(name string, names []string) string {
	like := func(other string) int {
		a, b := strings.ToLower(name), strings.ToLower(other)
		switch {
		case a == b:
			return 0
		case strings.Contains(a, b) || strings.Contains(b, a):
			return 1
		case a != "" && b != "" && a[0] == b[0]:
			return 2
		}
		return 3
	}
	sort.Slice(names, func(i, j int) bool {
		if x, y := like(names[i]), like(names[j]); x != y {
			return x < y
		}
		return names[i] < names[j]
	})
	return listed(names)
}
