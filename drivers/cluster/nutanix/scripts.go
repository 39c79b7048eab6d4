// This file has what is run on CVMs and hosts: small shell scripts, each of which begins with its own name, so that an
// administrator who finds one in a log or in ps(1) knows whose it is. They answer in lines "@word value". Looks change nothing.

package nutanix

import (
	"fmt"
	"strings"
)

// script is one of them; sh is the shell that it wants.
type script struct{ name, sh, body string }

// bash runs with a login environment, without which a CVM knows neither genesis nor cluster.
const (
	bash = "/bin/bash -l -s"
	sh   = "/bin/sh -s"
)

// find looks for the block device of the serial number $1. A disk that is gone has none.
const findDevice = `
device() { lsblk -dno NAME,SERIAL 2>/dev/null | awk -v s="$1" '$2 == s { print $1; exit }'; }
`

// lookCVM looks at a CVM: its boot, Stargate's own page, what kernel and Stargate say of disks, and a direct read of each disk that
// is named after $1, the time (in tenths of a second) that one may take. Reads are left behind: one that is stuck cannot be
// killed, and while it is stuck no other is begun. They are made in the control group that stall above makes, if it is there.
var lookCVM = script{"look-cvm", bash, findDevice + `
tenths=$1; shift
tmp=${APD_TMP:-/tmp}; group=${APD_CGROUP:-/sys/fs/cgroup/blkio}/apd
echo "@boot $(cat /proc/sys/kernel/random/boot_id)"
curl -s -m 2 -o /dev/null http://localhost:2009/; echo "@stargate $?"
sudo -n dmesg 2>/dev/null | grep -i 'abort' | tail -n 5 | sed 's/^/@abort /'
tail -n 2000 ~/data/logs/stargate.INFO 2>/dev/null | grep -iE 'disk.*(offline|not respond|timed out|stuck)|corrupt' | tail -n 5 | sed 's/^/@log /'
waits=
for s; do
	run=$tmp/apd-read-$s; d=$(device "$s")
	if [ -z "$d" ]; then echo "@medium $s gone"; continue; fi
	echo "@device $s $d"
	if [ -s "$run.pid" ] && [ ! -s "$run.rc" ] && kill -0 "$(cat "$run.pid")" 2>/dev/null; then echo "@medium $s hangs"; continue; fi
	rm -f "$run.pid" "$run.rc"
	blocks=$(($(cat "/sys/block/$d/size" 2>/dev/null || echo 8) / 8)); [ "$blocks" -gt 0 ] || blocks=1
	( [ -d "$group" ] && echo $BASHPID | sudo -n tee "$group/cgroup.procs" >/dev/null
	  sudo -n dd if="/dev/$d" of=/dev/null bs=4096 count=1 skip=$(((RANDOM * 32768 + RANDOM) % blocks)) iflag=direct; echo $? >"$run.rc" ) >/dev/null 2>&1 </dev/null &
	echo $! >"$run.pid"
	waits="$waits $s"
done
n=0
for s in $waits; do
	run=$tmp/apd-read-$s
	while [ ! -s "$run.rc" ] && [ "$n" -lt "$tenths" ]; do sleep 0.1; n=$((n + 1)); done
	case $(cat "$run.rc" 2>/dev/null) in
	0) echo "@medium $s serves" ;;
	'') echo "@medium $s hangs" ;;
	*) echo "@medium $s fails" ;;
	esac
done
`}

// lookEgroup tells whether the file $1 begins with the bytes that disk-corrupt writes.
var lookEgroup = script{"look-egroup", bash, `
[ -e "$1" ] || { echo "@egroup missing"; exit 0; }
b=$(dd if="$1" bs=4096 count=1 iflag=direct 2>/dev/null | base64 -w 0)
echo "@bytes $b"
`}

// lookAHV looks at a host with AHV: what libvirt says of the CVM $1, where the VMs' iSCSI connections go, and since when each VM's
// QEMU runs, which a restart on any host changes.
var lookAHV = script{"look-host", bash, `
echo "@domain $(virsh domstate "$1" 2>&1)"
netstat -tnp 2>/dev/null | awk '/qemu|frodo/ { print "@peer", $5 }' | sort -u
ps -eo lstart=,args= | sed -n 's/^\(.\{24\}\) .*qemu-kvm.* -uuid \([0-9a-f-]*\).*/@vm \2 \1/p'
`}

// lookESXi looks at a host with ESXi: whether the CVM $1 runs, and the route that Autopathing adds for its storage address.
var lookESXi = script{"look-host-esxi", sh, `
if esxcli vm process list | grep -q "Display Name: $1\$"; then echo "@domain running"; else echo "@domain shut off"; fi
esxcfg-route -l | awk '$1 == "192.168.5.2" { print "@route", $3 }'
`}

func lookHost(hypervisor string) script {
	if hypervisor == esxi {
		return lookESXi
	}
	return lookAHV
}

// tolerates has the cluster's own shell tell what failures it tolerates, beside what Prism says.
var tolerates = script{"tolerates", bash, `
ncli cluster get-domain-fault-tolerance-status type=disk | awk -F: '/Current Fault Tolerance/ { gsub(/ /, "", $2); print "@tolerates", $2 }'
`}

// lookDisk tells of the disk with the serial number $1: device, number, state, SCSI host, kernel's timeout, and Stargate's cgroup.
var lookDisk = script{"look-disk", bash, findDevice + `
d=$(device "$1"); [ -n "$d" ] || { echo "@gone yes"; exit 0; }
echo "@device $d"; echo "@number $(cat "/sys/block/$d/dev")"; echo "@state $(cat "/sys/block/$d/device/state")"
echo "@timeout $(cat "/sys/block/$d/device/timeout")"
echo "@host $(readlink -f "/sys/block/$d/device" | grep -o 'host[0-9]*' | head -n 1)"
p=$(pgrep -x stargate | head -n 1); [ -z "$p" ] || echo "@cgroup $(awk -F: '$2 ~ /blkio/ { print $3 }' "/proc/$p/cgroup")"
`}

// setState sets the state of the device $1 to $2: offline has the kernel fail every command.
var setState = script{"set-disk-state", bash, `
f=/sys/block/$1/device/state; [ -e "$f" ] || { echo "@gone yes"; exit 0; }
[ "$(cat "$f")" = "$2" ] && { echo "@same yes"; exit 0; }
echo "$2" | sudo -n tee "$f" >/dev/null && echo "@done yes"
`}

// deleteDisk takes the device $1 away from the kernel, and rescan lets it find the disk $1 again on the SCSI host $2.
var (
	deleteDisk = script{"delete-disk", bash, `echo 1 | sudo -n tee "/sys/block/$1/device/delete" >/dev/null && echo "@done yes"
`}
	rescan = script{"rescan", bash, findDevice + `
[ -z "$(device "$1")" ] || { echo "@same yes"; exit 0; }
echo '- - -' | sudo -n tee "/sys/class/scsi_host/$2/scan" >/dev/null
n=0; while [ -z "$(device "$1")" ] && [ "$n" -lt 100 ]; do sleep 0.1; n=$((n + 1)); done
[ -n "$(device "$1")" ] && echo "@done yes"
`}
)

// throttle lets Stargate, and nobody else, read and write one byte a second of the device with the number $1: no command reaches
// the disk, so that no SCSI timer starts. unthrottle moves it back into the control group $2.
var (
	throttle = script{"throttle", bash, `
g=/sys/fs/cgroup/blkio/apd; sudo -n mkdir -p "$g"
for f in read write; do echo "$1 1" | sudo -n tee "$g/blkio.throttle.${f}_bps_device" >/dev/null || exit 1; done
for p in $(pgrep -x stargate); do echo "$p" | sudo -n tee "$g/cgroup.procs" >/dev/null || exit 1; done
echo "@done yes"
`}
	unthrottle = script{"unthrottle", bash, `
g=/sys/fs/cgroup/blkio/apd; [ -d "$g" ] || { echo "@same yes"; exit 0; }
for f in read write; do echo "$1 0" | sudo -n tee "$g/blkio.throttle.${f}_bps_device" >/dev/null; done
for p in $(cat "$g/cgroup.procs"); do echo "$p" | sudo -n tee "/sys/fs/cgroup/blkio$2/cgroup.procs" >/dev/null; done
sudo -n rmdir "$g" && echo "@done yes"
`}
)

// lookProcess tells the state of the process whose number is in the file $1; freeze stops it, and thaw lets it go on.
var (
	lookProcess = script{"look-process", sh, `p=$(cat "$1") && echo "@pid $p" && echo "@state $(ps -o stat= -p "$p")"
`}
	freeze = script{"freeze", sh, `kill -STOP "$1" && echo "@done yes"
`}
	thaw = script{"thaw", sh, `case $(ps -o stat= -p "$1") in T*) kill -CONT "$1" && echo "@done yes" ;; *) echo "@same yes" ;; esac
`}
)

// overwrite puts 4 KiB of the byte 0xa5 over the beginning of the file $1, and writeBack the bytes $2 where those are still there.
var (
	overwrite = script{"overwrite-egroup", bash, `
head -c 4096 /dev/zero | tr '\000' '\245' | sudo -n dd of="$1" bs=4096 count=1 conv=notrunc oflag=direct 2>/dev/null && echo "@done yes"
`}
	writeBack = script{"write-back-egroup", bash, `
[ -e "$1" ] || { echo "@same yes"; exit 0; }
[ "$(dd if="$1" bs=4096 count=1 iflag=direct 2>/dev/null | tr -d '\245' | wc -c)" -eq 0 ] || { echo "@same yes"; exit 0; }
echo "$2" | base64 -d | sudo -n dd of="$1" bs=4096 count=1 conv=notrunc oflag=direct 2>/dev/null && echo "@done yes"
`}
)

// The ways to stop a CVM's Stargate, and to start it. cluster start starts what is down and leaves alone what runs.
var (
	lookStargate  = script{"look-stargate", bash, "curl -s -m 2 -o /dev/null http://localhost:2009/; echo \"@stargate $?\"\necho \"@stopped $(ps -C stargate -o stat= | grep -c ^T)\"\n"}
	stopStargate  = script{"stop-stargate", bash, "genesis stop stargate && echo '@done yes'\n"}
	startStargate = script{"start-stargate", bash, "cluster start >/dev/null && echo '@done yes'\n"}
	hangStargate  = script{"hang-stargate", bash, "sudo -n pkill -STOP -x stargate && echo '@done yes'\n"}
	wakeStargate  = script{"wake-stargate", bash, "sudo -n pkill -CONT -x stargate && echo '@done yes'\n"}
)

// What is done to a whole CVM: on its host with AHV to the domain $1, or on itself.
var (
	domainState = script{"domain-state", bash, "echo \"@domain $(virsh domstate \"$1\" 2>&1)\"\n"}
	destroy     = script{"destroy", bash, "virsh destroy \"$1\" >/dev/null && echo '@done yes'\n"}
	suspend     = script{"suspend", bash, "virsh suspend \"$1\" >/dev/null && echo '@done yes'\n"}
	resume      = script{"resume", bash, "virsh resume \"$1\" >/dev/null && echo '@done yes'\n"}
	start       = script{"start", bash, "virsh start \"$1\" >/dev/null && echo '@done yes'\n"}
	shutdown    = script{"shutdown-cvm", bash, "cvm_shutdown -P now </dev/null >/dev/null 2>&1 & echo '@done yes'\n"}
	passthrough = script{"passthrough", bash, "echo \"@hostdev $(virsh dumpxml \"$1\" | grep -c '<hostdev.*pci')\"\n"}
)

// text is the script with its arguments, each of which is one word to the shell whatever is in it.
func (s script) text(args ...string) string {
	var words strings.Builder
	for _, a := range args {
		fmt.Fprintf(&words, " '%s'", strings.ReplaceAll(a, "'", `'\''`))
	}
	return fmt.Sprintf(": apd %s%s\nset --%s\n%s", s.name, words.String(), words.String(), s.body)
}

// answers are the lines of a script's answer, by their words, in order.
type answers map[string][]string

func readAnswers(out string) answers {
	a := answers{}
	for line := range strings.Lines(out) {
		if word, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(word, "@") {
			a[word[1:]] = append(a[word[1:]], strings.TrimSpace(value))
		}
	}
	return a
}

// one returns the value of a word that is there once; "" otherwise.
func (a answers) one(word string) string {
	if len(a[word]) != 1 {
		return ""
	}
	return a[word][0]
}

// of returns what a word says of one thing: "@medium SERIAL serves".
func (a answers) of(word, thing string) string {
	for _, v := range a[word] {
		if rest, ok := strings.CutPrefix(v, thing+" "); ok {
			return rest
		}
	}
	return ""
}
