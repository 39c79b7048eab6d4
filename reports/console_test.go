package reports

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/allpathsdown/allpathsdown/drivers"
	"github.com/allpathsdown/allpathsdown/fixtures/record"
)

var _ record.Follower = (*Console)(nil) // a console follows a record as it is written

// outage plays an outage in seconds of a clock that the test moves, and notes when each line came.
type outage struct {
	*Console
	now  time.Duration
	out  bytes.Buffer
	last int
	at   []time.Duration // of each line
}

func newOutage(o ConsoleOptions) *outage {
	p := &outage{}
	o.Clock = func() time.Duration { return p.now }
	p.Console = NewConsole(&p.out, o)
	return p
}

func (p *outage) state(l drivers.Lane, topic, value, text string) {
	p.Observation(drivers.Observation{Lo: p.now, Hi: p.now, Lane: l, Kind: drivers.State, Topic: topic, Value: value, Text: text})
}

// run calls each second, then ticks.
func (p *outage) run(d time.Duration, each func(s int)) {
	for s := range int(d / time.Second) {
		each(s)
		p.Tick(p.now)
		p.noted()
		p.now += time.Second
	}
}

func (p *outage) noted() {
	for n := strings.Count(p.out.String(), "\n"); p.last < n; p.last++ {
		p.at = append(p.at, p.now)
	}
}

func (p *outage) lines() []string {
	return strings.Split(strings.TrimSuffix(p.out.String(), "\n"), "\n")
}

func guest(n int) drivers.Lane {
	return drivers.Lane{Role: drivers.Guest, Name: fmt.Sprintf("g%d", n), Provenance: drivers.Embedded}
}

func TestConsoleSaysWhatChanges(t *testing.T) {
	g := NewWithT(t)
	p := newOutage(ConsoleOptions{Prefix: "one"})
	p.Phase("stop", "scenario", record.EdgeBegin, "")
	p.state(guest(1), "disk", "ok", "")
	p.run(10*time.Second, func(int) {})
	p.Fault("f1", record.EdgeBegin, drivers.ServiceStop, p.now, "stop the service", "")
	p.now += 140 * time.Second
	p.state(guest(1), "disk", "ok", "")
	p.state(guest(1), "disk", "blocked", "hung task")
	for _, quiet := range []string{"heartbeat", "kmsg", "guest.transcript", "settings"} {
		p.state(guest(1), quiet, "x", "")
	}
	p.Observation(drivers.Observation{Hi: p.now, Lane: guest(1), Kind: drivers.Sample, Topic: "latency", Num: 1})
	p.Observation(drivers.Observation{Hi: p.now, Lane: guest(1), Kind: drivers.Event, Topic: "boot", Value: "started"})
	g.Expect(p.lines()).To(Equal([]string{
		"[one]         scenario stop begin",
		"[one] T+00:00 fault f1 service-stop: begin  stop the service",
		"[one] T+02:20 guest/g1 disk: ok -> blocked  (hung task)",
		"[one] T+02:20 guest/g1 boot: started"}))
}

// The budget: 20 minutes, at most 60 lines of at most 120 columns, no silence above a minute, whatever flaps.
func TestConsoleBudgetOfAnOutage(t *testing.T) {
	for name, c := range map[string]struct {
		guests int
		each   func(p *outage, s int)
	}{
		"calm": {3, func(p *outage, s int) {
			for i := range 3 {
				if s == 100+i {
					p.state(guest(i), "disk", "blocked", hostile)
				}
			}
		}},
		"one flaps each second": {2, func(p *outage, s int) { p.state(guest(0), "disk", []string{"ok", "blocked"}[s%2], "") }},
		"four flap in four topics": {4, func(p *outage, s int) {
			for i := range 16 {
				p.state(guest(i%4), fmt.Sprint("t", i/4), []string{"ok", "blocked", "eio"}[(s+i)%3], "")
			}
		}},
		"57 guests fall one by one": {57, func(p *outage, s int) {
			if s%20 == 0 && s/20 < 57 {
				p.state(guest(s/20), "disk", "blocked", "")
			}
		}},
		"1000 guests flap": {1000, func(p *outage, s int) {
			for i := range 1000 {
				if (i+s)%7 == 0 {
					p.state(guest(i), "disk", fmt.Sprint("state", (i*s)%5), "")
				}
			}
		}},
		"a cluster of 60 disks and 40 guests flaps": {40, func(p *outage, s int) {
			for i := range 60 {
				disk := drivers.Lane{Role: drivers.Cluster, Name: fmt.Sprint("disk/osd.", i), Provenance: drivers.Embedded}
				p.state(disk, "disk", []string{"online", "offline", "absent"}[(s+i)%3], hostile)
				p.state(guest(i%40), "write", []string{"ok", "waiting"}[(s/7+i)%2], "")
			}
			p.state(drivers.Lane{Role: drivers.Cluster, Name: "cluster"}, "resilient", []string{"yes", "no"}[s/40%2], "")
		}},
		"events rain": {4, func(p *outage, s int) {
			for i := range 4 {
				p.Observation(drivers.Observation{Hi: p.now, Lane: guest(i), Kind: drivers.Event, Topic: "esx", Value: fmt.Sprint("esx.problem.", s), Text: "x"})
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			p := newOutage(ConsoleOptions{})
			for i := range c.guests {
				p.state(guest(i), "disk", "ok", "")
			}
			p.Fault("f1", record.EdgeBegin, drivers.Blackhole, p.now, "", "")
			p.Fault("f1", record.EdgeActive, drivers.Blackhole, p.now, "", "")
			p.Phase("s", "hold", record.EdgeBegin, "")
			p.run(20*time.Minute, func(s int) { c.each(p, s) })
			p.Fault("f1", record.EdgeUndo, drivers.Blackhole, p.now, "", "")
			p.Fault("f1", record.EdgeEnd, drivers.Blackhole, p.now, "", "")
			p.noted()
			g.Expect(len(p.at)).To(BeNumerically("<=", 60))
			if name == "one flaps each second" { // the first at once, then ever more rarely
				var flaps []time.Duration
				for i, l := range p.lines() {
					if strings.Contains(l, "g0 disk") {
						flaps = append(flaps, p.at[i])
					}
				}
				g.Expect(len(flaps)).To(BeNumerically(">", 3))
				for i := 1; i < len(flaps); i++ {
					g.Expect(flaps[i] - flaps[i-1]).To(BeNumerically(">=", holdOff))
				}
			}
			before := time.Duration(0)
			for _, at := range p.at {
				g.Expect(at - before).To(BeNumerically("<=", time.Minute))
				before = at
			}
			g.Expect(p.out.String()).NotTo(ContainSubstring("\x1b"))
			for _, l := range p.lines() {
				g.Expect(wide(l)).To(BeNumerically("<=", 120), l)
			}
		})
	}
}

// What was held back is told later: the last line of each guest's disk is where it ended.
func TestConsoleLosesNoState(t *testing.T) {
	g := NewWithT(t)
	p := newOutage(ConsoleOptions{})
	for i := range 57 {
		p.state(guest(i), "disk", "ok", "")
	}
	p.Fault("f1", record.EdgeBegin, drivers.Blackhole, p.now, "", "")
	p.run(5*time.Second, func(s int) {
		for i := range 57 {
			p.state(guest(i), "disk", "blocked", "")
		}
	})
	g.Expect(p.lines()).To(HaveLen(2))
	g.Expect(p.lines()[1]).To(Equal("T+00:00 57 guests (g0 g1 g10 g11 g12 g13 +51) disk: ok -> blocked"))
	p.run(time.Minute, func(int) {})
	g.Expect(p.lines()[2]).To(HavePrefix("T+00:59 OUTAGE     57 guests=blocked"))
	p.state(guest(3), "disk", "eio", "")
	p.run(3*time.Minute, func(s int) {})
	g.Expect(p.out.String()).To(ContainSubstring("guest/g3 disk: blocked -> eio"))
	g.Expect(p.lines()[len(p.lines())-1]).To(ContainSubstring("56 guests=blocked  1 guest=eio"))
}

func TestConsoleOfHostileTexts(t *testing.T) {
	g := NewWithT(t)
	_, r, _ := small(t, hostile)
	p := newOutage(ConsoleOptions{GitHub: true})
	p.Phase("s", "scenario", record.EdgeBegin, hostile)
	p.Fault("f1", record.EdgeBegin, drivers.Reset, 0, hostile, hostile)
	p.state(drivers.Lane{Role: drivers.Guest, Name: hostile}, "disk", "::error::x", hostile)
	p.run(2*time.Minute, func(int) {})
	rows := Rows(r)
	rows[2].Why = "::error::injected"
	rows[3].Plan.Claim = "::error::injected"
	p.Table(rows)
	p.Done(Count(rows), "::error::path")
	for _, l := range p.lines() {
		g.Expect(l).NotTo(MatchRegexp(`[\x00-\x08\x0b-\x1f\x7f]|##\[|##vso`))
		if strings.HasPrefix(strings.TrimSpace(l), "::") {
			g.Expect(l).To(MatchRegexp(`^::(group::s|endgroup::|warning file=suites/apd/open\.go,line=12,title=inconclusive%3A open::Claim open: \.?::error::injected|error file=suites/apd/bad\.go,line=12,title=refuted%3A bad::Claim bad: measured 700\.2 s.*)$`))
		}
	}
}

func TestConsoleOnGitHub(t *testing.T) {
	g := NewWithT(t)
	_, r, _ := small(t, "plain")
	p := newOutage(ConsoleOptions{GitHub: true})
	for _, s := range []string{"a", "b"} { // the first does not say that it ends
		p.Phase(s, "scenario", record.EdgeBegin, "")
	}
	p.Phase("b", "scenario", record.EdgeEnd, "")
	p.Table(Rows(r))
	out := p.out.String()
	g.Expect(strings.Count(out, "::group::")).To(Equal(2))
	g.Expect(strings.Count(out, "::endgroup::")).To(Equal(2))
	g.Expect(strings.Count(out, "::error ")).To(Equal(1), "a known refutation is no error")
	g.Expect(out).To(ContainSubstring("::error file=suites/apd/bad.go,line=12,title=refuted%3A bad::Claim bad: measured 700.2 s, allowed 60..600 s: EIO came late plain\n"))
}

// TestConsoleCountsWhatIsMany: of many guests and disks the line of states tells how many are in which.
func TestConsoleCountsWhatIsMany(t *testing.T) {
	g := NewWithT(t)
	p := newOutage(ConsoleOptions{})
	for i := range 12 {
		p.state(guest(i), "disk", "ok", "")
		p.state(drivers.Lane{Role: drivers.Cluster, Name: fmt.Sprint("disk/", i)}, "disk", "online", "")
	}
	p.Fault("f1", record.EdgeBegin, drivers.DiskStall, p.now, "", "")
	p.state(drivers.Lane{Role: drivers.Cluster, Name: "disk/3"}, "disk", "offline", "")
	for i := range 5 {
		p.state(guest(i), "disk", "blocked", "")
	}
	p.run(time.Minute, func(int) {})
	g.Expect(p.lines()[len(p.lines())-1]).To(Equal("T+00:59 OUTAGE     11 clusters=online  1 cluster=offline  7 guests=ok  5 guests=blocked"))
}

// rowsOf is a run with so many claims of a verdict.
func rowsOf(t *testing.T, n int, o record.Outcome) []record.Row {
	t.Helper()
	var rows []record.Row
	for i := range n {
		row := record.Row{Plan: plan(fmt.Sprint("claim", i), "s")}
		row.Outcome, row.Why = o, "so it was"
		rows = append(rows, row)
	}
	return rows
}

// TestAnnotationsAreAsManyAsGitHubShows: the rest is summed up, for refutations and for what is undecided.
func TestAnnotationsAreAsManyAsGitHubShows(t *testing.T) {
	for _, c := range []struct {
		n, marks, want int
		last           string
	}{
		{0, 0, 0, ""},
		{10, 0, 10, "claim9::"},
		{11, 0, 10, "title=2 more claims"},
		{25, 3, 3, "title=23 more claims are "},
		{5, 1, 1, "title=5 claims are "},
	} {
		g := NewWithT(t)
		p := newOutage(ConsoleOptions{GitHub: true, Marks: c.marks})
		p.Table(append(rowsOf(t, c.n, record.Refuted), rowsOf(t, c.n, record.Inconclusive)...))
		for _, kind := range []string{"error", "warning"} {
			var of []string
			for _, l := range p.lines() {
				if strings.HasPrefix(l, "::"+kind+" ") {
					of = append(of, l)
				}
			}
			g.Expect(of).To(HaveLen(c.want), "%d %s", c.n, kind)
			if c.want > 0 {
				g.Expect(of[c.want-1]).To(ContainSubstring(c.last))
			}
		}
		plain := newOutage(ConsoleOptions{})
		plain.Table(rowsOf(t, c.n, record.Refuted))
		g.Expect(plain.out.String()).NotTo(ContainSubstring("::"))
	}
}

// TestAnnotationsAreEscaped as GitHub unescapes them: in a property commas and colons too.
func TestAnnotationsAreEscaped(t *testing.T) {
	g := NewWithT(t)
	rows := rowsOf(t, 1, record.Refuted)
	rows[0].Plan.Claim, rows[0].Plan.Title, rows[0].Plan.Spec = "a:b,c%d", "100% of it: a, b\r\nand::more", "suites/a,b%c.go:7"
	p := newOutage(ConsoleOptions{GitHub: true})
	p.Table(rows)
	g.Expect(p.lines()[len(p.lines())-1]).To(Equal(
		"::error file=suites/a%2Cb%25c.go,line=7,title=refuted%3A a%3Ab%2Cc%25d::100%25 of it: a, b and::more: so it was"))
}

// TestConsoleOnANarrowTerminal: no line is wider, and none of the words is lost.
func TestConsoleOnANarrowTerminal(t *testing.T) {
	g := NewWithT(t)
	_, r, _ := small(t, "a long text about 日本語のゲスト and what it did, which goes on and on")
	p := newOutage(ConsoleOptions{TTY: true, Screen: 40})
	for i := range 4 {
		p.state(drivers.Lane{Role: drivers.Guest, Name: fmt.Sprint("ゲスト", i)}, "ディスク", "ok", "")
	}
	p.Fault("f1", record.EdgeBegin, drivers.Blackhole, p.now, "すべてのパスが切断されました。長い説明", "")
	for i := range 4 {
		p.state(drivers.Lane{Role: drivers.Guest, Name: fmt.Sprint("ゲスト", i)}, "ディスク", "blocked", "")
	}
	p.run(2*time.Second, func(int) {})
	p.Table(Rows(r))
	p.Done(Count(Rows(r)))
	for _, l := range strings.FieldsFunc(p.out.String(), func(r rune) bool { return r == '\n' || r == '\r' }) {
		g.Expect(wide(strings.TrimPrefix(l, "\x1b[J"))).To(BeNumerically("<=", 39), l)
	}
	for _, row := range Rows(r) {
		if w := wordOf(row); w == notApplicable {
			g.Expect(p.out.String()).To(ContainSubstring("1 not applicable: "))
		} else {
			g.Expect(p.out.String()).To(ContainSubstring(string(w) + " ("))
		}
	}
	g.Expect(p.out.String()).To(And(ContainSubstring("measured 700.2 s"), ContainSubstring("allowed 60..600 s")))
}

func TestColumns(t *testing.T) {
	g := NewWithT(t)
	for s, n := range map[string]int{"abc": 3, "日本": 4, "ｱｲ": 2, "ｗ": 2, "한글": 4, "é": 1, "e\u0301": 1, "😀": 2, "…": 1, "": 0} {
		g.Expect(wide(s)).To(Equal(n), s)
	}
	g.Expect(fit("日本語", 5)).To(Equal("日本…"))
	g.Expect(fit("日本語", 4)).To(Equal("日…"))
}

func TestConsoleTable(t *testing.T) {
	g := NewWithT(t)
	_, r, _ := small(t, strings.Repeat("long ", 100))
	rows := Rows(r)
	rows[0].Plan.Claim = strings.Repeat("long.", 50) + "id"
	p := newOutage(ConsoleOptions{Prefix: "one"})
	p.Table(rows)
	p.Done(Count(rows), "out/r1/junit.xml")
	for _, l := range p.lines() {
		g.Expect(wide(l)).To(BeNumerically("<=", 120), l)
	}
	g.Expect(p.lines()[0]).To(MatchRegexp(`^\[one\] claim +measured +allowed +verdict +provenance$`))
	g.Expect(p.lines()[1]).To(MatchRegexp(`long.* 700\.2 s +60\.\.600 s +refuted +embedded$`))
	g.Expect(p.lines()[len(p.lines())-1]).To(Equal("[one] - out/r1/junit.xml"))
	g.Expect(p.out.String()).NotTo(ContainSubstring("\x1b"))
}

func TestConsoleOnATerminal(t *testing.T) {
	g := NewWithT(t)
	_, r, _ := small(t, "plain")
	p := newOutage(ConsoleOptions{TTY: true, Color: true})
	p.state(guest(1), "disk", "ok", "")
	p.Fault("f1", record.EdgeBegin, drivers.Blackhole, p.now, "", "")
	p.run(20*time.Minute, func(s int) {})
	g.Expect(strings.Count(p.out.String(), "\n")).To(Equal(1), "the states are rewritten in place")
	p.Table(Rows(r))
	g.Expect(p.out.String()).To(And(ContainSubstring("\r\x1b[J"), ContainSubstring("\x1b[31mrefuted")))

	plain := newOutage(ConsoleOptions{TTY: true})
	plain.Table(Rows(r))
	g.Expect(plain.out.String()).NotTo(ContainSubstring("\x1b["), "NO_COLOR")
}

func TestConsoleFor(t *testing.T) {
	g := NewWithT(t)
	file, err := os.Create(t.TempDir() + "/out")
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	g.Expect(err).NotTo(HaveOccurred())
	defer device.Close()
	with := func(kv ...string) func(string) string {
		return func(k string) string {
			for i := 0; i < len(kv); i += 2 {
				if kv[i] == k {
					return kv[i+1]
				}
			}
			return ""
		}
	}
	for _, c := range []struct {
		f    *os.File
		env  func(string) string
		want ConsoleOptions
	}{
		{file, with(), ConsoleOptions{}},
		{device, with("COLUMNS", "100"), ConsoleOptions{TTY: true, Color: true, Screen: 100}},
		{device, with("NO_COLOR", "1"), ConsoleOptions{TTY: true}},
		{device, with("GINKGO_NO_COLOR", "true"), ConsoleOptions{TTY: true}},
		{file, with("FORCE_COLOR", "1"), ConsoleOptions{Color: true}},
		{file, with("FORCE_COLOR", "0"), ConsoleOptions{}},
		{file, with("FORCE_COLOR", "1", "NO_COLOR", "1"), ConsoleOptions{}},
		{device, with("CI", "true", "FORCE_COLOR", "1"), ConsoleOptions{Color: true}},
		{device, with("CI", "true"), ConsoleOptions{}},
		{device, with("TERM", "dumb"), ConsoleOptions{}},
		{device, with("GITHUB_ACTIONS", "true"), ConsoleOptions{GitHub: true}},
	} {
		g.Expect(ConsoleFor(c.f, c.env)).To(Equal(c.want))
	}
}

func TestConsoleForSeveralGoroutines(t *testing.T) {
	p := newOutage(ConsoleOptions{GitHub: true})
	_, r, _ := small(t, "plain")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for s := range 200 {
				p.Observation(drivers.Observation{Hi: time.Duration(s) * time.Second, Lane: guest(i), Kind: drivers.State, Topic: "disk", Value: fmt.Sprint(s)})
				p.Tick(time.Duration(s) * time.Second)
				p.Phase("s", "hold", record.EdgeBegin, "")
				p.Fault("f1", record.EdgeBegin, drivers.Reset, 0, "", "")
			}
			p.Table(Rows(r))
			p.Done(Counts{})
		})
	}
	wg.Wait()
}

// TestWhatWasNotApplicableIsSummedUp prints a lab that can judge one claim of many.
func TestWhatWasNotApplicableIsSummedUp(t *testing.T) {
	g := NewWithT(t)
	var rows []record.Row
	add := func(n int, outcome record.Outcome, why string) {
		for range n {
			rows = append(rows, record.Row{Plan: record.Plan{Claim: fmt.Sprint("claim.", len(rows))}, Judged: record.Judged{Verdict: record.Verdict{Outcome: outcome, Why: why}}})
		}
	}
	add(2, record.NotApplicable, "the lab lacks a guest")
	add(70, record.NotApplicable, "the lab lacks a cluster")
	add(1, record.Confirmed, "so it was")
	for i := range 12 {
		add(1, record.NotApplicable, fmt.Sprint("reason ", i))
	}
	var out strings.Builder
	NewConsole(&out, ConsoleOptions{}).Table(rows)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	g.Expect(lines).To(HaveLen(1 + 1 + mostSkips + 1))
	g.Expect(lines[1]).To(ContainSubstring("claim.72"))
	g.Expect(lines[2]).To(Equal("70 not applicable: the lab lacks a cluster"))
	g.Expect(lines[3]).To(Equal("2 not applicable: the lab lacks a guest"))
	g.Expect(lines[len(lines)-1]).To(Equal("not applicable: 6 more reasons"))
}
