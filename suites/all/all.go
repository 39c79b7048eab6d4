// Package all links every driver and every claim of this repository.
package all

import (
	_ "github.com/allpathsdown/allpathsdown/drivers/cluster/nutanix"    // cluster/nutanix
	_ "github.com/allpathsdown/allpathsdown/drivers/guest/linux"        // guest/linux
	_ "github.com/allpathsdown/allpathsdown/drivers/hypervisor/qemu"    // hypervisor/qemu
	_ "github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere" // hypervisor/vsphere
	_ "github.com/allpathsdown/allpathsdown/drivers/path/iscsiproxy"    // path/iscsiproxy
	_ "github.com/allpathsdown/allpathsdown/drivers/path/nft"           // path/nft
	_ "github.com/allpathsdown/allpathsdown/drivers/path/sshlink"       // path/sshlink
	_ "github.com/allpathsdown/allpathsdown/drivers/path/switchport"    // path/switchport
	_ "github.com/allpathsdown/allpathsdown/drivers/target/istgt"       // target/istgt
	_ "github.com/allpathsdown/allpathsdown/drivers/target/lio"         // target/lio
	_ "github.com/allpathsdown/allpathsdown/drivers/target/local"       // target/tgt, target/istgt-local
	_ "github.com/allpathsdown/allpathsdown/drivers/target/machine"     // target/machine
	_ "github.com/allpathsdown/allpathsdown/drivers/target/power"       // target/power
	_ "github.com/allpathsdown/allpathsdown/drivers/target/scst"        // target/scst
	_ "github.com/allpathsdown/allpathsdown/drivers/target/tgtssh"      // target/tgt-ssh
	_ "github.com/allpathsdown/allpathsdown/drivers/target/truenas"     // target/truenas
	_ "github.com/allpathsdown/allpathsdown/drivers/target/xigmanas"    // target/xigmanas
	_ "github.com/allpathsdown/allpathsdown/suites/apd"                 // E1 to E14
	_ "github.com/allpathsdown/allpathsdown/suites/guests"              // C1 to C8, G2, G3
	_ "github.com/allpathsdown/allpathsdown/suites/integrity"           // G1
	_ "github.com/allpathsdown/allpathsdown/suites/nutanix"             // N1 to N22, of Nutanix alone
	_ "github.com/allpathsdown/allpathsdown/suites/pdl"                 // device loss
	_ "github.com/allpathsdown/allpathsdown/suites/poweroff"            // P1 to P5
	_ "github.com/allpathsdown/allpathsdown/suites/stuckio"             // stuck I/O on one host
	_ "github.com/allpathsdown/allpathsdown/suites/windows"             // W1 to W12
)
