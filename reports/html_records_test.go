package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// script is a record in the making, line by line, with exact times.
type script struct {
	bytes.Buffer
	t testing.TB
}

func (s *script) line(v map[string]any) {
	b, err := json.Marshal(v)
	NewWithT(s.t).Expect(err).NotTo(HaveOccurred())
	s.Write(append(b, '\n'))
}

// JenkinsPolicy is what Jenkins serves the files of a build with, where nobody has changed it.
const JenkinsPolicy = "sandbox; default-src 'none'; img-src 'self'; style-src 'self'"

type m = map[string]any

// Of every kind of verdict, window, fault, lane and state one: what the page has to be able to draw. Text is what guests say.
func Kinds(t testing.TB, text string) []byte {
	s := &script{t: t}
	s.line(m{"k": "run", "v": 1, "id": "20261122-072707-kinds", "t0": "2026-11-22T07:27:07Z", "lab": "one-of-each", "lab_kind": "embedded", "lab_file": "one.yaml", "host": "esxi", "profile": "quick",
		"git": "1a2b3c4d5e6f", "on": "ci-1", "facts": m{"guest.kernel": "6.1.0-56", "hostile": text}})
	window := func(edges ...any) m {
		w := m{}
		if edges[0] != nil {
			w["min"] = edges[0]
		}
		if edges[1] != nil {
			w["max"] = edges[1]
		}
		return w
	}
	type verdict struct {
		id, outcome string
		measured    []float64
		window      m
		more        m
	}
	known := m{"reason": "kernel 6.1 waits for ever " + text, "link": "https://example.org/1", "until": "2027-01-01"}
	verdicts := []verdict{
		{"far.above", "refuted", []float64{5000, 5200.5}, window(60.0, 600.0), m{"ev": []m{{"t": 42000, "lane": "guest/a", "what": "disk blocked"}}}},
		{"near.above", "refuted", []float64{700.2, 700.2}, window(60.0, 600.0), nil},
		{"far.below", "refuted", []float64{-3, -2}, window(60.0, 62.0), nil},
		{"listed", "refuted", []float64{42, 42.3}, window(nil, 10.0), m{"known": known}},
		{"on.the.edge", "inconclusive", []float64{590, 612}, window(60.0, 600.0), nil},
		{"not.measured", "inconclusive", nil, window(1.0, 2.0), nil},
		{"outcome.of.tomorrow", "perhaps", nil, nil, nil},
		{"inside", "confirmed", []float64{182, 190.5}, window(60.0, 600.0), m{"n": 3, "provenance": "modelled"}},
		{"at.most", "confirmed", []float64{-0.039, 0.005}, window(nil, 10.0), nil},
		{"at.least", "confirmed", []float64{6.019, 6.061}, window(1.333, nil), nil},
		{"none.at.all", "confirmed", []float64{0, 0}, window(0.0, 0.0), m{"unit": "lost writes"}},
		{"no.window", "confirmed", []float64{1.669, 2.173}, nil, m{"why": text}},
		{"any", "confirmed", []float64{1, 1}, window(nil, nil), nil},
		{"stale", "confirmed", nil, nil, m{"known": known}},
	}
	for _, v := range append(verdicts, verdict{id: "not.asked"}, verdict{id: "cut.off"}) {
		p := m{"k": "plan", "claim": v.id, "title": "The claim " + v.id + " " + text, "scenario": "stop", "spec": "suites/apd/x.go:12",
			"src": m{"doc": "S1", "code": "E7", "ja": "Input/output errorが出るまでの時間が数分 " + text, "en": "it takes minutes until an I/O error appears " + text, "note": "60 to 600 s"}}
		if v.id == "not.asked" {
			p["skip"] = "the lab lacks " + text
		}
		s.line(p)
	}
	for i, l := range []m{{"kind": "target", "name": "nas", "prov": "embedded"}, {"kind": "path", "name": "wire", "prov": "embedded"}, {"kind": "hypervisor", "name": "esxi", "prov": "modelled"},
		{"kind": "guest", "name": "a", "prov": "embedded"}, {"kind": "guest", "name": "b " + text, "prov": "embedded"}, {"kind": "witness", "name": "quorum", "prov": "embedded"}} {
		l["k"], l["l"] = "lane", i+1
		s.line(l)
	}
	s.line(m{"k": "setting", "l": 4, "key": "scsi.timeout", "value": "180 " + text})
	s.line(m{"k": "phase", "t": 10000, "name": "scenario", "scenario": "stop", "edge": "begin"})
	fault := func(t, lo int, f, edge, typ string, more m) {
		l := m{"k": "fault", "t": t, "f": f, "edge": edge, "type": typ, "title": "The target's service stops " + text}
		if lo > 0 {
			l["lo"] = lo
		}
		for k, v := range more {
			l[k] = v
		}
		s.line(l)
	}
	state := func(t, lo, l int, topic, value string) {
		s.line(m{"k": "s", "t": t, "lo": lo, "l": l, "topic": topic, "s": value, "why": text})
	}
	for l := 1; l <= 6; l++ {
		state(100, 0, l, []string{"service", "portal", "apd", "disk", "disk", "vote"}[l-1], []string{"serving", "answers", "none", "ok", "ok", "granted"}[l-1])
	}
	fault(40000, 0, "f1", "begin", "service-stop", nil)
	state(40500, 40000, 1, "service", "stopped")
	fault(44000, 40000, "f1", "active", "service-stop", nil)
	state(42000, 41000, 4, "disk", "blocked")
	state(41000, 40500, 2, "portal", "refuses")
	state(46000, 45000, 3, "apd", "apd")
	state(60000, 59000, 4, "disk", "error")
	state(50000, 49000, 5, "disk", "wobbling "+text)
	state(52000, 51000, 6, "vote", "withheld")
	s.line(m{"k": "e", "t": 60010, "l": 4, "topic": "read-error", "type": "read-error", "why": text})
	s.line(m{"k": "e", "t": 61000, "l": 3, "topic": "event", "type": "esx.problem.storage.apd.timeout"})
	s.line(m{"k": "e", "t": 62000, "l": 6, "topic": "gossip", "type": "rumour"})
	s.line(m{"k": "hologram", "t": 70000, "l": 6, "shape": "cube " + text})
	s.line(m{"k": "hologram " + text, "t": "noon"})
	for i := range 12 {
		s.line(m{"k": "b", "t": 10000 + 10000*i, "to": 19000 + 10000*i, "l": 4, "topic": "write", "n": 10, "min": 0.002, "sum": 0.1 * float64(i+1), "max": 0.05 * float64(i*i+1), "max_t": 15000 + 10000*i})
	}
	fault(100000, 0, "f1", "undo", "service-stop", nil)
	fault(108000, 100000, "f1", "end", "service-stop", nil)
	state(110000, 109000, 4, "disk", "ok")
	state(109000, 108000, 2, "portal", "answers")
	state(109000, 108000, 1, "service", "serving")
	fault(120000, 0, "f2", "begin", "hang", nil)
	fault(126000, 0, "f2", "failed", "hang", m{"why": "it was not seen to work " + text})
	fault(150000, 0, "f3", "begin", "blackhole", nil)
	fault(152000, 151000, "f3", "active", "blackhole", nil)
	for _, v := range verdicts {
		l := m{"k": "claim", "id": v.id, "t": 160000, "lab": "one-of-each", "verdict": v.outcome, "why": "so it was seen", "provenance": "embedded"}
		if v.measured != nil {
			l["measured"] = m{"lo": v.measured[0], "hi": v.measured[1]}
		}
		if v.window != nil {
			l["window"] = v.window
		}
		for k, x := range v.more {
			l[k] = x
		}
		s.line(l)
	}
	s.line(m{"k": "phase", "t": 180000, "name": "scenario", "scenario": "stop", "edge": "end"})
	s.line(m{"k": "end", "t": 200000, "why": "done"})
	return s.Bytes()
}

// Crowd is a run with many guests: for seconds each of them beats and writes, summed up in buckets of 10 s, through a fault in the middle
// third. The third part after the fault all are well but every 27th, whose disk fails, and the guest 500, whose disk stays blocked.
func Crowd(t testing.TB, guests, seconds int) []byte {
	s := &script{t: t}
	end := seconds * 1000
	from, to := end/3, 2*end/3
	s.line(m{"k": "run", "v": 1, "id": fmt.Sprintf("%d-guests", guests), "t0": "2026-11-22T07:27:07Z", "lab": "stadium", "lab_kind": "real", "host": "esxi", "profile": "documented"})
	s.line(m{"k": "plan", "claim": "guest.survives", "title": "Every guest goes on when its disk is back", "scenario": "outage", "src": m{"doc": "S1", "code": "E1", "en": "guests go on"}})
	s.line(m{"k": "lane", "l": 1, "kind": "target", "name": "nas", "prov": "real"})
	s.line(m{"k": "lane", "l": 2, "kind": "hypervisor", "name": "esxi", "prov": "real"})
	s.line(m{"k": "phase", "t": 0, "name": "scenario", "scenario": "outage", "edge": "begin"})
	s.line(m{"k": "s", "t": 0, "l": 1, "topic": "service", "s": "serving"})
	s.line(m{"k": "s", "t": from, "l": 1, "topic": "service", "s": "stopped"})
	s.line(m{"k": "s", "t": to, "l": 1, "topic": "service", "s": "serving"})
	for i, edge := range []string{"begin", "active", "undo", "end"} {
		s.line(m{"k": "fault", "t": []int{from, from + 500, to, to + 500}[i], "f": "f1", "edge": edge, "type": "service-stop", "title": "The target's service stops"})
	}
	for g := 1; g <= guests; g++ {
		l, vm := 2*g+1, 2*g+2
		fmt.Fprintf(s, `{"k":"lane","l":%d,"kind":"guest","name":"g%04d","prov":"real"}`+"\n", l, g)
		fmt.Fprintf(s, `{"k":"lane","l":%d,"kind":"hypervisor","name":"vm/g%04d","prov":"real"}`+"\n", vm, g)
		fmt.Fprintf(s, `{"k":"s","t":%d,"l":%d,"topic":"power","s":"on"}`+"\n", g%50, vm)
		jitter := g * 7919 % 9000
		for _, topic := range []string{"disk", "write", "ssh.new"} {
			fmt.Fprintf(s, `{"k":"s","t":%d,"l":%d,"topic":%q,"s":"ok"}`+"\n", g%100, l, topic)
			fmt.Fprintf(s, `{"k":"s","t":%d,"lo":%d,"l":%d,"topic":%q,"s":"blocked"}`+"\n", from+1000+jitter, from+jitter, l, topic)
			if g%27 == 0 {
				fmt.Fprintf(s, `{"k":"s","t":%d,"l":%d,"topic":%q,"s":"error"}`+"\n", (from+to)/2+jitter, l, topic)
			}
			if g != 500 {
				fmt.Fprintf(s, `{"k":"s","t":%d,"l":%d,"topic":%q,"s":"ok"}`+"\n", min(to+2000+jitter*3, end-1), l, topic)
			}
		}
		for b := 0; b < end; b += 10000 {
			slow := 0.004 + float64((g*31+b/1000)%17)/1000
			if b > from && b < to {
				slow = float64(b-from) / 1000
			}
			fmt.Fprintf(s, `{"k":"b","t":%d,"to":%d,"l":%d,"topic":"heartbeat","n":10,"min":%.3f,"sum":%.3f,"max":%.3f,"max_t":%d}`+"\n", b, b+9000, l, slow/2, slow*10, slow*2, b+4000)
		}
	}
	s.line(m{"k": "claim", "id": "guest.survives", "t": end, "lab": "stadium", "verdict": "refuted", "why": "guest g0500: disk is blocked in the end", "provenance": "real", "measured": m{"lo": guests - 1, "hi": guests - 1},
		"unit": "guests", "window": m{"min": guests, "max": guests}, "ev": []m{{"t": from + 1000 + 500*7919%9000, "lane": "guest/g0500", "what": "disk blocked"}}})
	s.line(m{"k": "end", "t": end, "why": "done"})
	return s.Bytes()
}

func htmlOf(t testing.TB, b []byte, o Options) string {
	t.Helper()
	g := NewWithT(t)
	r, err := record.Parse(bytes.NewReader(b))
	g.Expect(err).NotTo(HaveOccurred())
	out, err := HTML(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	return string(out)
}
