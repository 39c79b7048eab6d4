// This file reads what the guest says of itself, and turns it into the settings that windows depend on.

package windows

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// facts are the reply of scriptFacts. Where each comes from:
//   - build: CurrentBuildNumber and UBR below HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion (from memory)
//   - boot: Win32_OperatingSystem.LastBootUpTime, which moves with the guest's clock, so it is no boot id
//   - disk_timeout: TimeOutValue below HKLM\SYSTEM\CurrentControlSet\Services\Disk, in seconds (the key from a blog, not from
//     Microsoft); absent: Windows' own
//   - crash_dump and auto_reboot: CrashDumpEnabled (0 none, 1 complete, 2 kernel, 3 small, 7 automatic) and AutoReboot below
//     HKLM\SYSTEM\CurrentControlSet\Control\CrashControl (the key: docs.microsoft.com, "Configure system failure and recovery
//     options in Windows"; the values: carrona.org/bsodreg.html, which is not Microsoft's)
//   - page_file: Win32_PageFileUsage.Name
//   - sleep: the index of the setting STANDBYIDLE, 29f6c1db-86da-48c5-9fdb-f2b67b1f44da, of the active plan on mains power, in
//     seconds, 0 for never (all of it from memory)
//   - auto_repair: BcdLibraryBoolean_AutoRecoveryEnabled, 0x16000009, of the object {current} (all of it from memory)
type facts struct {
	OS          string   `json:"os"`
	Build       string   `json:"build"`
	Arch        string   `json:"arch"`
	Boot        string   `json:"boot"`
	Now         string   `json:"now"`
	Admin       bool     `json:"admin"`
	DiskTimeout *int64   `json:"disk_timeout"`
	CrashDump   *int64   `json:"crash_dump"`
	AutoReboot  *int64   `json:"auto_reboot"`
	PageFile    []string `json:"page_file"`
	Sleep       *int64   `json:"sleep"`
	AutoRepair  *bool    `json:"auto_repair"`

	booted, now time.Time
}

var buildNumber = regexp.MustCompile(`^[0-9]{3,6}(\.[0-9]{0,6})?$`)

// parseFacts reads the reply and refuses one that no Windows gives.
func parseFacts(b []byte) (facts, error) {
	var f facts
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("the facts are not as asked for: %w", err)
	}
	if !buildNumber.MatchString(f.Build) {
		return f, fmt.Errorf("the build %.40q is none", f.Build)
	}
	f.Build = strings.TrimSuffix(f.Build, ".") // a build before there was an UBR
	var err error
	if f.booted, err = time.Parse(time.RFC3339Nano, f.Boot); err != nil {
		return f, fmt.Errorf("the time of its boot: %w", err)
	}
	if f.now, err = time.Parse(time.RFC3339Nano, f.Now); err != nil {
		return f, fmt.Errorf("its time: %w", err)
	}
	if f.now.Before(f.booted) {
		return f, errors.New("it booted later than now")
	}
	if f.DiskTimeout != nil && *f.DiskTimeout < 0 || f.Sleep != nil && *f.Sleep < 0 {
		return f, errors.New("a time in it is negative")
	}
	return f, nil
}

var dumps = map[int64]string{0: "none", 1: "complete", 2: "kernel", 3: "small", 7: "automatic"}

// unknown is the value of a setting that could not be read, and unset of one that is not made.
const (
	unknown = "unknown"
	unset   = "default"
)

// settings are the facts by the names that claims know.
func (f facts) settings() map[string]string {
	out := map[string]string{
		"os": "windows", "build": f.Build, "caption": f.OS, "disk_timeout": unset, "sleep": unknown, "page_file": "none", "crash_dump": unknown,
		"auto_reboot": unknown, "auto_repair": unknown,
	}
	if f.DiskTimeout != nil {
		out["disk_timeout"] = strconv.FormatInt(*f.DiskTimeout, 10)
	}
	if f.Sleep != nil {
		out["sleep"] = strconv.FormatInt(*f.Sleep, 10)
	}
	if len(f.PageFile) > 0 {
		out["page_file"] = strings.Join(f.PageFile, ";")
	}
	if f.CrashDump != nil {
		if out["crash_dump"] = dumps[*f.CrashDump]; out["crash_dump"] == "" {
			out["crash_dump"] = strconv.FormatInt(*f.CrashDump, 10)
		}
	}
	if f.AutoReboot != nil {
		out["auto_reboot"] = yes(*f.AutoReboot != 0)
	}
	if f.AutoRepair != nil {
		out["auto_repair"] = yes(*f.AutoRepair)
	}
	return out
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// settingsLimit bounds Settings and Probe where their contexts have no nearer deadline.
const settingsLimit = time.Minute

// facts asks the guest.
func (d *Driver) facts(ctx context.Context) (facts, error) {
	ctx, cancel := d.bound(ctx, settingsLimit)
	defer cancel()
	b, err := d.run(ctx, scriptFacts, nil, nil)
	if err != nil {
		return facts{}, err
	}
	f, err := parseFacts(b)
	if err != nil {
		return f, &callError{stageScript, byFailure, err}
	}
	return f, nil
}

// Settings returns os ("windows"), build, caption, disk_timeout (seconds, TimeOutValue; "default" where it is not set), sleep
// (seconds idle on mains power, 0 for never), page_file (paths, or "none"), crash_dump (none, complete, kernel, small,
// automatic), auto_reboot and auto_repair (yes, no); "unknown" for one that the guest would not tell.
func (d *Driver) Settings(ctx context.Context) (map[string]string, error) {
	f, err := d.facts(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: reading its settings: %w", d.env.ID, err)
	}
	return f.settings(), nil
}
