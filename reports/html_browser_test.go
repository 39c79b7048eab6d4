package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/reports/internal/chromium"
)

// browse starts a browser for a test.
func browse(t *testing.T) *chromium.Browser {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes its time")
	}
	b, err := chromium.Start()
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { NewWithT(t).Expect(b.Close()).To(Succeed()) })
	return b
}

// The ways in which people get to see a page.
var ways = map[string]chromium.View{
	"as it is":           {Width: 1280, Height: 900},
	"dark":               {Width: 1280, Height: 900, Dark: true},
	"400 px":             {Width: 400, Height: 800},
	"without scripts":    {Width: 1280, Height: 900, NoScript: true},
	"served by Jenkins":  {Width: 1280, Height: 900},
	"Jenkins and 400 px": {Width: 400, Height: 800},
}

// show opens a page in one of the ways.
func show(t *testing.T, b *chromium.Browser, html, way string) (p *chromium.Page, address string) {
	t.Helper()
	g := NewWithT(t)
	file := filepath.Join(t.TempDir(), "report.html")
	g.Expect(os.WriteFile(file, []byte(html), 0o644)).To(Succeed())
	address = "file://" + file
	if strings.Contains(way, "Jenkins") {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Security-Policy", JenkinsPolicy)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte(html))
		}))
		t.Cleanup(s.Close)
		address = s.URL + "/report.html"
	}
	p, err := b.Open(address, ways[way])
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() { g.Expect(p.Close()).To(Succeed()) })
	return p, address
}

// seen is what a reader finds on a page, by its geometry.
type seen struct {
	Rows []struct {
		Lane, Label string
		States      []struct {
			Word     string
			From, To float64 // as parts of the axis
		}
		Behind bool
	}
	Bands []struct {
		Fault, Class string
		From, To     float64
	}
	Tiles map[string]int
	Bars  map[string]struct {
		Allow, Beam, Limits []float64 // px from the bar's left edge
		Breaks              int
	}
	Words map[string]string // of each claim, its verdict
	Wide  float64           // how much wider than the window the page is
	Nodes int
}

const look = `(() => {
  const px = (e, box) => { const r = e.getBoundingClientRect(); return [r.left - box.left, r.right - box.left]; };
  document.querySelectorAll("details").forEach(d => d.open = true);
  const say = e => e.dataset.say || (e.querySelector("title") || {}).textContent || "";
  const rows = [...document.querySelectorAll(".chart tr")].filter(r => r.querySelector("td svg.row")).map(r => {
    const box = r.querySelector("td").getBoundingClientRect();
    return { Lane: r.dataset.l || "", Label: r.querySelector("th span").textContent, Behind: !!r.querySelector('use[href="#behind"]'),
      States: [...r.querySelectorAll("td rect")].filter(e => /^[gwbp]$/.test(e.getAttribute("class"))).map(e => {
        const [a, b] = px(e, box); return { Word: say(e).split("\n")[0], From: a / box.width, To: b / box.width }; }) };
  });
  const part = (e, n) => parseFloat(e.getAttribute(n)) / 100;
  const bands = [...document.querySelectorAll("#behind [data-f]")].map(e => ({ Fault: e.dataset.f, Class: e.getAttribute("class"), From: part(e, "x"), To: part(e, "x") + part(e, "width") }));
  const tiles = {}, bars = {}, words = {};
  document.querySelectorAll(".tiles td").forEach(t => { tiles[t.querySelector("span").textContent] = +t.querySelector("b").textContent; });
  document.querySelectorAll(".claim").forEach(c => {
    words[c.id] = c.querySelector(".verdict b").textContent;
    const svg = c.querySelector("svg.bar");
    if (!svg) return;
    const box = svg.getBoundingClientRect(), all = s => [...svg.querySelectorAll(s)].flatMap(e => { const [a, b] = px(e, box); return s === ".allow" ? [a, b] : [(a + b) / 2]; });
    bars[c.id] = { Allow: all(".allow"), Beam: all(".cap"), Limits: all(".lim"), Breaks: svg.querySelectorAll(".break").length };
  });
  return { Rows: rows, Bands: bands, Tiles: tiles, Bars: bars, Words: words, Wide: document.documentElement.scrollWidth - innerWidth, Nodes: document.querySelectorAll("*").length };
})()`

// anyLine is what the checks need of a record's line; they read the record themselves.
type anyLine struct {
	K, Topic, S, Edge, F, Kind, Name, ID, Verdict string
	T                                             float64
	L                                             int
	Measured                                      *struct{ Lo, Hi float64 }
	Window                                        *struct{ Min, Max *float64 }
	Known                                         any
	Claim, Skip                                   string
}

// wrongWith holds a page against the record it is of.
func wrongWith(s seen, raw []byte) []string {
	var out []string
	wrong := func(format string, a ...any) { out = append(out, fmt.Sprintf(format, a...)) }
	lanes := map[int]string{}
	states := map[string][]anyLine{} // by lane and topic
	bands := map[string]map[string]float64{}
	verdicts := map[string]anyLine{}
	var planned []string
	end := 0.0
	for l := range bytes.Lines(raw) {
		var v anyLine
		if json.Unmarshal(l, &v) != nil {
			continue // of a strange kind, where a field means something else
		}
		end = math.Max(end, v.T)
		switch v.K {
		case "lane":
			lanes[v.L] = v.Kind + "/" + v.Name
		case "s":
			k := lanes[v.L] + " " + v.Topic
			states[k] = append(states[k], v)
		case "fault":
			if bands[v.F] == nil {
				bands[v.F] = map[string]float64{}
			}
			bands[v.F][v.Edge] = v.T
		case "plan":
			planned = append(planned, v.Claim)
			if v.Skip != "" {
				verdicts[v.Claim] = anyLine{Verdict: "not applicable"}
			}
		case "claim":
			verdicts[v.ID] = v
			if !slices.Contains(planned, v.ID) {
				planned = append(planned, v.ID)
			}
		}
	}
	for _, l := range states {
		slices.SortStableFunc(l, func(a, b anyLine) int { return cmp.Compare(a.T, b.T) })
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 0.0025 }
	drawn := map[string]bool{}
	for _, r := range s.Rows {
		label := strings.TrimPrefix(r.Label, r.Lane+" ")
		k := r.Lane + " " + label
		drawn[r.Lane] = true
		if !r.Behind {
			wrong("row %q has no faults behind it", k)
		}
		if len(r.States) == 0 {
			continue
		}
		drawn[k] = true
		for i, v := range states[k] {
			to := end
			if i+1 < len(states[k]) {
				to = states[k][i+1].T
			}
			if (to-v.T)/end < 0.02 { // such may be drawn together
				continue
			}
			if !slices.ContainsFunc(r.States, func(d struct {
				Word     string
				From, To float64
			}) bool {
				return d.Word == oneLine(v.S) && near(d.From, v.T/end) && near(d.To, to/end)
			}) {
				wrong("row %q lacks %q from %.0f to %.0f ms", k, v.S, v.T, to)
			}
		}
	}
	for k := range states {
		if !drawn[k] {
			wrong("no row %q", k)
		}
	}
	for _, l := range lanes {
		if !drawn[l] {
			wrong("no row of lane %q", l)
		}
	}
	for f, at := range bands {
		active, worked := at["active"]
		if !worked {
			continue
		}
		undo, undone := at["undo"]
		if !undone {
			undo = end
		}
		found := false
		for _, b := range s.Bands {
			found = found || b.Fault == f && b.Class == "full" && near(b.From, active/end) && near(b.To, undo/end)
		}
		if !found {
			wrong("fault %s has no band from %.0f to %.0f ms", f, active, undo)
		}
		if over, ok := at["end"]; ok && over-undo > end/500 {
			found = slices.ContainsFunc(s.Bands, func(b struct {
				Fault, Class string
				From, To     float64
			}) bool {
				return b.Fault == f && b.Class == "maybe" && near(b.From, undo/end) && near(b.To, over/end)
			})
			if !found {
				wrong("fault %s is not hatched while it is being undone", f)
			}
		}
	}
	counts := map[string]int{}
	for _, id := range planned {
		w := verdicts[id].Verdict
		switch {
		case w == "refuted" && verdicts[id].Known != nil:
			w = "refuted (known)"
		case !slices.Contains([]string{"confirmed", "refuted", "not applicable"}, w):
			w = "inconclusive"
		}
		counts[w]++
		if w != "not applicable" && s.Words[oneLine(id)] != w {
			wrong("claim %s is %q and not %q", id, s.Words[id], w)
		}
	}
	for w, n := range s.Tiles {
		if counts[w] != n {
			wrong("%d are %s, and not %d", n, w, counts[w])
		}
		delete(counts, w)
	}
	if len(counts) > 0 {
		wrong("not counted: %v", counts)
	}
	for id, v := range verdicts {
		out = append(out, wrongBar(id, v, s)...)
	}
	return out
}

// wrongBar holds a window's bar against the numbers: what lies between is as far from the edges as the value is from the limits.
func wrongBar(id string, v anyLine, s seen) (out []string) {
	wrong := func(format string, a ...any) { out = append(out, id+": "+fmt.Sprintf(format, a...)) }
	b, has := s.Bars[id]
	if want := v.Window != nil && (v.Window.Min != nil || v.Window.Max != nil); want != has {
		wrong("a bar is there: %v", has)
		return
	}
	if !has || v.Measured == nil {
		return
	}
	lo, hi := v.Window.Min, v.Window.Max
	if len(b.Beam) != 2 || len(b.Allow) != 2 {
		wrong("the value is no interval: %v", b.Beam)
		return
	}
	for i, x := range []float64{v.Measured.Lo, v.Measured.Hi} {
		px := b.Beam[i]
		if lo != nil && (x < *lo) != (px < b.Allow[0]-0.6) && math.Abs(px-b.Allow[0]) > 1 {
			wrong("%g is on the wrong side of %g", x, *lo)
		}
		if hi != nil && (x > *hi) != (px > b.Allow[1]+0.6) && math.Abs(px-b.Allow[1]) > 1 && *hi != *lo0(lo, hi) {
			wrong("%g is on the wrong side of %g", x, *hi)
		}
		if lo != nil && hi != nil && *hi > *lo && b.Breaks == 0 {
			if got, want := (px-b.Limits[0])/(b.Limits[1]-b.Limits[0]), (x-*lo)/(*hi-*lo); math.Abs(got-want) > 0.02 {
				wrong("%g stands at %.3f of the window, and not at %.3f", x, got, want)
			}
		}
		if px < 0 || px > barWide {
			wrong("%g is off the drawing", x)
		}
	}
	far := lo != nil && hi != nil && *hi > *lo && (v.Measured.Lo < *lo-(*hi-*lo)/2 || v.Measured.Hi > *hi+(*hi-*lo)/2)
	if far && b.Breaks == 0 {
		wrong("it is far out, and no break says so")
	}
	return out
}

// lo0 is a lower limit that there need not be: then one that is nobody's upper limit.
func lo0(lo, hi *float64) *float64 {
	if lo != nil {
		return lo
	}
	none := *hi - 1
	return &none
}

func TestHTMLShowsTheRecord(t *testing.T) {
	b := browse(t)
	tape, err := os.ReadFile(filepath.Join("..", "suites", "testdata", "esxi", "run.jsonl"))
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	for name, raw := range map[string][]byte{"kinds": Kinds(t, "plain"), "esxi": tape} {
		html := htmlOf(t, raw, Options{})
		for way := range ways {
			t.Run(name+" "+way, func(t *testing.T) {
				g := NewWithT(t)
				p, _ := show(t, b, html, way)
				var s seen
				g.Expect(p.Ask(look, &s)).To(Succeed())
				g.Expect(wrongWith(s, raw)).To(BeEmpty())
				if !strings.Contains(way, "Jenkins") {
					g.Expect(s.Wide).To(BeNumerically("<=", 0), "nothing is wider than the window")
				}
			})
		}
	}
}

// Negative controls: each spoils the page, and the checks have to see it.
func TestTheChecksSeeASpoiledPage(t *testing.T) {
	b := browse(t)
	raw := Kinds(t, "plain")
	html := htmlOf(t, raw, Options{})
	for name, c := range map[string]struct{ was, is, says string }{
		"a state later":      {`(<rect class="b" x=")30(%" y="3" width="25)`, `${1}33$2`, `row "guest/a disk" lacks "error"`},
		"another word":       {`(<title>)blocked\n`, "${1}waits\n", `lacks "blocked"`},
		"a lost lane":        {`(?s)<tr class="lane" data-l="witness/quorum".*?</tr>\n<tr.*?</tr>`, "", `no row of lane "witness/quorum"`},
		"another band":       {`(class="full" data-f="f1" x=")22`, `${1}26`, "fault f1 has no band"},
		"another count":      {`<b>3</b> <span>refuted</span>`, `<b>2</b> <span>refuted</span>`, "2 are refuted"},
		"another verdict":    {`(?s)(id="near.above".*?<b>)refuted`, `${1}confirmed`, "claim near.above"},
		"a value elsewhere":  {`(?s)(id="inside".*?class="cap" x=")[0-9.]+`, `${1}170`, "inside: 182 stands at"},
		"no break":           {`(?s)(id="far.above".*?)class="break"`, `${1}class="joint"`, "far.above: it is far out"},
		"no faults":          {`<use href="#behind"/>`, ``, "has no faults behind it"},
		"a bar that is lost": {`(?s)(id="inside".*?)<svg class="bar".*?</svg>`, `${1}`, "inside: a bar is there: false"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			spoiled := regexp.MustCompile(c.was).ReplaceAllString(html, c.is)
			g.Expect(spoiled != html).To(BeTrue(), "the page was spoiled")
			p, _ := show(t, b, spoiled, "as it is")
			var s seen
			g.Expect(p.Ask(look, &s)).To(Succeed())
			g.Expect(wrongWith(s, raw)).To(ContainElement(ContainSubstring(c.says)))
		})
	}
}

func TestHTMLNeedsNothingButItself(t *testing.T) {
	b := browse(t)
	html := htmlOf(t, Kinds(t, "plain"), Options{})
	for way := range ways {
		t.Run(way, func(t *testing.T) {
			g := NewWithT(t)
			p, address := show(t, b, html, way)
			requests, complaints := p.Heard()
			g.Expect(slices.DeleteFunc(requests, func(r string) bool { return strings.HasSuffix(r, "/favicon.ico") })).To(Equal([]string{address}))
			if !strings.Contains(way, "Jenkins") {
				g.Expect(complaints).To(BeEmpty())
			}
		})
	}
	meta := regexp.MustCompile(`<meta http-equiv[^>]*>`)
	for name, c := range map[string]struct{ html, asks, says string }{
		"a picture from elsewhere":     {strings.Replace(meta.ReplaceAllString(html, ""), "<header>", `<header><img src="http://127.0.0.1:9/x.png">`, 1), "127.0.0.1:9", ""},
		"a script that fails":          {strings.Replace(meta.ReplaceAllString(html, ""), `"use strict";`, `"use strict"; nobody.knows();`, 1), "", "nobody is not defined"},
		"a script that is not ours":    {strings.Replace(html, `"use strict";`, `"use strict"; `, 1), "", "Content Security Policy"},
		"a picture that the page bars": {strings.Replace(html, "<header>", `<header><img src="http://127.0.0.1:9/x.png">`, 1), "", "Content Security Policy"},
	} {
		t.Run("the control: "+name, func(t *testing.T) {
			g := NewWithT(t)
			p, _ := show(t, b, c.html, "as it is")
			requests, complaints := p.Heard()
			g.Expect(strings.Join(requests, " ")).To(ContainSubstring(c.asks))
			g.Expect(strings.Join(complaints, " ")).To(ContainSubstring(c.says))
		})
	}
}

func TestHTMLOfHostileTexts(t *testing.T) {
	b := browse(t)
	const evil = `"'>` + "`" + `</title></style></script></svg><script>window.hacked=1</script><img src="http://127.0.0.1:9/evil.png" onerror="window.hacked=2"><svg onload="window.hacked=3"> {{.}} javascript:window.hacked=4 ` + hostile
	raw := Kinds(t, evil)
	html := htmlOf(t, raw, Options{})
	for name, page := range map[string]string{"": html, "without its policy": regexp.MustCompile(`<meta http-equiv[^>]*>`).ReplaceAllString(html, "")} {
		for _, way := range []string{"as it is", "served by Jenkins"} {
			t.Run(way+" "+name, func(t *testing.T) {
				g := NewWithT(t)
				p, address := show(t, b, page, way)
				var hacked bool
				g.Expect(p.Ask("'hacked' in window || !!document.querySelector('img')", &hacked)).To(Succeed())
				g.Expect(hacked).To(BeFalse())
				requests, _ := p.Heard()
				g.Expect(slices.DeleteFunc(requests, func(r string) bool { return strings.HasSuffix(r, "/favicon.ico") })).To(Equal([]string{address}))
				var title string
				g.Expect(p.Ask(`document.querySelector(".claim .title").textContent`, &title)).To(Succeed())
				g.Expect(title).To(ContainSubstring("<script>window.hacked=1</script>"), "it is shown as it is")
				var s seen
				g.Expect(p.Ask(look, &s)).To(Succeed())
				g.Expect(s.Tiles).To(HaveKeyWithValue("refuted", 3))
				g.Expect(s.Rows).To(HaveLen(len(strings.Split(html, `class="row"`)) - 1))
			})
		}
	}
	t.Run("the control: texts as they are", func(t *testing.T) {
		g := NewWithT(t)
		p, _ := show(t, b, strings.Replace(html, "<header>", "<header>"+evil, 1), "as it is")
		var there bool
		g.Expect(p.Ask("!!document.querySelector('img')", &there)).To(Succeed())
		g.Expect(there).To(BeTrue())
	})
}

func TestHTMLOfAThousandGuests(t *testing.T) {
	b := browse(t)
	g := NewWithT(t)
	html := htmlOf(t, Crowd(t, 1000, 3600), Options{})
	g.Expect(len(html)).To(BeNumerically("<", 1_500_000))
	for _, way := range []string{"as it is", "400 px"} {
		p, _ := show(t, b, html, way)
		var s seen
		g.Expect(p.Ask(look, &s)).To(Succeed())
		g.Expect(s.Nodes).To(BeNumerically("<", 4000))
		g.Expect(s.Wide).To(BeNumerically("<=", 0))
		var text string
		g.Expect(p.Ask(`document.querySelector("#crowds").textContent`, &text)).To(Succeed())
		g.Expect(text).To(And(ContainSubstring("g0500"), ContainSubstring("g0027, g0054"), ContainSubstring("g0973 to g0998, g1000")), "every guest is named")
	}
}

func TestHTMLCanBeWorkedWith(t *testing.T) {
	b := browse(t)
	g := NewWithT(t)
	p, _ := show(t, b, htmlOf(t, Kinds(t, "plain"), Options{}), "as it is")
	frame := `new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))`
	ask := func(expression string) string {
		var s string
		g.Expect(p.Ask("(async () => { "+expression+" })().then(String)", &s)).To(Succeed(), expression)
		return s
	}
	filter := `const i = document.querySelector(".tools input"); const seen = () => [...document.querySelectorAll(".chart tr[data-l]")].filter(r => r.checkVisibility()).map(r => r.dataset.l).filter((l, n, all) => all.indexOf(l) === n).join(" ");`
	g.Expect(ask(filter + `i.value = "wobb(l|x)ing"; i.dispatchEvent(new Event("input")); return seen();`)).To(Equal("guest/b plain"))
	g.Expect(ask(filter + `i.value = "("; i.dispatchEvent(new Event("input")); return i.getAttribute("aria-invalid") + " " + seen();`)).To(Equal("true guest/b plain"))
	g.Expect(ask(filter + `i.value = ""; i.dispatchEvent(new Event("input")); return i.getAttribute("aria-invalid") + " " + seen().includes("target/nas");`)).To(Equal("null true"))

	g.Expect(ask(`location.hash = "#t=40-60"; await new Promise(r => addEventListener("hashchange", r, { once: true })); await ` + frame + `; return document.querySelector(".tools output").value;`)).To(Equal("00:00:40.000 to 00:01:00.000"))
	g.Expect(ask(`document.querySelector(".scroll").focus(); await ` + frame + `; return document.activeElement.className;`)).To(ContainSubstring("scroll"))
	g.Expect(p.Type("+")).To(Succeed())
	g.Expect(ask(`await `+frame+`; return location.hash;`)).To(Equal("#t=45.000-55.000"), "the address says what is shown")
	g.Expect(p.Type("0")).To(Succeed())
	g.Expect(ask(`await ` + frame + `; return location.hash + "|" + document.querySelector(".tools output").value;`)).To(Equal("|"))
	g.Expect(p.Type("n")).To(Succeed())
	g.Expect(ask(`await `+frame+`; return location.hash;`)).To(MatchRegexp(`^#t=26\.[34]\d+-121\.[56]\d+$`), "the first fault, from 40 to 108 s, with a fifth of it on each side, as exactly as pixels are")
	g.Expect(p.Type("0")).To(Succeed())

	var box struct{ X, Y float64 }
	g.Expect(p.Ask(`(() => { const e = [...document.querySelectorAll(".chart rect.b")].find(e => (e.textContent + e.dataset.say).startsWith("error")), r = e.getBoundingClientRect(); e.scrollIntoView({block: "center"}); const q = e.getBoundingClientRect(); return { X: q.left + q.width / 2, Y: q.top + q.height / 2 }; })()`, &box)).To(Succeed())
	g.Expect(p.Move(box.X, box.Y)).To(Succeed())
	g.Expect(ask(`await ` + frame + `; return document.querySelector("#tip").textContent;`)).To(And(ContainSubstring("guest/a disk"), ContainSubstring("error"), ContainSubstring("00:01:00.000 to 00:01:50.000"), MatchRegexp(`T\+4[45]\.\d+ s since f1`)))
	g.Expect(ask(`location.hash = "#e1"; await new Promise(r => addEventListener("hashchange", r, { once: true })); return document.querySelector("#log details").open;`)).To(Equal("true"), "a link into the log opens it")
	_, complaints := p.Heard()
	g.Expect(complaints).To(BeEmpty())
}
