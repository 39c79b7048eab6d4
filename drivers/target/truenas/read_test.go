package truenas

import (
	"testing"
	"time"
)

func TestVersions(t *testing.T) {
	for text, want := range map[string]struct {
		product      string
		major, minor int
		api          string
	}{
		"FreeNAS-9.10.2-U6 (561f0d7a1)":   {"FreeNAS", 9, 10, apiV1},
		"FreeNAS-9.3-STABLE-201605170422": {"FreeNAS", 9, 3, apiV1},
		"FreeNAS-11.0-RC (ad90a865b)":     {"FreeNAS", 11, 0, apiV1},
		"FreeNAS-11.1-U7":                 {"FreeNAS", 11, 1, apiV2},
		"TrueNAS-12.0-U8.1":               {"TrueNAS", 12, 0, apiV2},
		"TrueNAS-SCALE-24.10.2.4":         {"TrueNAS-SCALE", 24, 10, apiV2},
		"25.10.0":                         {"TrueNAS", 25, 10, apiRPC},
		"TrueNAS-26.0.0-BETA.3":           {"TrueNAS", 26, 0, apiRPC},
	} {
		v, err := parseVersion(text)
		if err != nil || v.product != want.product || v.major != want.major || v.minor != want.minor || v.apis()[0] != want.api {
			t.Errorf("%s is %+v, %v", text, v, err)
		}
	}
	for _, bad := range []string{"", "FreeNAS", "FreeNAS-8.3.1", "<!doctype html>", "XigmaNAS"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("%q is %+v", bad, v)
		}
	}
}

func TestBoots(t *testing.T) {
	for _, c := range []struct {
		now, old boot
		want     bool
	}{
		{boot{id: "b"}, boot{id: "a"}, true},
		{boot{id: "a"}, boot{id: "a"}, false},
		{boot{up: time.Minute}, boot{up: time.Hour}, true},
		{boot{up: time.Hour, since: "a"}, boot{up: time.Minute, since: "b"}, false}, // the time of boot wavers
		{boot{since: "b"}, boot{since: "a"}, true},
		{boot{}, boot{id: "a"}, false},
	} {
		if got := c.now.after(c.old); got != c.want {
			t.Errorf("%+v after %+v is %v", c.now, c.old, got)
		}
	}
	args := map[string]string{}
	b := boot{id: "x", up: 90 * time.Second, since: "y"}
	b.write(args)
	if got := readBoot(args); got != b {
		t.Errorf("%+v became %+v", b, got)
	}
}

// FuzzRead gives any bytes to every reader of answers.
func FuzzRead(f *testing.F) {
	for _, seed := range []string{`["v25.04.0","v25.10.0"]`, `"TrueNAS-13.0-U6.1"`, `{"fullversion":"FreeNAS-11.0-RC (ad90a865b)","version":"FreeNAS-11.0-RC","name":"FreeNAS"}`,
		`[{"id":7,"service":"iscsitarget","state":"RUNNING","enable":true,"pids":[1]}]`, `{"service":"iscsitarget","state":"STOPPED","enable":false}`,
		`{"srv_enable":true,"srv_service":"iscsitarget","srv_state":"CRASHED"}`, `{"uptime_seconds":1e300,"boottime":{"$date":1500000000000}}`, `{"boottime":"2017-05-01 10:00:00"}`,
		`"8a3c-id"`, `{"boot_id":"8a3c"}`, `[{"initiator":"iqn.a","initiator_addr":"10.0.0.1","target":null}]`, `[{"state":"FAILED","error":"[EFAULT] x"}]`,
		`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"Method call error","data":{"error":13,"errname":"EACCES","reason":"r"}}}`,
		`{"jsonrpc":"2.0","method":"collection_update","params":{}}`, `{"message":"m","errno":22}`, `{"service":[{"message":"attribute required","errno":22}]}`, "<html>", "null", "[]", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		readVersions(b)
		_, _ = parseVersion(readVersion(b))
		_, _ = parseVersion(readVersionV1(b))
		if s, err := readService(b); err == nil && s.state == "" {
			t.Errorf("a service without a state: %+v", s)
		}
		if s, err := readServiceV1(b); err == nil && s.state == "" {
			t.Errorf("a service without a state: %+v", s)
		}
		if i, err := readInfo(b); err == nil && (!i.told() || i.up < 0) {
			t.Errorf("a boot that says nothing: %+v", i)
		}
		if i, err := readBootID(b); err == nil && i.id == "" {
			t.Error("an empty boot id")
		}
		_, _ = readSessions(b)
		_, _, _ = readJob(b)
		readReply(b)
		if s := (login{password: "s3cret"}).quote(readProblem(b)); len(s) > textLimit+10 {
			t.Errorf("%d bytes are quoted", len(s))
		}
	})
}

// FuzzLayout puts any lists together.
func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"basename":"iqn.x"}`), []byte(`[{"id":1,"name":"lab"}]`), []byte(`[{"id":1,"name":"disk","enabled":true}]`), []byte(`[{"target":1,"extent":1,"lunid":null}]`))
	f.Add([]byte(`{"iscsi_basename":"iqn.x"}`), []byte(`[{"id":1,"iscsi_target_name":"lab"}]`), []byte(`[{"id":1,"iscsi_target_extent_name":"disk"}]`), []byte(`[{"iscsi_target":1,"iscsi_extent":1,"iscsi_lunid":-9223372036854775808}]`))
	f.Fuzz(func(t *testing.T, g, ts, es, ps []byte) {
		_, _ = readLayout(g, ts, es, ps)
		_, _ = readLayoutV1(g, ts, es, ps)
	})
}
