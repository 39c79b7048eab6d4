// This file finds the pictures of screens that the record names, and makes thumbnails of them that fit into the page.

package reports

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"html/template"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// The bounds of thumbnails: of one, of all on a page, and of what is opened at all.
const (
	thumbWide   = 160 // px
	thumbHigh   = 120
	thumbLimit  = 20_000 // bytes
	thumbsLimit = 400_000
	pictureMost = 40_000_000 // pixels
	fileMost    = 20 << 20   // bytes
)

// picturePlace is a picture where and when it was taken.
type picturePlace struct {
	Lane, When, What, Since string
	File                    string       // below the run's folder
	Link                    template.URL // the same for a browser
	Thumb                   template.URL // data:, empty where there is none
	ID                      string
	Wide, High              int // px, of the thumbnail

	at drivers.Lane
	t  int64
}

// picturesOf lists the pictures that states and events name and that are in the run's folder, in order of time.
func picturesOf(lanes [][]record.Track, o Options, faults []fault) []picturePlace {
	have := map[string]bool{}
	for _, f := range evidence(o) {
		switch strings.ToLower(path.Ext(f)) {
		case ".png", ".jpg", ".jpeg":
			have[f] = true
		}
	}
	var out []picturePlace
	take := func(l drivers.Lane, t int64, what string, attrs map[string]string) {
		f := attrs["file"]
		if have[f] {
			have[f] = false // each is shown where it is named first
			out = append(out, picturePlace{Lane: oneLine(key(l)), When: clock(t), What: cut(oneLine(what), 80), Since: since(faults, t), File: f, Link: linkTo(f), at: l, t: t})
		}
	}
	for _, tr := range slices.Concat(lanes...) {
		for _, s := range tr.States {
			take(tr.Lane, s.Since.Hi, tr.Topic+" "+s.Value, s.Since.Attrs)
		}
		for _, e := range tr.Events {
			take(tr.Lane, e.Hi, tr.Topic+" "+e.Type, e.Attrs)
		}
	}
	slices.SortStableFunc(out, func(a, b picturePlace) int { return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.File, b.File)) })
	left := thumbsLimit
	for i := range out {
		p := &out[i]
		p.ID = fmt.Sprintf("picture%d", i+1)
		if data, kind, size := thumbnail(filepath.Join(o.Dir, filepath.FromSlash(p.File))); data != nil && len(data) <= left {
			left -= len(data)
			p.Thumb = template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data))
			p.Wide, p.High = size.X, size.Y
		}
	}
	return out
}

// linkTo is a file of the run's folder as a relative address.
func linkTo(file string) template.URL {
	parts := strings.Split(file, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return template.URL("./" + strings.Join(parts, "/"))
}

// thumbnail makes a small picture; nil where the file is none that can be read, or none small enough comes of it.
func thumbnail(file string) (data []byte, kind string, size image.Point) {
	if st, err := os.Stat(file); err != nil || st.Size() > fileMost {
		return nil, "", size
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, "", size
	}
	if c, _, err := image.DecodeConfig(bytes.NewReader(b)); err != nil || c.Width < 1 || c.Height < 1 || c.Width > pictureMost/c.Height {
		return nil, "", size
	}
	src, _, err := image.Decode(bytes.NewReader(b))
	if err != nil {
		return nil, "", size
	}
	small := shrink(src)
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, small); err == nil && out.Len() <= thumbLimit {
		return out.Bytes(), "image/png", small.Bounds().Size()
	}
	out.Reset()
	if err := jpeg.Encode(&out, small, &jpeg.Options{Quality: 60}); err == nil && out.Len() <= thumbLimit {
		return out.Bytes(), "image/jpeg", small.Bounds().Size()
	}
	return nil, "", size
}

// shrink makes a picture fit into a thumbnail: each dot is the mean of those that it stands for.
func shrink(src image.Image) *image.NRGBA {
	b := src.Bounds()
	scale := max(float64(b.Dx())/thumbWide, float64(b.Dy())/thumbHigh, 1)
	out := image.NewNRGBA(image.Rect(0, 0, max(int(float64(b.Dx())/scale), 1), max(int(float64(b.Dy())/scale), 1)))
	size := out.Bounds()
	for y := range size.Dy() {
		for x := range size.Dx() {
			x0, x1 := b.Min.X+x*b.Dx()/size.Dx(), b.Min.X+(x+1)*b.Dx()/size.Dx()
			y0, y1 := b.Min.Y+y*b.Dy()/size.Dy(), b.Min.Y+(y+1)*b.Dy()/size.Dy()
			var sr, sg, sb, n uint32
			for yy := y0; yy < max(y1, y0+1); yy++ {
				for xx := x0; xx < max(x1, x0+1); xx++ {
					r, g, bl, _ := src.At(xx, yy).RGBA()
					sr, sg, sb, n = sr+r>>8, sg+g>>8, sb+bl>>8, n+1
				}
			}
			out.SetNRGBA(x, y, color.NRGBA{uint8(sr / n), uint8(sg / n), uint8(sb / n), 255})
		}
	}
	return out
}

// shotHigh is the height of a row of pictures, in pixels.
const shotHigh = 38

// shots is the row with a lane's pictures: those that have room, each at its time.
func (c *chart) shots(l drivers.Lane) *trackRow {
	d := &drawing{to: c.rec.EndT}
	free, n := -100.0, 0
	for _, p := range c.pictures {
		if p.at != l {
			continue
		}
		n++
		x := percent(p.t, d.to)
		wide := 44.0
		left := min(x, 100-100*wide/narrow) // the last one ends where the axis ends
		if p.Thumb == "" || left < free {
			d.say(`<rect class="ev" x="%s%%" y="12" width="2" height="14" fill="#59636e"><title>%s</title></rect>`, short(x), svgText(p.What, 80)+"\n"+p.When)
			continue
		}
		free = left + 100*wide/narrow
		d.say(`<svg x="%s%%" y="2" width="42" height="34" viewBox="0 0 %d %d" preserveAspectRatio="xMinYMid meet"><use href="#%s"><title>%s</title></use></svg>`, short(left), p.Wide, p.High, p.ID,
			svgText(p.Lane+": "+p.What, 100)+"\n"+p.When)
	}
	if n == 0 {
		return nil
	}
	return &trackRow{Class: "pictures", Lane: key(l), Label: "pictures", Note: fmt.Sprint(n), SVG: svgRow(shotHigh, d.String())}
}
