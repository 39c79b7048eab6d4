// This file prints what happens while it happens: few lines, each worth reading, and never a minute of silence.

package reports

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
	"golang.org/x/text/width"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

// heartbeat is the pause between two lines with all states. A Tick a second late still keeps it below a minute.
const heartbeat = 59 * time.Second

// Quiet are the topics that are not printed: they are many, and they are in the record.
var Quiet = []string{"samples", "sample", "heartbeat", "beat", "transcript", "kmsg", "settings", "setting", "log"}

// ConsoleOptions says what the output is. The zero value prints plain lines.
type ConsoleOptions struct {
	TTY    bool                 // a terminal: one line is rewritten in place
	Color  bool                 // verdicts in colour
	GitHub bool                 // workflow commands: groups and annotations
	Prefix string               // stands before every line, for several labs side by side; no groups then, for they do not nest
	Width  int                  // columns of a line, 120 when zero; a terminal that is narrower sets its own
	Screen int                  // columns of a terminal that does not tell them itself; 80 when zero
	Marks  int                  // how many annotations of a kind GitHub shows of this output, 10 when zero
	Quiet  []string             // topics that are not printed, Quiet when nil
	Clock  func() time.Duration // the run's clock; counts from NewConsole when nil
}

// ConsoleFor returns the options for an output and an environment: a terminal is a character device where no CI system
// reads along, GITHUB_ACTIONS=true means workflow commands. Colours are for terminals; FORCE_COLOR wants them elsewhere too, and
// NO_COLOR or GINKGO_NO_COLOR nowhere, whatever else is said.
func ConsoleFor(f *os.File, getenv func(string) string) ConsoleOptions {
	var o ConsoleOptions
	if st, err := f.Stat(); err == nil {
		o.TTY = st.Mode()&os.ModeCharDevice != 0
	}
	o.GitHub = getenv("GITHUB_ACTIONS") == "true"
	ci := getenv("CI")
	if o.GitHub || getenv("TERM") == "dumb" || (ci != "" && ci != "false" && ci != "0") {
		o.TTY = false
	}
	o.Screen, _ = strconv.Atoi(getenv("COLUMNS"))
	force := getenv("FORCE_COLOR")
	o.Color = (o.TTY || force != "" && force != "0" && force != "false") && getenv("NO_COLOR") == "" && getenv("GINKGO_NO_COLOR") == ""
	return o
}

// Console prints a run line by line. It is safe for several goroutines.
type Console struct {
	mu sync.Mutex
	w  io.Writer
	o  ConsoleOptions

	screen int // columns of the terminal

	group   bool   // a group is open on GitHub
	status  bool   // the terminal's last line is the status
	phase   string // the part of the scenario that is under way
	fault   string // the fault that was begun last; empty before any
	over    bool   // and it is gone
	since   time.Duration
	beaten  time.Duration
	tokens  int
	refill  time.Duration
	now     time.Duration
	lanes   []*laneState // in the order in which they were seen
	byLane  map[drivers.Lane]*laneState
	guests  int
	pending int
}

// NewConsole returns a printer to w.
func NewConsole(w io.Writer, o ConsoleOptions) *Console {
	if o.Width == 0 {
		o.Width = 120
	}
	if o.Screen <= 0 {
		o.Screen = 80
	}
	if o.Quiet == nil {
		o.Quiet = Quiet
	}
	if o.Clock == nil {
		zero := time.Now()
		o.Clock = func() time.Duration { return time.Since(zero) }
	}
	if o.Marks <= 0 {
		o.Marks = 10
	}
	if o.Prefix != "" {
		o.Prefix = "[" + oneLine(o.Prefix) + "] "
	}
	now := o.Clock()
	c := &Console{w: w, o: o, byLane: map[drivers.Lane]*laneState{}, tokens: burst, refill: now, beaten: now, now: now}
	c.measure()
	return c
}

// measure asks the terminal how wide it is: it may have been resized.
func (c *Console) measure() {
	c.screen = c.o.Screen
	if f, ok := c.w.(*os.File); ok && c.o.TTY {
		if size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 0 {
			c.screen = int(size.Col)
		}
	}
}

// room is how many columns a line may have. The last one of a terminal stays free, for some go to the next line already then.
func (c *Console) room() int {
	if c.o.TTY {
		return max(min(c.o.Width, c.screen-1), 10)
	}
	return c.o.Width
}

// Phase prints the begin of a part of a scenario, and its end where there is something to say about it. The part named
// "scenario" is the whole of it.
func (c *Console) Phase(scenario, name, edge, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(c.o.Clock())
	whole := name == "scenario"
	begin := edge == record.EdgeBegin
	if whole && begin {
		c.fault, c.phase = "", "" // times count from the faults of this scenario
		c.openGroup(scenario)
	} else if begin {
		c.phase = name
	}
	if !begin && !whole && why == "" && edge == record.EdgeEnd {
		return
	}
	line := "scenario " + scenario
	if !whole {
		line += ": " + name
	}
	if !begin || whole {
		line += " " + edge
	}
	if why != "" {
		line += "  (" + why + ")"
	}
	c.line(c.mark(c.now) + line)
	if whole && !begin {
		c.phase = ""
		c.closeGroup()
	}
}

// Fault prints an edge of a fault; at is its time on the run's clock. The edge "begin" starts the count of T+.
func (c *Console) Fault(f, edge string, kind drivers.FaultKind, at time.Duration, title, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(at)
	switch edge {
	case record.EdgeBegin:
		c.fault, c.over, c.since = f, false, at
	case record.EdgeEnd:
		c.over = true
	}
	line := "fault " + f + " " + string(kind) + ": " + edge
	if title != "" {
		line += "  " + title
	}
	if why != "" {
		line += "  (" + why + ")"
	}
	c.line(c.mark(at) + line)
}

// Tick has to be called about once a second. It prints the states of all lanes once a minute (on a terminal: in place,
// each time) and the changes that were held back.
func (c *Console) Tick(now time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed(now)
	c.flush()
	if c.o.TTY {
		c.measure()
		c.clear()
		// The cursor goes back to the line's begin: where a terminal that is made narrower breaks the line, all of it can be cleared.
		fmt.Fprint(c.w, fit(c.o.Prefix+harmless(c.states()), c.room())+"\r")
		c.status = true
		return
	}
	if now-c.beaten >= heartbeat {
		c.beaten = now
		c.line(c.states())
	}
}

// Done prints the counts and where the files are.
func (c *Console) Done(n Counts, paths ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closeGroup()
	c.line("DONE  " + n.String())
	for _, p := range paths {
		c.whole("- " + p)
	}
}

// Say prints a line that is about the run itself, not about the lab: an error, a wait.
func (c *Console) Say(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		c.whole(l)
	}
}

// mark is the beginning of a line: the time since the fault, or nothing before any.
func (c *Console) mark(at time.Duration) string {
	if c.fault == "" {
		return "        "
	}
	d := max(at-c.since, 0)
	return fmt.Sprintf("T+%02d:%02d ", int(d.Minutes()), int(d.Seconds())%60)
}

// passed moves the printer's time on, and refills what may be printed.
func (c *Console) passed(now time.Duration) {
	c.now = max(c.now, now)
	for c.now-c.refill >= perToken {
		c.refill += perToken
		c.tokens = min(c.tokens+1, burst)
	}
}

// line prints one harmless line, within the width.
func (c *Console) line(s string) { c.emit(fit(c.o.Prefix+harmless(s), c.room())) }

// whole prints a line that must not be shortened, such as a path.
func (c *Console) whole(s string) { c.emit(c.o.Prefix + harmless(s)) }

// emit writes a line, which is not to begin like a workflow command, in one piece.
func (c *Console) emit(s string) {
	c.clear()
	if strings.HasPrefix(strings.TrimSpace(s), "::") {
		s = "." + s
	}
	fmt.Fprintln(c.w, s)
}

func (c *Console) clear() {
	if c.status {
		fmt.Fprint(c.w, "\r\x1b[J")
		c.status = false
	}
}

// harmless is a line without control bytes and without what CI systems take for commands anywhere in a line.
func harmless(s string) string {
	s = strings.ReplaceAll(s, "\n", " ")
	s = strings.ReplaceAll(strings.ReplaceAll(clean(s), "\n", " "), "\t", " ")
	return commands.Replace(s)
}

var commands = strings.NewReplacer("##[", "## [", "##vso[", "## vso[", "##teamcity[", "## teamcity[")

// columns is how many columns a rune takes on a terminal.
func columns(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me) {
		return 0
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

func wide(s string) int {
	n := 0
	for _, r := range s {
		n += columns(r)
	}
	return n
}

// fit shortens a line to w columns.
func fit(s string, w int) string {
	if wide(s) <= w {
		return s
	}
	n := 0
	for i, r := range s {
		if n += columns(r); n > w-1 {
			return s[:i] + "…"
		}
	}
	return s
}

// quiet tells whether a topic is not printed; "kmsg.raw" is as quiet as "kmsg".
func (c *Console) quiet(topic string) bool {
	return slices.ContainsFunc(c.o.Quiet, func(q string) bool {
		return topic == q || strings.HasPrefix(topic, q+".") || strings.HasSuffix(topic, "."+q)
	})
}
