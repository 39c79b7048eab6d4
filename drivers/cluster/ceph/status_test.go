package ceph

import (
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// healthy is the part of a real reply of Ceph 16.2.15 that is read, and clean its placement groups.
const (
	clean   = `{"state_name":"active+clean","count":9}`
	healthy = `{"health":{"status":"HEALTH_OK","checks":{}},"osdmap":{"num_osds":4,"num_up_osds":4,"num_in_osds":4},
		"pgmap":{"pgs_by_state":[` + clean + `],"num_pgs":9,"num_objects":30,"data_bytes":89128960}}`
)

func parseStatus(t testing.TB, text string) (status, error) {
	t.Helper()
	var s status
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, err
	}
	return s, s.check()
}

func TestLacks(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"healthy":                        {"", "", ""},
		"looked through":                 {clean, `{"state_name":"active+clean+scrubbing+deep","count":9}`, ""},
		"an OSD is down":                 {`"num_up_osds":4`, `"num_up_osds":3`, "1 of 4 OSDs in use are down"},
		"an OSD is down and out, healed": {`"num_up_osds":4,"num_in_osds":4`, `"num_up_osds":3,"num_in_osds":3`, ""},
		"too few copies":                 {clean, `{"state_name":"active+undersized+degraded","count":2}`, "2 placement groups are active+undersized+degraded"},
		"degraded objects":               {`"num_pgs":9`, `"num_pgs":9,"degraded_objects":7`, "7 objects have too few copies"},
		"nothing there yet":              {`"num_pgs":9`, `"num_pgs":0`, "no placement groups yet"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			s, err := parseStatus(t, strings.Replace(healthy, c.old, c.new, 1))
			g.Expect(err).NotTo(HaveOccurred())
			if c.want == "" {
				g.Expect(s.lacks()).To(BeEmpty())
				return
			}
			g.Expect(s.lacks()).To(ContainSubstring(c.want))
		})
	}
}

func TestUnprotected(t *testing.T) {
	g := NewWithT(t)
	s, err := parseStatus(t, strings.Replace(healthy, `"num_pgs":9`, `"num_pgs":9,"degraded_objects":15`, 1))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.unprotected()).To(BeNumerically("~", 89128960/2, 1), "half of the objects")
}

// TestAReplyOfTheWrongShapeIsAnError: what is not there is not zero.
func TestAReplyOfTheWrongShapeIsAnError(t *testing.T) {
	for _, key := range []string{`"status":"HEALTH_OK",`, `"num_up_osds":4,`, `"num_osds":4,`, `"num_pgs":9,`} {
		_, err := parseStatus(t, strings.Replace(healthy, key, "", 1))
		NewWithT(t).Expect(err).To(HaveOccurred(), "without %s", key)
	}
	for _, text := range []string{`{}`, `[]`, `{"health":null}`, `{"osdmap":{"osdmap":{"num_osds":4}}}`} {
		_, err := parseStatus(t, text)
		NewWithT(t).Expect(err).To(HaveOccurred(), text)
	}
	for _, text := range []string{`{}`, `{"osds":[]}`, `{"osds":[{"osd":0,"up":1}]}`, `{"osds":[{"up":1,"in":1}]}`} {
		var o osdDump
		NewWithT(t).Expect(json.Unmarshal([]byte(text), &o)).To(Succeed())
		NewWithT(t).Expect(o.check()).To(HaveOccurred(), text)
	}
}

func TestStuck(t *testing.T) {
	g := NewWithT(t)
	s, err := parseStatus(t, strings.Replace(healthy, `"checks":{}`,
		`"checks":{"SLOW_OPS":{"severity":"HEALTH_WARN","summary":{"message":"2 slow ops, oldest one blocked for 31 sec, osd.0 has slow ops"}},"OSD_DOWN":{"summary":{"message":"1 osds down"}}}`, 1))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.stuck()).To(Equal("2 slow ops, oldest one blocked for 31 sec, osd.0 has slow ops"))
}

func TestAudit(t *testing.T) {
	g := NewWithT(t)
	const out = `from='client.? 127.0.0.1:0/1' entity='client.admin' cmd='[{"prefix": "osd out", "ids": ["0"]}]': finished`
	g.Expect(prefixOf(out)).To(Equal("osd out"))
	g.Expect(fromInside(out)).To(BeFalse())
	g.Expect(fromInside(strings.Replace(out, "client.admin", "osd.3", 1))).To(BeTrue())
	g.Expect(fromInside(strings.Replace(out, `"osd out"`, `"osd blocklist"`, 1))).To(BeTrue(), "the fence of a gateway")
	g.Expect(prefixOf("nothing of the kind")).To(BeEmpty())
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(healthy))
	f.Add([]byte(`{"osds":[{"osd":0,"up":1,"in":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s status
		if json.Unmarshal(b, &s) == nil && s.check() == nil { // whatever passes the check can be asked
			s.lacks()
			s.unprotected()
			s.healing()
			s.stuck()
		}
		var o osdDump
		if json.Unmarshal(b, &o) == nil {
			_ = o.check()
		}
		prefixOf(string(b))
		fromInside(string(b))
	})
}
