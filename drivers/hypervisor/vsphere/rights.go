// This file asks which of the needed privileges the account has.

package vsphere

import (
	"context"
	"slices"
	"sort"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"
)

// The privileges that this driver needs, by their ids.
var (
	onHost = []string{"System.Read", "Host.Config.Settings", "Host.Config.AdvancedConfig", "Host.Config.Storage", "Global.Diagnostics"}
	onVM   = []string{"System.Read", "VirtualMachine.Interact.PowerOn", "VirtualMachine.Interact.PowerOff", "VirtualMachine.Interact.Reset"}
)

// missingRights lists the privileges that the account lacks. ok is false when the server does not tell.
func missingRights(ctx context.Context, v *visit, p *place) (missing []string, ok bool) {
	manager := v.ServiceContent.AuthorizationManager
	me, err := v.sessions.UserSession(ctx)
	if manager == nil || err != nil || me == nil {
		return nil, false
	}
	ask := func(on []ref, ids []string) bool {
		if len(on) == 0 {
			return true
		}
		res, err := methods.HasPrivilegeOnEntities(ctx, v, &types.HasPrivilegeOnEntities{This: *manager, Entity: on, SessionId: me.Key, PrivId: ids})
		if err != nil {
			return false
		}
		for _, e := range res.Returnval {
			for _, a := range e.PrivAvailability {
				if !a.IsGranted && !slices.Contains(missing, a.PrivId) {
					missing = append(missing, a.PrivId)
				}
			}
		}
		return true
	}
	ok = ask([]ref{p.host}, onHost) && ask(refsOf(p), onVM)
	sort.Strings(missing)
	return missing, ok
}
