// This file reads the knobs that windows depend on, by VMware's own names and in its units.

package vsphere

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/vmware/govmomi/fault"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// The options of the host that matter. An older host does not have them all.
var optionKeys = []string{"Misc.APDTimeout", "Misc.APDHandlingEnable", "Scsi.FailVMIOonAPD", "Misc.BlueScreenTimeout", "Disk.AutoremoveOnPDL"}

// The parameters of the iSCSI adapter that matter, in seconds.
var iscsiKeys = []string{"RecoveryTimeout", "NoopOutInterval", "NoopOutTimeout", "LoginTimeout"}

// Settings returns the host's knobs, and what it is.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	p, err := d.find(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	out := map[string]string{}
	for _, key := range optionKeys {
		var value any
		err := d.api.call(ctx, func(ctx context.Context, v *visit) (err error) {
			value, err = option(ctx, v, p.options, key)
			return err
		})
		switch {
		case err == nil:
			out[key] = fmt.Sprint(value)
		case !unsupported(err):
			return nil, fmt.Errorf("reading the option %s: %w", key, err)
		}
	}
	err = d.api.call(ctx, func(ctx context.Context, v *visit) error {
		a := v.ServiceContent.About
		out["product"], out["version"], out["build"], out["standalone"] = a.FullName, a.Version, a.Build, yes(!v.IsVC())
		found, err := retrieve(ctx, v, want{[]ref{p.storage}, []string{hbasAt, pathsAt, lunsAt}}, want{[]ref{p.above}, aboveAt(p.above)},
			want{refsOf(p), []string{"guest.toolsRunningStatus"}})
		if err != nil {
			return err
		}
		storageSettings(out, found[p.storage], p.disks)
		clusterSettings(out, found[p.above])
		toolsSetting(out, p, found)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	return out, nil
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// refsOf lists the lab's machines.
func refsOf(p *place) []ref {
	var refs []ref
	for _, vm := range p.vms {
		refs = append(refs, vm)
	}
	return refs
}

// aboveAt is what is asked of what the host is in: only a cluster has a configuration of this kind.
func aboveAt(above ref) []string {
	if above.Type == "ClusterComputeResource" {
		return []string{"configurationEx"}
	}
	return []string{"name"}
}

func storageSettings(out map[string]string, storage props, disks []string) {
	if len(disks) > 0 {
		out["paths"] = strconv.Itoa(len(lunStateOf(storage, disks).paths))
	}
	hba, ok := adapterOf(storage, disks)
	if !ok {
		return
	}
	out["adapter"], out["iscsi.software"] = hba.Device, yes(hba.IsSoftwareBased)
	for _, o := range hba.AdvancedOptions {
		if slices.Contains(iscsiKeys, o.Key) {
			out[o.Key] = fmt.Sprint(o.Value)
		}
	}
}

// clusterSettings are those of vSphere HA, by the names of the API's properties.
func clusterSettings(out map[string]string, above props) {
	config, ok := above["configurationEx"].(types.ClusterConfigInfoEx)
	if !ok {
		return
	}
	das := config.DasConfig
	set := func(key, value string) {
		if value != "" {
			out["das."+key] = value
		}
	}
	set("enabled", yes(das.Enabled != nil && *das.Enabled))
	set("hostMonitoring", das.HostMonitoring)
	set("vmMonitoring", das.VmMonitoring)
	set("vmComponentProtecting", das.VmComponentProtecting)
	if das.DefaultVmSettings == nil || das.DefaultVmSettings.VmComponentProtectionSettings == nil {
		return
	}
	c := das.DefaultVmSettings.VmComponentProtectionSettings
	set("vmStorageProtectionForAPD", c.VmStorageProtectionForAPD)
	set("vmStorageProtectionForPDL", c.VmStorageProtectionForPDL)
	set("vmReactionOnAPDCleared", c.VmReactionOnAPDCleared)
	if c.VmTerminateDelayForAPDSec != 0 {
		set("vmTerminateDelayForAPDSec", strconv.Itoa(int(c.VmTerminateDelayForAPDSec)))
	}
}

func toolsSetting(out map[string]string, p *place, found map[ref]props) {
	running := 0
	for _, vm := range p.vms {
		if found[vm].text("guest.toolsRunningStatus") == string(types.VirtualMachineToolsRunningStatusGuestToolsRunning) {
			running++
		}
	}
	if len(p.vms) > 0 {
		out["guest.tools"] = fmt.Sprintf("running in %d of %d", running, len(p.vms))
	}
}

// option reads one of the host's options.
func option(ctx context.Context, v soap.RoundTripper, manager ref, key string) (any, error) {
	res, err := methods.QueryOptions(ctx, v, &types.QueryOptions{This: manager, Name: key})
	if err != nil && fault.Is(err, &types.InvalidName{}) {
		return nil, noSuchOption(key)
	}
	if err != nil {
		return nil, err
	}
	for _, o := range res.Returnval { // a name also stands for all that begin with it
		if ov := o.GetOptionValue(); ov.Key == key {
			return ov.Value, nil
		}
	}
	return nil, noSuchOption(key)
}
