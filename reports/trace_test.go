package reports

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	. "github.com/onsi/gomega"
)

// The trace as a reader sees it, written apart from the writer's types.
type gotTrace struct {
	TraceEvents []gotEvent
	OtherData   struct {
		SHA      string `json:"record_sha256"`
		Verdicts map[word]int
	}
}

type gotEvent struct {
	Ph, Name, Cat, S string
	PID, TID         int
	TS, Dur          *int64
	Args             map[string]any
}

type place struct{ pid, tid int }

// readTrace holds a trace against what the trace event format and Perfetto ask for: known phases, times of whole µs that JavaScript
// can hold, names for every process and thread, and no slice that overlaps another of its thread.
func readTrace(b []byte) (Counts, error) {
	var got gotTrace
	if err := json.Unmarshal(b, &got); err != nil {
		return Counts{}, err
	}
	named, sorted, slicesOf := map[place]bool{}, map[place]bool{}, map[place][]gotEvent{}
	numbers := map[int]bool{}
	for _, e := range got.TraceEvents {
		at := place{e.PID, e.TID}
		if e.Ph == "M" {
			switch e.Name {
			case "process_name", "thread_name":
				if s, ok := e.Args["name"].(string); !ok || s == "" || named[at] || numbers[at.number()] {
					return Counts{}, fmt.Errorf("a place without a name of its own: %+v", e)
				}
				named[at], numbers[at.number()] = true, true
			case "process_sort_index", "thread_sort_index":
				if _, ok := e.Args["sort_index"].(float64); !ok {
					return Counts{}, fmt.Errorf("no place: %+v", e)
				}
				sorted[at] = true
			default:
				return Counts{}, fmt.Errorf("unknown metadata: %+v", e)
			}
			continue
		}
		if e.TS == nil || *e.TS < 0 || *e.TS > 1<<53 || e.Name == "" || e.Cat == "" || e.TID == 0 {
			return Counts{}, fmt.Errorf("no time, name or place: %+v", e)
		}
		switch {
		case e.Ph == "X" && e.Dur != nil && *e.Dur >= 0:
			slicesOf[at] = append(slicesOf[at], e)
		case e.Ph == "i" && e.S == "t" && e.Dur == nil:
		default:
			return Counts{}, fmt.Errorf("neither a slice nor an instant: %+v", e)
		}
		if !named[at] || !sorted[at] || !named[place{e.PID, 0}] {
			return Counts{}, fmt.Errorf("in a place that nobody introduced: %+v", e)
		}
	}
	for at, list := range slicesOf {
		slices.SortStableFunc(list, func(a, b gotEvent) int { return cmp.Compare(*a.TS, *b.TS) })
		for i := 1; i < len(list); i++ {
			if *list[i-1].TS+*list[i-1].Dur > *list[i].TS {
				return Counts{}, fmt.Errorf("thread %v: %s overlaps %s", at, list[i-1].Name, list[i].Name)
			}
		}
	}
	if len(got.OtherData.SHA) != 64 {
		return Counts{}, errors.New("the record's digest is missing")
	}
	return countsOf(got.OtherData.Verdicts), nil
}

// number is the one that a process or thread was given.
func (p place) number() int {
	if p.tid != 0 {
		return p.tid
	}
	return p.pid
}

func TestTrace(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	b, err := Trace(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	var got gotTrace
	g.Expect(json.Unmarshal(b, &got)).To(Succeed())
	names := map[place]string{}
	var drawn []string
	for _, e := range got.TraceEvents {
		switch e.Name {
		case "process_name", "thread_name":
			names[place{e.PID, e.TID}] = e.Args["name"].(string)
		}
		if e.Ph == "X" {
			drawn = append(drawn, fmt.Sprintf("%s/%s %s %d+%d", names[place{e.PID, 0}], names[place{e.PID, e.TID}], e.Name, *e.TS, *e.Dur))
		}
	}
	g.Expect(drawn).To(ConsistOf("run r1/faults f1 service-stop 2000000+8000000", "run r1/scenarios stop 15m 0+10000000",
		"guest/a (embedded)/disk ok 0+4000000", "guest/a (embedded)/disk blocked 4000000+6000000"))
}

func TestTraceShowsAllThatWasSeen(t *testing.T) {
	g := NewWithT(t)
	for name, b := range tapes(t) {
		r := parse(t, b)
		doc, err := Trace(r, Options{})
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(len(doc)).To(BeNumerically("<", len(b)*3/2), "it stays small")
		var got gotTrace
		g.Expect(json.Unmarshal(doc, &got)).To(Succeed())
		drawn := map[string]int{}
		for _, e := range got.TraceEvents {
			drawn[e.Cat]++
		}
		want := kinds(t, b)
		g.Expect(drawn["state"]).To(Equal(want["s"]), name)
		g.Expect(drawn["event"]).To(Equal(want["e"]), name)
		_, err = readTrace([]byte(replaced(`,"s":"t"`, "")(string(doc))))
		g.Expect(err).To(HaveOccurred(), "an instant without its scope")
		g.Expect(drawn["fault"]).To(Equal(want["fault begin"]), name)
		g.Expect(drawn["phase"]).To(Equal(want["phase begin"]), name)
	}
}

// kinds counts a record's lines by kind, and faults and phases by edge.
func kinds(t *testing.T, b []byte) map[string]int {
	out := map[string]int{}
	for _, l := range linesOf(t, b) {
		out[l.K]++
		out[l.K+" "+l.Edge]++
	}
	return out
}

func TestTraceDealsOutWhatOverlaps(t *testing.T) {
	g := NewWithT(t)
	tr := &trace{pids: map[string]int{}}
	pid := tr.process("p")
	tr.deal(pid, "x", []slice{{name: "c", from: 5, to: 20}, {name: "a", from: 0, to: 10}, {name: "b", from: 10, to: 12}, {name: "d", from: 11, to: 13}})
	on := map[string]int{}
	threads := map[int]string{}
	for _, e := range tr.events {
		if e.Name == "thread_name" {
			threads[e.TID] = e.Args["name"].(string)
		}
		if e.Ph == "X" {
			on[e.Name] = e.TID
		}
	}
	g.Expect(threads[on["a"]]).To(Equal("x"))
	g.Expect(threads[on["b"]]).To(Equal("x"))
	g.Expect(threads[on["c"]]).To(Equal("x 2"))
	g.Expect(threads[on["d"]]).To(Equal("x 3"))
}
