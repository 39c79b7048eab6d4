// This file reads the log of a host's kernel, for what it says of I/Os that it gave up.

package vsan

import (
	"context"
	"regexp"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/drivers/hypervisor/vsphere"
	"github.com/allpathsdown/allpathsdown/drivers/lookout"
)

// What a line of the kernel can say, as values of the topic stuck-io.
const (
	abortUnfinished = "vmkernel.abort-unfinished" // a command was aborted, and did not end
	abortFinished   = "vmkernel.abort-finished"   // a command was aborted, and ended
)

var deviceName = regexp.MustCompile(`\b(?:naa|eui|t10|mpx)\.[A-Za-z0-9_:~-]+`)

// device is the first canonical name of a device in a text, or "".
func device(text string) string { return strings.TrimRight(deviceName.FindString(text), ":-_~") }

// kernelLine reads a line of a vmkernel.log: which disk it is about, and which of the words above it says; ok is false for all lines
// that say none.
func kernelLine(line string) (disk, what string, ok bool) {
	low := strings.ToLower(line)
	if !strings.Contains(low, "taskmgmt op to cancel io") {
		return "", "", false
	}
	if disk = device(line); disk == "" {
		return "", "", false
	}
	switch {
	case strings.Contains(low, "did not complete"):
		return disk, abortUnfinished, true
	case strings.Contains(low, "completed"):
		return disk, abortFinished, true
	}
	return "", "", false
}

// kernelWatch follows the log of the host under fault.
type kernelWatch struct {
	d   *Driver
	log *vsphere.Log
}

func (w *kernelWatch) look(ctx context.Context, now func() lookout.Look) error {
	p, err := w.d.find(ctx)
	if err != nil {
		return err
	}
	if w.log == nil {
		w.log = w.d.conn.Log(p.target, "vmkernel")
	}
	lines, err := w.log.Read(ctx)
	l := now()
	lane := "host/" + w.d.cfg.Host
	if vsphere.Unsupported(err) { // a vCenter that does not hand logs out
		l.State(w.d.lane(lane), topicLog, "withheld", w.d.conn.Cause(err), nil)
		return nil
	}
	if err == nil {
		l.State(w.d.lane(lane), topicLog, "read", "", nil)
	}
	for _, line := range lines {
		if disk, what, ok := kernelLine(line); ok {
			l.Event(w.d.lane("disk/"+p.diskName(p.target, disk)), drivers.TopicStuckIO, what, strings.TrimSpace(w.d.conn.Scrub(line)), map[string]string{"log": "vmkernel"})
		}
	}
	return err
}
