// This file makes texts of strangers (guests, kernels, products) harmless, and numbers readable.

package reports

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// clean replaces what XML forbids, terminals obey, or turns the reading direction, by U+FFFD.
func clean(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return c
		case c == '\r':
			return -1
		case c == '\u2028' || c == '\u2029':
			return ' '
		case unicode.IsControl(c), c == 0xfffe, c == 0xffff, unicode.Is(unicode.Bidi_Control, c):
			return unicode.ReplacementChar
		}
		return c
	}, strings.ToValidUTF8(s, "\ufffd"))
}

// oneLine is a clean text with all its white space folded.
func oneLine(s string) string {
	return strings.Join(strings.Fields(clean(strings.ReplaceAll(s, "\r", " "))), " ")
}

// cut shortens a text to n runes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	rs := []rune(s)
	if len(rs) <= n {
		return s
	}
	return string(rs[:max(n-1, 0)]) + "…"
}

func number(x float64) string {
	if a := math.Abs(x); a != 0 && (a < 0.001 || a >= 1e15) {
		return strconv.FormatFloat(x, 'g', 4, 64)
	}
	s := strconv.FormatFloat(x, 'f', 3, 64)
	if s = strings.TrimRight(strings.TrimRight(s, "0"), "."); s == "-0" {
		return "0"
	}
	return s
}

func unit(v record.Verdict) string {
	if v.Unit == "" {
		return "s"
	}
	return cut(oneLine(v.Unit), 20)
}

// measured is a verdict's measured value with its unit; empty when nothing was measured.
func measured(v record.Verdict) string {
	if v.Measured == nil {
		return ""
	}
	s := number(v.Measured.Lo)
	if hi := number(v.Measured.Hi); hi != s {
		s += ".." + hi
	}
	s += " " + unit(v)
	if v.N > 1 {
		s += " (n=" + strconv.Itoa(v.N) + ")"
	}
	return s
}

// allowed is a verdict's window with its unit; empty when it has none.
func allowed(v record.Verdict) string {
	if v.Window == nil {
		return ""
	}
	lo, hi := v.Window.Min, v.Window.Max
	switch {
	case lo == nil && hi == nil:
		return "any"
	case lo == nil:
		return "at most " + number(*hi) + " " + unit(v)
	case hi == nil:
		return "at least " + number(*lo) + " " + unit(v)
	case *lo == *hi:
		return "exactly " + number(*lo) + " " + unit(v)
	}
	return number(*lo) + ".." + number(*hi) + " " + unit(v)
}

func follows(v record.Verdict) string {
	if v.Window == nil {
		return ""
	}
	return oneLine(v.Window.From)
}

// because is a known deviation's reason with its link.
func because(d *record.Deviation) string {
	s := oneLine(d.Reason)
	if d.Link != "" {
		s += " (" + oneLine(d.Link) + ")"
	}
	return s
}

// clock is a time of the run, in milliseconds, as 01:02:03.456.
func clock(t int64) string {
	return fmt.Sprintf("%02d:%02d:%02d.%03d", t/3600000, t/60000%60, t/1000%60, t%1000)
}

func seconds(t int64) string { return strconv.FormatFloat(float64(max(t, 0))/1000, 'f', 3, 64) }

func stamp(t0 time.Time, ms int64) string {
	return t0.Add(time.Duration(ms) * time.Millisecond).UTC().Format("2006-01-02T15:04:05Z")
}

var specPattern = regexp.MustCompile(`^(.+):([0-9]+)(?::[0-9]+)?$`)

// spec takes a claim's file:line apart. A path that does not lie in the repository is not handed on.
func spec(p record.Plan) (file string, line int, ok bool) {
	m := specPattern.FindStringSubmatch(oneLine(p.Spec))
	if m == nil {
		return "", 0, false
	}
	file = path.Clean(strings.ReplaceAll(m[1], `\`, "/"))
	line, err := strconv.Atoi(m[2])
	if err != nil || path.IsAbs(file) || strings.HasPrefix(file, "../") || strings.Contains(file, ":") {
		return "", 0, false
	}
	return file, line, true
}

// markdown escapes a text for a cell of a table or a line of Markdown.
func markdown(s string, n int) string { return markdownEscapes.Replace(cut(oneLine(s), n)) }

var markdownEscapes = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "|", `\|`,
	"~", `\~`, "$", `\$`, "#", `\#`, "!", `\!`, "&", "&amp;", "<", "&lt;", ">", "&gt;",
	"@", "@\u200b") // a name in a guest's text calls nobody
