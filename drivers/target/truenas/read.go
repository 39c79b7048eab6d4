// This file reads what systems answer. Each reader takes any bytes and fails with an error, or finds nothing.

package truenas

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"
	"time"
)

// errForm says that an answer does not have the form that the version's schema gives it.
var errForm = errors.New("the answer has another form than this version's API gives it")

// maxList bounds lists that are kept: no NAS has as many targets or sessions.
const maxList = 10000

// decode reads one JSON value.
func decode[T any](b []byte) (T, error) {
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		return v, fmt.Errorf("%w: %v", errForm, err)
	}
	return v, nil
}

// readVersions reads the list of /api/versions. A page of the web interface, as older systems answer, is none.
func readVersions(b []byte) []string {
	v, err := decode[[]string](b)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(v, func(s string) bool { return !strings.HasPrefix(s, "v") })
}

// readVersion reads v2.0's system/version: a string.
func readVersion(b []byte) string {
	s, err := decode[string](b)
	if err != nil {
		return ""
	}
	return s
}

// readVersionV1 reads v1.0's system/version (tag 11.0-RC, gui/api/resources.py, VersionResource).
func readVersionV1(b []byte) string {
	v, err := decode[struct{ Fullversion, Version, Name string }](b)
	switch {
	case err != nil:
		return ""
	case v.Fullversion != "":
		return v.Fullversion
	case v.Name != "" && !strings.HasPrefix(v.Version, v.Name):
		return v.Name + "-" + v.Version
	}
	return v.Version
}

// readService reads the entry of iscsitarget, alone or in a list.
func readService(b []byte) (service, error) {
	type entry struct {
		Service *string `json:"service"`
		State   string  `json:"state"`
		Enable  *bool   `json:"enable"`
	}
	list, err := decode[[]entry](b)
	if err != nil {
		one, oneErr := decode[entry](b)
		if oneErr != nil {
			return service{}, err
		}
		list = []entry{one}
	}
	for _, e := range list {
		if e.Service != nil && *e.Service == serviceName && e.Enable != nil {
			return service{state: stateOf(e.State), enable: *e.Enable}, nil
		}
	}
	return service{}, fmt.Errorf("%w: no service %s in it", errForm, serviceName)
}

// serviceName is the iSCSI service, in every version.
const serviceName = "iscsitarget"

// readServiceV1 reads v1.0's entry (tag 11.0-RC, ServicesResourceMixin).
func readServiceV1(b []byte) (service, error) {
	e, err := decode[struct {
		Enable *bool  `json:"srv_enable"`
		State  string `json:"srv_state"`
	}](b)
	if err != nil {
		return service{}, err
	}
	if e.Enable == nil {
		return service{}, fmt.Errorf("%w: no srv_enable in it", errForm)
	}
	return service{state: stateOf(e.State), enable: *e.Enable}, nil
}

func stateOf(s string) string {
	if s == "" || len(s) > 40 {
		return unknown // FreeNAS 9 tells none
	}
	return strings.ToUpper(strings.ToValidUTF8(s, "?"))
}

// readInfo reads system.info: uptime_seconds (s, from 11.1 on) and boottime, which is {"$date": milliseconds} or, in
// 11.0, a text.
func readInfo(b []byte) (boot, error) {
	v, err := decode[struct {
		Up    float64         `json:"uptime_seconds"`
		Since json.RawMessage `json:"boottime"`
	}](b)
	if err != nil {
		return boot{}, err
	}
	var out boot
	if v.Up > 0 && v.Up < math.MaxInt64/float64(time.Second)/2 {
		out.up = time.Duration(v.Up * float64(time.Second))
	}
	if s := readVersion(v.Since); s != "" {
		out.since = strings.ToValidUTF8(s[:min(len(s), 60)], "?")
	} else if at, err := decode[struct {
		Date int64 `json:"$date"`
	}](v.Since); err == nil && at.Date > 0 {
		out.since = time.UnixMilli(at.Date).UTC().Format(time.DateTime)
	}
	if !out.told() {
		return boot{}, errNotTold
	}
	return out, nil
}

// readBootID reads /api/boot_id (a JSON string) or system.reboot.info.
func readBootID(b []byte) (boot, error) {
	id := readVersion(b)
	if id == "" {
		v, err := decode[struct {
			ID string `json:"boot_id"`
		}](b)
		if err != nil {
			return boot{}, err
		}
		id = v.ID
	}
	if id == "" || len(id) > 100 {
		return boot{}, fmt.Errorf("%w: no boot id in it", errForm)
	}
	return boot{id: id}, nil
}

// readSessions reads iscsi.global.sessions (tag TS-24.10.2, plugins/iscsi_/global_linux.py; tag FN-11.3-U5,
// plugins/iscsi.py, which copies ctladm's names).
func readSessions(b []byte) ([]session, error) {
	type entry struct {
		Initiator string `json:"initiator"`
		Address   string `json:"initiator_addr"`
		Target    string `json:"target"`
	}
	list, err := decode[[]entry](b)
	if err != nil {
		return nil, err
	}
	out := []session{}
	for _, e := range list[:min(len(list), maxList)] {
		if !strings.EqualFold(e.Initiator, initiator) { // the driver's own looks
			out = append(out, session{e.Initiator, e.Address, e.Target})
		}
	}
	return out, nil
}

// readErrno finds the number of an error's body: {"message", "errno"} (tag TN-13.0-U6.1, restful.py).
func readErrno(b []byte) int {
	v, err := decode[struct{ Errno int }](b)
	if err != nil {
		return 0
	}
	return v.Errno
}

// readProblem finds the words of an error's body: {"message", "errno"}, v1.0's {"error_message"}, 11.0's {"title",
// "description"}, the lists of a validation, or the text itself.
func readProblem(b []byte) string {
	m, err := decode[map[string]json.RawMessage](b)
	if err != nil {
		if text := strings.TrimSpace(string(b[:min(len(b), 2*textLimit)])); !strings.HasPrefix(text, "<") {
			return text // and no page for browsers
		}
		return ""
	}
	for _, key := range []string{"message", "error_message", "description", "title", "error"} {
		if s := readVersion(m[key]); s != "" {
			return s
		}
	}
	var out []string
	for key, raw := range m {
		list, err := decode[[]struct{ Message string }](raw)
		if err != nil {
			continue
		}
		for _, e := range list {
			out = append(out, key+": "+e.Message)
		}
	}
	sort.Strings(out)
	return strings.Join(out[:min(len(out), 10)], "; ")
}
