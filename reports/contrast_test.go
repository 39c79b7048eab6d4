package reports

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// contrast is one fault on two platforms: on one a host goes down and machines are restarted, on the other a disk goes out.
func contrast() Contrast {
	back := record.Interval{Lo: 270, Hi: 272}
	healed := record.Interval{Lo: 28, Hi: 30}
	return Contrast{Claim: "x", Title: "They differ", Source: record.Source{Doc: "S2", Code: "X1", EN: "It does not."}, Scenario: "disk-stalls",
		Verdict: record.Verdict{Outcome: record.Confirmed, Why: "so", Provenance: drivers.Modelled},
		Rows: []record.Effect{
			{Run: "r1", Lab: "one", Platform: "vsan", Contract: "2020", Provenance: drivers.Modelled, Held: record.Interval{Lo: 290, Hi: 291}, Watched: 300,
				Stopped:     []record.Stop{{Kind: "host", Name: "h1", As: "down", Period: record.Period{Since: record.Interval{Lo: 118, Hi: 120}, To: &back}}},
				Unprotected: []record.Period{{Since: record.Interval{Lo: 118, Hi: 120}}}, Whole: record.Whole{Not: record.NotBeforeUndo},
				Guests: 1, Pause: &record.Pause{Guest: "a", Seconds: 40, Ended: 160},
				VMs: record.MachinesEffect{Seen: 5, Watched: 5, Restarted: []record.Mark{{VM: "a", At: record.Interval{Lo: 133, Hi: 135}, By: "cluster"}}}, Calls: []string{"Reset"}},
			{Run: "r2", Lab: "two", Platform: "nutanix", Provenance: drivers.Embedded, Held: record.Interval{Lo: 40, Hi: 41}, Watched: 60,
				Stopped: []record.Stop{{Kind: "disk", Name: "d1", As: "offline", Period: record.Period{Since: record.Interval{Lo: 9, Hi: 12}}}},
				Whole:   record.Whole{At: &healed}, VMs: record.MachinesEffect{Seen: 3, Watched: 3}},
		}}
}

// texts reads an SVG as XML, strictly, and returns its texts and the names of its elements.
func texts(t *testing.T, svg []byte) (said, elements []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(string(svg)))
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return said, elements
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		switch x := tok.(type) {
		case xml.StartElement:
			elements = append(elements, x.Name.Local)
			for _, a := range x.Attr {
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Name.Local == "width" && strings.HasPrefix(a.Value, "-") {
					t.Errorf("%s has %s=%q", x.Name.Local, a.Name.Local, a.Value)
				}
			}
		case xml.CharData:
			said = append(said, string(x))
		}
	}
}

func TestContrastAsATable(t *testing.T) {
	g := NewWithT(t)
	s := string(contrast().Markdown())
	for _, want := range []string{"vsan (contract 2020)<br>one<br>modelled | host h1 down after 118..120 s | 40.0 s (a), 0 reads and writes failed | a after 133..135 s by cluster",
		"not before the undo | an administrator: Reset |", "disk d1 offline after 9.0..12.0 s | no guest was watched | none of 3 | not watched | 28.0..30.0 s | nobody but the cluster |",
		"**confirmed** (S2 X1, modelled): so."} {
		g.Expect(s).To(ContainSubstring(want))
	}
	c := contrast()
	c.Rows[0].Unproven, c.Rows[1].Unheard = "the fault was not proven", "it was silent"
	s = string(c.Markdown())
	g.Expect(s).To(ContainSubstring("**proves nothing**"))
	g.Expect(s).To(ContainSubstring("not known: it was silent"))
}

func TestContrastAsAPicture(t *testing.T) {
	g := NewWithT(t)
	said, elements := texts(t, contrast().SVG())
	for _, want := range []string{"host h1 down after 118..120 s", "restarted after 133..135 s: a", "disk d1 offline after 9.0..12.0 s", "none of 3", "no guest was watched"} {
		g.Expect(said).To(ContainElement(want))
	}
	g.Expect(elements).NotTo(ContainElement("script"))
	g.Expect(string(contrast().SVG())).NotTo(MatchRegexp(`(?i)(href|url\(|@import|\son[a-z]+=)`), "it needs nothing from elsewhere")
	g.Expect(string(contrast().SVG())).To(ContainSubstring("prefers-color-scheme:dark"))
}

// TestContrastOfOddRows: no row may make a picture that is none.
func TestContrastOfOddRows(t *testing.T) {
	far := record.Interval{Lo: 1e300, Hi: 1e308}
	before := record.Interval{Lo: 5, Hi: 2}
	for i, e := range []record.Effect{{}, {Held: far, Watched: 1e308}, {Held: before, Stopped: []record.Stop{{Period: record.Period{Since: far, To: &before}}}},
		{Pause: &record.Pause{Seconds: 900, Ended: 1}}, {Unprotected: make([]record.Period, 500), Stopped: make([]record.Stop, 500)},
		{VMs: record.MachinesEffect{Moved: make([]record.Mark, 500)}}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			c := Contrast{Rows: []record.Effect{e, e}}
			texts(t, c.SVG())
			c.Markdown()
		})
	}
	texts(t, Contrast{}.SVG())
}

func TestContrastEscapesHostileNames(t *testing.T) {
	g := NewWithT(t)
	const hostile = "<script>alert(1)</script>]]>&\"'|\x00\x1b[31m\n# `x` ![y](javascript:z)"
	c := contrast()
	c.Title, c.Scenario, c.Verdict.Why = hostile, hostile, hostile
	for i := range c.Rows {
		e := &c.Rows[i]
		e.Run, e.Lab, e.Platform, e.Contract, e.Unproven, e.Calls, e.Waiting = hostile, hostile, hostile, hostile, hostile, []string{hostile}, []string{hostile}
		e.Provenance = drivers.Provenance(hostile)
		e.Stopped[0].Name, e.Stopped[0].Kind = hostile, hostile
		e.VMs.Restarted = []record.Mark{{VM: hostile, By: hostile}}
		e.Pause = &record.Pause{Guest: hostile}
	}
	_, elements := texts(t, c.SVG())
	g.Expect(elements).NotTo(ContainElement("script"))
	g.Expect(string(c.SVG())).NotTo(ContainSubstring("\x1b"))
	md := string(c.Markdown())
	g.Expect(md).NotTo(ContainSubstring("<script>"))
	g.Expect(md).NotTo(ContainSubstring("![y]"))
	for _, line := range strings.Split(md, "\n") {
		if strings.HasPrefix(line, "| ") && strings.Contains(line, "restarted") {
			g.Expect(strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")).To(Equal(8), line)
		}
	}
}

func TestContrastWritesItsFiles(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	files, err := contrast().Write(dir)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(files).To(Equal([]string{filepath.Join(dir, "contrast.md"), filepath.Join(dir, "contrast.svg"), filepath.Join(dir, "contrast.json")}))
	b, err := os.ReadFile(files[2])
	g.Expect(err).NotTo(HaveOccurred())
	var back Contrast
	g.Expect(json.Unmarshal(b, &back)).To(Succeed())
	g.Expect(back).To(Equal(contrast()))
	_, err = contrast().Write(filepath.Join(dir, "nowhere"))
	g.Expect(err).To(MatchError(ContainSubstring("writing contrast.md")))
}

func TestEffectsNeedTheScenario(t *testing.T) {
	g := NewWithT(t)
	parse := func(lines string) *record.Record {
		r, err := record.Parse(strings.NewReader(lines))
		g.Expect(err).NotTo(HaveOccurred())
		return r
	}
	has := parse(`{"k":"run","v":1,"id":"one"}` + "\n" + `{"k":"phase","t":1,"name":"scenario","scenario":"hang","edge":"begin"}` + "\n")
	none := parse(`{"k":"run","v":1,"id":"two"}` + "\n")
	rows, err := Effects([]*record.Record{has, has}, "hang")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(rows).To(HaveLen(2))
	_, err = Effects([]*record.Record{has, none}, "disk-stalls")
	g.Expect(err).To(MatchError(`run one has no scenario "disk-stalls", so it cannot be compared; it has: hang`))
	_, err = Effects([]*record.Record{has, none}, "hang")
	g.Expect(err).To(MatchError(ContainSubstring("run two has no scenario \"hang\", so it cannot be compared; it has: none")))
}
