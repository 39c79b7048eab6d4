// This file reads the guest's event logs after a boot and says what they tell of the time before it.

package windows

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// query is one selection from an event log.
type query struct {
	Log      string `json:"log"`
	Provider string `json:"provider"`
	IDs      []int  `json:"ids,omitempty"`
}

// queries are what is asked for. The names of Kernel-Power 41's data are as a mirror of Microsoft's troubleshooting article
// for that event has them; Wininit 1001 is in "Windows Startup Availability" (technet.microsoft.com, dd363970). The text of
// WER-SystemErrorReporting 1001 begins with the stop code wherever it is quoted; that it is the field param1 is from memory. Chkdsk
// 26226 and the provider of Startup Repair are from memory; the trail of Startup Repair in System32\LogFiles\Srt is read too.
var queries = []query{
	{"System", "Microsoft-Windows-WER-SystemErrorReporting", []int{1001}},
	{"System", "Microsoft-Windows-Kernel-Power", []int{41}},
	{"Application", "Microsoft-Windows-Wininit", []int{1001}},
	{"Application", "Chkdsk", nil},
	{"System", "Microsoft-Windows-StartupRepair", nil},
}

// logEvent is one event as the guest has it.
type logEvent struct {
	Log      string            `json:"log"`
	Provider string            `json:"provider"`
	ID       int               `json:"id"`
	Record   int64             `json:"record"`
	At       string            `json:"at"`
	Data     map[string]string `json:"data"`
}

// logReply is the reply of scriptLogs.
type logReply struct {
	Now    string     `json:"now"`
	Events []logEvent `json:"events"`
	Trail  *struct {
		At   string `json:"at"`
		Text string `json:"text"`
	} `json:"trail"`
}

// found is what an event says, ready for an observation.
type found struct {
	key                       string // the same for the same event
	topic, value, text, guest string
	name                      string // the stop code's
	at                        time.Time
}

// parseLogs reads the reply. Events that it does not know are left out; one that is damaged is an error.
func parseLogs(b []byte) (now time.Time, out []found, err error) {
	var r logReply
	if err := json.Unmarshal(b, &r); err != nil {
		return now, nil, fmt.Errorf("the event logs are not as asked for: %w", err)
	}
	if now, err = time.Parse(time.RFC3339Nano, r.Now); err != nil {
		return now, nil, fmt.Errorf("the guest's time: %w", err)
	}
	for _, e := range r.Events {
		at, err := time.Parse(time.RFC3339Nano, e.At)
		if err != nil {
			return now, nil, fmt.Errorf("the time of event %d of %.60q: %w", e.ID, e.Provider, err)
		}
		f := found{key: fmt.Sprintf("%s/%s/%d/%d", e.Log, e.Provider, e.ID, e.Record), at: at, guest: at.UTC().Format(time.RFC3339Nano)}
		switch {
		case e.Provider == "Microsoft-Windows-WER-SystemErrorReporting" && e.ID == 1001:
			code, ok := stopCode(e.Data)
			if !ok {
				return now, nil, fmt.Errorf("event 1001 of %s names no stop code", e.Provider)
			}
			f.topic, f.value, f.name, f.text = "bugcheck", fmt.Sprintf("0x%08X", code), codeName(code), joined(e.Data)
		case e.Provider == "Microsoft-Windows-Kernel-Power" && e.ID == 41:
			f.topic, f.value, f.text = "kernel-power", "41", joined(e.Data)
			if n, err := strconv.ParseUint(e.Data["BugcheckCode"], 0, 32); err == nil && n != 0 {
				f.name = codeName(uint32(n))
			}
		case e.Provider == "Microsoft-Windows-Wininit" && e.ID == 1001:
			f.topic, f.value, f.text = "chkdsk", "wininit-1001", joined(e.Data)
		case e.Provider == "Chkdsk":
			f.topic, f.value, f.text = "chkdsk", "chkdsk-"+strconv.Itoa(e.ID), joined(e.Data)
		case e.Provider == "Microsoft-Windows-StartupRepair":
			f.topic, f.value, f.text = "repair", "startup-repair-"+strconv.Itoa(e.ID), joined(e.Data)
		default:
			continue
		}
		out = append(out, f)
	}
	if r.Trail != nil {
		at, err := time.Parse(time.RFC3339Nano, r.Trail.At)
		if err != nil {
			return now, nil, fmt.Errorf("the time of Startup Repair's trail: %w", err)
		}
		guest := at.UTC().Format(time.RFC3339Nano)
		out = append(out, found{key: "trail/" + guest, topic: "repair", value: "trail", text: cut(r.Trail.Text), guest: guest, at: at})
	}
	slices.SortStableFunc(out, func(a, b found) int { return a.at.Compare(b.at) })
	return now, out, nil
}

// codeNames are the stop codes that a lost disk may lead to (0xEF from a list of codes that is not Microsoft's, the others from memory).
var codeNames = map[uint32]string{
	0x50: "PAGE_FAULT_IN_NONPAGED_AREA", 0x77: "KERNEL_STACK_INPAGE_ERROR", 0x7A: "KERNEL_DATA_INPAGE_ERROR", 0x7B: "INACCESSIBLE_BOOT_DEVICE",
	0x7E: "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED", 0x9F: "DRIVER_POWER_STATE_FAILURE", 0xEF: "CRITICAL_PROCESS_DIED", 0xF4: "CRITICAL_OBJECT_TERMINATION",
	0x154: "UNEXPECTED_STORE_EXCEPTION",
}

func codeName(code uint32) string { return cmp.Or(codeNames[code], "unnamed") }

var hexCode = regexp.MustCompile(`^\s*0x([0-9a-fA-F]{1,8})\b`)

// stopCode reads the first field, "0x000000ef (0xffff..., ...)".
func stopCode(data map[string]string) (uint32, bool) {
	for _, k := range []string{"param1", "0", "BugcheckCode"} {
		if m := hexCode.FindStringSubmatch(data[k]); m != nil {
			n, err := strconv.ParseUint(m[1], 16, 32)
			return uint32(n), err == nil
		}
	}
	return 0, false
}

// joined is an event's data in words, in the order of its names.
func joined(data map[string]string) string {
	var parts []string
	for k, v := range data {
		if v = strings.TrimSpace(v); v != "" {
			parts = append(parts, k+": "+v)
		}
	}
	slices.Sort(parts)
	return cut(strings.Join(parts, "\n"))
}

// maxText is the longest text of an observation that comes from a log, in bytes.
const maxText = 4000

func cut(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "")
	}
	return s
}

// logLimit bounds one reading of the logs.
const logLimit = 2 * time.Minute

// readLogs asks for what the logs have since a moment of the guest's clock.
func (d *Driver) readLogs(ctx context.Context, since time.Time) (now time.Time, out []found, err error) {
	ctx, cancel := d.bound(ctx, logLimit)
	defer cancel()
	b, err := d.run(ctx, scriptLogs, map[string]any{"since": since.UTC().Format(time.RFC3339Nano), "queries": queries}, nil)
	if err != nil {
		return now, nil, err
	}
	now, out, err = parseLogs(b)
	if err != nil {
		return now, nil, &callError{stageScript, byFailure, err}
	}
	return now, out, nil
}
