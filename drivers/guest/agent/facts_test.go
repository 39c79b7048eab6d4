package agent

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestSettingsSayOnlyWhatIsKnown(t *testing.T) {
	if got := (*Linux)(nil).Settings(); got != nil {
		t.Error(got)
	}
	if got := (&Linux{Unread: []string{UnreadFiles}}).Settings(); !reflect.DeepEqual(got, map[string]string{"unread": UnreadFiles}) {
		t.Error(got)
	}
	if got := (&Linux{}).Settings(); !reflect.DeepEqual(got, map[string]string{"vmware_udev_rule": "none"}) {
		t.Error(got)
	}
	l := &Linux{
		Rules: []UdevRule{{File: "f", Seconds: "180"}, {File: "f", Seconds: "180"}},
		Disks: []Disk{{Name: "sda", Timeout: "180", Wanted: "180"}, {Name: "sdb", Timeout: "30"}},
	}
	if got := l.Settings(); got["vmware_udev_rule"] != "f: 180" || got["vmware_udev_followed"] != "yes" {
		t.Error(got)
	}
	l.Disks[1].Wanted = "180"
	if got := l.Settings()["vmware_udev_followed"]; got != "no" {
		t.Error(got)
	}
}

// An older agent's hello has no such part; an older driver skips it.
func TestHelloWithAndWithoutFacts(t *testing.T) {
	var old Hello
	if err := json.Unmarshal([]byte(`{"protocol":1,"kernel":"k"}`), &old); err != nil || old.Linux != nil {
		t.Fatal(old, err)
	}
	b, err := json.Marshal(Hello{Kernel: "k", Linux: &Linux{Root: Mount{FS: "xfs", Stack: []Layer{{Name: "sda", Kind: "disk"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	var h Hello
	if err := json.Unmarshal(b, &h); err != nil || h.Linux == nil || h.Linux.Root.Words() != "xfs on disk sda" {
		t.Fatal(h, err)
	}
}
