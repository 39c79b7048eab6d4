// This file is a login shell on a terminal: what is typed, what comes back, and how long that takes.

package linux

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/allpathsdown/allpathsdown/drivers/guest/watch"
)

// What is kept of one answer.
const (
	maxLines = 200
	maxLine  = 512
)

// setUp makes the shell plain: no prompt, messages in English, no history file to write. All of it are builtins.
const setUp = "PS1= PS2= PROMPT_COMMAND=; unset HISTFILE MAILCHECK; export LC_ALL=C; echo apd-ready-$((6*7))\n"

// managers are the package managers that are looked for, the distribution's front end first.
var managers = []string{"/usr/bin/yum", "/usr/bin/dnf", "/usr/bin/zypper", "/usr/bin/dpkg", "/usr/bin/rpm"}

// shell is a login shell. One goroutine asks.
type shell struct {
	*watch.Reporter
	name  string
	in    chan string
	lines chan line     // closed when the shell is gone
	ended chan struct{} // closed too, without anybody taking the lines
	n     int           // questions so far

	answered time.Duration         // when the last answer came
	shown    map[string]transcript // by command: what was shown last
}

// line is a line that came from the terminal.
type line struct {
	text string
	at   time.Duration
}

// transcript is an answer as it was shown, and how often it came again since.
type transcript struct {
	lines    []string
	repeated int
}

// response is the answer to one question.
type response struct {
	command string
	lines   []line
	status  int
	span    span // when the answer became so
}

// openShell starts a login shell on a terminal and waits until it answers. ctx bounds that.
func openShell(ctx context.Context, r *watch.Reporter, c *client, name string) (*shell, error) {
	s, err := c.NewSession()
	if err != nil {
		return nil, fail(stageSession, err, ctx.Err() != nil)
	}
	in, err := s.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("the shell's input: %w", err)
	}
	out, err := s.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("the shell's output: %w", err)
	}
	if err := s.RequestPty("dumb", 50, 200, ssh.TerminalModes{ssh.ECHO: 0}); err != nil {
		return nil, fail(stageSession, err, ctx.Err() != nil)
	}
	if err := s.Shell(); err != nil {
		return nil, fail(stageSession, err, ctx.Err() != nil)
	}
	sh := &shell{
		Reporter: r, name: name, in: make(chan string, 4), lines: make(chan line, 64), ended: make(chan struct{}),
		shown: map[string]transcript{},
	}
	go func() { _ = s.Wait(); close(sh.ended) }() // ends with the shell or the connection
	go func() {
		for {
			select {
			case text := <-sh.in:
				if _, err := io.WriteString(in, text); err != nil {
					return
				}
			case <-sh.ended:
				return
			}
		}
	}()
	go sh.read(out)
	sh.in <- setUp
	for {
		select {
		case l, ok := <-sh.lines:
			if !ok {
				return nil, fail(stageCommand, io.EOF, ctx.Err() != nil)
			}
			if strings.HasSuffix(l.text, "apd-ready-42") {
				sh.answered = r.Clock.Now()
				return sh, nil
			}
		case <-ctx.Done():
			return nil, fail(stageCommand, ctx.Err(), true)
		}
	}
}

// escapes are the sequences by which a terminal is steered, and other bytes that are not text.
var escapes = regexp.MustCompile("\x1b\\[[0-?]*[ -/]*[@-~]|\x1b\\][^\x07]*\x07|\x1b.|[\x00-\x08\x0b-\x1a\x7f]")

// read passes on what comes, line by line. A line too long to keep loses its end.
func (s *shell) read(out io.Reader) {
	defer close(s.lines)
	r := bufio.NewReaderSize(out, 16<<10)
	for {
		b, more, err := r.ReadLine()
		if err != nil {
			return
		}
		text := strings.TrimRight(escapes.ReplaceAllString(string(b), ""), "\r")
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
		if len(text) > maxLine {
			text = strings.ToValidUTF8(text[:maxLine], "")
		}
		s.lines <- line{text, s.Clock.Now()} // taken until the session is closed, see drain
	}
}

// drain takes what still comes, so that read can end. It is called when nobody asks any more.
func (s *shell) drain() {
	go func() {
		for range s.lines {
		}
	}()
}

// ask types a command, and a marker that the shell prints by itself behind its output; with an empty command the marker
// alone. When nothing is complete after quiet, topic becomes silent since it was typed, and the wait goes on. It returns
// false when the shell is gone or ctx ended.
func (s *shell) ask(ctx context.Context, command string, quiet time.Duration, topic string) (response, bool) {
	s.n++
	marker := fmt.Sprintf("apd-%d", s.n*7)
	typed := fmt.Sprintf("echo apd-$((%d*7)) $?\n", s.n)
	show := strings.TrimSpace(typed)
	if command != "" {
		typed, show = command+"\n"+typed, command
	}
	r := response{command: command}
	begun := s.Clock.Now()
	select {
	case s.in <- typed:
	default: // the connection takes nothing; the marker will not come either
	}
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	since, told := s.answered, false
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				return r, false
			}
			if rest, ok := cutMarker(l.text, marker); ok {
				s.answered = l.at
				if told { // until the first line of the answer came, it was silent
					since = firstAt(r.lines, l)
				}
				r.status, _ = strconv.Atoi(rest)
				r.span = between(since, max(since, firstAt(r.lines, l)))
				s.tell(command, show, begun, r, l, told)
				return r, true
			}
			if len(r.lines) < maxLines {
				r.lines = append(r.lines, l)
			}
		case <-timer.C:
			told = true
			s.typed(command, show, begun)
			s.State(topic, "silent", "", between(begun, s.Clock.Now()), nil)
		case <-ctx.Done():
			return r, false
		}
	}
}

// firstAt is when the first line of an answer came, which ends with the marker.
func firstAt(lines []line, marker line) time.Duration {
	return append(slices.Clip(lines), marker)[0].at
}

// cutMarker finds the marker at the end of a line and returns the status behind it.
func cutMarker(text, marker string) (status string, ok bool) {
	i := strings.LastIndex(text, marker+" ")
	if i < 0 {
		return "", false
	}
	status = text[i+len(marker)+1:]
	_, err := strconv.Atoi(status)
	return status, err == nil
}

// tell puts an exchange into the transcript, unless the same command had the same answer before: then it is counted. shown
// says that what was typed stands there already.
func (s *shell) tell(command, show string, typed time.Duration, r response, end line, shown bool) {
	lines := make([]string, 0, len(r.lines))
	for _, l := range r.lines {
		lines = append(lines, l.text)
	}
	before, again := s.shown[command]
	if again && !shown && slices.Equal(before.lines, lines) {
		before.repeated++
		s.shown[command] = before
		return
	}
	if !shown {
		s.typed(command, show, typed)
	}
	out := r.lines
	if command == "" {
		out = append(slices.Clip(out), end)
	}
	for _, l := range out {
		s.Event("transcript", "out", l.text, at(l.at), map[string]string{"shell": s.name})
	}
	s.shown[command] = transcript{lines: lines}
}

// typed puts what was typed into the transcript, behind how often the exchange before was repeated.
func (s *shell) typed(command, show string, t time.Duration) {
	s.repeats(command, t)
	s.Event("transcript", "in", show, at(t), map[string]string{"shell": s.name})
}

// repeats tells how often the last exchange was repeated, if it was.
func (s *shell) repeats(command string, t time.Duration) {
	before := s.shown[command]
	if before.repeated > 0 {
		s.Event("transcript", "repeated", cmp.Or(command, "echo"), at(t), map[string]string{
			"shell": s.name, "times": strconv.Itoa(before.repeated),
		})
	}
	before.repeated = 0
	s.shown[command] = before
}

// over completes the transcript when nobody asks any more, and lets the reader end. While the guest is still observed, it
// tells that a shell which is gone does not answer.
func (s *shell) over(observed context.Context, topics ...string) {
	for command := range s.shown {
		s.repeats(command, s.Clock.Now())
	}
	s.drain()
	if observed.Err() != nil {
		return
	}
	for _, topic := range topics {
		s.State(topic, "silent", "the session is gone", between(s.answered, s.Clock.Now()), nil)
	}
}

// errorText picks the lines of an answer that say what went wrong: those of the shell and of the command itself; failing
// these, the last line.
func (r response) errorText() string {
	name, _, _ := strings.Cut(r.command, " ")
	base := name[strings.LastIndexByte(name, '/')+1:]
	var said []string
	for _, l := range r.lines {
		if strings.HasPrefix(l.text, "-bash: ") || strings.HasPrefix(l.text, base+": ") || strings.HasPrefix(l.text, name+": ") {
			said = append(said, l.text)
		}
	}
	if len(said) > 8 {
		said = said[:8]
	}
	if len(said) == 0 && len(r.lines) > 0 {
		said = []string{r.lines[len(r.lines)-1].text}
	}
	if len(said) == 0 {
		return fmt.Sprintf("exit status %d", r.status)
	}
	return strings.Join(said, "\n")
}

// findManager looks for the package manager, by a builtin.
func (s *shell) findManager(ctx context.Context) (string, error) {
	s.in <- "for p in " + strings.Join(managers, " ") + "; do if [ -x $p ]; then echo apd-has $p; break; fi; done; echo apd-has-$((6*7))\n"
	found := ""
	for {
		select {
		case l, ok := <-s.lines:
			if !ok {
				return "", fail(stageCommand, io.EOF, ctx.Err() != nil)
			}
			if _, name, ok := strings.Cut(l.text, "apd-has "); ok && slices.Contains(managers, name) {
				found = name
			}
			if strings.HasSuffix(l.text, "apd-has-42") {
				return found, nil
			}
		case <-ctx.Done():
			return "", fail(stageCommand, ctx.Err(), true)
		}
	}
}
