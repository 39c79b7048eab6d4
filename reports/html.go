// This file makes report.html: one page that needs nothing but itself, for people.
//
// Everything that matters is in the page as HTML and SVG with its own colours, so it can be read without scripts, without style sheets and
// under the strict policy with which Jenkins serves files. The style sheet and the script only make it better.

package reports

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var (
	//go:embed html/report.html.tmpl
	htmlPage string
	//go:embed html/report.css
	htmlStyle string
	//go:embed html/report.js
	htmlScript string

	htmlTemplate = template.Must(template.New("report").Parse(htmlPage))
)

// htmlName is the page's file, to which the other forms lead.
const htmlName = "report.html"

// roleGroup is the rows of one role.
type roleGroup struct {
	Role       string
	Rows, Rest []trackRow
}

// crowdList is what the lanes of a crowd went through.
type crowdList struct {
	Kind      string
	N         int
	Companies []company
}

// htmlView is what the page shows. All texts in it are of one line and harmless; the template escapes them.
type htmlView struct {
	Policy                   string
	Style                    template.CSS
	Script                   template.JS
	Title, Run, Lab, LabKind string
	Word                     word
	WordClass                string
	WordShape                template.HTML
	Say                      string
	Counts                   string
	Tiles                    []tile
	Badges                   []badge
	Facts                    [][2]string
	Notes                    []string
	Claims, Skipped          []claimRow
	Previous                 *previous
	Behind                   template.HTML
	Axis, Faults, Scenes     template.HTML
	Strange                  []trackRow
	Groups                   []roleGroup
	Hidden                   int
	FaultRows                []faultLine
	Crowds                   []crowdList
	Pictures                 []picturePlace
	Log                      []logLine
	LogLeft                  []more
	LogAll                   int
	Environment              []settingGroup
	Length                   int64 // ms
	T0                       string
}

// badge says what kind of system the verdicts rest on.
type badge struct{ Class, Name, Say string }

// faultLine is a fault in the table of faults.
type faultLine struct {
	ID, Kind, Title, Scenario         string
	Begin, Active, Undo, End, Note    string
	From, To                          string // seconds; what the timeline shows of it
	BeginMS, ActiveMS, UndoMS, OverMS int64
}

// settingGroup is what was read of one system before the run.
type settingGroup struct {
	Where string
	List  [][2]string
}

// HTML returns the record as one self-contained page. The same record, options and files in the run's folder give the same bytes.
func HTML(r *record.Record, o Options) ([]byte, error) {
	if r == nil {
		return nil, errors.New("making the HTML report: there is no record")
	}
	rows := sorted(Rows(r))
	v := htmlView{Style: template.CSS(htmlStyle), Script: template.JS(htmlScript), Policy: policy(), Length: r.EndT}
	lanes := tracksOf(r)
	v.header(r, rows)
	v.badges(r, lanes)
	c := citesOf(rows)
	faults := faultsOf(r)
	prev, changes := against(r, o)
	v.Previous = prev
	v.Claims, v.Skipped = claimRows(r, o, rows, c, changes)
	v.timeline(r, o, lanes, c, faults)
	v.Log, v.LogLeft, v.LogAll = logOf(r, c, faults)
	v.environment(r)
	var out bytes.Buffer
	if err := htmlTemplate.Execute(&out, v); err != nil {
		return nil, fmt.Errorf("making the HTML report: %w", err)
	}
	return out.Bytes(), nil
}

// policy lets nothing run and nothing be fetched but what this version put into the page itself.
func policy() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; style-src " + hash(htmlStyle) + "; script-src " + hash(htmlScript)
}

func (v *htmlView) header(r *record.Record, rows []record.Row) {
	h := r.Header
	v.Run, v.Lab, v.LabKind = text(h.ID), text(h.Lab), text(string(h.LabKind))
	v.Title = "Run " + v.Run
	v.T0 = stamp(h.T0, 0)
	v.Counts = Count(rows).String()
	v.Tiles = tiles(rows)
	v.Word, v.Say = verdictOf(r, rows)
	v.WordClass, v.WordShape = class(v.Word), shape(v.Word)
	lasted := (time.Duration(r.EndT) * time.Millisecond).Round(time.Second).String()
	for _, f := range [][2]string{{"hosts", h.Host}, {"began", v.T0}, {"lasted", lasted}, {"profile", h.Profile}, {"filter", h.Filter}, {"lab file", h.LabFile}, {"commit", h.Git},
		{"on", h.On}, {"record sha256", r.SHA256}} {
		if f[1] != "" {
			v.Facts = append(v.Facts, [2]string{f[0], text(f[1])})
		}
	}
	if r.Torn {
		v.Notes = append(v.Notes, "The record's last line was cut off and is left out.")
	}
	if r.Unknown > 0 {
		v.Notes = append(v.Notes, several(r.Unknown, "line")+" of the record are of a kind that this version does not know: no verdict rests on them, and they are drawn as they are.")
	}
}

func (v *htmlView) badges(r *record.Record, lanes [][]record.Track) {
	var reals, modelled []string
	for _, ts := range lanes {
		l := ts[0].Lane
		switch {
		case l.Provenance == drivers.Real && l.Role != drivers.Path:
			reals = append(reals, lane(l))
		case l.Provenance == drivers.Modelled && (l.Role == drivers.Hypervisor && !strings.Contains(l.Name, "/") || l.Role == drivers.Guest || l.Role == drivers.Cluster):
			modelled = append(modelled, lane(l))
		}
	}
	host := text(r.Header.Host)
	switch kind := r.Header.LabKind; kind {
	case drivers.Real:
		v.Badges = append(v.Badges, badge{"real", "REAL", "lab " + v.Lab + ", hosts " + or(host) + ": seen on the systems that the lab file names"})
	case drivers.Embedded:
		v.Badges = append(v.Badges, badge{"embedded", "EMBEDDED LAB", "lab " + v.Lab + ", hosts " + or(host) + ": real kernels, wire and daemons on one machine"})
		if len(reals) > 0 {
			v.Badges = append(v.Badges, badge{"real", "REAL", names(reals)})
		}
	default:
		v.Badges = append(v.Badges, badge{"embedded", "UNKNOWN LAB", "lab " + v.Lab + " of kind " + or(string(kind)) + ", which this version does not know"})
	}
	if len(modelled) > 0 {
		v.Badges = append(v.Badges, badge{"modelled", "MODELLED", names(modelled) + ": our own stand-in, no evidence about any product"})
	}
}

// names lists a few of many.
func names(all []string) string {
	for i := range all {
		all[i] = text(all[i])
	}
	return list(ranges(all), "")
}

func (v *htmlView) timeline(r *record.Record, o Options, lanes [][]record.Track, c *cites, faults []fault) {
	ch := &chart{rec: r, faults: faults, cites: c, pictures: picturesOf(lanes, o, faults)}
	together := lots(lanes)
	drawn := 1
	for _, l := range together {
		for i := 0; i < len(l.lanes) && (len(l.lanes) == 1 || i < differMost); i++ {
			drawn += len(l.lanes[i])
		}
	}
	ch.least = min(max(r.EndT/4000, r.EndT*int64(drawn)/segments), r.EndT/100)
	v.Pictures = ch.pictures
	v.Behind, v.Axis, v.Faults, v.Scenes = behind(r, faults), axis(r), faultLabels(r, faults), scenes(r)
	for _, l := range together {
		role := oneLine(string(l.lanes[0][0].Lane.Role))
		if len(v.Groups) == 0 || v.Groups[len(v.Groups)-1].Role != role {
			v.Groups = append(v.Groups, roleGroup{Role: role})
		}
		g := &v.Groups[len(v.Groups)-1]
		var main, rest []trackRow
		if len(l.lanes) == 1 {
			main, rest = ch.lane(l.lanes[0])
		} else {
			var all []company
			main, rest, all = ch.crowd(l)
			v.Crowds = append(v.Crowds, crowdList{Kind: oneLine(l.kind), N: len(l.lanes), Companies: all[:min(len(all), listLimit)]})
		}
		g.Rows, g.Rest = append(g.Rows, main...), append(g.Rest, rest...)
		v.Hidden += len(rest)
	}
	v.Strange = ch.strange()
	for _, f := range faults {
		l := faultLine{ID: text(f.ID), Kind: text(string(f.Kind)), Title: text(f.Title), Scenario: text(f.Scenario), Begin: when(f.Begin), Active: when(f.Active), Undo: when(f.Undo), End: when(f.End), Note: text(f.Note),
			BeginMS: f.Begin.Hi, ActiveMS: f.Active.Hi, UndoMS: f.Undo.Hi, OverMS: f.over}
		around := max((f.over-f.Begin.Hi)/5, 500)
		l.From, l.To = seconds(f.Begin.Hi-around), seconds(min(f.over+around, r.EndT))
		v.FaultRows = append(v.FaultRows, l)
	}
}

// strange draws the lines of kinds that this version does not know, a row for each kind, and what verdicts rest on that no lane has.
func (c *chart) strange() []trackRow {
	at := map[string]*drawing{}
	n := map[string]int{}
	var kinds []string
	for _, o := range c.rec.Others() {
		k := cut(oneLine(o.Kind), 40)
		if n[k]++; at[k] == nil {
			at[k] = &drawing{to: c.rec.EndT}
			kinds = append(kinds, k)
		}
		if n[k] <= logUnknown && o.T >= 0 {
			at[k].say(`<rect class="ev" x="%s%%" y="6" width="2" height="9" fill="#59636e"><title>%s</title></rect>`, at[k].x(o.T), lines3(k+"\n"+clock(o.T)+"\n"+o.Line))
		}
	}
	slices.Sort(kinds)
	var out []trackRow
	for i, k := range kinds {
		if i == 20 {
			out = append(out, trackRow{Class: "topic", Label: fmt.Sprintf("and %d more kinds", len(kinds)-i), SVG: svgRow(rowHigh, "")})
			break
		}
		out = append(out, trackRow{Class: "topic", Label: or(k), Note: several(n[k], "line"), SVG: svgRow(rowHigh, at[k].String())})
	}
	if left := c.cites.left(); len(left) > 0 {
		d := &drawing{to: c.rec.EndT}
		d.rings(left)
		out = append(out, trackRow{Class: "topic", Label: "other evidence", SVG: svgRow(rowHigh, d.String())})
	}
	return out
}

func (v *htmlView) environment(r *record.Record) {
	var facts []string
	for k := range r.Header.Facts {
		facts = append(facts, k)
	}
	slices.Sort(facts)
	var groups []settingGroup
	for _, k := range facts {
		if len(groups) == 0 {
			groups = append(groups, settingGroup{Where: "this run"})
		}
		groups[0].List = append(groups[0].List, [2]string{text(k), text(r.Header.Facts[k])})
	}
	at := map[string]int{}
	for i, s := range settings(r) {
		if i == 5*listLimit {
			groups = append(groups, settingGroup{Where: "more", List: [][2]string{{fmt.Sprintf("%d more settings", len(settings(r))-i), "run.jsonl"}}})
			break
		}
		where := oneLine(key(s.Lane))
		if _, ok := at[where]; !ok {
			at[where] = len(groups)
			groups = append(groups, settingGroup{Where: where})
		}
		g := &groups[at[where]]
		g.List = append(g.List, [2]string{text(s.Key), cut(text(s.Value), cellLimit)})
	}
	v.Environment = groups
}
