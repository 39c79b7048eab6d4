package linux

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestErrorText(t *testing.T) {
	r := func(command string, status int, lines ...string) response {
		out := response{command: command, status: status}
		for _, l := range lines {
			out.lines = append(out.lines, line{text: l})
		}
		return out
	}
	for want, got := range map[string]response{
		"-bash: /usr/bin/ls: Input/output error":            r("ls -al", 126, "-bash: /usr/bin/ls: Input/output error"),
		"-bash: /usr/bin/dpkg: Input/output error":          r("/usr/bin/dpkg --version", 126, "noise", "-bash: /usr/bin/dpkg: Input/output error"),
		"ls: cannot open directory '.': Input/output error": r("ls -al", 2, "total 4", "ls: cannot open directory '.': Input/output error"),
		"Bus error":     r("ls -al", 135, "Bus error"),
		"exit status 1": r("ls -al", 1),
	} {
		if got.errorText() != want {
			t.Errorf("got %q, want %q", got.errorText(), want)
		}
	}
	if _, ok := cutMarker("apd-14 x", "apd-14"); ok {
		t.Error("not a marker")
	}
	if st, ok := cutMarker("$ apd-14 126", "apd-14"); !ok || st != "126" {
		t.Error(st, ok)
	}
	if got := escapes.ReplaceAllString("\x1b[?2004h\x1b]0;title\x07a\x1b[01;34mb\x1b[0m\x08c", ""); got != "abc" {
		t.Errorf("%q", got)
	}
}

func TestGate(t *testing.T) {
	var g gate
	ctx := context.Background()
	if err := g.enter(ctx); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := g.shut(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("it was shut with somebody inside: ", err)
	}
	shut := make(chan error, 1)
	go func() { shut <- g.shut(ctx) }()
	g.leave()
	if err := <-shut; err != nil {
		t.Fatal(err)
	}
	short, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := g.enter(short); err == nil {
		t.Fatal("the gate is not closed")
	}
	in := make(chan error, 1)
	go func() { in <- g.enter(ctx) }()
	g.open()
	if err := <-in; err != nil {
		t.Fatal(err)
	}
}
