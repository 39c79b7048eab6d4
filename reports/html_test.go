package reports

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// undrawable are numbers that no browser draws.
var undrawable = regexp.MustCompile(`="(NaN|[+-]?Inf)| (x|width|height|y|r|cx)="-[0-9.]*[1-9]%?"|[ "MLHV](NaN|[+-]Inf)`)

func TestHTMLIsTheSameEachTime(t *testing.T) {
	g := NewWithT(t)
	b := Kinds(t, "plain")
	g.Expect(htmlOf(t, b, Options{})).To(Equal(htmlOf(t, b, Options{})))
	g.Expect(htmlOf(t, b, Options{})).NotTo(Equal(htmlOf(t, Kinds(t, "other"), Options{})), "the control: another record gives another page")
	_, err := HTML(nil, Options{})
	g.Expect(err).To(MatchError(ContainSubstring("there is no record")))
}

func TestHTMLOfARecordThatIsCutAnywhere(t *testing.T) {
	g := NewWithT(t)
	whole := Kinds(t, hostile)
	for n := bytes.IndexByte(whole, '\n') + 1; n <= len(whole); n += 211 {
		out := htmlOf(t, whole[:n], Options{})
		g.Expect(out).To(HaveSuffix("</html>\n"), "cut at %d", n)
		g.Expect(undrawable.FindString(out)).To(BeEmpty(), "cut at %d", n)
		if n < len(whole) {
			g.Expect(out).To(ContainSubstring("The run "), "cut at %d", n)
			g.Expect(out).NotTo(ContainSubstring("The run passes"), "cut at %d", n)
		}
	}
}

func TestHTMLOfOddNumbers(t *testing.T) {
	g := NewWithT(t)
	head := `{"k":"run","v":1,"id":"odd","lab_kind":"embedded"}` + "\n" + `{"k":"lane","l":1,"kind":"guest","name":"a"}` + "\n"
	for name, lines := range map[string]string{
		"nothing":       "",
		"one moment":    `{"k":"s","t":0,"l":1,"topic":"disk","s":"ok"}`,
		"before zero":   `{"k":"s","t":-50,"lo":-90,"l":1,"topic":"disk","s":"ok"}` + "\n" + `{"k":"e","t":-5,"l":1,"topic":"x","type":"y"}`,
		"after the end": `{"k":"s","t":100,"lo":900,"l":1,"topic":"disk","s":"ok"}` + "\n" + `{"k":"b","t":50,"to":20,"l":1,"topic":"write","n":0,"min":-1,"sum":0,"max":0,"max_t":99999}`,
		"huge times":    `{"k":"s","t":4611686018427387904,"l":1,"topic":"disk","s":"ok"}`,
		"huge values":   `{"k":"b","t":0,"to":9,"l":1,"topic":"write","n":2,"min":1e-308,"sum":1e308,"max":1e308,"max_t":5}`,
		"huge windows": `{"k":"claim","id":"c","t":1,"verdict":"refuted","measured":{"lo":-1e308,"hi":1e308},"window":{"min":-1e308,"max":1e308}}` + "\n" +
			`{"k":"claim","id":"d","t":1,"verdict":"refuted","measured":{"lo":5,"hi":-5},"window":{"min":9,"max":2}}`,
		"a lane that nobody introduced":  `{"k":"s","t":10,"l":77,"topic":"disk","s":"ok"}`,
		"a fault that ends before it is": `{"k":"fault","t":50,"f":"f1","edge":"begin","type":"hang"}` + "\n" + `{"k":"fault","t":40,"f":"f1","edge":"undo","type":"hang"}` + "\n" + `{"k":"fault","t":30,"f":"f1","edge":"active","type":"hang"}`,
	} {
		out := htmlOf(t, []byte(head+lines+"\n"), Options{})
		g.Expect(undrawable.FindString(out)).To(BeEmpty(), name)
		g.Expect(out).To(HaveSuffix("</html>\n"), name)
	}
	for _, s := range []string{`<rect x="NaN%"`, `<rect width="-3%"`, `<rect x="-2"`, `d="M0 +Inf"`, `y="NaN"`} {
		g.Expect(undrawable.FindString(s)).NotTo(BeEmpty(), "the control: "+s)
	}
}

func TestHTMLSaysWhatTheRunIs(t *testing.T) {
	g := NewWithT(t)
	out := htmlOf(t, Kinds(t, "plain"), Options{})
	g.Expect(out).To(And(ContainSubstring("The run fails: 3 claims refuted."), ContainSubstring("EMBEDDED LAB"), ContainSubstring("MODELLED</b> hypervisor/esxi: our own stand-in"),
		ContainSubstring(Count(Rows(parse(t, Kinds(t, "plain")))).String()), ContainSubstring("2 lines of the record are of a kind"), ContainSubstring("lost writes"),
		ContainSubstring(`href="https://example.org/1"`), ContainSubstring("6.1.0-56"), ContainSubstring("scsi.timeout")))
	crowd := htmlOf(t, Crowd(t, 3, 60), Options{})
	g.Expect(crowd).To(And(ContainSubstring(`badge real`), ContainSubstring("The run fails"), Not(ContainSubstring("EMBEDDED LAB"))))
	dir, r, o := small(t, "plain")
	same, err := HTML(r, o)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(same)).To(ContainSubstring(`href="./evidence/bad.png"`))
	g.Expect(string(same)).NotTo(ContainSubstring(dir), "no path of this machine")
}

func TestHTMLLinksNothingThatRuns(t *testing.T) {
	g := NewWithT(t)
	b := bytes.ReplaceAll(Kinds(t, "plain"), []byte("https://example.org/1"), []byte("javascript:alert(1)"))
	out := htmlOf(t, b, Options{})
	g.Expect(out).To(ContainSubstring("Deviation: javascript:alert(1)"), "it is shown")
	g.Expect(out).NotTo(MatchRegexp(`href="[^"]*javascript`))
}

func TestPicturesBecomeThumbnails(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	g.Expect(os.Mkdir(filepath.Join(dir, "evidence"), 0o755)).To(Succeed())
	im := image.NewNRGBA(image.Rect(0, 0, 800, 400))
	for y := range 400 {
		for x := range 800 {
			im.SetNRGBA(x, y, color.NRGBA{0, 0, uint8(x * 255 / 799), 255})
		}
	}
	var data bytes.Buffer
	g.Expect(png.Encode(&data, im)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "evidence", "a #1?.png"), data.Bytes(), 0o644)).To(Succeed())
	g.Expect(os.WriteFile(filepath.Join(dir, "evidence", "broken.png"), data.Bytes()[:90], 0o644)).To(Succeed())
	event := func(l int, file string) string {
		return fmt.Sprintf(`{"k":"e","t":500,"l":%d,"topic":"console","type":"taken","a":{"file":%q}}`+"\n", l, file)
	}
	r := parse(t, []byte(`{"k":"run","v":1,"id":"p","lab_kind":"embedded"}`+"\n"+`{"k":"lane","l":1,"kind":"hypervisor","name":"vm/a"}`+"\n"+
		event(1, "evidence/a #1?.png")+event(1, "evidence/broken.png")+event(1, "evidence/../../secret.png")+event(1, "evidence/a #1?.png")+`{"k":"end","t":1000,"why":"done"}`+"\n"))
	ps := picturesOf(tracksOf(r), Options{Dir: dir}, nil)
	g.Expect(ps).To(HaveLen(2), "each file once, and none that is not in the folder")
	byName := map[string]picturePlace{}
	for _, p := range ps {
		byName[p.File] = p
	}
	p := byName["evidence/a #1?.png"]
	g.Expect(p.Link).To(BeEquivalentTo("./evidence/a%20%231%3F.png"))
	g.Expect(string(p.Thumb)).To(HavePrefix("data:image/png;base64,"))
	g.Expect([]int{p.Wide, p.High}).To(Equal([]int{160, 80}))
	g.Expect(byName["evidence/broken.png"].Thumb).To(BeEmpty(), "it is linked, and has no thumbnail")
	small := shrink(im)
	left, right := small.NRGBAAt(0, 40), small.NRGBAAt(159, 40)
	g.Expect(left.B).To(BeNumerically("<", 6))
	g.Expect(right.B).To(BeNumerically(">", 249))
	out, err := HTML(r, Options{Dir: dir})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(strings.Count(string(out), "data:image/png")).To(Equal(1), "a thumbnail is in the page once, however often it is drawn")
}

func TestTones(t *testing.T) {
	g := NewWithT(t)
	for k, want := range map[string]tone{"disk ok": good, "disk blocked": waiting, "disk error": bad, "disk unknown": plain, "disk wobbling": plain, "apd none": good, "load none": plain,
		"hit yes": waiting, "resilient no": waiting, "manageable no": bad, "power off": plain, "service stopped": bad} {
		topic, state, _ := strings.Cut(k, " ")
		g.Expect(toneOf(topic, state)).To(Equal(want), k)
	}
}

func TestStatesThatAreTooShortAreDrawnTogether(t *testing.T) {
	g := NewWithT(t)
	var states []record.StateSpan
	for i := range int64(100) { // a state of 1 s, then 98 of 1 ms, then one of 1 s
		from, to := 1000+i, 1001+i
		if i == 0 {
			from = 0
		}
		if i == 99 {
			to = 2099
		}
		states = append(states, record.StateSpan{Value: []string{"ok", "blocked"}[i%2], From: from, To: to})
	}
	track := record.Track{Topic: "disk", States: states}
	g.Expect(stretches(track, 0)).To(HaveLen(100))
	out := stretches(track, 20)
	g.Expect(len(out)).To(BeNumerically("<=", 8))
	n, at := 0, int64(0)
	for _, s := range out {
		g.Expect(s.from).To(Equal(at), "without gaps")
		at = s.to
		n += s.n
	}
	g.Expect(n).To(Equal(100))
	g.Expect(at).To(Equal(int64(2099)))
	g.Expect(out[1].tone).To(Equal(waiting), "the worst of them")
}

func TestRanges(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ranges([]string{"g10", "g2", "g1", "b", "g3", "g9", "a7", "g12"})).To(Equal([]string{"a7", "b", "g1 to g3", "g9", "g10", "g12"}))
	g.Expect(ranges(nil)).To(BeEmpty())
}

func TestCrowdsAreCounted(t *testing.T) {
	g := NewWithT(t)
	r := parse(t, Crowd(t, 81, 300))
	var crowd lot
	for _, l := range lots(tracksOf(r)) {
		if l.kind == string(drivers.Guest) {
			crowd = l
		}
	}
	g.Expect(crowd.lanes).To(HaveLen(81))
	c := &chart{rec: r, cites: citesOf(nil)}
	for _, l := range c.layers("disk", crowd.lanes) {
		for _, at := range []struct {
			word string
			slot int
			n    float64
		}{{"ok", 80, 81}, {"blocked", 200, 81}, {"error", 300, 3}, {"blocked", 300, 78}, {"ok", 470, 81}} { // of 480 slots of 0.625 s: before, within, late within and long after the fault
			if l.word == at.word {
				g.Expect(l.n[at.slot]).To(BeNumerically("~", at.n, 1e-6), "%v", at)
			}
		}
	}
	all := companies(crowd.lanes, map[string]bool{"disk": true})
	g.Expect(all).To(HaveLen(2))
	g.Expect(all[0].Names).To(Equal("g0027, g0054, g0081"), "those that differ come first")
	g.Expect(all[1]).To(And(HaveField("N", 78), HaveField("Rest", true)))
	few := lots(tracksOf(parse(t, Crowd(t, 20, 60))))
	g.Expect(few).To(HaveLen(42), "20 guests with their machines stand alone")
}

func TestHTMLBesideThePreviousRun(t *testing.T) {
	g := NewWithT(t)
	now := Kinds(t, "plain")
	was := bytes.ReplaceAll(now, []byte("20261122-072707-kinds"), []byte("20261121-the-day-before"))
	was = regexp.MustCompile(`("id":"near.above".*?"verdict":")refuted`).ReplaceAll(was, []byte("${1}confirmed"))
	was = bytes.Replace(was, []byte(`"hi":190.5,"lo":182`), []byte(`"hi":300,"lo":290`), 1)
	was = bytes.ReplaceAll(was, []byte("6.1.0-56"), []byte("6.1.0-55"))
	out := htmlOf(t, now, Options{Previous: parse(t, was)})
	g.Expect(out).To(And(ContainSubstring("Beside the previous run 20261121-the-day-before: "), ContainSubstring("worse: confirmed -&gt; refuted"), ContainSubstring("Not as in the previous run"), ContainSubstring("6.1.0-55")))
	g.Expect(out).To(MatchRegexp(`(?s)id="inside".*?<span class="turn">margin 43 % -&gt; 23 %`), "230 of 540 s from the nearest edge then, 122 now")
	g.Expect(strings.Count(out, `class="turn"`)).To(Equal(3), "and the one that is listed for nothing; of the others nothing is to be said")
	g.Expect(htmlOf(t, now, Options{})).NotTo(ContainSubstring("previous run"))
	real := bytes.Replace(was, []byte(`"lab_kind":"embedded"`), []byte(`"lab_kind":"real"`), 1)
	g.Expect(htmlOf(t, now, Options{Previous: parse(t, real)})).To(ContainSubstring("Not compared with the previous run 20261121-the-day-before: "))
}
