// This file reads what windows and verdicts depend on.

package vsan

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
)

// deadman decides whether a host ends itself, or a disk, that gets no answer to an abort.
const deadman = "LSOM.lsomPlogEnableDeadmanTimer"

// options are the hosts' options that are recorded, by ESXi's names; what a version does not have is left out.
var options = []string{deadman, vsphere.BlueScreenTimeout, "VSAN.ClomRepairDelay", "LSOM.VSANDeviceMonitoring", "LSOM.lsomSlowDeviceUnmount",
	"LSOM.lsomSlowTier1DeviceUnmount", "LSOM.diskIoTimeout", "LSOM.diskIoRetryFactor"}

// Settings has versions, the contract that they are held to, the options of the host under fault (or of the first one), HA's and
// vSAN's configuration, and the disk groups.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	p, err := d.find(ctx)
	if err != nil {
		return nil, d.conn.Operator(err)
	}
	s := map[string]string{"vcenter": p.vcenter.Version + " build-" + p.vcenter.Build, "contract": contractOf(p.versions()), "contract.known": Known()}
	for _, h := range p.hosts {
		s["host."+p.hostName[h]] = p.builds[h].Version + " build-" + p.builds[h].Build
	}
	if d.cfg.Host != "" {
		s["host"] = d.cfg.Host
	}
	if d.cfg.Disk != "" {
		s["disk"] = d.diskUnderFault(p)
	}
	if d.cfg.Stall != nil {
		s["stall.way"] = d.cfg.Stall.Way
	}
	if d.cfg.FaultTool != "" {
		s["fault_tool"] = "vSAN's own injection of errors; it gives no stuck I/O: " + d.cfg.FaultTool
	}
	on, err := d.config(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("asking vSAN for its configuration: %w", err)
	}
	e := on.DataEfficiencyConfig
	s["dedup"] = onOff(e != nil && e.DedupEnabled)
	s["compression"] = onOff(e != nil && e.CompressionEnabled != nil && *e.CompressionEnabled)
	if x := on.ExtendedConfig; x != nil && x.ObjectRepairTimer > 0 {
		s["ObjectRepairTimer"] = fmt.Sprint(x.ObjectRepairTimer)
	}
	if err := d.groups(ctx, p, s); err != nil {
		return nil, err
	}
	if err := d.options(ctx, p, s); err != nil {
		return nil, err
	}
	return s, d.protection(ctx, p, s)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// groups notes each host's disk groups, the cache disk of each first, what the disk under fault is, and what is in its group. A
// cache cannot be told by its being flash: in an all-flash group every disk is.
func (d *Driver) groups(ctx context.Context, p *place, s map[string]string) error {
	var refs []ref
	of := map[ref]ref{}
	for _, h := range p.hosts {
		refs, of[p.vsan[h]] = append(refs, p.vsan[h]), h
	}
	var all []mo.HostVsanSystem
	err := d.conn.Call(ctx, slow, func(ctx context.Context, c *vim25.Client) error {
		return property.DefaultCollector(c).Retrieve(ctx, refs, []string{"config"}, &all)
	})
	if err != nil {
		return fmt.Errorf("reading the hosts' disk groups: %w", err)
	}
	for _, one := range all {
		host := of[one.Self]
		if one.Config.StorageInfo == nil {
			return fmt.Errorf("the host %s does not say which disk groups it has", p.hostName[host])
		}
		var layout []string
		for _, m := range one.Config.StorageInfo.DiskMapping {
			names := []string{p.diskName(host, m.Ssd.CanonicalName)}
			for _, c := range m.NonSsd {
				names = append(names, p.diskName(host, c.CanonicalName))
			}
			layout = append(layout, strings.Join(names, " "))
			if i := slices.Index(names, d.diskUnderFault(p)); i >= 0 && host == p.target {
				s["group"], s["disk.kind"] = strings.Join(names, " "), "capacity"
				if i == 0 {
					s["disk.kind"] = "cache"
				}
			}
		}
		s["groups."+p.hostName[host]] = strings.Join(layout, " | ")
	}
	return nil
}

func (p *place) optionsOf() ref {
	if p.target.Value != "" {
		return p.options[p.target]
	}
	return p.options[p.hosts[0]]
}

func (d *Driver) options(ctx context.Context, p *place, s map[string]string) error {
	for _, key := range options {
		err := d.conn.Call(ctx, quick, func(ctx context.Context, c *vim25.Client) error {
			v, err := vsphere.Option(ctx, c, p.optionsOf(), key)
			if err == nil {
				s[key] = fmt.Sprint(v)
			}
			return err
		})
		if err != nil && !vsphere.Unsupported(err) {
			return fmt.Errorf("reading the option %s: %w", key, err)
		}
	}
	return nil
}

// protection notes HA's configuration.
func (d *Driver) protection(ctx context.Context, p *place, s map[string]string) error {
	var c mo.ClusterComputeResource
	err := d.conn.Call(ctx, quick, func(ctx context.Context, v *vim25.Client) error {
		return property.DefaultCollector(v).RetrieveOne(ctx, p.cluster, []string{"configurationEx"}, &c)
	})
	if err != nil {
		return fmt.Errorf("reading HA's configuration: %w", err)
	}
	ex, ok := c.ConfigurationEx.(*types.ClusterConfigInfoEx)
	if !ok {
		return fmt.Errorf("the cluster's configuration is of type %T", c.ConfigurationEx)
	}
	das := ex.DasConfig
	s["ha"], s["ha.host-monitoring"], s["vmcp"] = onOff(das.Enabled != nil && *das.Enabled), das.HostMonitoring, das.VmComponentProtecting
	if vm := das.DefaultVmSettings; vm != nil && vm.VmComponentProtectionSettings != nil {
		v := vm.VmComponentProtectionSettings
		s["vmcp.apd"], s["vmcp.pdl"] = v.VmStorageProtectionForAPD, v.VmStorageProtectionForPDL
		s["vmTerminateDelayForAPDSec"] = fmt.Sprint(v.VmTerminateDelayForAPDSec)
	}
	return nil
}
