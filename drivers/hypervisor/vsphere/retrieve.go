// This file reads properties of many objects in one call.

package vsphere

import (
	"context"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

type ref = types.ManagedObjectReference

// props is what an object says of itself, by path. What it does not have, or does not tell, is absent.
type props map[string]any

// want asks objects of one kind for the properties at some paths.
type want struct {
	refs  []ref
	paths []string
}

// retrieve reads what is wanted, in one call. A property that cannot be read fails nothing.
func retrieve(ctx context.Context, v *visit, wants ...want) (map[ref]props, error) {
	var spec types.PropertyFilterSpec
	for _, w := range wants {
		if len(w.refs) == 0 || w.refs[0].Value == "" {
			continue
		}
		spec.PropSet = append(spec.PropSet, types.PropertySpec{Type: w.refs[0].Type, PathSet: w.paths})
		for _, r := range w.refs {
			spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: r})
		}
	}
	if len(spec.ObjectSet) == 0 {
		return map[ref]props{}, nil
	}
	return retrieveSpec(ctx, v, spec)
}

func retrieveSpec(ctx context.Context, v *visit, spec types.PropertyFilterSpec) (map[ref]props, error) {
	res, err := property.DefaultCollector(v.Client).RetrieveProperties(ctx, types.RetrieveProperties{SpecSet: []types.PropertyFilterSpec{spec}})
	if err != nil {
		return nil, err
	}
	out := make(map[ref]props, len(res.Returnval))
	for _, o := range res.Returnval {
		p := make(props, len(o.PropSet))
		for _, d := range o.PropSet {
			if d.Val != nil {
				p[d.Name] = d.Val
			}
		}
		for _, m := range o.MissingSet {
			if _, over := m.Fault.Fault.(*types.NotAuthenticated); over {
				return nil, soap.WrapVimFault(m.Fault.Fault) // this is how a session's end shows here
			}
		}
		out[o.Obj] = p
	}
	return out, nil
}

// get returns the value at a path if it is a T.
func get[T any](p props, path string) T {
	v, _ := p[path].(T)
	return v
}

// text returns a string, or a value of an enumeration, at a path.
func (p props) text(path string) string {
	switch v := p[path].(type) {
	case string:
		return v
	case types.VirtualMachinePowerState:
		return string(v)
	case types.VirtualMachineConnectionState:
		return string(v)
	case types.HostSystemConnectionState:
		return string(v)
	case types.ManagedEntityStatus:
		return string(v)
	}
	return ""
}
