// This file says whom an event is about, and puts it into words.

package vsphere

import (
	"strconv"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// concerns tells whether an event is about our host, one of our machines, or the cluster as a whole.
func (p *place) concerns(e types.BaseEvent) bool {
	ev := e.GetEvent()
	if _, ours := p.machineOf(e); ours {
		return true
	}
	if ev.Host != nil {
		return ev.Host.Host == p.host
	}
	return ev.Vm == nil
}

func (p *place) machineOf(e types.BaseEvent) (string, bool) {
	if vm := e.GetEvent().Vm; vm != nil {
		name, ok := p.names[vm.Vm]
		return name, ok
	}
	if x, ok := e.(*types.EventEx); ok && x.ObjectType == "VirtualMachine" {
		name, ok := p.names[ref{Type: x.ObjectType, Value: x.ObjectId}]
		return name, ok
	}
	return "", false
}

// describe puts an event into the words of an observation.
func describe(e types.BaseEvent) (id, text string, attrs map[string]string) {
	ev := e.GetEvent()
	id, text, attrs = className(e), ev.FullFormattedMessage, map[string]string{}
	switch x := e.(type) {
	case *types.EventEx:
		id = x.EventTypeId
		if text == "" {
			text = x.Message
		}
		for _, a := range x.Arguments {
			if s, ok := a.Value.(string); ok {
				attrs[a.Key] = s
			}
		}
		if x.Severity != "" {
			attrs["severity"] = x.Severity
		}
	case *types.ExtendedEvent:
		id = x.EventTypeId
		if text == "" {
			text = x.Message
		}
		for _, a := range x.Data {
			attrs[a.Key] = a.Value
		}
	}
	if id == "" {
		id = className(e)
	}
	attrs["key"] = strconv.Itoa(int(ev.Key))
	attrs["created"] = ev.CreatedTime.UTC().Format(time.RFC3339Nano)
	if ev.Vm != nil {
		attrs["vm"] = unescape(ev.Vm.Name)
	}
	if ev.Host != nil {
		attrs["host"] = ev.Host.Name
	}
	if ev.Ds != nil {
		attrs["datastore"] = unescape(ev.Ds.Name)
	}
	return id, text, attrs
}
