// This file reads the kernel's log.

package resident

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/allpathsdown/allpathsdown/drivers/guest/agent"
)

var levels = [8]string{"emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"}

// parseKmsg reads one record of the kernel's log: "priority,number,microseconds,flags;text".
func parseKmsg(line string) (agent.Kmsg, bool) {
	head, text, ok := strings.Cut(line, ";")
	f := strings.Split(head, ",")
	if !ok || len(f) < 3 || strings.HasPrefix(line, " ") {
		return agent.Kmsg{}, false
	}
	prio, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return agent.Kmsg{}, false
	}
	us, err := strconv.ParseUint(f[2], 10, 64)
	if err != nil {
		return agent.Kmsg{}, false
	}
	return agent.Kmsg{Level: levels[prio&7], Text: text, At: float64(us) / 1e6}, true
}

// limiter lets so many lines through in a second and counts the others.
type limiter struct {
	begun   time.Time
	n       int
	dropped uint64
}

func (l *limiter) pass(now time.Time) bool {
	if now.Sub(l.begun) >= time.Second {
		l.begun, l.n = now, 0
	}
	if l.n++; l.n <= kmsgPerSec {
		return true
	}
	l.dropped++
	return false
}

// tailKmsg sends the lines that the kernel logs from now on.
func (r *resident) tailKmsg(ctx context.Context) {
	var lim limiter
	buf := make([]byte, 16<<10)
	var k kernelLog
	for ctx.Err() == nil {
		lost, n, err := k.read(r.o.Kmsg, buf)
		if lost {
			lim.dropped++ // at least one: the kernel overwrote lines before they were read
		}
		if err != nil || n == 0 {
			if !lost && !wait(ctx, retryEvery) {
				return
			}
			continue
		}
		for line := range strings.Lines(string(buf[:n])) {
			m, ok := parseKmsg(strings.TrimRight(line, "\n"))
			if !ok || !lim.pass(time.Now()) {
				continue
			}
			m.Dropped, lim.dropped = lim.dropped, 0
			r.send(agent.Message{Type: agent.TypeKmsg, Kmsg: &m})
		}
	}
}
