package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var ctrfSchema = sync.OnceValues(func() (*jsonschema.Schema, error) {
	b, err := os.ReadFile("testdata/ctrf-schema-0.0.json")
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("ctrf.json", doc); err != nil {
		return nil, err
	}
	return c.Compile("ctrf.json")
})

// The report as a reader sees it, written apart from the writer's types.
type gotCTRF struct {
	ReportID string
	RunID    string
	Results  struct {
		Summary map[string]int64
		Tests   []gotTest
		Extra   struct {
			Run      struct{ ID, Lab string }
			Verdicts map[string]int
			Exit     int
			Trouble  string
			Torn     bool
			SHA      string `json:"record_sha256"`
		}
	}
}

type gotTest struct {
	TestID, Name, Status, RawStatus, Message, Trace, FilePath string
	Line                                                      int
	Duration                                                  int64
	Suite                                                     []string
	Extra                                                     map[string]any
}

// readCTRF holds a report against CTRF's own schema and its sums against its tests.
func readCTRF(b []byte) (Counts, error) {
	schema, err := ctrfSchema()
	if err != nil {
		return Counts{}, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return Counts{}, err
	}
	if err := schema.Validate(doc); err != nil {
		return Counts{}, err
	}
	var got gotCTRF
	if err := json.Unmarshal(b, &got); err != nil {
		return Counts{}, err
	}
	by, status := map[word]int{}, map[string]int64{}
	for _, t := range got.Results.Tests {
		status[t.Status]++
		if t.Name != runName {
			by[word(t.RawStatus)]++
		}
	}
	for _, s := range []string{"passed", "failed", "skipped", "pending", "other"} {
		if got.Results.Summary[s] != status[s] {
			return Counts{}, fmt.Errorf("%d tests are said to be %s, and %d are", got.Results.Summary[s], s, status[s])
		}
	}
	for _, w := range order {
		if n := got.Results.Extra.Verdicts[string(w)]; n != by[w] {
			return Counts{}, fmt.Errorf("%d claims are said to be %s, and %d are", n, w, by[w])
		}
	}
	return countsOf(by), nil
}

func readBack(t *testing.T, b []byte) (gotCTRF, map[string]gotTest) {
	t.Helper()
	var got gotCTRF
	NewWithT(t).Expect(json.Unmarshal(b, &got)).To(Succeed())
	tests := map[string]gotTest{}
	for _, test := range got.Results.Tests {
		tests[test.TestID] = test
	}
	return got, tests
}

func TestCTRF(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, "plain")
	o.HTML = "report.html"
	b, err := CTRF(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	got, tests := readBack(t, b)

	g.Expect(got.RunID).To(Equal("r1"))
	g.Expect(got.Results.Summary).To(And(HaveKeyWithValue("tests", int64(6)), HaveKeyWithValue("failed", int64(2)), HaveKeyWithValue("passed", int64(2)),
		HaveKeyWithValue("skipped", int64(1)), HaveKeyWithValue("other", int64(1)), HaveKeyWithValue("suites", int64(2)),
		HaveKeyWithValue("start", int64(1795332427000)), HaveKeyWithValue("stop", int64(1795332437000)), HaveKeyWithValue("duration", int64(10000))))
	g.Expect(got.Results.Extra.Run.Lab).To(Equal("lab.one"))
	g.Expect(got.Results.Extra.Exit).To(Equal(1))
	g.Expect(got.Results.Extra.SHA).To(And(HaveLen(64), Equal(r.SHA256)))

	bad := tests["bad"]
	g.Expect(bad.Name).To(Equal("Claim bad [bad]"))
	g.Expect(bad.Status).To(Equal("failed"))
	g.Expect(bad.Suite).To(Equal([]string{"stop 15m"}))
	g.Expect(bad.Message).To(Equal("bad: measured 700.2 s, allowed 60..600 s"))
	g.Expect(bad.Trace).To(ContainSubstring("In [It] at suites/apd/bad.go:12"))
	g.Expect(bad.FilePath).To(Equal("suites/apd/bad.go"))
	g.Expect(bad.Line).To(Equal(12))
	g.Expect(bad.Extra).To(And(HaveKeyWithValue("claim", "bad"), HaveKeyWithValue("provenance", "embedded"), HaveKeyWithValue("unit", "s"), HaveKeyWithValue("link", "report.html#bad"),
		HaveKeyWithValue("measured", map[string]any{"lo": 700.2, "hi": 700.2}), HaveKeyWithValue("window", map[string]any{"min": 60.0, "max": 600.0, "from": "scsi.timeout=180"}),
		HaveKeyWithValue("source", map[string]any{"doc": "S1", "code": "E7", "ja": "数分", "en": "within minutes", "note": "60 to 600 s"}),
		HaveKeyWithValue("evidence", []any{map[string]any{"t": 4000.0, "lane": "guest/a", "what": "disk blocked"}})))

	g.Expect(tests["known"].Status).To(Equal("other"))
	g.Expect(tests["known"].Message).To(ContainSubstring("kernel 6.1 waits for ever"))
	g.Expect(tests["open"].Status).To(Equal("failed"), "what is not decided must not look green")
	g.Expect(tests["good"].Status).To(Equal("passed"))
	g.Expect(tests["good"].Extra).To(And(HaveKeyWithValue("provenance", "modelled"), HaveKeyWithValue("n", 3.0)))
	g.Expect(tests["skipped"].Status).To(Equal("skipped"))
	g.Expect(tests["skipped"].Message).To(Equal("lab lacks plain"))
}

func TestCTRFFailsWheneverTheExitCodeDoes(t *testing.T) {
	g := NewWithT(t)
	for name, c := range exitCases {
		r := c.record()
		b, err := CTRF(r, Options{})
		g.Expect(err).NotTo(HaveOccurred())
		_, err = readCTRF(b)
		g.Expect(err).NotTo(HaveOccurred(), name)
		got, _ := readBack(t, b)
		g.Expect(got.Results.Summary["failed"] > 0).To(Equal(ExitCode(r) != ExitHolds), name)
	}
}

func TestCTRFOfHostileTexts(t *testing.T) {
	g := NewWithT(t)
	_, r, o := small(t, strings.Repeat(hostile, 100))
	b, err := CTRF(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(b)).NotTo(ContainSubstring("<b>"), "JSON within a page ends no script")
	for _, code := range []string{`\u0000`, `\u001b`, `\u202e`, "\u202e"} {
		g.Expect(string(b)).NotTo(ContainSubstring(code))
	}
}
