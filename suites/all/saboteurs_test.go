// Package all_test holds the records that refute the claims. A claim is only done with its saboteurs: mutations of a real
// record, each of which turns exactly that claim red. They live beside the list of all claims and not beside the one
// RunSpecs, whose binary is carried into labs and starts itself as a guard.
package all_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
	"github.com/allpathsdown/allpathsdown/fixtures/scenario"
	_ "github.com/allpathsdown/allpathsdown/suites/all"
	"github.com/allpathsdown/allpathsdown/suites/claim"
)

// saboteur changes one thing in a record: what should have been seen was not, or the other way round.
type saboteur struct {
	claim string
	name  string
	spoil func(p *tape)
}

// unsure are the claims that a refuted claim leaves without anything to judge: they say so, and are not red.
var unsure = map[string][]string{
	"vm.power-off-without-datastore": {"vm.console-frozen-while-off", "vm.fields-blank-while-off", "vm.shown-again-at-once"},
}

const (
	brief    = "brief-outage"
	dropOut  = "drop-out"
	cable    = "cable-pull"
	reboot   = "target-reboot"
	powerOff = "power-off"
	changed  = "changed-apd-timeout"
	long     = "long-outage"
	repeated = "repeated"
	soak     = "soak"
	hostDown = "host-down"
	powerCut = "target-power-cut"
	rejected = "login-reject"
	lost     = "lost-command"
	stuck    = "stuck-command"
	lunGone  = "lun-gone"
	medium   = "medium-error"
	hang     = "hang"
	winShort = "windows-outage"
	winLong  = "windows-long-outage"
)

// The Windows guest of its tape, and its machine.
const (
	win   = "guest/w"
	winVM = "hypervisor/vm/w"
)

var saboteurs = []saboteur{
	// brief-outage
	{"guest.linux.healthy-after-early-recovery", "a command fails in the outage", func(p *tape) {
		p.state(p.outage(brief).to-1000, "guest/a", "shell.external", "error")
	}},
	{"guest.linux.healthy-after-early-recovery", "the guest was rebooted", func(p *tape) {
		p.state(p.outage(brief).to-1000, "guest/b", "boot", "another")
	}},
	{"guest.linux.healthy-after-early-recovery", "commands stay silent", func(p *tape) {
		forget(p.seen(p.after(brief), "s", "guest/a", "shell.external", "answers")...)
	}},
	{"guest.linux.healthy-after-early-recovery", "nobody can log in any more", func(p *tape) {
		p.state(p.outage(brief).to-1000, "guest/b", "ssh.new", "failed")
		p.forgetAny(p.after(brief), "guest/b", "ssh.new", "ok")
	}},
	{"guest.tens-of-seconds-tolerated", "a read fails", func(p *tape) {
		p.event(p.outage(brief).to-1000, "guest/a", "read-error", "read-error", "input/output error (EIO)")
	}},
	{"guest.tens-of-seconds-tolerated", "a write fails", func(p *tape) {
		p.event(p.outage(brief).to-1000, "guest/b", "write-error", "write-error", "input/output error (EIO)")
	}},
	{"guest.tens-of-seconds-tolerated", "the outage was too short to say so", func(p *tape) { p.hold(brief, 1, 1.2) }},
	{"host.recovers-by-itself", "the path stays offline", func(p *tape) {
		forget(p.seen(p.after(brief), "s", host, "path", "online")...)
	}},
	{"host.recovers-by-itself", "the datastore stays inaccessible", func(p *tape) {
		forget(p.seen(p.after(brief), "s", host, "datastore", "accessible")...)
	}},
	{"host.recovers-by-itself", "a guest's disk stays blocked", func(p *tape) {
		forget(p.seen(p.scenario(brief), "s", "guest/b", "disk", "ok")...)
	}},
	{"esxi.loss-noticed-at-once", "nothing is logged of the loss", func(p *tape) {
		for _, typ := range claim.LossEvents[:1] {
			forget(p.seen(p.scenario(brief), "e", host, "event", typ)...)
		}
		forget(p.seen(p.scenario(brief), "e", host, "event", claim.APDStartEvent)...)
	}},
	{"esxi.service-stop-logs-no-link-event", "the link's going is logged", func(p *tape) {
		p.event(p.outage(brief).to-1000, host, "event", claim.LinkDownEvent, "Physical NIC vmnic1 linkstate is down.")
	}},
	{"esxi.service-stop-logs-no-link-event", "the link's coming is logged", func(p *tape) {
		p.event(p.after(brief).from+100, host, "event", claim.LinkUpEvent, "Physical NIC vmnic1 linkstate is up.")
	}},
	{"esxi.no-apd-timeout-before-its-time", "the timeout is logged", func(p *tape) {
		p.event(p.outage(brief).to-1000, host, "event", claim.APDTimeoutEvent, "... has entered the All Paths Down Timeout state ...")
	}},
	{"esxi.no-apd-timeout-before-its-time", "the datastore shows the timeout", func(p *tape) {
		p.state(p.outage(brief).to-1000, host, "apd", "apd-timeout")
	}},
	// target-reboot
	{"esxi.target-reboot-logs-link-events", "the link's going is not logged", func(p *tape) {
		forget(p.seen(p.scenario(reboot), "e", host, "event", claim.LinkDownEvent)...)
	}},
	{"esxi.target-reboot-logs-link-events", "the link's coming is not logged", func(p *tape) {
		forget(p.seen(p.scenario(reboot), "e", host, "event", claim.LinkUpEvent)...)
	}},
	// changed-apd-timeout
	{"esxi.apd-timeout-follows-setting", "no timeout comes", func(p *tape) {
		forget(p.seen(p.scenario(changed), "e", host, "event", claim.APDTimeoutEvent)...)
	}},
	{"esxi.apd-timeout-follows-setting", "the timeout comes after the old time", func(p *tape) {
		start := p.seen(p.scenario(changed), "e", host, "event", claim.APDStartEvent)[0]
		placeAfter(p.seen(p.scenario(changed), "e", host, "event", claim.APDTimeoutEvent)[0], when(start), 20, 20.01)
	}},
	{"esxi.apd-timeout-follows-setting", "the old value cannot be set again", func(p *tape) {
		p.seen(p.scenario(changed), "e", host, "setting", "put-back")[0]["a"].(map[string]any)["value"] = "26"
	}},
	// host-down
	{"esxi.host-down-takes-machines-along", "the host was not booted", func(p *tape) {
		forget(p.seen(p.scenario(hostDown), "s", host, "boot", "booted anew")...)
	}},
	{"esxi.host-down-takes-machines-along", "a machine lives on", func(p *tape) {
		forget(p.seen(p.scenario(hostDown), "s", "hypervisor/vm/b", "power", "off")...)
		forget(p.seen(p.scenario(hostDown), "s", "guest/b", "boot", "booted anew")...)
	}},
	// drop-out
	{"guest.work-only-pauses", "no writer stops", func(p *tape) {
		forget(p.seen(p.outage(dropOut), "s", "guest/a", "write", "blocked")...)
	}},
	{"guest.work-only-pauses", "the writer does not go on", func(p *tape) {
		forget(p.seen(p.scenario(dropOut), "s", "guest/b", "write", "ok")...)
	}},
	{"guest.work-only-pauses", "the worker in memory is silent", func(p *tape) {
		p.seen(p.outage(dropOut), "b", "guest/a", "heartbeat", "")[0]["max"] = 4.5
	}},
	{"guest.work-only-pauses", "the worker in memory crawls", func(p *tape) {
		for _, b := range p.seen(p.outage(dropOut), "b", "guest/b", "cpu", "") {
			b["sum"] = b["sum"].(float64) / 5
		}
	}},
	{"host.drop-out-under-load", "a write waits half a minute", func(p *tape) {
		p.seen(span{p.outage(dropOut).to, p.scenario(dropOut).to}, "b", "guest/a", "write", "")[0]["max"] = 30.0
	}},
	{"host.drop-out-under-load", "a write fails", func(p *tape) {
		p.event(p.outage(dropOut).to, "guest/b", "write-error", "write-error", "input/output error (EIO)")
	}},
	// cable-pull
	{"host.cable-pull-is-harmless", "a read fails", func(p *tape) {
		p.event(p.outage(cable).to, "guest/a", "read-error", "read-error", "input/output error (EIO)")
	}},
	{"host.cable-pull-is-harmless", "a write fails", func(p *tape) {
		p.event(p.outage(cable).to, "guest/b", "write-error", "write-error", "input/output error (EIO)")
	}},
	{"host.cable-pull-is-harmless", "the guest was rebooted", func(p *tape) { p.state(p.outage(cable).to, "guest/a", "boot", "another") }},
	{"host.cable-pull-is-harmless", "the disk stays away", func(p *tape) {
		forget(p.seen(p.scenario(cable), "s", "guest/b", "disk", "ok")...)
	}},
	// login-reject
	{"guest.login-reject-tolerated", "a read fails", func(p *tape) {
		p.event(p.outage(rejected).to, "guest/a", "read-error", "read-error", "input/output error (EIO)")
	}},
	{"guest.login-reject-tolerated", "the disk stays away", func(p *tape) {
		forget(p.seen(p.scenario(rejected), "s", "guest/b", "disk", "ok")...)
	}},
	// lost-command and stuck-command: guest a has the LUN whose command is lost
	{"guest.linux.lost-command-is-repeated", "a program's write fails", func(p *tape) {
		p.event(p.outage(lost).to-1000, "guest/a", "write-error", "write-error", "input/output error (EIO)")
	}},
	{"guest.linux.lost-command-is-repeated", "the write is never acknowledged", func(p *tape) {
		p.forgetAny(p.scenario(lost), "guest/a", "write", "ok")
		p.state(p.outage(lost).from+1500, "guest/a", "write", "blocked")
	}},
	{"guest.linux.stuck-command-is-repeated", "a read fails", func(p *tape) {
		p.event(p.outage(stuck).to-1000, "guest/a", "read-error", "read-error", "input/output error (EIO)")
	}},
	{"guest.linux.stuck-command-is-repeated", "the guest is rebooted", func(p *tape) { p.state(p.outage(stuck).to-1000, "guest/a", "boot", "another") }},
	{"guest.lost-command-spares-others", "another guest's write fails", func(p *tape) {
		p.event(p.outage(lost).to-1000, "guest/b", "write-error", "write-error", "input/output error (EIO)")
	}},
	{"guest.stuck-command-spares-others", "another guest's write waits", func(p *tape) {
		p.seen(p.scenario(stuck), "b", "guest/b", "write", "")[0]["max"] = 9.0
	}},
	{"host.stuck-command-leaves-host-up", "the host is booted", func(p *tape) { p.state(p.outage(stuck).to-500, host, "boot", "another") }},
	{"host.stuck-command-leaves-host-up", "a machine's monitor hangs", func(p *tape) {
		p.state(p.outage(stuck).to-5000, "hypervisor/box/a", "monitor", "stalled")
		p.state(p.outage(stuck).to-500, "hypervisor/box/a", "monitor", "answers")
	}},
	// lun-gone and medium-error
	{"guest.linux.lun-gone-fails-at-once", "nothing fails", func(p *tape) { noErrors(p, lunGone, "guest/b") }},
	{"guest.linux.medium-error-fails-at-once", "nothing fails", func(p *tape) { noErrors(p, medium, "guest/a") }},
	// hang
	{"guest.linux.hang-ends-in-io-error", "the error says something else", func(p *tape) {
		p.seen(p.outage(hang), "s", "guest/a", "shell.external", "error")[0]["why"] = "-bash: /usr/bin/ls: Permission denied"
	}},
	{"host.hang-leaves-host-up", "the host cannot be managed", func(p *tape) {
		p.state(p.outage(hang).to-5000, host, "manageable", "no")
		p.state(p.outage(hang).to-500, host, "manageable", "yes")
	}},
	// power-off
	{"vm.power-off-without-datastore", "the task fails", func(p *tape) {
		p.seen(p.outage(powerOff), "e", "hypervisor/vm/a", "task", "power-off.ok")[0]["type"] = "power-off.failed"
	}},
	{"vm.power-off-without-datastore", "the task ends when the storage is back", func(p *tape) {
		t := p.after(powerOff).from + 10
		place(p.seen(p.outage(powerOff), "e", "hypervisor/vm/a", "task", "power-off.ok")[0], t, t)
	}},
	{"vm.power-off-without-datastore", "the task ends well and the machine is still on", func(p *tape) {
		forget(p.seen(p.outage(powerOff), "s", "hypervisor/vm/a", "power", "off")...)
	}},
	{"vm.starts-as-usual-afterwards", "it does not start", func(p *tape) {
		p.seen(p.after(powerOff), "e", "hypervisor/vm/a", "task", "power-on.ok")[0]["type"] = "power-on.failed"
	}},
	{"vm.starts-as-usual-afterwards", "it is never started", func(p *tape) {
		forget(p.seen(p.after(powerOff), "e", "hypervisor/vm/a", "task", "power-on.ok")...)
	}},
	{"vm.starts-as-usual-afterwards", "the guest does not come up", func(p *tape) {
		forget(p.seen(p.after(powerOff), "s", "guest/a", "agent", "up")...)
	}},
	{"vm.starts-as-usual-afterwards", "nobody can log in", func(p *tape) {
		p.state(p.outage(powerOff).to, "guest/a", "ssh.new", "failed")
		forget(p.seen(p.after(powerOff), "s", "guest/a", "ssh.new", "ok")...)
	}},
	{"vm.starts-as-usual-afterwards", "its files were not found right", func(p *tape) {
		forget(p.seen(p.after(powerOff), "e", "guest/a", "seed", "ok")...)
	}},
	{"vm.fields-blank-while-off", "its fields are blank before, and shown after the power-off", func(p *tape) {
		task := p.seen(p.outage(powerOff), "e", "hypervisor/vm/a", "task", "power-off.ok")[0]
		in := span{when(task) - 1000, p.outage(powerOff).to}
		blank := p.seen(in, "s", "hypervisor/vm/a", "fields", "blank")
		forget(blank...)
		forget(p.seen(in, "s", "hypervisor/vm/a", "connection", "inaccessible")...)
		p.state(when(task)-1000, "hypervisor/vm/a", "fields", "blank")
		p.state(when(task)-500, "hypervisor/vm/a", "fields", "shown")
	}},
	{"vm.console-frozen-while-off", "its console changes", func(p *tape) {
		shots := p.seen(p.outage(powerOff), "e", "hypervisor/vm/a", "console", "taken")
		shots[len(shots)-1]["a"].(map[string]any)["sha256"] = "another"
	}},
	{"vm.shown-again-at-once", "its fields stay blank", func(p *tape) {
		forget(p.seen(p.after(powerOff), "s", "hypervisor/vm/a", "fields", "shown")...)
	}},
	// long-outage
	{"esxi.apd-timeout-after-apdtimeout", "no timeout comes", func(p *tape) {
		forget(p.seen(p.scenario(long), "e", host, "event", claim.APDTimeoutEvent)...)
	}},
	{"esxi.apd-timeout-after-apdtimeout", "the timeout comes at once", func(p *tape) {
		start := p.seen(p.scenario(long), "e", host, "event", claim.APDStartEvent)[0]
		placeAfter(p.seen(p.scenario(long), "e", host, "event", claim.APDTimeoutEvent)[0], when(start), 1, 1.01)
	}},
	{"esxi.recovery-logged-within-seconds", "nothing is logged of the recovery", func(p *tape) {
		for _, typ := range claim.RecoveryEvents {
			forget(p.seen(span{p.outage(long).to, p.scenario(long).to}, "e", host, "event", typ)...)
		}
	}},
	{"host.stays-up", "the host is disconnected for a while", func(p *tape) {
		p.state(p.outage(long).to-5000, host, "connection", "notResponding")
		p.state(p.outage(long).to-4000, host, "connection", "connected")
	}},
	{"host.stays-up", "the host is booted", func(p *tape) { p.state(p.outage(long).to-5000, host, "boot", "another") }},
	{"host.leaves-vms-alone", "a machine is moved", func(p *tape) { p.state(p.outage(long).to-5000, "hypervisor/vm/a", "host", "esxi-2") }},
	{"host.leaves-vms-alone", "the host's log says that a machine is reset", func(p *tape) {
		p.event(p.outage(long).to-5000, "hypervisor/vm/b", "event", "VmResettingEvent", "b on esxi is reset")
	}},
	{"guest.linux.commands-hang", "a command is answered in the outage", func(p *tape) {
		p.state(p.outage(long).from+15_000, "guest/a", "shell.external", "answers")
	}},
	{"guest.linux.commands-hang", "no command ever hung", func(p *tape) {
		forget(p.seen(p.outage(long), "s", "guest/b", "shell.external", "silent")...)
	}},
	{"guest.linux.io-error-stays", "the package manager works again", func(p *tape) {
		p.state(p.after(long).from+5000, "guest/b", "shell.package-manager", "answers")
	}},
	{"guest.linux.io-error-stays", "commands hang again instead", func(p *tape) {
		p.state(p.after(long).from+5000, "guest/a", "shell.external", "silent")
	}},
	{"guest.linux.io-error-within-minutes", "the error says something else", func(p *tape) {
		p.seen(p.outage(long), "s", "guest/a", "shell.external", "error")[0]["why"] = "-bash: /usr/bin/ls: Permission denied"
	}},
	{"guest.linux.io-error-within-minutes", "the error came at once", func(p *tape) {
		placeAfter(p.seen(p.outage(long), "s", "guest/b", "shell.external", "error")[0], p.outage(long).from, 5, 5.1)
	}},
	{"guest.linux.less-grace-than-windows", "the guest holds out for longer than Windows", func(p *tape) {
		p.atLeast(long, 68)
		for _, topic := range []string{"read-error", "write-error"} { // b's come later still, and within its own window
			placeAfter(p.seen(p.outage(long), "e", "guest/a", topic, "")[0], p.outage(long).from, 63, 63.1)
			placeAfter(p.seen(p.outage(long), "e", "guest/b", topic, "")[0], p.outage(long).from, 66, 66.1)
		}
	}},
	{"guest.linux.no-crash", "the kernel panics", func(p *tape) {
		p.event(p.outage(long).to-1000, "guest/a", "kmsg", "emerg", "Kernel panic - not syncing: Attempted to kill init!")
	}},
	{"guest.linux.no-crash", "the guest boots by itself", func(p *tape) { p.state(p.outage(long).to-1000, "guest/b", "boot", "another") }},
	{"guest.linux.only-reboot-helps", "commands worked for a while without a reset", func(p *tape) {
		p.state(p.after(long).from+2000, "guest/a", "shell.external", "answers")
		p.state(p.after(long).from+4000, "guest/a", "shell.external", "error")
	}},
	{"guest.linux.only-reboot-helps", "commands do not work after the reset either", func(p *tape) {
		forget(p.seen(p.phase(long, "reset"), "s", "guest/a", "shell.external", "answers")...)
	}},
	{"guest.linux.only-reboot-helps", "nobody can log in after the reset", func(p *tape) {
		forget(p.seen(p.phase(long, "reset"), "s", "guest/b", "ssh.new", "ok")...)
	}},
	{"guest.linux.only-reboot-helps", "the disk does not come back with the reset", func(p *tape) {
		forget(p.seen(p.after(long), "s", "guest/a", "disk", "ok")...)
	}},
	{"guest.linux.ssh-session-survives", "the session is dropped", func(p *tape) {
		p.state(p.outage(long).to-1000, "guest/a", "ssh.held", "dropped")
	}},
	{"guest.linux.ssh-session-survives", "the session hangs", func(p *tape) {
		p.state(p.outage(long).from+1000, "guest/b", "ssh.held", "unresponsive")
		p.state(p.outage(long).from+9000, "guest/b", "ssh.held", "connected")
	}},
	{"guest.own-timeout-decides", "both kernels say that they waited as long", func(p *tape) { kernelWaited(p, "guest/b", "12") }},
	{"guest.own-timeout-decides", "the guest with more patience gives up first, before its own time", func(p *tape) {
		kernelWaited(p, "guest/a", "")
		place(p.seen(p.outage(long), "e", "guest/b", "read-error", "")[0], p.outage(long).from+19_000, p.outage(long).from+19_100)
	}},
	{"guest.own-timeout-decides", "only the guest with more patience gives up", func(p *tape) {
		forget(p.seen(p.outage(long), "e", "guest/a", "read-error", "")...)
		placeAfter(p.seen(p.outage(long), "e", "guest/a", "write-error", "")[0], p.outage(long).from, 40, 40.1)
	}},
	{"host.leaves-vms-alone", "a machine is switched off", func(p *tape) {
		p.state(p.outage(long).to-5000, "hypervisor/vm/a", "power", "off")
	}},
	{"host.leaves-vms-alone", "a machine is stopped", func(p *tape) { p.event(p.outage(long).to-5000, "hypervisor/box/b", "qemu", "stop", "{}") }},
	{"host.leaves-vms-alone", "a machine is reset", func(p *tape) { p.event(p.outage(long).to-5000, "hypervisor/box/a", "qemu", "reset", "{}") }},
	{"host.leaves-vms-alone", "a machine is shut down", func(p *tape) { p.event(p.outage(long).to-5000, "hypervisor/box/a", "qemu", "shutdown", "{}") }},
	{"host.leaves-vms-alone", "a processor stands still", func(p *tape) {
		p.state(p.outage(long).to-5000, "guest/b", "alive", "silent")
		p.state(p.outage(long).to-500, "guest/b", "alive", "beating")
	}},
	{"host.stays-up", "the host cannot be managed", func(p *tape) {
		p.state(p.outage(long).to-5000, "hypervisor/esxi", "manageable", "no")
		p.state(p.outage(long).to-500, "hypervisor/esxi", "manageable", "yes")
	}},
	{"host.stays-up", "a machine's monitor hangs when the storage comes back", func(p *tape) {
		p.state(p.after(long).from+500, "hypervisor/box/b", "monitor", "stalled")
		p.state(p.after(long).from+9000, "hypervisor/box/b", "monitor", "answers")
	}},
	// repeated
	{"host.recovery-within-seconds", "after the last outage a disk is back late", func(p *tape) {
		placeAfter(p.seen(p.scenario(repeated), "s", "guest/a", "disk", "ok")[4], p.after(repeated).from, 25, 25.1)
	}},
	{"host.recovery-within-seconds", "after the last outage a disk stays away", func(p *tape) {
		forget(p.seen(span{p.outage(repeated).from, p.scenario(repeated).to}, "s", "guest/b", "disk", "ok")...)
	}},
	{"storage.never-damaged", "a LUN is damaged", func(p *tape) {
		p.seen(p.scenario(repeated), "e", "target/nas", "image", "clean")[1]["type"] = "damaged"
	}},
	// windows-outage
	{"guest.windows.disk-pinned-at-full", "the disk is idle", func(p *tape) { p.forgetAny(p.scenario(winShort), win, "busy", "full") }},
	{"guest.windows.disk-pinned-at-full", "the disk is busy after half a minute only", func(p *tape) {
		placeAfter(p.seen(p.outage(winShort), "s", win, "busy", "full")[0], p.outage(winShort).from, 30, 30.1)
	}},
	{"guest.windows.disk-pinned-at-full", "the disk is idle again in the outage", func(p *tape) {
		p.state(p.outage(winShort).to-60_000, win, "busy", "normal")
		p.state(p.outage(winShort).to-50_000, win, "busy", "full")
	}},
	{"guest.windows.folders-do-not-open", "folders open", func(p *tape) {
		p.forgetAny(p.scenario(winShort), win, "folder", "blocked")
		p.forgetAny(p.outage(winShort), win, "folder", "error")
	}},
	{"guest.windows.folders-do-not-open", "a folder opens in between", func(p *tape) { p.state(p.outage(winShort).to-60_000, win, "folder", "ok") }},
	{"guest.windows.new-rdp-fails", "a new session logs on", func(p *tape) { p.state(p.outage(winShort).to-60_000, win, "rdp.new", "logon") }},
	{"guest.windows.held-rdp-survives", "the session is dropped", func(p *tape) { p.state(p.outage(winShort).to-60_000, win, "rdp.held", "dropped") }},
	{"guest.windows.held-rdp-survives", "the session is dropped when the disk is back", func(p *tape) { p.state(p.after(winShort).from+500, win, "rdp.held", "dropped") }},
	{"guest.windows.task-manager-moves", "the screen stands still", func(p *tape) { p.state(p.outage(winShort).to-60_000, winVM, "screen", "still") }},
	{"guest.windows.task-manager-moves", "the heartbeat falls silent", func(p *tape) {
		p.state(p.outage(winShort).to-60_000, win, "alive", "silent")
		p.state(p.outage(winShort).to-50_000, win, "alive", "beating")
	}},
	{"guest.windows.disk-normal-at-once", "the disk stays busy", func(p *tape) { p.forgetAny(p.after(winShort), win, "busy", "normal") }},
	{"guest.windows.disk-normal-at-once", "the disk is busy for another minute", func(p *tape) {
		placeAfter(p.seen(span{p.outage(winShort).to, p.scenario(winShort).to}, "s", win, "busy", "normal")[0], p.after(winShort).from, 60, 60.1)
	}},
	{"guest.windows.survives-short-outage", "the guest boots", func(p *tape) { p.state(p.after(winShort).from+1000, win, "boot", "another") }},
	{"guest.windows.survives-short-outage", "its log has a stop code", func(p *tape) {
		p.event(p.scenario(winShort).to-1, win, "bugcheck", "0x000000EF", "")
	}},
	// windows-long-outage
	{"guest.windows.blue-screen-after-recovery", "it comes during the outage", func(p *tape) {
		p.state(p.outage(winLong).to-60_000, winVM, "screen", "blue")
	}},
	{"guest.windows.blue-screen-after-recovery", "the stop code is another", func(p *tape) {
		p.seen(p.scenario(winLong), "e", win, "bugcheck", "0x000000EF")[0]["type"] = "0x0000007A"
	}},
	{"guest.windows.blue-screen-after-recovery", "it comes minutes later", func(p *tape) {
		p.forgetAny(p.scenario(winLong), winVM, "screen", "blue")
		placeAfter(p.seen(p.scenario(winLong), "e", win, "bugcheck", "0x000000EF")[0], p.after(winLong).from, 100, 101)
	}},
	{"guest.windows.disk-check-then-repair-then-boot", "no disk check", func(p *tape) { forget(p.seen(p.scenario(winLong), "e", win, "chkdsk", "")...) }},
	{"guest.windows.disk-check-then-repair-then-boot", "no automatic repair", func(p *tape) { forget(p.seen(p.scenario(winLong), "e", win, "repair", "")...) }},
	{"guest.windows.reboot-loses-memory-not-files", "what was in memory is still there", func(p *tape) {
		p.forgetAny(p.scenario(winLong), win, "memory", "lost")
	}},
	{"guest.windows.reboot-loses-memory-not-files", "the boot is the one before", func(p *tape) {
		boots := p.seen(p.scenario(winLong), "s", win, "boot", "")
		forget(boots[len(boots)-1])
	}},
	// soak
	{"storage.never-damaged.soak", "a LUN is damaged", func(p *tape) {
		p.seen(p.scenario(soak), "e", "target/nas", "image", "clean")[0]["type"] = "damaged"
	}},
	{"host.abort-does-not-freeze", "a machine waits for an aborted command", func(p *tape) {
		p.seen(p.outage(soak), "b", "hypervisor/box/b", "monitor", "")[0]["max"] = 2.5
	}},
}

// kernelWaited changes what a guest's kernel says of how long it waited for the commands that it gave up; "" has it say nothing.
func kernelWaited(p *tape, guest, seconds string) {
	p.Helper()
	found := false
	for _, l := range p.seen(p.outage(long), "e", guest, "kmsg", "") {
		why, _ := l["why"].(string)
		before, _, ok := strings.Cut(why, "waited ")
		if !ok {
			continue
		}
		found = true
		if seconds == "" {
			forget(l)
		} else {
			l["why"] = before + "waited " + seconds + "s"
		}
	}
	if !found {
		p.Fatalf("the kernel of %s never said that it timed a command out", guest)
	}
}

// noErrors takes off the tape that anything of a guest failed in a scenario.
func noErrors(p *tape, scenario, guest string) {
	p.Helper()
	n, in, found := p.lane(guest), p.scenario(scenario), false
	for _, l := range p.kind("e") {
		if at := when(l); l["l"] == n && at >= in.from && at <= in.to && (l["topic"] == "read-error" || l["topic"] == "write-error") {
			forget(l)
			found = true
		}
	}
	if !found {
		p.Fatalf("in %s nothing of %s fails", scenario, guest)
	}
}

func init() {
	for _, s := range scenario.Catalogue() {
		id, name := "integrity.acknowledged-writes."+s.Name, s.Name
		saboteurs = append(saboteurs,
			saboteur{id, "an acknowledged write is gone", func(p *tape) { loseWrite(p, name) }},
			saboteur{id, "a file that nobody wrote to is damaged", func(p *tape) {
				p.event(p.scenario(name).to-1, other(p), "seed", "damaged", "seed-3: wrong checksum")
			}})
	}
}

// other is a guest that is not a: b, or on the tape with a Windows guest that one.
func other(p *tape) string {
	if len(p.has) > 0 && p.has[0].Windows {
		return win
	}
	return "guest/b"
}

// loseWrite has one write of guest a missing at the scenario's last check.
func loseWrite(p *tape, scenario string) {
	p.Helper()
	all := p.seen(p.scenario(scenario), "e", "guest/a", "acklog", "intact")
	l := all[len(all)-1]
	l["type"] = "damaged"
	a := l["a"].(map[string]any)
	a["missing"] = "1"
}

func TestTheBaselinesConfirmEveryClaim(t *testing.T) {
	g := NewWithT(t)
	left := map[string]bool{}
	for _, c := range registered() {
		left[c.ID] = true
	}
	for _, p := range []*tape{load(t), loadWindows(t), loadCluster(t)} {
		r := p.read()
		g.Expect(r.Torn).To(BeFalse())
		g.Expect(r.Unknown).To(BeZero())
		g.Expect(r.Ended).To(BeTrue())
		g.Expect(r.EndWhy).To(Equal("done"))
		for id, v := range p.judge() {
			delete(left, id)
			g.Expect(v.Outcome).To(Equal(record.Confirmed), "%s: %s", id, v.Why)
			g.Expect(v.Evidence).NotTo(BeEmpty(), id)
			g.Expect(v.Provenance).NotTo(BeEmpty(), "%s rests on lanes that the record does not have", id)
		}
	}
	g.Expect(left).To(BeEmpty())
}

// tape is the one that a saboteur spoils.
func (s saboteur) tape(t testing.TB) *tape {
	t.Helper()
	for _, c := range registered() {
		if c.ID == s.claim {
			return loadFor(t, c.In.Name)
		}
	}
	t.Fatalf("there is no claim %s", s.claim)
	return nil
}

func TestEveryClaimHasASaboteur(t *testing.T) {
	g := NewWithT(t)
	known := map[string]bool{}
	for _, c := range registered() {
		known[c.ID] = true
		g.Expect(slices.ContainsFunc(saboteurs, func(s saboteur) bool { return s.claim == c.ID })).To(BeTrue(),
			"nothing refutes %s: add a saboteur that turns it red, and only it", c.ID)
	}
	names := map[string]bool{}
	for _, s := range saboteurs {
		g.Expect(known).To(HaveKey(s.claim), "a saboteur without its claim")
		g.Expect(names).NotTo(HaveKey(s.claim+s.name), "two saboteurs of one name")
		names[s.claim+s.name] = true
	}
}

func TestSaboteursTurnExactlyTheirClaimRed(t *testing.T) {
	whole(t)
	before := load(t).judge()
	maps.Copy(before, loadWindows(t).judge())
	maps.Copy(before, loadCluster(t).judge())
	for _, s := range saboteurs {
		t.Run(s.claim+"/"+s.name, func(t *testing.T) {
			t.Parallel()
			g := NewWithT(t)
			p := s.tape(t)
			s.spoil(p)
			after := p.judge()
			v := after[s.claim]
			g.Expect(v.Outcome).To(Equal(record.Refuted), v.Why)
			g.Expect(v.Why).NotTo(BeEmpty())
			g.Expect(v.Evidence).NotTo(BeEmpty(), "a refutation points at what was seen")
			g.Expect(v.Provenance).NotTo(BeEmpty(), "a refutation says what kind of system it was made on: %s", v.Why)
			var others []string
			for id, v := range after {
				if v.Outcome == record.Inconclusive && slices.Contains(unsure[s.claim], id) {
					continue
				}
				if id != s.claim && v.Outcome != before[id].Outcome {
					others = append(others, fmt.Sprintf("%s is %s: %s", id, v.Outcome, v.Why))
				}
			}
			g.Expect(others).To(BeEmpty(), "other claims turned too")
		})
	}
}

func TestALostWriteIsRedWhateverElseHappens(t *testing.T) {
	whole(t)
	for _, s := range scenario.Catalogue() {
		id := "integrity.acknowledged-writes." + s.Name
		t.Run(s.Name, func(t *testing.T) {
			t.Run("and the other guest could not be asked", func(t *testing.T) {
				p := loadFor(t, s.Name)
				loseWrite(p, s.Name)
				forget(p.seen(p.scenario(s.Name), "e", other(p), "acklog", "")...)
				NewWithT(t).Expect(p.ask(id).Outcome).To(Equal(record.Refuted))
			})
			t.Run("and a later check is content", func(t *testing.T) {
				p := loadFor(t, s.Name)
				loseWrite(p, s.Name)
				p.event(p.scenario(s.Name).to, "guest/a", "acklog", "intact", "")["a"] = line{"acked": "9", "found": "9"}
				NewWithT(t).Expect(p.ask(id).Outcome).To(Equal(record.Refuted))
			})
			t.Run("and everything else is refuted too", func(t *testing.T) {
				p := loadFor(t, s.Name)
				loseWrite(p, s.Name)
				for _, o := range saboteurs {
					if strings.HasPrefix(o.claim, "host.") && strings.Contains(o.name, "fails") && slices.ContainsFunc(p.claims(), func(c *claim.Claim) bool { return c.ID == o.claim }) {
						o.spoil(p)
					}
				}
				NewWithT(t).Expect(p.ask(id).Outcome).To(Equal(record.Refuted))
			})
			for _, attr := range []string{"corrupt", "disorder"} {
				t.Run("and it is "+attr, func(t *testing.T) {
					g := NewWithT(t)
					p := loadFor(t, s.Name)
					loseWrite(p, s.Name)
					a := p.seen(p.scenario(s.Name), "e", "guest/a", "acklog", "damaged")[0]["a"].(map[string]any)
					a["missing"], a[attr] = "0", "1"
					g.Expect(p.ask(id).Outcome).To(Equal(record.Refuted))
				})
			}
		})
	}
}

func TestWritesThatNobodyReadBackProveNothing(t *testing.T) {
	whole(t)
	for _, s := range scenario.Catalogue() {
		id := "integrity.acknowledged-writes." + s.Name
		t.Run(s.Name, func(t *testing.T) {
			g := NewWithT(t)
			p := loadFor(t, s.Name)
			forget(p.seen(p.scenario(s.Name), "e", "guest/a", "acklog", "")...)
			g.Expect(p.ask(id).Outcome).To(Equal(record.Inconclusive))

			p = loadFor(t, s.Name)
			for _, l := range p.seen(p.scenario(s.Name), "e", "guest/a", "acklog", "") {
				l["a"].(map[string]any)["acked"] = "0"
			}
			g.Expect(p.ask(id).Outcome).To(Equal(record.Inconclusive), "it had nothing to lose")
		})
	}
}
